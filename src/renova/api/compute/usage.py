"""Usage (os-simple-tenant-usage): how long servers existed in a period, and with how much of everything."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from renova.api.compute import paging, times
from renova.api.compute.route import PAGING, known, route
from renova.api.compute.server_status import status
from renova.api.http import Call, Reply
from renova.model.clock import stamp
from renova.model.errors import Invalid
from renova.model.ids import ProjectId, ServerId
from renova.model.server import Server
from renova.store import servers
from renova.store.database import Tx

POLICY = {
    "os_compute_api:os-simple-tenant-usage:list": "rule:admin_api",
    "os_compute_api:os-simple-tenant-usage:show": "rule:project_reader_or_admin",
}

_PAGED_SINCE = (2, 40)


class Period(msgspec.Struct, frozen=True):
    """From when to when; stored times."""

    start: str
    stop: str

    def hours_of(self, server: Server) -> float:
        """Return for how many hours the server was there in the period."""
        began = max(server.launched_at or self.stop, self.start)
        ended = min(server.terminated_at or self.stop, self.stop)
        return max(0.0, (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds() / 3600)


async def index(call: Call) -> Reply:
    call.demand("os_compute_api:os-simple-tenant-usage:list")
    period = _period(call)
    found = await _servers(call, period, None)
    detailed = (call.one("detailed") or "").lower() in ("1", "true")  # the SDK's word for Nova's 1
    by_project: dict[ProjectId, list[Server]] = {}
    for server in found:
        by_project.setdefault(server.project, []).append(server)
    usages = [_usage(call, period, project, some, detailed=detailed) for project, some in by_project.items()]
    answer: dict[str, Any] = {"tenant_usages": usages}
    return Reply(200, answer | _links(call, "/os-simple-tenant-usage", "tenant_usages_links", found))


async def show(call: Call) -> Reply:
    project = ProjectId(call.path["project"])
    call.demand("os_compute_api:os-simple-tenant-usage:show", {"project_id": project})
    period = _period(call)
    found = await _servers(call, period, project)
    usage = _usage(call, period, project, found, detailed=True)
    links = _links(call, f"/os-simple-tenant-usage/{project}", "tenant_usage_links", found)
    return Reply(200, {"tenant_usage": usage, **links})


def _links(call: Call, path: str, key: str, found: Sequence[Server]) -> dict[str, Any]:
    if call.version < _PAGED_SINCE:
        return {}
    return paging.links(call, path, key, found, found[-1].id if found else None)


def _period(call: Call) -> Period:
    """Return the period asked for; else the last four weeks."""
    now = call.cloud.clock.wall()
    start, stop = call.one("start"), call.one("end")
    period = Period(
        times.read(start, "start") if start else stamp(now - timedelta(weeks=4)),
        min(times.read(stop, "end"), stamp(now)) if stop else stamp(now),  # what is to come is not used yet
    )
    if period.start >= period.stop:
        raise Invalid("Invalid start time. The start time cannot occur after the end time.")
    return period


async def _servers(call: Call, period: Period, project: ProjectId | None) -> list[Server]:
    """List the servers that were there in the period, a page of them."""
    columns = servers.servers.c
    where: list[Any] = [
        columns.launched_at <= period.stop,
        columns.terminated_at.is_(None) | (columns.terminated_at >= period.start),
    ]
    if project is not None:
        where.append(columns.project == project)
    marker = call.one("marker")

    def work(tx: Tx) -> list[Server]:
        beyond = []
        if marker is not None:
            last = servers.get(tx, ServerId(marker), deleted=True)
            if last is None or project not in (None, last.project):
                raise paging.unknown_marker(marker)
            beyond = [columns.serial > last.serial]
        return servers.find(tx, [*where, *beyond], [columns.serial], paging.limit_since(call, _PAGED_SINCE))

    return await call.cloud.database.read(work)


def _usage(
    call: Call, period: Period, project: ProjectId, found: Sequence[Server], *, detailed: bool
) -> dict[str, Any]:
    hours = [period.hours_of(server) for server in found]

    def total(amount_of: Callable[[Server], int]) -> float:
        return sum(amount_of(server) * some for server, some in zip(found, hours, strict=True))

    usage: dict[str, Any] = {
        "tenant_id": project,
        "start": period.start,
        "stop": period.stop,
        "total_hours": sum(hours),
        "total_vcpus_usage": total(lambda server: server.flavor.vcpus),
        "total_memory_mb_usage": total(lambda server: server.flavor.memory_mb),
        "total_local_gb_usage": total(_local_gb),
    }
    if detailed:
        now = call.cloud.clock.wall().replace(tzinfo=None)
        usage["server_usages"] = [_of_server(server, some, now) for server, some in zip(found, hours, strict=True)]
    return usage


def _of_server(server: Server, hours: float, now: datetime) -> dict[str, Any]:
    assert server.launched_at is not None, "only servers that were launched are counted"
    ended = datetime.fromisoformat(server.terminated_at) if server.terminated_at else now
    return {
        "instance_id": server.id,
        "name": server.name,
        "hours": hours,
        "flavor": server.flavor.name,
        "tenant_id": server.project,
        "state": "terminated" if server.terminated_at else status(server.vm_state, server.task_state).lower(),
        "memory_mb": server.flavor.memory_mb,
        "local_gb": _local_gb(server),
        "vcpus": server.flavor.vcpus,
        "started_at": server.launched_at,
        "ended_at": server.terminated_at,
        "uptime": int((ended - datetime.fromisoformat(server.launched_at)).total_seconds()),
    }


def _local_gb(server: Server) -> int:
    return server.flavor.root_gb + server.flavor.ephemeral_gb


_OF_PROJECT = {**known("start", "end"), **dict.fromkeys(PAGING, _PAGED_SINCE)}

ROUTES = [
    route("GET", "/os-simple-tenant-usage", index, query={**_OF_PROJECT, **known("detailed")}),
    route("GET", "/os-simple-tenant-usage/{project}", show, query={**_OF_PROJECT, **known("detailed")}),
]
