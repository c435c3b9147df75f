"""Attachments by hand (3.27): to reserve a volume, to connect it, to let it go. Servers get theirs by operations."""

from collections.abc import Callable
from typing import Any

import msgspec

from renova.api.http import Call, Reply, Route
from renova.api.volume.found import attachment_of, built_in, owner, seen_project, wrapped
from renova.api.volume.paging import listing, matching, page
from renova.api.volume.using_servers import demand_not_in_use_by_server, demand_server_of_project
from renova.model.errors import Invalid, NotFound
from renova.model.ids import AttachmentId, ServerId, VolumeId
from renova.model.volume import NbdExport
from renova.partners.volume.requests import reserve_volume
from renova.store import volume_attachments, volumes
from renova.store.database import Tx
from renova.store.volume_attachments import StoredAttachment

POLICY = {
    "volume:attachment_create": "rule:project_member_or_admin",
    "volume:attachment_update": "rule:project_member_or_admin",
    "volume:attachment_delete": "rule:project_member_or_admin",
    "volume:attachment_complete": "rule:project_member_or_admin",
    # Not Cinder's: hosts have no names for users, and who names one to connect would learn whether it is there.
    "volume:attachment_connect": "rule:admin_api or role:service",
    "volume:attachment_connection_info": "rule:admin_api",  # nor this: it holds the name that opens the volume
}

_VALUES: dict[str, Callable[[StoredAttachment], Any]] = {
    "id": lambda row: row.id,
    "volume_id": lambda row: row.volume,
    "instance_id": lambda row: row.server,
    "status": lambda row: row.status,
    "attach_status": lambda row: row.status,
}
_SINCE = (3, 27)


class NewAttachment(msgspec.Struct):
    volume_uuid: str | None = None
    instance_uuid: str | None = None
    connector: dict[str, Any] | None = None
    mode: str | None = None


class ConnectedAttachment(msgspec.Struct):
    connector: dict[str, Any]


def _brief(row: StoredAttachment) -> dict[str, Any]:
    return {"id": row.id, "status": row.status, "instance": row.server, "volume_id": row.volume}


def _detailed(row: StoredAttachment, connection: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        **_brief(row),
        "attached_at": row.attached_at or "",
        "detached_at": "",
        "attach_mode": "rw" if row.attached_at else None,
        "connection_info": connection or {},
    }


async def index(call: Call) -> Reply:
    return await _list(call, _brief)


async def detail(call: Call) -> Reply:
    return await _list(call, _detailed)


async def _list(call: Call, shape: Callable[[StoredAttachment], dict[str, Any]]) -> Reply:
    call.demand("volume:get_all")

    def read(tx: Tx) -> dict[str, Any]:
        found = matching(call, volume_attachments.every(tx, seen_project(call)), _VALUES)
        rows, more = page(call, found, _VALUES)
        return listing(call, "attachments", [shape(row) for row in rows], more=more)

    return Reply(200, await call.cloud.database.read(read))


async def show(call: Call) -> Reply:
    row = await call.cloud.database.read(lambda tx: attachment_of(call, tx, "volume:get"))
    return Reply(200, {"attachment": _detailed(row)})


async def create(call: Call) -> Reply:
    wanted: NewAttachment = wrapped(call, "attachment", NewAttachment)
    if not wanted.instance_uuid:
        raise Invalid("Must specify 'instance_uuid' to create attachment.")
    if not wanted.volume_uuid:
        raise Invalid("Must specify 'volume_uuid' to create attachment.")
    if wanted.mode not in (None, "rw", "null"):
        raise Invalid(f"Invalid attachment mode {wanted.mode}: volumes are attached for reading and writing here.")
    volume, server = VolumeId(wanted.volume_uuid), ServerId(wanted.instance_uuid)
    if len(server) > 36:
        raise Invalid("Invalid input for instance_uuid: it is longer than 36 characters.")
    connector = _connector(call, wanted.connector) if wanted.connector else None
    fresh = AttachmentId(call.cloud.chance.uuid())

    def reserve(tx: Tx) -> None:
        row = volumes.volume(tx, volume)
        if row is None or not call.allows("volume:get", owner(row)):
            raise NotFound(f"Volume {volume} could not be found.")
        call.demand("volume:attachment_create", owner(row))
        demand_server_of_project(tx, server, row.project)
        reserve_volume(tx, fresh, volume, server)

    await call.cloud.database.transact(reserve)
    return Reply(200, {"attachment": await _connected(call, fresh, connector)})


async def update(call: Call) -> Reply:
    wanted: ConnectedAttachment = wrapped(call, "attachment", ConnectedAttachment)
    if not wanted.connector:
        raise Invalid("Must specify 'connector' to update attachment.")
    row = await call.cloud.database.read(lambda tx: attachment_of(call, tx, "volume:attachment_update"))
    connector = _connector(call, wanted.connector)
    return Reply(200, {"attachment": await _connected(call, row.id, connector)})


def _connector(call: Call, given: dict[str, Any]) -> tuple[str, str]:
    """Return the host and its address, of what a client says about where the volume is to be reached from."""
    call.demand("volume:attachment_connect")
    host, address = given.get("host"), given.get("ip", "")
    if not isinstance(host, str) or not host or len(host) > 255 or not isinstance(address, str | None):
        raise Invalid("Invalid input for connector: 'host' is needed, the name of the host that connects.")
    return host, address or ""


async def _connected(call: Call, attachment: AttachmentId, connector: tuple[str, str] | None) -> dict[str, Any]:
    info: dict[str, Any] = {}
    if connector is not None:
        found = await built_in(call).connect(attachment, *connector)
        assert isinstance(found, NbdExport)
        if call.allows("volume:attachment_connection_info"):
            data = {"server": found.address, "port": found.port, "export": found.name, "tls": found.tls}
            info = {"driver_volume_type": "nbd", "data": data | {"access_mode": "rw"}}
    row = await call.cloud.database.read(lambda tx: volume_attachments.attachment(tx, attachment))
    if row is None:
        raise NotFound(f"Volume attachment {attachment} could not be found.")
    return _detailed(row, info)


async def delete(call: Call) -> Reply:
    def named(tx: Tx) -> StoredAttachment:
        return attachment_of(call, tx, "volume:attachment_delete")

    row = await call.cloud.database.read(named)
    await built_in(call).detach(row.id, lambda tx: demand_not_in_use_by_server(tx, named(tx)))
    left = await call.cloud.database.read(lambda tx: volume_attachments.of_volume(tx, row.volume))
    return Reply(200, {"attachments": [_brief(each) for each in left]})


async def act(call: Call) -> Reply:
    body = call.json(dict[str, Any])
    if list(body) != ["os-complete"]:
        raise Invalid(f"There is no such action: {', '.join(body) or 'none given'}.")
    row = await call.cloud.database.read(lambda tx: attachment_of(call, tx, "volume:attachment_complete"))
    await built_in(call).complete(row.id, row.device)
    return Reply(204)


ROUTES = [
    Route("GET", "/attachments", index, since=_SINCE),
    Route("GET", "/attachments/detail", detail, since=_SINCE),
    Route("POST", "/attachments", create, since=_SINCE),
    Route("GET", "/attachments/{attachment}", show, since=_SINCE),
    Route("PUT", "/attachments/{attachment}", update, since=_SINCE),
    Route("DELETE", "/attachments/{attachment}", delete, since=_SINCE),
    Route("POST", "/attachments/{attachment}/action", act, since=(3, 44)),
]
