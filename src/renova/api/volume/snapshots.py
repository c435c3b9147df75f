"""Snapshots of volumes: taken, listed, shown, renamed, deleted. One of a volume in use is as after a power cut."""

from collections.abc import Callable
from typing import Any

import msgspec

from renova.api.http import Call, Reply, Route
from renova.api.volume.found import Pairs, built_in, demand_pairs, owner, seen_project, snapshot_of, wrapped
from renova.api.volume.paging import is_true, listing, matching, page
from renova.api.volume.quota import demand_gigabytes
from renova.api.volume.texts import ChangedTexts
from renova.model.errors import Conflict, Invalid, NotFound
from renova.model.ids import SnapshotId
from renova.partners.volume.requests import begin_snapshot, delete_snapshot
from renova.store import volume_snapshots, volumes
from renova.store.database import Tx
from renova.store.volume_snapshots import StoredSnapshot

POLICY = {
    "volume:create_snapshot": "rule:project_member_or_admin",
    "volume:get_snapshot": "rule:project_reader_or_admin",
    "volume:get_all_snapshots": "rule:project_reader_or_admin",
    "volume:update_snapshot": "rule:project_member_or_admin",
    "volume:delete_snapshot": "rule:project_member_or_admin",
    "volume_extension:snapshot_admin_actions:reset_status": "rule:admin_api",
    "volume_extension:snapshot_admin_actions:force_delete": "rule:admin_api",
}

_VALUES: dict[str, Callable[[StoredSnapshot], Any]] = {
    "id": lambda row: row.id,
    "name": lambda row: row.name,
    "display_name": lambda row: row.name,
    "status": lambda row: row.status,
    "volume_id": lambda row: row.volume,
    "metadata": lambda row: row.metadata,
    "created_at": lambda row: row.created_at,
    "updated_at": lambda row: row.updated_at,
}
_SORT = {name: value for name, value in _VALUES.items() if name != "metadata"}
_FORCE_UNTIL = (3, 65)  # later, a volume in use is no reason to ask back


class NewSnapshot(msgspec.Struct):
    volume_id: str
    name: str | None = None
    display_name: str | None = None
    description: str | None = None
    display_description: str | None = None
    force: bool | str | None = None
    metadata: Pairs | None = None


class ChangedSnapshot(ChangedTexts):
    """What may be changed of a snapshot by hand."""


def _brief(call: Call, row: StoredSnapshot) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "volume_id": row.volume,
        "status": row.status,
        "size": row.size_gb,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "metadata": row.metadata,
    }
    if call.version >= (3, 41):
        shown["user_id"] = row.user
    if call.version >= (3, 65):
        shown["consumes_quota"] = True
    return shown


def _detailed(call: Call, row: StoredSnapshot) -> dict[str, Any]:
    shown = _brief(call, row) | {
        "os-extended-snapshot-attributes:project_id": row.project,
        "os-extended-snapshot-attributes:progress": "100%" if row.status == "available" else "0%",
    }
    if call.version >= (3, 14):
        shown["group_snapshot_id"] = None
    return shown


async def index(call: Call) -> Reply:
    return await _list(call, _brief)


async def detail(call: Call) -> Reply:
    return await _list(call, _detailed)


async def _list(call: Call, shape: Callable[[Call, StoredSnapshot], dict[str, Any]]) -> Reply:
    call.demand("volume:get_all_snapshots")

    def read(tx: Tx) -> dict[str, Any]:
        found = matching(call, volume_snapshots.every(tx, seen_project(call)), _VALUES)
        rows, more = page(call, found, _SORT)
        return listing(call, "snapshots", [shape(call, row) for row in rows], more=more, count=len(found))

    return Reply(200, await call.cloud.database.read(read))


async def show(call: Call) -> Reply:
    row = await call.cloud.database.read(lambda tx: snapshot_of(call, tx))
    return Reply(200, {"snapshot": _detailed(call, row)})


