"""Volumes of a server: list, show, attach, detach, and whether one is deleted with the server.

The attachment's id is the volume's, as in Nova. Attaching and detaching go on after the answer.
"""

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from renova.api.compute.fields import Body, Tag, Truth, Uuid, canonical, count, given, is_true, read
from renova.api.compute.route import known, route
from renova.api.compute.visible import asked, find_server
from renova.api.http import Call, Reply, Version
from renova.model.block_device import BlockDevice
from renova.model.errors import Conflict, Invalid, NotFound
from renova.model.ids import ServerId, VolumeId
from renova.model.server import Server
from renova.model.volume import Volume
from renova.operations.attach_volume import NewAttachment, accept_attach_volume
from renova.operations.detach_volume import accept_detach_volume
from renova.operations.parts.permits import permitted
from renova.store import block_devices
from renova.store.database import Tx

POLICY = {
    "os_compute_api:os-volumes-attachments:index": "rule:project_reader_or_admin",
    "os_compute_api:os-volumes-attachments:show": "rule:project_reader_or_admin",
    "os_compute_api:os-volumes-attachments:create": "rule:project_member_or_admin",
    "os_compute_api:os-volumes-attachments:update": "rule:project_member_or_admin",
    "os_compute_api:os-volumes-attachments:swap": "role:service or rule:admin_api",
    "os_compute_api:os-volumes-attachments:delete": "rule:project_member_or_admin",
}

_NO_BODY_SINCE: Version = (2, 101)
_UPDATE_SINCE: Version = (2, 85)

Device = Annotated[str, Meta(pattern=r"^(/dev/x{0,1}[a-z]{0,1}d{0,1})([a-z]+)[0-9]*\Z")]


class Wanted(Body):
    """Which volume to attach, and how."""

    SINCE: ClassVar[dict[str, Version]] = {"tag": (2, 49), "delete_on_termination": (2, 79)}

    volume: Uuid = msgspec.field(name="volumeId")
    device: Device | UnsetType | None = UNSET
    tag: Tag | UnsetType = UNSET
    delete_on_termination: Truth | UnsetType = UNSET


class Attach(Body):
    """The body of POST."""

    attachment: Wanted = msgspec.field(name="volumeAttachment")


class Changed(Body):
    """What is to change; of the rest only what it is already may be said."""

    SINCE: ClassVar[dict[str, Version]] = dict.fromkeys(
        ("device", "tag", "delete_on_termination", "server", "id"), _UPDATE_SINCE
    )

    volume: Uuid = msgspec.field(name="volumeId")
    device: str | UnsetType | None = UNSET
    tag: str | UnsetType | None = UNSET
    delete_on_termination: Truth | UnsetType = UNSET
    server: Uuid | UnsetType = msgspec.field(default=UNSET, name="serverId")
    id: Uuid | UnsetType = UNSET


class Change(Body):
    """The body of PUT."""

    attachment: Changed = msgspec.field(name="volumeAttachment")


