"""A server's live migrations that are in progress: how far they are, and two words that may be said about them."""

from typing import Any

import msgspec

from renova.api.compute.action import is_nothing
from renova.api.compute.route import route
from renova.api.compute.visible import asked, find_server
from renova.api.http import Call, Reply
from renova.model.errors import Invalid, NotFound
from renova.model.ids import ServerId
from renova.operations.migrate_live import wish_of_migration
from renova.operations.parts.state import demand_unlocked, get_server
from renova.store import migrations
from renova.store.database import Tx
from renova.store.migrations import LIVE, Migration, Wish

POLICY = {
    "os_compute_api:servers:migrations:index": "rule:project_manager_or_admin",
    "os_compute_api:servers:migrations:index:host": "rule:admin_api",
    "os_compute_api:servers:migrations:show": "rule:admin_api",
    "os_compute_api:servers:migrations:force_complete": "rule:project_manager_or_admin",
    "os_compute_api:servers:migrations:delete": "rule:project_manager_or_admin",
}

IN_PROGRESS = ("queued", "preparing", "running", "post-migrating")
_ABORTED_EARLY_SINCE = (2, 65)


async def index(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:servers:migrations:index")
    columns = migrations.migrations.c
    here = [columns.server == server.id, columns.type == LIVE, columns.status.in_(IN_PROGRESS)]
    found = await call.cloud.database.read(lambda tx: migrations.find(tx, here))
    about = {"project_id": server.project, "user_id": server.user}
    hosts_shown = call.allows("os_compute_api:servers:migrations:index:host", about)
    return Reply(200, {"migrations": [_view(call, each, hosts_shown=hosts_shown) for each in found]})


async def show(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:servers:migrations:show")
    found = await call.cloud.database.read(lambda tx: _found(call, tx, server.id))
    if found.type != LIVE:
        raise NotFound(f"Migration {found.id} for server {server.id} is not live-migration.")
    if found.status not in IN_PROGRESS:
        raise NotFound(f"Live migration {found.id} for server {server.id} is not in progress.")
    return Reply(200, {"migration": _view(call, found, hosts_shown=True)})


async def act(call: Call) -> Reply:
    """force_complete: the guest stands still, so that the rest of its memory is copied at last."""
    body = call.json(dict[str, msgspec.Raw])
    if list(body) != ["force_complete"] or not is_nothing(body["force_complete"]):
        raise Invalid("Invalid input for migrations: {'force_complete': null} is expected.")
    return await _wish(call, "force_complete", Wish.COMPLETE, ("running",))


async def abort(call: Call) -> Reply:
    early = ("queued", "preparing") if call.version >= _ABORTED_EARLY_SINCE else ()
    return await _wish(call, "delete", Wish.ABORT, ("running", *early))


async def _wish(call: Call, word: str, wanted: Wish, while_it_is: tuple[str, ...]) -> Reply:
    server = await find_server(call, f"os_compute_api:servers:migrations:{word}")

    def work(tx: Tx) -> None:
        demand_unlocked(get_server(tx, server.id), asked(call))
        wish_of_migration(call.cloud, tx, _found(call, tx, server.id), wanted, while_it_is)

    await call.cloud.database.transact(work)
    return Reply(202)


def _found(call: Call, tx: Tx, server: ServerId) -> Migration:
    number = call.path["migration"]
    found = migrations.get(tx, int(number)) if number.isdecimal() and len(number) < 16 else None
    if found is None or found.server != server:
        raise NotFound(f"Migration {number} not found for instance {server}")
    return found


def _view(call: Call, migration: Migration, *, hosts_shown: bool) -> dict[str, Any]:
    def of_host(value: str | None) -> str | None:
        return value if hosts_shown else None

    shown: dict[str, Any] = {
        "id": migration.id,
        "server_uuid": migration.server,
        "status": migration.status,
        "source_compute": of_host(migration.source_name),
        "source_node": of_host(migration.source_name),
        "dest_compute": of_host(migration.destination_name),
        "dest_node": of_host(migration.destination_name),
        "dest_host": of_host(migration.destination_address),
        "memory_total_bytes": migration.memory_total or 0,
        "memory_processed_bytes": migration.memory_processed or 0,
        "memory_remaining_bytes": migration.memory_remaining or 0,
        **dict.fromkeys(("disk_total_bytes", "disk_processed_bytes", "disk_remaining_bytes"), 0),
        "created_at": migration.created_at,
        "updated_at": migration.updated_at,
    }
    if call.version >= (2, 59):
        shown["uuid"] = migration.uuid
    if call.version >= (2, 80):
        shown |= {"user_id": migration.user, "project_id": migration.project}
    return shown


ROUTES = [
    route("GET", "/servers/{server}/migrations", index, since=(2, 23)),
    route("GET", "/servers/{server}/migrations/{migration}", show, since=(2, 23)),
    route("POST", "/servers/{server}/migrations/{migration}/action", act, since=(2, 22)),
    route("DELETE", "/servers/{server}/migrations/{migration}", abort, since=(2, 24)),
]