async def create(call: Call) -> Reply:
    wanted: NewSnapshot = wrapped(call, "snapshot", NewSnapshot)
    force = call.version > _FORCE_UNTIL or is_true(str(wanted.force))
    if call.version > _FORCE_UNTIL and wanted.force is not None and not is_true(str(wanted.force)):
        raise Invalid("Invalid value 'false' for 'force': from 3.66 on it can only be true.")
    snapshot = SnapshotId(call.cloud.chance.uuid())
    name = wanted.name if wanted.name is not None else wanted.display_name
    description = wanted.description if wanted.description is not None else wanted.display_description
    if len(name or "") > 255 or len(description or "") > 255:
        raise Invalid("Invalid input: name and description have at most 255 characters.")
    pairs = demand_pairs(wanted.metadata or {})

    def begin(tx: Tx) -> StoredSnapshot:
        volume = volumes.volume(tx, wanted.volume_id)
        if volume is None or not call.allows("volume:get", owner(volume)):
            raise NotFound(f"Volume {wanted.volume_id} could not be found.")
        call.demand("volume:create_snapshot", owner(volume))
        demand_gigabytes(tx, volume.project, volume.size_gb, "snapshots")
        new = StoredSnapshot(
            id=snapshot,
            volume=volume.id,
            project=volume.project,
            user=call.caller.user,
            name=name or "",
            description=description,
            size_gb=volume.size_gb,
            host=volume.host,
            metadata=pairs,
            image_properties=volume.image_properties,
            created_at=tx.now,
            updated_at=tx.now,
        )
        begin_snapshot(tx, new, force=force)
        return new

    made = await call.cloud.database.transact(begin)
    built_in(call).settling.settle_snapshot(snapshot)
    return Reply(202, {"snapshot": _brief(call, made)})


async def update(call: Call) -> Reply:
    wanted: ChangedSnapshot = wrapped(call, "snapshot", ChangedSnapshot)

    def change(tx: Tx) -> StoredSnapshot:
        row = snapshot_of(call, tx, "volume:update_snapshot")
        values = wanted.texts()
        if not values or any(len(text) > 255 for text in values.values()):
            raise Invalid("Invalid input: name or description is needed, of at most 255 characters.")
        volume_snapshots.change(tx, row.id, **values)
        return msgspec.structs.replace(row, updated_at=tx.now, **values)

    return Reply(200, {"snapshot": _brief(call, await call.cloud.database.transact(change))})


async def delete(call: Call) -> Reply:
    return await _delete(call, "volume:delete_snapshot", force=False)


async def _delete(call: Call, rule: str, *, force: bool) -> Reply:
    def begin(tx: Tx) -> SnapshotId:
        row = snapshot_of(call, tx, rule)
        delete_snapshot(tx, row, force=force)
        return row.id

    built_in(call).settling.settle_snapshot(await call.cloud.database.transact(begin))
    return Reply(202)


async def act(call: Call) -> Reply:
    body = call.json(dict[str, Any])
    match body:
        case {"os-force_delete": _}:
            return await _delete(call, "volume_extension:snapshot_admin_actions:force_delete", force=True)
        case {"os-reset_status": {"status": "available" | "error" | "error_deleting" as status}}:
            return await _reset(call, status)
    raise Invalid(f"There is no such action, or not so: {', '.join(body) or 'none given'}.")


async def _reset(call: Call, status: str) -> Reply:
    def change(tx: Tx) -> None:
        row = snapshot_of(call, tx, "volume_extension:snapshot_admin_actions:reset_status")
        if row.status in volume_snapshots.VERSIONS:
            raise Conflict(f"Snapshot {row.id} is {row.status}: its storage host has yet to confirm that.")
        volume_snapshots.change(tx, row.id, status=status)

    await call.cloud.database.transact(change)
    return Reply(202)


ROUTES = [
    Route("GET", "/snapshots", index),
    Route("GET", "/snapshots/detail", detail),
    Route("POST", "/snapshots", create),
    Route("GET", "/snapshots/{snapshot}", show),
    Route("PUT", "/snapshots/{snapshot}", update),
    Route("DELETE", "/snapshots/{snapshot}", delete),
    Route("POST", "/snapshots/{snapshot}/action", act),
]
