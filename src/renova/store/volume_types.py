"""Types of volumes: names for users, which make no difference here. Called by `partners.volume` and `api.volume`."""

from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, String, Table, delete, insert, select, update

from renova.store.database import Tx
from renova.store.schema import Document, Number, Stamp, metadata

DEFAULT = "__DEFAULT__"  # Cinder's name of the type that volumes have when none is asked for
_DEFAULT_ID = "8a0c9c6e-5d5f-4b7c-9e3b-0d5f6f1c2a11"  # the same in every cloud: nobody has to make it

volume_types = Table(
    "volume_types",
    metadata,
    Column("serial", Number, primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("description", String(255)),
    Column("is_public", Boolean, nullable=False),
    Column("extra_specs", Document(dict[str, str]), nullable=False),
    Column("created_at", Stamp, nullable=False),
)


class VolumeType(msgspec.Struct, frozen=True, kw_only=True):
    """A type's row."""

    id: str
    name: str
    description: str | None = None
    is_public: bool = True
    extra_specs: dict[str, str] = {}


_BUILT_IN = VolumeType(id=_DEFAULT_ID, name=DEFAULT, description="Default Volume Type")
_ALL = select(*(volume_types.c[name] for name in VolumeType.__struct_fields__)).order_by(volume_types.c.serial)


def every(tx: Tx) -> list[VolumeType]:
    return [_BUILT_IN, *(VolumeType(**row._mapping) for row in tx.execute(_ALL))]


def find(tx: Tx, id_or_name: str) -> VolumeType | None:
    """Return the type with this id, or else with this name."""
    known = every(tx)
    by_id = next((each for each in known if each.id == id_or_name), None)
    return by_id or next((each for each in known if each.name == id_or_name), None)


def default(tx: Tx) -> VolumeType:  # noqa: ARG001  (an operator may come to choose another one day)
    return _BUILT_IN


def add(tx: Tx, new: VolumeType) -> None:
    tx.execute(insert(volume_types).values(created_at=tx.now, **msgspec.structs.asdict(new)))


def change(tx: Tx, type_id: str, **values: Any) -> None:
    tx.execute(update(volume_types).where(volume_types.c.id == type_id).values(**values))


def remove(tx: Tx, type_id: str) -> None:
    tx.execute(delete(volume_types).where(volume_types.c.id == type_id))
