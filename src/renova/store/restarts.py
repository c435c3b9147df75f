"""Guests that crashed or hung, how often of late, and which of them are yet to be started again (`ha.restarting`)."""

import msgspec
from sqlalchemy import Boolean, Column, Index, String, Table, bindparam, delete, false, insert, select, text, update

from renova.model.clock import later
from renova.model.ids import ServerId
from renova.store.database import Tx
from renova.store.schema import Number, Stamp, metadata, only_where

restarts = Table(
    "restarts",
    metadata,
    Column("server", String(36), primary_key=True),
    Column("crashes", Number, nullable=False),  # each soon after the one before
    Column("crashed_at", Stamp, nullable=False),
    Column("number", Number, nullable=False),  # of the server's newest operation then: whoever asks for another decides
    Column("pending", Boolean, nullable=False),
    Column("hung", Boolean, nullable=False, server_default=false()),  # the last time, and not crashed
    Column("not_before", Stamp),  # when it may be started again, where that was tried and something was in the way
    Index("restarts_pending", "crashed_at", **only_where(text("pending"))),
)

_GET = select(restarts).where(restarts.c.server == bindparam("of"))
_ADD = insert(restarts)
_CHANGE = update(restarts).where(restarts.c.server == bindparam("of"))
_PENDING = select(restarts).where(text("pending")).order_by(restarts.c.crashed_at, restarts.c.server)
_OUTLAST = _CHANGE.where(restarts.c.pending, restarts.c.number == bindparam("former"))
_FORGET = delete(restarts).where(restarts.c.server == bindparam("of"))


class Crash(msgspec.Struct, frozen=True):
    """A server's guest that crashed, or hung."""

    server: ServerId
    crashes: int
    crashed_at: str
    number: int
    pending: bool
    hung: bool = False
    not_before: str | None = None


def note_crash(tx: Tx, server: ServerId, number: int, window_s: float) -> None:
    """Note that the guest has crashed; one that did not for so many seconds begins to count anew."""
    _note(tx, get(tx, server), server, number, window_s, hung=False)


def note_hang(tx: Tx, server: ServerId, number: int, window_s: float) -> bool:
    """Note that the guest hangs, which counts as a crash; False where that is known under this number, and not old."""
    known = get(tx, server)
    if known is not None and known.number == number and (known.pending or later(known.crashed_at, window_s) >= tx.now):
        return False
    _note(tx, known, server, number, window_s, hung=True)
    return True


def _note(tx: Tx, row: Crash | None, server: ServerId, number: int, window_s: float, *, hung: bool) -> None:
    values = {"crashed_at": tx.now, "number": number, "pending": True, "hung": hung, "not_before": None}
    if row is None:
        tx.execute(_ADD, {"server": server, "crashes": 1, **values})
    else:
        recent = later(row.crashed_at, window_s) >= tx.now
        tx.execute(_CHANGE, {"of": server, "crashes": row.crashes + 1 if recent else 1, **values})


def get(tx: Tx, server: ServerId) -> Crash | None:
    """Return what is known of the server's crashes."""
    row = tx.execute(_GET, {"of": server}).first()
    return Crash(**row._mapping) if row else None


def pending(tx: Tx) -> list[Crash]:
    """List the crashes of which nothing was decided yet, the oldest first."""
    return [Crash(**row._mapping) for row in tx.execute(_PENDING)]


def settle(tx: Tx, known: Crash) -> bool:
    """Note that it is decided; False if somebody else has, or it has crashed again."""
    row = tx.execute(_GET, {"of": known.server}).first()
    if row is None or not row.pending or row.crashed_at != known.crashed_at:
        return False
    tx.execute(_CHANGE, {"of": known.server, "pending": False})
    return True


def outlast(tx: Tx, server: ServerId, number: int) -> None:
    """Have a crash that is yet to be decided stay so after this operation, which decides nothing about the guest."""
    tx.execute(_OUTLAST, {"of": server, "former": number - 1, "number": number})


def take_up_again(tx: Tx, known: Crash, number: int, not_before: str | None = None) -> None:
    """Have a crash that was decided be so once more: what was begun for it came to nothing, as of this operation."""
    tx.execute(_CHANGE, {"of": known.server, "number": number, "pending": True, "not_before": not_before})


def take_back(tx: Tx, known: Crash) -> None:
    """Note that it was nothing, unless somebody has decided it: it does not count, and may be noted anew."""
    row = get(tx, known.server)
    if row == known:
        values = {"pending": False, "crashes": known.crashes - 1, "number": 0}
        tx.execute(_CHANGE, {"of": known.server, **values})


def forget(tx: Tx, server: ServerId) -> None:
    """Drop what is known of a server that is gone."""
    tx.execute(_FORGET, {"of": server})
