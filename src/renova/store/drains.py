"""Hosts that are being emptied, by whose wish and since when. How far each is follows from where its servers are."""

import msgspec
from sqlalchemy import Boolean, Column, String, Table, bindparam, delete, insert, select, update

from renova.model.ids import HostId
from renova.store.database import Tx
from renova.store.schema import Stamp, metadata

drains = Table(
    "drains",
    metadata,
    Column("host", String(36), primary_key=True),
    Column("who", String(255), nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("began_at", Stamp, nullable=False),
)

_GET = select(drains).where(drains.c.host == bindparam("of"))
_EVERY = select(drains).order_by(drains.c.began_at, drains.c.host)
_ADD = insert(drains)
_TAKE_OVER = update(drains).where(drains.c.host == bindparam("of"))
_END = delete(drains).where(drains.c.host == bindparam("of"))


class Drain(msgspec.Struct, frozen=True):
    """The wish that a host be emptied, and stay so."""

    host: HostId
    who: str
    disabled: bool  # by this its compute service was taken out of use: whoever takes it back enables that again
    began_at: str


def begin(tx: Tx, host: HostId, who: str, *, disabled: bool) -> None:
    tx.execute(_ADD, {"host": host, "who": who, "disabled": disabled, "began_at": tx.now})


def get(tx: Tx, host: HostId) -> Drain | None:
    row = tx.execute(_GET, {"of": host}).first()
    return Drain(**row._mapping) if row else None


def every(tx: Tx) -> list[Drain]:
    """List all, the oldest first."""
    return [Drain(**row._mapping) for row in tx.execute(_EVERY)]


def take_over(tx: Tx, host: HostId) -> None:
    """Note that it is by the drain that the host's compute service is out of use, from now on."""
    tx.execute(_TAKE_OVER, {"of": host, "disabled": True})


def end(tx: Tx, host: HostId) -> None:
    tx.execute(_END, {"of": host})
