"""Volumes: made, listed, shown, renamed, deleted."""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from renova.api.http import Call, Reply, Route
from renova.api.volume.found import Pairs, built_in, demand_pairs, owner, seen_project, volume_of, wrapped
from renova.api.volume.paging import is_true, listing, matching, page
from renova.api.volume.quota import demand_gigabytes
from renova.api.volume.texts import ChangedTexts
from renova.api.volume.volume_shape import Shapes, brief
from renova.model.errors import Invalid, NotFound
from renova.model.ids import ImageId, SnapshotId, VolumeId
from renova.partners.volume.requests import ImageSource, Making, begin_volume, delete_volume, image_source
from renova.store import volume_snapshots as snapshots
from renova.store import volumes
from renova.store.database import Tx
from renova.store.volumes import StoredVolume

POLICY = {
    "volume:create": "rule:project_member_or_admin",
    "volume:create_from_image": "rule:project_member_or_admin",
    "volume:get": "rule:project_reader_or_admin",
    "volume:get_all": "rule:project_reader_or_admin",
    "volume:update": "rule:project_member_or_admin",
    "volume:delete": "rule:project_member_or_admin",
    "volume:force_delete": "rule:admin_api",
}

_VALUES: dict[str, Callable[[StoredVolume], Any]] = {
    "id": lambda row: row.id,
    "name": lambda row: row.name,
    "display_name": lambda row: row.name,
    "description": lambda row: row.description,
    "status": lambda row: row.status,
    "size": lambda row: row.size_gb,
    "bootable": lambda row: row.bootable,
    "availability_zone": lambda row: row.zone,
    "metadata": lambda row: row.metadata,
    "created_at": lambda row: row.created_at,
    "updated_at": lambda row: row.updated_at,
    "host": lambda row: row.host,
    "user_id": lambda row: row.user,
}
_SORT = {name: value for name, value in _VALUES.items() if name != "metadata"} | {
    "size": lambda row: f"{row.size_gb:012d}",
}


class NewVolume(msgspec.Struct):
    """What a client asks for; what is not here is not known, and ignored as Cinder ignores it."""

    size: int | None = None
    name: str | None = None
    display_name: str | None = None
    description: str | None = None
    display_description: str | None = None
    imageRef: str | None = None  # noqa: N815  (the API's name)
    image_id: str | None = None
    snapshot_id: str | None = None
    source_volid: str | None = None
    volume_type: str | None = None
    availability_zone: str | None = None
    metadata: Pairs | None = None
    multiattach: bool | None = None
    backup_id: str | None = None
    group_id: str | None = None
    consistencygroup_id: str | None = None


class ChangedVolume(ChangedTexts):
    """What may be changed of a volume by hand."""

    metadata: Pairs | msgspec.UnsetType = msgspec.UNSET


async def index(call: Call) -> Reply:
    return await _list(call, detailed=False)


async def detail(call: Call) -> Reply:
    return await _list(call, detailed=True)


async def _list(call: Call, *, detailed: bool) -> Reply:
    call.demand("volume:get_all")
    project = seen_project(call)

    def read(tx: Tx) -> dict[str, Any]:
        found = matching(call, volumes.every(tx, project), _VALUES)
        rows, more = page(call, found, _SORT)
        shape = Shapes(call, tx, rows).detailed if detailed else partial(brief, call)
        shown = [shape(row) for row in rows]
        return listing(call, "volumes", shown, more=more, count=len(found))

    return Reply(200, await call.cloud.database.read(read))


async def summary(call: Call) -> Reply:
    call.demand("volume:get_all")
    found = await call.cloud.database.read(lambda tx: volumes.every(tx, seen_project(call)))
    shown: dict[str, Any] = {"total_count": len(found), "total_size": sum(row.size_gb for row in found)}
    if call.version >= (3, 36):
        values: dict[str, set[str]] = {}
        for row in found:
            for key, value in row.metadata.items():
                values.setdefault(key, set()).add(value)
        shown["metadata"] = {key: sorted(texts) for key, texts in values.items()}
    return Reply(200, {"volume-summary": shown})


async def show(call: Call) -> Reply:
    def read(tx: Tx) -> dict[str, Any]:
        row = volume_of(call, tx)
        return Shapes(call, tx, [row]).detailed(row)

    return Reply(200, {"volume": await call.cloud.database.read(read)})


async def create(call: Call) -> Reply:
    call.demand("volume:create")
    wanted: NewVolume = wrapped(call, "volume", NewVolume)
    image = await _image(call, wanted)
    service = built_in(call)
    volume = VolumeId(call.cloud.chance.uuid())

    def begin(tx: Tx) -> dict[str, Any]:
        making = _making(call, tx, volume, wanted, image)
        demand_gigabytes(tx, call.caller.project, making.size_gb, "volumes")
        row = begin_volume(tx, making, service.up)
        return Shapes(call, tx, [row]).detailed(row)

    shown = await call.cloud.database.transact(begin)
    service.settling.settle_volume(volume)
    return Reply(202, {"volume": shown})


