"""Notices that wait to be delivered: written with the change they tell of, removed when the sink has them.

An outbox: a notice stands here exactly if its change is committed, so none is lost, and none tells of what did not
happen. Their numbers are the order of the changes, a server's and all others'.
"""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Column, String, Table, Text, bindparam, delete, func, insert, select

from renova.model.ids import ServerId
from renova.store.database import Tx
from renova.store.schema import Number, Stamp, metadata

notices = Table(
    "notices",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False),  # the event's: by it a receiver knows what it has already
    Column("server", String(36), nullable=False),
    Column("type", String(128), nullable=False),
    Column("data", Text, nullable=False),  # JSON
    Column("created_at", Stamp, nullable=False),
    sqlite_autoincrement=True,  # a number is never given again, though the newest row be gone
)

# Made once: making a statement costs five times as much as running it.
_ADD = insert(notices)
_REMOVE = delete(notices).where(
    notices.c.number.in_(bindparam("numbers", expanding=True)), notices.c.id.in_(bindparam("ids", expanding=True))
)
_OLDEST = select(notices).order_by(notices.c.number).limit(bindparam("limit"))


class Notice(msgspec.Struct, frozen=True):
    """One event, as it will be told."""

    number: int
    id: str
    server: ServerId
    type: str
    data: str
    created_at: str


def add(tx: Tx, event: str, server: ServerId, kind: str, data: bytes) -> None:
    values = {"id": event, "server": server, "type": kind, "data": data.decode(), "created_at": tx.now}
    tx.execute(_ADD, values)


def oldest(tx: Tx, limit: int) -> list[Notice]:
    """List the notices that wait longest, in their order."""
    return [Notice(**row._mapping) for row in tx.execute(_OLDEST, {"limit": limit})]


def remove(tx: Tx, told: Sequence[Notice]) -> None:
    """Remove notices that were told; not those to which a database that lost commits has given their numbers again."""
    numbers, ids = [notice.number for notice in told], [notice.id for notice in told]
    tx.execute(_REMOVE, {"numbers": numbers, "ids": ids})


def waiting(tx: Tx) -> int:
    return int(tx.execute(select(func.count()).select_from(notices)).scalar_one())


def drop_excess(tx: Tx, before: str, most: int) -> int:
    """Remove what was written before the given time, and all but the `most` newest; say how many."""
    kept = select(notices.c.number).order_by(notices.c.number.desc()).limit(1).offset(most - 1).scalar_subquery()
    old = tx.execute(delete(notices).where(notices.c.created_at < before)).rowcount
    return old + tx.execute(delete(notices).where(notices.c.number < kept)).rowcount
