"""What is done to a volume by POST /volumes/{id}/action."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from renova.api.dispatch import Failure
from renova.api.http import Call, Reply, Route, Version
from renova.api.volume.found import Pairs, built_in, demand_pairs, volume_of
from renova.api.volume.paging import is_true
from renova.api.volume.quota import demand_gigabytes
from renova.api.volume.using_servers import demand_not_in_use_by_server, demand_server_of_project
from renova.api.volume.volumes import deleted
from renova.model.errors import Conflict, Invalid, NotFound
from renova.model.ids import AttachmentId, ImageId, ServerId, SnapshotId, VolumeId
from renova.partners.volume.builtin import refill
from renova.partners.volume.requests import delete_volume, extend_volume, image_source, reserve_volume
from renova.store import volume_attachments as attachments
from renova.store import volumes
from renova.store.database import Tx
from renova.store.volumes import StoredVolume

_MEMBER = "rule:project_member_or_admin"
POLICY = {
    "volume:extend": _MEMBER,
    "volume:reimage": _MEMBER,
    "volume:reimage_reserved": _MEMBER,
    "volume_extension:volume_admin_actions:reset_status": "rule:admin_api",
    "volume_extension:volume_admin_actions:force_delete": "rule:admin_api",
    "volume_extension:volume_admin_actions:force_detach": "rule:admin_api",
    "volume_extension:volume_actions:attach": _MEMBER,
    "volume_extension:volume_actions:detach": _MEMBER,
    "volume_extension:volume_actions:reserve": _MEMBER,
    "volume_extension:volume_actions:unreserve": _MEMBER,
    "volume_extension:volume_actions:begin_detaching": _MEMBER,
    "volume_extension:volume_actions:roll_detaching": _MEMBER,
    "volume_extension:volume_image_metadata:show": "rule:project_reader_or_admin",
    "volume_extension:volume_image_metadata:set": _MEMBER,
    "volume_extension:volume_image_metadata:remove": _MEMBER,
    "volume:update_readonly_flag": _MEMBER,
}

# Those that an administrator may set by hand: the others stand for work that is under way, or would have to begin.
_SETTABLE = (
    *("available", "reserved", "attaching", "in-use", "detaching"),
    *("error", "error_deleting", "error_extending", "error_restoring", "maintenance"),
)

Given = dict[str, Any]
Handler = Callable[[Call, Given], Awaitable[Reply]]


async def act(call: Call) -> Reply:
    body = call.json(dict[str, Any])
    name = next(iter(body)) if len(body) == 1 else None
    known = _ACTIONS.get(name) if name is not None else None
    if known is None or call.version < known[1]:
        raise Invalid(f"There is no such action: {', '.join(body) or 'none given'}.")
    assert name is not None
    given = body[name]
    if given is not None and not isinstance(given, dict):
        raise Invalid(f"Invalid input for {name}: {given!r} is not an object.")
    return await known[0](call, given or {})


async def _change(call: Call, rule: str, change: Callable[[Tx, StoredVolume], None], status: int = 202) -> Reply:
    """Change the volume in one transaction, and have its host follow."""

    def work(tx: Tx) -> VolumeId:
        row = volume_of(call, tx, rule)
        change(tx, row)
        return row.id

    built_in(call).settling.settle_volume(await call.cloud.database.transact(work))
    return Reply(status)


def _text(given: Given, name: str, longest: int = 255) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise Invalid(f"Invalid input: '{name}' is a required property")
    if len(value) > longest:
        raise Invalid(f"Invalid input for {name}: it is longer than {longest} characters.")
    return value


async def extend(call: Call, given: Given) -> Reply:
    try:
        size = int(given["new_size"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise Invalid("Invalid input for field/attribute new_size: it must be a number of GiB.") from error

    def change(tx: Tx, row: StoredVolume) -> None:
        demand_gigabytes(tx, row.project, max(0, size - row.size_gb), None, of_gb=row.size_gb)
        extend_volume(tx, row, size)

    return await _change(call, "volume:extend", change)


async def set_bootable(call: Call, given: Given) -> Reply:
    bootable = given.get("bootable")
    if str(bootable).lower() not in ("true", "false", "1", "0", "t", "f", "yes", "no", "on", "off"):
        raise Invalid(f"Invalid input for bootable: {bootable!r} is no boolean.")
    return await _change(
        call, "volume:update", lambda tx, row: volumes.change(tx, row.id, bootable=is_true(str(bootable))), 200
    )


async def reset_status(call: Call, given: Given) -> Reply:
    wanted = given.get("status", given.get("attach_status"))
    if not given or (status := given.get("status")) is None:
        if wanted in ("attached", "detached") or "migration_status" in given:
            return await _change(call, "volume_extension:volume_admin_actions:reset_status", lambda _tx, _row: None)
        raise Invalid("Must specify 'status', 'attach_status' or 'migration_status' for update.")
    if status not in _SETTABLE:
        raise Invalid(f"Must specify a valid status: one of {', '.join(_SETTABLE)}, not {status!r}.")

    def change(tx: Tx, row: StoredVolume) -> None:
        if row.status in ("deleting", "downloading", "creating", "extending"):
            raise Conflict(f"Volume {row.id} is {row.status}: its storage host has yet to confirm that.")
        volumes.change(tx, row.id, status=status)

    return await _change(call, "volume_extension:volume_admin_actions:reset_status", change)


async def force_delete(call: Call, _given: Given) -> Reply:
    def begin(tx: Tx) -> list[SnapshotId]:
        row = volume_of(call, tx, "volume_extension:volume_admin_actions:force_delete")
        return [snapshot.id for snapshot in delete_volume(tx, row, cascade=True, force=True)]

    return await deleted(call, await call.cloud.database.transact(begin))


async def reserve(call: Call, _given: Given) -> Reply:
    def change(tx: Tx, row: StoredVolume) -> None:
        if not volumes.swap_status(tx, row.id, ("available",), "reserved"):
            raise Invalid(f"Invalid volume: Volume {row.id} status must be available to reserve; it is {row.status}.")

    return await _change(call, "volume_extension:volume_actions:reserve", change)


async def unreserve(call: Call, _given: Given) -> Reply:
    def change(tx: Tx, row: StoredVolume) -> None:
        if not attachments.of_volume(tx, row.id):
            volumes.swap_status(tx, row.id, ("reserved", "attaching"), "available")

    return await _change(call, "volume_extension:volume_actions:unreserve", change)


async def attach(call: Call, given: Given) -> Reply:
    """Note that something outside has the volume; nothing is served for that."""
    server, device = ServerId(_text(given, "instance_uuid", 36)), _text(given, "mountpoint")
    fresh = AttachmentId(call.cloud.chance.uuid())

    def change(tx: Tx, row: StoredVolume) -> None:
        demand_server_of_project(tx, server, row.project)
        if row.status not in ("available", "reserved", "attaching") or attachments.of_volume(tx, row.id):
            raise Invalid(f"Invalid volume: Volume {row.id} cannot be attached while it is {row.status}.")
        volumes.change(tx, row.id, status="available")
        reserve_volume(tx, fresh, row.id, server)
        attachments.change(tx, fresh, status="attached", device=device, attached_at=tx.now)
        volumes.change(tx, row.id, status="in-use")

    return await _change(call, "volume_extension:volume_actions:attach", change)


async def detach(call: Call, given: Given) -> Reply:
    return await _detach(call, given, "volume_extension:volume_actions:detach")


async def force_detach(call: Call, given: Given) -> Reply:
    return await _detach(call, given, "volume_extension:volume_admin_actions:force_detach")


async def _detach(call: Call, given: Given, rule: str) -> Reply:
    wanted = given.get("attachment_id")

    def named(tx: Tx) -> AttachmentId:
        row = volume_of(call, tx, rule)
        found = [each.id for each in attachments.of_volume(tx, row.id) if wanted in (None, each.id)]
        if not found:
            raise NotFound(f"Volume {row.id} has no such attachment.")
        return found[0]

    attachment = await call.cloud.database.read(named)

    def not_in_use(tx: Tx) -> None:
        if (found := attachments.attachment(tx, attachment)) is not None:
            demand_not_in_use_by_server(tx, found)

    await built_in(call).detach(attachment, not_in_use)
    return Reply(202)


async def begin_detaching(call: Call, _given: Given) -> Reply:
    def change(tx: Tx, row: StoredVolume) -> None:
        if not volumes.swap_status(tx, row.id, ("in-use",), "detaching"):
            raise Invalid(
                "Invalid volume: Unable to detach volume. Volume status must be 'in-use' and attach_status must be "
                f"'attached' to detach; it is {row.status}."
            )

    return await _change(call, "volume_extension:volume_actions:begin_detaching", change)


async def roll_detaching(call: Call, _given: Given) -> Reply:
    def change(tx: Tx, row: StoredVolume) -> None:
        volumes.swap_status(tx, row.id, ("detaching",), "in-use")

    return await _change(call, "volume_extension:volume_actions:roll_detaching", change)


async def reimage(call: Call, given: Given) -> Reply:
    image = ImageId(_text(given, "image_id", 36))
    if await call.cloud.images.image(image, call.caller) is None:
        raise Invalid(f"Invalid image identifier or unable to access requested image: {image}.")
    source, properties = await image_source(call.cloud.images, image)

    def change(tx: Tx, row: StoredVolume) -> None:
        if row.status == "reserved":
            call.demand("volume:reimage_reserved", {"project_id": row.project})
            if not is_true(str(given.get("reimage_reserved"))):
                raise Conflict(f"Volume {row.id} is reserved: reimage_reserved is needed to fill it anew.")
        refill(tx, row, source, properties)

    return await _change(call, "volume:reimage", change)


async def show_image_metadata(call: Call, _given: Given) -> Reply:
    rule = "volume_extension:volume_image_metadata:show"
    row = await call.cloud.database.read(lambda tx: volume_of(call, tx, rule))
    return Reply(200, {"metadata": row.image_properties})


async def set_image_metadata(call: Call, given: Given) -> Reply:
    try:
        pairs = msgspec.convert(given.get("metadata"), Pairs)
    except msgspec.ValidationError as error:
        raise Invalid(f"Invalid input for metadata: {error}") from error

    def work(tx: Tx) -> Pairs:
        row = volume_of(call, tx, "volume_extension:volume_image_metadata:set")
        merged = demand_pairs(row.image_properties | pairs)
        volumes.change(tx, row.id, image_properties=merged)
        return merged

    return Reply(200, {"metadata": await call.cloud.database.transact(work)})


async def unset_image_metadata(call: Call, given: Given) -> Reply:
    key = _text(given, "key")

    def change(tx: Tx, row: StoredVolume) -> None:
        if key not in row.image_properties:
            raise NotFound(f"Metadata item {key} was not found.")
        rest = {name: value for name, value in row.image_properties.items() if name != key}
        volumes.change(tx, row.id, image_properties=rest)

    return await _change(call, "volume_extension:volume_image_metadata:remove", change, 200)


async def read_only(call: Call, _given: Given) -> Reply:
    call.demand("volume:update_readonly_flag")
    raise Failure(501, "Volumes are always attached for reading and writing here.")


_ACTIONS: dict[str, tuple[Handler, Version]] = {
    "os-extend": (extend, (3, 0)),
    "os-set_bootable": (set_bootable, (3, 0)),
    "os-reset_status": (reset_status, (3, 0)),
    "os-force_delete": (force_delete, (3, 0)),
    "os-reserve": (reserve, (3, 0)),
    "os-unreserve": (unreserve, (3, 0)),
    "os-attach": (attach, (3, 0)),
    "os-detach": (detach, (3, 0)),
    "os-force_detach": (force_detach, (3, 0)),
    "os-begin_detaching": (begin_detaching, (3, 0)),
    "os-roll_detaching": (roll_detaching, (3, 0)),
    "os-reimage": (reimage, (3, 68)),
    "os-show_image_metadata": (show_image_metadata, (3, 0)),
    "os-set_image_metadata": (set_image_metadata, (3, 0)),
    "os-unset_image_metadata": (unset_image_metadata, (3, 0)),
    "os-update_readonly_flag": (read_only, (3, 0)),
}

ROUTES = [Route("POST", "/volumes/{volume}/action", act)]