async def index(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:os-volumes-attachments:index")
    devices = await call.cloud.database.read(lambda tx: block_devices.volumes_of(tx, server.id))
    first = count(call.one("offset") or 0, "offset", least=0) if _digits(call, "offset") else 0
    limit = count(call.one("limit") or 0, "limit", least=0) if _digits(call, "limit") else 1000
    page = devices[first : first + limit]
    return Reply(200, {"volumeAttachments": [_shown(call.version, device) for device in page]})


def _digits(call: Call, name: str) -> bool:
    text = call.one(name)
    if text is None:
        return False
    if not text.isdecimal():
        raise Invalid(f"Invalid input for query parameters {name}. Value: {text}. It must be a number from 0 on.")
    return True


async def show(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:os-volumes-attachments:show")
    device = await call.cloud.database.read(lambda tx: _found(tx, server.id, _named(call)))
    return Reply(200, {"volumeAttachment": _shown(call.version, device)})


async def attach(call: Call) -> Reply:
    wanted = read(call, Attach).attachment
    server = await find_server(call, "os_compute_api:os-volumes-attachments:create")
    # The server's state comes first, as in Nova; it is looked at again when the request is written down.
    await call.cloud.database.read(lambda tx: permitted(tx, server.id, "attach_volume", asked(call)))
    volume = await _the_volume(call, VolumeId(canonical(wanted.volume)))
    if volume is None:
        raise NotFound(f"Volume {wanted.volume} could not be found.")
    new = NewAttachment(
        volume=volume.id,
        device=given(wanted.device, None),
        tag=given(wanted.tag, None),
        delete_on_termination=wanted.delete_on_termination is not UNSET and is_true(wanted.delete_on_termination),
    )

    def accept(tx: Tx) -> BlockDevice:
        if block_devices.by_volume(tx, volume.id) is None:
            _demand_available(volume)
        return accept_attach_volume(call.cloud, tx, asked(call), server.id, new)

    device = await call.cloud.database.transact(accept)
    if call.version >= _NO_BODY_SINCE:
        return Reply(202)
    return Reply(200, {"volumeAttachment": _created(call.version, server, device)})


async def change(call: Call) -> Reply:
    wanted = read(call, Change).attachment
    server = await find_server(call, "os_compute_api:os-volumes-attachments:show")
    target = {"project_id": server.project, "user_id": server.user}
    other = canonical(wanted.volume)
    swaps = other != _named(call) or call.version < _UPDATE_SINCE
    if swaps:
        call.demand("os_compute_api:os-volumes-attachments:swap", target)
    if call.version >= _UPDATE_SINCE:
        call.demand("os_compute_api:os-volumes-attachments:update", target)
    if swaps:
        await _refuse_swap(call, server, VolumeId(other))
    await call.cloud.database.transact(lambda tx: _update(call, tx, server, wanted))
    return Reply(202)


async def _refuse_swap(call: Call, server: Server, other: VolumeId) -> None:
    """Raise what stands in the way of exchanging the volume for another: at last, that nobody migrates volumes here."""
    if await _the_volume(call, _named(call)) is None:
        raise NotFound(f"Volume {_named(call)} could not be found.")
    if await _the_volume(call, other) is None:
        raise Invalid(f"Volume {other} could not be found.")
    await call.cloud.database.read(lambda tx: _swappable(call, tx, server))
    raise Conflict(f"Invalid volume: volume {_named(call)} is not being migrated by the volume service.")


def _swappable(call: Call, tx: Tx, server: Server) -> None:
    permitted(tx, server.id, "swap_volume", asked(call))
    _found(tx, server.id, _named(call))


def _update(call: Call, tx: Tx, server: Server, wanted: Changed) -> None:
    device = _found(tx, server.id, _named(call))
    kept: dict[str, tuple[object, object]] = {
        "id": (wanted.id, device.volume),
        "serverId": (wanted.server, server.id),
        "device": (wanted.device, f"/dev/{device.device}"),
        "tag": (wanted.tag, device.tag),
    }
    for name, (said, now) in kept.items():
        if said not in (UNSET, now):
            raise Invalid(f"The {name} property is not mutable")
    if wanted.delete_on_termination is not UNSET:
        block_devices.change(tx, device, delete_on_termination=is_true(wanted.delete_on_termination))


async def detach(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:os-volumes-attachments:delete")
    wanted = _named(call)
    await call.cloud.database.read(lambda tx: permitted(tx, server.id, "detach_volume", asked(call)))
    volume = await call.cloud.volumes.volume(wanted, None)
    if volume is None:
        raise NotFound(f"Volume {wanted} could not be found.")

    def accept(tx: Tx) -> None:
        device = _found(tx, server.id, wanted)
        if not device.boots and device.attached and volume.status != "in-use":
            raise Invalid(
                f"Invalid volume: Unable to detach volume. Volume status must be 'in-use' to detach; "
                f"volume {wanted} is {volume.status}."
            )
        accept_detach_volume(call.cloud, tx, asked(call), server.id, wanted)

    await call.cloud.database.transact(accept)
    return Reply(202)


def _named(call: Call) -> VolumeId:
    return VolumeId(call.path["volume"].lower())


async def _the_volume(call: Call, volume: VolumeId) -> Volume | None:
    project = None if call.allows("context_is_admin") else call.caller.project
    return await call.cloud.volumes.volume(volume, project)


def _found(tx: Tx, server: ServerId, volume: VolumeId) -> BlockDevice:
    device = block_devices.by_volume(tx, volume)
    if device is None or device.server != server:
        raise NotFound(f"volume_id not found: {volume}")
    return device


def _demand_available(volume: Volume) -> None:
    if volume.status != "available":
        raise Invalid(
            f"Invalid volume: volume '{volume.id}' status must be 'available'. Currently in '{volume.status}'"
        )


def _shown(version: Version, device: BlockDevice) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "volumeId": device.volume,
        "serverId": device.server,
        "device": f"/dev/{device.device}",
    }
    if version < (2, 89):
        shown["id"] = device.volume
    if version >= (2, 70):
        shown["tag"] = device.tag
    if version >= (2, 79):
        shown["delete_on_termination"] = device.delete_on_termination
    if version >= (2, 89):
        shown["attachment_id"] = device.attachment
        shown["bdm_uuid"] = device.id
    return shown


def _created(version: Version, server: Server, device: BlockDevice) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": device.volume,
        "serverId": server.id,
        "volumeId": device.volume,
        "device": f"/dev/{device.device}",
    }
    if version >= (2, 70):
        shown["tag"] = device.tag
    if version >= (2, 79):
        shown["delete_on_termination"] = device.delete_on_termination
    return shown


_PATH = "/servers/{server}/os-volume_attachments"

ROUTES = [
    route("GET", _PATH, index, query=known("limit", "offset")),
    route("POST", _PATH, attach),
    route("GET", f"{_PATH}/{{volume}}", show),
    route("PUT", f"{_PATH}/{{volume}}", change),
    route("DELETE", f"{_PATH}/{{volume}}", detach),
]
