"""Migrations: servers that changed hosts, or are about to."""

from typing import Any

from renova.api.compute import links, paging, server_migrations, times
from renova.api.compute.route import known, route
from renova.api.http import Call, Reply
from renova.model.errors import Forbidden, Invalid
from renova.store import migrations as store
from renova.store.database import Tx
from renova.store.migrations import Migration
from renova.store.paging import Sort, after

POLICY = {
    "os_compute_api:os-migrations:index": "rule:project_manager_or_admin",
    "os_compute_api:os-migrations:index:all_projects": "rule:admin_api",
    "os_compute_api:os-migrations:index:host": "rule:admin_api",
}

_PAGED_SINCE = (2, 59)
_columns = store.migrations.c
_ORDER = [Sort(_columns.created_at, descending=True), Sort(_columns.id, descending=True)]
_EXACT = {"status": "status", "instance_uuid": "server", "source_compute": "source_name", "migration_type": "type"}


async def index(call: Call) -> Reply:
    call.demand("os_compute_api:os-migrations:index")
    hosts_shown = call.allows("os_compute_api:os-migrations:index:host")
    of_project = _of_project(call)
    where = [*of_project, *_conditions(call, hosts_shown=hosts_shown)]
    marker = call.one("marker")

    def work(tx: Tx) -> list[Migration]:
        beyond = []
        if marker is not None:
            last = store.find(tx, [_columns.uuid == marker, *of_project], 1)
            if not last:
                raise paging.unknown_marker(marker)
            beyond = [after(_ORDER, {"created_at": last[0].created_at, "id": last[0].id})]
        return store.find(tx, [*where, *beyond], paging.limit_since(call, _PAGED_SINCE))

    page = await call.cloud.database.read(work)
    answer: dict[str, Any] = {"migrations": [_view(call, each, hosts_shown=hosts_shown) for each in page]}
    if call.version >= _PAGED_SINCE:
        last = page[-1].uuid if page else None
        answer |= paging.links(call, "/os-migrations", "migrations_links", page, last)
    return Reply(200, answer)


def _of_project(call: Call) -> list[Any]:
    """Return the condition of those that the caller may see and asks for."""
    project = call.one("project_id")
    if not call.allows("os_compute_api:os-migrations:index:all_projects"):
        if project not in (None, call.caller.project):
            raise Forbidden("Only administrators can retrieve migrations of other projects")
        project = call.caller.project
    return [] if project is None else [_columns.project == project]


def _conditions(call: Call, *, hosts_shown: bool) -> list[Any]:
    where: list[Any] = []
    if (user := call.one("user_id")) is not None:
        where.append(_columns.user == user)
    for name, column in _EXACT.items():
        if (value := call.one(name)) is not None and (name != "source_compute" or hosts_shown):
            where.append(_columns[column] == value)
    if (host := call.one("host")) is not None and hosts_shown:
        where.append((_columns.source_name == host) | (_columns.destination_name == host))
    return where + _time_conditions(call)


def _time_conditions(call: Call) -> list[Any]:
    since, before = call.one("changes-since"), call.one("changes-before")
    earliest = times.read(since, "changes-since") if since is not None else None
    latest = times.read(before, "changes-before") if before is not None else None
    if earliest and latest and earliest > latest:
        raise Invalid("The value of changes-since must be less than or equal to changes-before.")
    where: list[Any] = []
    if earliest:
        where.append((_columns.updated_at >= earliest) | (_columns.created_at >= earliest))
    if latest:
        where.append(
            (_columns.created_at <= latest) & (_columns.updated_at.is_(None) | (_columns.updated_at <= latest))
        )
    return where


def _view(call: Call, migration: Migration, *, hosts_shown: bool) -> dict[str, Any]:
    def of_host(value: str | None) -> str | None:
        return value if hosts_shown else None

    shown: dict[str, Any] = {
        "id": migration.id,
        "instance_uuid": migration.server,
        "source_compute": of_host(migration.source_name),
        "source_node": of_host(migration.source_name),
        "dest_compute": of_host(migration.destination_name),
        "dest_node": of_host(migration.destination_name),
        "dest_host": of_host(migration.destination_address),
        "status": migration.status,
        "old_instance_type_id": None,
        "new_instance_type_id": None,
        "created_at": migration.created_at,
        "updated_at": migration.updated_at,
    }
    if call.version >= (2, 23):
        shown["migration_type"] = migration.type
        if migration.type == store.LIVE and migration.status in server_migrations.IN_PROGRESS:
            shown["links"] = links.both(call, f"/servers/{migration.server}/migrations/{migration.id}")
    if call.version >= (2, 59):
        shown["uuid"] = migration.uuid
    if call.version >= (2, 80):
        shown["user_id"] = migration.user
        shown["project_id"] = migration.project
    return shown


_LISTING = {
    **known("host", "hidden", "status", "instance_uuid", "source_compute", "migration_type"),
    **known("limit", "marker", "changes-since", since=_PAGED_SINCE),
    **known("changes-before", since=(2, 66)),
    **known("user_id", "project_id", since=(2, 80)),
}

ROUTES = [
    route("GET", "/os-migrations", index, query=_LISTING, strict=_PAGED_SINCE),
]
