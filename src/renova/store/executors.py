"""Executors: runs of controllers, each a row with a lease on the database's clock.

An executor whose lease has lapsed may be taken for dead by any other: its row is removed, and what belongs to it is
free. It may live all the same; by its row it finds out, and whatever it still writes in its old name is refused where
it is written. A lease that ends later than one renewed now would was granted before the database's clock went back: it
is cut, lest a dead executor be waited for as long as the clock was ahead.
"""

import msgspec
from sqlalchemy import Column, String, Table, Text, bindparam, delete, insert, select, update

from renova.model.clock import later
from renova.model.ids import ExecutorId
from renova.store.database import Tx
from renova.store.schema import Document, Stamp, metadata

executors = Table(
    "executors",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("api_address", Text, nullable=False),
    Column("agents_addresses", Document(tuple[str, ...]), nullable=False),
    Column("release", String(64), nullable=False),
    Column("started_at", Stamp, nullable=False),
    Column("expires_at", Stamp, nullable=False),
)

_ADD = insert(executors)
_RENEW = update(executors).where(executors.c.id == bindparam("executor"))
_LAPSED = (executors.c.expires_at < bindparam("now"), executors.c.id != bindparam("executor"))
_TOO_LONG = executors.c.expires_at > bindparam("latest")
_ANY_LAPSED = select(executors.c.id).where(*_LAPSED).limit(1)
_ANY_TOO_LONG = select(executors.c.id).where(_TOO_LONG).limit(1)
_CUT = update(executors).where(_TOO_LONG)
_BURY = delete(executors).where(*_LAPSED)
_EVERY = select(executors).order_by(executors.c.started_at, executors.c.id)


class Controller(msgspec.Struct, frozen=True):
    """What a controller says of itself."""

    name: str = ""  # for people
    api_address: str = ""  # its own, where load balancers find it
    agents_addresses: tuple[str, ...] = ()  # each host:port, as agents reach it
    release: str = ""


class Executor(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a controller."""

    id: ExecutorId
    name: str
    api_address: str
    agents_addresses: tuple[str, ...]
    release: str
    started_at: str
    expires_at: str


def enlist(tx: Tx, executor: ExecutorId, controller: Controller, lease_s: float) -> None:
    """Add this executor, under a name that no executor ever had."""
    described = msgspec.structs.asdict(controller)
    tx.execute(_ADD, {"id": executor, "started_at": tx.now, "expires_at": _after(tx, lease_s), **described})


def renew(tx: Tx, executor: ExecutorId, lease_s: float) -> bool:
    """Renew its lease; False when it was taken for dead, and is nobody any more."""
    return tx.execute(_RENEW, {"executor": executor, "expires_at": _after(tx, lease_s)}).rowcount == 1


def resign(tx: Tx, executor: ExecutorId) -> None:
    """Remove it by its own will."""
    tx.execute(delete(executors).where(executors.c.id == executor))


def leased(tx: Tx, executor: ExecutorId) -> bool:
    """Say whether the executor is there, and its lease has not lapsed."""
    found = select(executors.c.id).where(executors.c.id == executor, executors.c.expires_at >= tx.now)
    return tx.execute(found).first() is not None


def lapsed(tx: Tx, but: ExecutorId, lease_s: float) -> bool:
    """Say whether another's lease has lapsed, or has to be cut."""
    if tx.execute(_ANY_TOO_LONG, {"latest": _after(tx, lease_s)}).first() is not None:
        return True
    return tx.execute(_ANY_LAPSED, {"now": tx.now, "executor": but}).first() is not None


def bury(tx: Tx, by: ExecutorId, lease_s: float) -> None:
    """Take all others for dead whose leases have lapsed; cut those that are too long to have been granted by now."""
    latest = _after(tx, lease_s)
    tx.execute(_CUT, {"latest": latest, "expires_at": latest})
    tx.execute(_BURY, {"now": tx.now, "executor": by})


def bury_all(tx: Tx) -> None:
    """Take all for dead: only where it is known that none of them can live."""
    tx.execute(delete(executors))


def every(tx: Tx) -> list[Executor]:
    """List those that are not taken for dead, the oldest first."""
    return [Executor(**row._mapping) for row in tx.execute(_EVERY)]


def agents_addresses(tx: Tx) -> tuple[str, ...]:
    """List where agents reach controllers: of each controller the first address that can be dialled."""
    first = (next(filter(_can_be_dialled, each.agents_addresses), None) for each in every(tx))
    return tuple(dict.fromkeys(address for address in first if address is not None))


def _can_be_dialled(address: str) -> bool:
    return address.rpartition(":")[0].strip("[]") not in ("", "0.0.0.0", "::")  # noqa: S104  (of which hosts have their own)


def _after(tx: Tx, seconds: float) -> str:
    return later(tx.now, seconds)