async def _image(call: Call, wanted: NewVolume) -> ImageSource | None:
    image = wanted.imageRef or wanted.image_id
    if not image:
        return None
    call.demand("volume:create_from_image")
    if await call.cloud.images.image(ImageId(image), call.caller) is None:
        raise Invalid(f"Invalid image identifier or unable to access requested image: {image}.")
    return await image_source(call.cloud.images, ImageId(image))


def _making(call: Call, tx: Tx, volume: VolumeId, wanted: NewVolume, image: ImageSource | None) -> Making:
    if wanted.multiattach:
        raise Invalid("multiattach is not supported here: a volume is served to one attachment at a time.")
    if wanted.backup_id or wanted.group_id or wanted.consistencygroup_id:
        raise Invalid("backup_id, group_id and consistencygroup_id are not supported here.")
    sources = [each for each in (image, wanted.snapshot_id, wanted.source_volid) if each]
    if len(sources) > 1:
        raise Invalid("At most one of imageRef, snapshot_id and source_volid can be given.")
    name = wanted.name if wanted.name is not None else wanted.display_name
    description = wanted.description if wanted.description is not None else wanted.display_description
    size = wanted.size
    if wanted.snapshot_id:
        snapshot = snapshots.snapshot(tx, wanted.snapshot_id)
        if snapshot is None or not call.allows("volume:get_snapshot", owner(snapshot)):
            raise NotFound(f"Snapshot {wanted.snapshot_id} could not be found.")
        size = size or snapshot.size_gb
    if wanted.source_volid:
        source = volumes.volume(tx, wanted.source_volid)
        if source is None or not call.allows("volume:get", owner(source)):
            raise NotFound(f"Volume {wanted.source_volid} could not be found.")
        size = size or source.size_gb
    if size is None:
        raise Invalid("Invalid input: 'size' is needed unless the volume is made of a snapshot or another volume.")
    return Making(
        id=volume,
        project=call.caller.project,
        user=call.caller.user,
        name=_short(name or "", "name"),
        description=_short(description, "description") if description is not None else None,
        size_gb=size,
        image=image,
        snapshot=wanted.snapshot_id or None,
        source=VolumeId(wanted.source_volid) if wanted.source_volid else None,
        type=wanted.volume_type or None,
        zone=wanted.availability_zone or None,
        metadata=demand_pairs(wanted.metadata or {}),
    )


def _short(text: str, field: str) -> str:
    if len(text) > 255:
        raise Invalid(f"Invalid input for {field}: it is longer than 255 characters.")
    return text.strip() if field == "name" else text


async def update(call: Call) -> Reply:
    wanted: ChangedVolume = wrapped(call, "volume", ChangedVolume)

    def change(tx: Tx) -> dict[str, Any]:
        row = volume_of(call, tx, "volume:update")
        values: dict[str, Any] = {column: _short(text, column) for column, text in wanted.texts().items()}
        if not isinstance(wanted.metadata, msgspec.UnsetType):
            values["metadata"] = demand_pairs(wanted.metadata)
        if not values:
            raise Invalid("Invalid input: name, description or metadata is needed.")
        volumes.change(tx, row.id, **values)
        row = msgspec.structs.replace(row, updated_at=tx.now, **values)
        return Shapes(call, tx, [row]).detailed(row)

    return Reply(200, {"volume": await call.cloud.database.transact(change)})


async def delete(call: Call) -> Reply:
    force = is_true(call.one("force")) and call.version >= (3, 23)

    def begin(tx: Tx) -> list[SnapshotId]:
        row = volume_of(call, tx, "volume:force_delete" if force else "volume:delete")
        taken = delete_volume(tx, row, cascade=is_true(call.one("cascade")), force=force)
        return [snapshot.id for snapshot in taken]

    return await deleted(call, await call.cloud.database.transact(begin))


async def deleted(call: Call, snapshots_too: list[SnapshotId]) -> Reply:
    """Answer that the volume of the path, and these snapshots, are being deleted."""
    settling = built_in(call).settling
    for snapshot in snapshots_too:
        settling.settle_snapshot(snapshot)
    settling.settle_volume(VolumeId(call.path["volume"]))
    return Reply(202)


ROUTES = [
    Route("GET", "/volumes", index),
    Route("GET", "/volumes/detail", detail),
    Route("GET", "/volumes/summary", summary, since=(3, 12)),
    Route("POST", "/volumes", create),
    Route("GET", "/volumes/{volume}", show),
    Route("PUT", "/volumes/{volume}", update),
    Route("DELETE", "/volumes/{volume}", delete),
]
