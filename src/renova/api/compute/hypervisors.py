"""Hypervisors: what each host has, and how much of it is in use."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from renova.api.compute import paging
from renova.api.compute.fields import is_uuid, truth
from renova.api.compute.host_life import is_up
from renova.api.compute.route import known, route
from renova.api.dispatch import Failure
from renova.api.http import Call, Reply
from renova.model.errors import Invalid, NotFound
from renova.model.guest import HostFacts
from renova.model.host import Host
from renova.model.ids import HostId
from renova.model.server import Server
from renova.store import hosts, servers
from renova.store.database import Tx
from renova.store.placement import inventories
from renova.store.placement.inventories import Inventory

POLICY = {
    "os_compute_api:os-hypervisors:list": "rule:admin_api",
    "os_compute_api:os-hypervisors:list-detail": "rule:admin_api",
    "os_compute_api:os-hypervisors:show": "rule:admin_api",
    "os_compute_api:os-hypervisors:uptime": "rule:admin_api",
    "os_compute_api:os-hypervisors:search": "rule:admin_api",
    "os_compute_api:os-hypervisors:servers": "rule:admin_api",
    "os_compute_api:os-hypervisors:statistics": "rule:admin_api",
}

_AMOUNTS_UNTIL = (2, 87)  # later, what is in use is asked of placement
_BY_UUID_SINCE = (2, 53)
_PAGED_SINCE = (2, 33)


class Hypervisor(msgspec.Struct, frozen=True):
    """A host whose hypervisor has reported, with what is in use of it."""

    host: Host
    facts: HostFacts
    inventory: Mapping[str, Inventory]
    servers: int


def _all(tx: Tx) -> list[Hypervisor]:
    offered: dict[HostId, dict[str, Inventory]] = {}
    for item in inventories.inventory(tx):
        offered.setdefault(item.provider, {})[item.resource_class] = item
    counts = servers.count_on_hosts(tx)
    return [
        Hypervisor(host, host.facts, offered.get(host.id, {}), counts.get(host.id, 0))
        for host in hosts.computing(tx)
        if host.facts is not None
    ]


def _id(call: Call, hypervisor: Hypervisor) -> str | int:
    return hypervisor.host.id if call.version >= _BY_UUID_SINCE else hypervisor.host.serial


def _brief(call: Call, hypervisor: Hypervisor) -> dict[str, Any]:
    host = hypervisor.host
    return {
        "id": _id(call, hypervisor),
        "hypervisor_hostname": host.name,
        "state": "up" if is_up(call.cloud, host) else "down",
        "status": "disabled" if host.disabled else "enabled",
    }


def _detailed(call: Call, hypervisor: Hypervisor) -> dict[str, Any]:
    host, facts = hypervisor.host, hypervisor.facts
    shown = _brief(call, hypervisor) | {
        "hypervisor_type": facts.hypervisor_type,
        "hypervisor_version": facts.hypervisor_version,
        "host_ip": host.address,
        "service": {
            "id": host.id if call.version >= _BY_UUID_SINCE else host.serial,
            "host": host.name,
            "disabled_reason": host.disabled_reason,
        },
    }
    if call.version > _AMOUNTS_UNTIL:
        shown["uptime"] = None  # hosts do not report it
        return shown
    cpu = dict(facts.cpu_info)
    shown["cpu_info"] = cpu if call.version >= (2, 28) else msgspec.json.encode(cpu).decode()
    return shown | _amounts(hypervisor)


def _amounts(hypervisor: Hypervisor) -> dict[str, Any]:
    facts = hypervisor.facts

    def in_use(resource_class: str) -> int:
        item = hypervisor.inventory.get(resource_class)
        return item.used + item.reserved if item else 0

    return {
        "vcpus": facts.vcpus,
        "vcpus_used": in_use("VCPU"),
        "memory_mb": facts.memory_mb,
        "memory_mb_used": in_use("MEMORY_MB"),
        "free_ram_mb": facts.memory_mb - in_use("MEMORY_MB"),
        "local_gb": facts.local_gb,
        "local_gb_used": in_use("DISK_GB"),
        "free_disk_gb": facts.local_gb - in_use("DISK_GB"),
        "disk_available_least": facts.local_gb - in_use("DISK_GB"),
        "current_workload": 0,
        "running_vms": hypervisor.servers,
    }


async def index(call: Call) -> Reply:
    call.demand("os_compute_api:os-hypervisors:list")
    return await _listed(call, "/os-hypervisors", detailed=False)


async def detail(call: Call) -> Reply:
    call.demand("os_compute_api:os-hypervisors:list-detail")
    return await _listed(call, "/os-hypervisors/detail", detailed=True)


async def _listed(call: Call, path: str, *, detailed: bool) -> Reply:
    page = await call.cloud.database.read(_all)
    pattern, marker = call.one("hypervisor_hostname_pattern"), call.one("marker")
    if pattern is not None:
        if marker is not None or call.one("limit") is not None:
            raise Invalid(
                "Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported."
            )
        page = _matching(page, pattern)
    if marker is not None:
        places = [place for place, each in enumerate(page) if str(_id(call, each)) == marker]
        if not places:
            raise paging.unknown_marker(marker)
        page = page[places[0] + 1 :]
    if pattern is None:
        page = page[: paging.limit_since(call, _PAGED_SINCE)]
    entries = [(_detailed if detailed else _brief)(call, each) for each in page]
    if truth(call.one("with_servers") or "false", "with_servers"):
        await _add_servers(call, page, entries)
    answer: dict[str, Any] = {"hypervisors": entries}
    if call.version >= _PAGED_SINCE and pattern is None:
        last = str(entries[-1]["id"]) if entries else None
        answer |= paging.links(call, path, "hypervisors_links", entries, last)
    return Reply(200, answer)


def _matching(found: list[Hypervisor], pattern: str) -> list[Hypervisor]:
    matching = [each for each in found if pattern.lower() in each.host.name.lower()]
    if not matching:
        raise NotFound(f"No hypervisor matching '{pattern}' could be found.")
    return matching


async def _add_servers(call: Call, page: list[Hypervisor], entries: list[dict[str, Any]]) -> None:
    """Add to each entry the servers of its host; before 2.75 only where there are some."""

    def work(tx: Tx) -> list[list[Server]]:
        return [servers.on_host(tx, each.host.id) for each in page]

    for entry, found in zip(entries, await call.cloud.database.read(work), strict=True):
        if found or call.version >= (2, 75):
            entry["servers"] = [{"uuid": server.id, "name": server.domain} for server in found]


async def show(call: Call) -> Reply:
    call.demand("os_compute_api:os-hypervisors:show")
    found = await _find(call)
    entry = _detailed(call, found)
    if truth(call.one("with_servers") or "false", "with_servers"):
        await _add_servers(call, [found], [entry])
    return Reply(200, {"hypervisor": entry})


async def _find(call: Call) -> Hypervisor:
    wanted = call.path["hypervisor"]
    if call.version >= _BY_UUID_SINCE and not is_uuid(wanted):
        raise Invalid(f"Invalid uuid {wanted}")
    for each in await call.cloud.database.read(_all):
        if str(_id(call, each)) == wanted.lower():
            return each
    raise NotFound(f"Hypervisor with ID '{wanted}' could not be found.")


async def uptime(call: Call) -> Reply:
    call.demand("os_compute_api:os-hypervisors:uptime")
    await _find(call)
    raise Failure(501, "The hypervisors of this cloud do not report their uptime.")


async def search(call: Call) -> Reply:
    call.demand("os_compute_api:os-hypervisors:search")
    found = _matching(await call.cloud.database.read(_all), call.path["hypervisor"])
    return Reply(200, {"hypervisors": [_brief(call, each) for each in found]})


async def search_with_servers(call: Call) -> Reply:
    call.demand("os_compute_api:os-hypervisors:servers")
    found = _matching(await call.cloud.database.read(_all), call.path["hypervisor"])
    entries = [_brief(call, each) for each in found]
    await _add_servers(call, found, entries)
    return Reply(200, {"hypervisors": entries})


async def statistics(call: Call) -> Reply:
    """Add up what all enabled hosts have."""
    call.demand("os_compute_api:os-hypervisors:statistics")
    total: Counter[str] = Counter()
    found = [each for each in await call.cloud.database.read(_all) if not each.host.disabled]
    for each in found:
        total.update(_amounts(each))
    names = (
        *("vcpus", "vcpus_used", "memory_mb", "memory_mb_used", "free_ram_mb", "local_gb", "local_gb_used"),
        *("free_disk_gb", "disk_available_least", "current_workload", "running_vms"),
    )
    return Reply(200, {"hypervisor_statistics": {"count": len(found), **{name: total[name] for name in names}}})


_LISTING = {
    **known("limit", "marker", since=_PAGED_SINCE),
    **known("hypervisor_hostname_pattern", "with_servers", since=_BY_UUID_SINCE),
}

ROUTES = [
    route("GET", "/os-hypervisors", index, query=_LISTING),
    route("GET", "/os-hypervisors/detail", detail, query=_LISTING),
    route("GET", "/os-hypervisors/statistics", statistics, until=_AMOUNTS_UNTIL),
    route("GET", "/os-hypervisors/{hypervisor}", show, query=known("with_servers", since=_BY_UUID_SINCE)),
    route("GET", "/os-hypervisors/{hypervisor}/uptime", uptime, until=_AMOUNTS_UNTIL),
    route("GET", "/os-hypervisors/{hypervisor}/search", search, until=(2, 52)),
    route("GET", "/os-hypervisors/{hypervisor}/servers", search_with_servers, until=(2, 52)),
]
