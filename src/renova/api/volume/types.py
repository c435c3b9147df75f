"""Volume types: names by which users choose; here they make no difference to a volume."""

import uuid
from typing import Any

import msgspec

from renova.api.http import Call, Reply, Route
from renova.api.volume.found import Pairs, demand_pairs, wrapped
from renova.api.volume.paging import listing, page
from renova.model.errors import Conflict, Invalid, NotFound
from renova.store import volume_types, volumes
from renova.store.database import Tx
from renova.store.volume_types import VolumeType

_ANYBODY = "rule:any"
POLICY = {
    "volume_extension:type_get_all": _ANYBODY,
    "volume_extension:type_get": _ANYBODY,
    "volume_extension:type_create": "rule:admin_api",
    "volume_extension:type_update": "rule:admin_api",
    "volume_extension:type_delete": "rule:admin_api",
    "volume_extension:types_extra_specs": "rule:admin_api",
}


class NewType(msgspec.Struct):
    name: str
    description: str | None = None
    os_access: bool = msgspec.field(name="os-volume-type-access:is_public", default=True)
    extra_specs: Pairs = {}


class ChangedType(msgspec.Struct):
    name: str | None = None
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    is_public: bool | None = None


def _shape(call: Call, row: VolumeType) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "is_public": row.is_public,
        "os-volume-type-access:is_public": row.is_public,
        "qos_specs_id": None,
    }
    if call.allows("volume_extension:types_extra_specs"):
        shown["extra_specs"] = row.extra_specs
    return shown


def _visible(call: Call, tx: Tx) -> list[VolumeType]:
    admin = call.allows("context_is_admin")
    return [row for row in volume_types.every(tx) if row.is_public or admin]


def _find(call: Call, tx: Tx) -> VolumeType:
    wanted = call.path["type"]
    for row in _visible(call, tx):
        if row.id == wanted:
            return row
    raise NotFound(f"Volume type {wanted} could not be found.")


async def index(call: Call) -> Reply:
    call.demand("volume_extension:type_get_all")

    def read(tx: Tx) -> dict[str, Any]:
        rows, more = page(call, _visible(call, tx), {"id": lambda row: row.id, "name": lambda row: row.name})
        return listing(call, "volume_types", [_shape(call, row) for row in rows], more=more)

    return Reply(200, await call.cloud.database.read(read))


async def show(call: Call) -> Reply:
    call.demand("volume_extension:type_get")

    def read(tx: Tx) -> VolumeType:
        return volume_types.default(tx) if call.path["type"] == "default" else _find(call, tx)

    return Reply(200, {"volume_type": _shape(call, await call.cloud.database.read(read))})


async def create(call: Call) -> Reply:
    call.demand("volume_extension:type_create")
    wanted: NewType = wrapped(call, "volume_type", NewType)
    new = VolumeType(
        id=str(uuid.UUID(call.cloud.chance.uuid())),
        name=_name(wanted.name),
        description=wanted.description,
        is_public=wanted.os_access,
        extra_specs=demand_pairs(wanted.extra_specs),
    )

    def add(tx: Tx) -> None:
        _demand_free(tx, new.name, new.id)
        volume_types.add(tx, new)

    await call.cloud.database.transact(add)
    return Reply(200, {"volume_type": _shape(call, new)})


def _name(text: str) -> str:
    if not text.strip() or len(text) > 255:
        raise Invalid("Invalid input for name: it must have 1 to 255 characters.")
    return text.strip()


def _demand_free(tx: Tx, name: str, of: str) -> None:
    if any(row.name == name and row.id != of for row in volume_types.every(tx)):
        raise Conflict(f"Volume Type {name} already exists.")


async def update(call: Call) -> Reply:
    call.demand("volume_extension:type_update")
    wanted: ChangedType = wrapped(call, "volume_type", ChangedType)

    def change(tx: Tx) -> VolumeType:
        row = _changeable(call, tx)
        values: dict[str, Any] = {}
        if wanted.name is not None:
            values["name"] = _name(wanted.name)
            _demand_free(tx, values["name"], row.id)
        if not isinstance(wanted.description, msgspec.UnsetType):
            values["description"] = wanted.description
        if wanted.is_public is not None:
            values["is_public"] = wanted.is_public
        if not values:
            raise Invalid("Specify volume type name, description, is_public or a combination thereof.")
        volume_types.change(tx, row.id, **values)
        return msgspec.structs.replace(row, **values)

    return Reply(200, {"volume_type": _shape(call, await call.cloud.database.transact(change))})


def _changeable(call: Call, tx: Tx) -> VolumeType:
    row = _find(call, tx)
    if row.id == volume_types.default(tx).id:
        raise Invalid("The default volume type can be neither changed nor deleted.")
    return row


async def delete(call: Call) -> Reply:
    call.demand("volume_extension:type_delete")

    def remove(tx: Tx) -> None:
        row = _changeable(call, tx)
        if any(volume.type == row.id for volume in volumes.every(tx, None)):
            raise Invalid("Target volume type is still in use.")
        volume_types.remove(tx, row.id)

    await call.cloud.database.transact(remove)
    return Reply(202)


async def extra_specs(call: Call) -> Reply:
    call.demand("volume_extension:types_extra_specs")
    row = await call.cloud.database.read(lambda tx: _find(call, tx))
    return Reply(200, {"extra_specs": row.extra_specs})


async def set_extra_specs(call: Call) -> Reply:
    call.demand("volume_extension:types_extra_specs")
    given: Pairs = wrapped(call, "extra_specs", Pairs)

    def change(tx: Tx) -> None:
        row = _changeable(call, tx)
        volume_types.change(tx, row.id, extra_specs=demand_pairs(row.extra_specs | given))

    await call.cloud.database.transact(change)
    return Reply(200, {"extra_specs": given})


async def delete_extra_spec(call: Call) -> Reply:
    call.demand("volume_extension:types_extra_specs")
    key = call.path["key"]

    def change(tx: Tx) -> None:
        row = _changeable(call, tx)
        if key not in row.extra_specs:
            raise NotFound(f"Volume Type {row.id} has no extra specs with key {key}.")
        rest = {name: value for name, value in row.extra_specs.items() if name != key}
        volume_types.change(tx, row.id, extra_specs=rest)

    await call.cloud.database.transact(change)
    return Reply(202)


ROUTES = [
    Route("GET", "/types", index),
    Route("POST", "/types", create),
    Route("GET", "/types/{type}", show),
    Route("PUT", "/types/{type}", update),
    Route("DELETE", "/types/{type}", delete),
    Route("GET", "/types/{type}/extra_specs", extra_specs),
    Route("POST", "/types/{type}/extra_specs", set_extra_specs),
    Route("DELETE", "/types/{type}/extra_specs/{key}", delete_extra_spec),
]
