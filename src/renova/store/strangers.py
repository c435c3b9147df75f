"""Hosts with certificates of our own that this database does not know: noted while the cluster is on hold.

Such a one joined in what was lost, and may run what the database has elsewhere; or it was removed, and nobody told it.
"""

import msgspec
from sqlalchemy import Column, String, Table, delete, func, insert, select, update

from renova.model.ids import HostId
from renova.store.database import Tx
from renova.store.schema import Stamp, metadata

MOST_WAITED_FOR = 1000  # more of them are noted once somebody has looked at these

strangers = Table(
    "strangers",
    metadata,
    Column("host", String(36), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("dismissed_by", String(255)),
    Column("created_at", Stamp, nullable=False),
)

_WAITED_FOR = strangers.c.dismissed_by.is_(None)


class Stranger(msgspec.Struct, frozen=True):
    """A host that nobody here knows, and that has not been dismissed."""

    host: HostId
    name: str  # as it calls itself
    created_at: str  # when it was first heard in this hold


def note(tx: Tx, host: HostId, name: str) -> bool:
    """Note that the host was heard; say whether that is news."""
    if tx.execute(select(strangers.c.host).where(strangers.c.host == host)).first() is not None:
        return False
    if tx.execute(select(func.count()).select_from(strangers).where(_WAITED_FOR)).scalar_one() >= MOST_WAITED_FOR:
        return False
    tx.execute(insert(strangers).values(host=host, name=name, created_at=tx.now))
    return True


def waited_for(tx: Tx) -> list[Stranger]:
    """List those that nobody has dismissed, in the order of their names."""
    columns = (strangers.c.host, strangers.c.name, strangers.c.created_at)
    rows = tx.execute(select(*columns).where(_WAITED_FOR).order_by(strangers.c.name, strangers.c.host))
    return [Stranger(row.host, row.name, row.created_at) for row in rows]


def dismiss(tx: Tx, host: HostId, who: str) -> None:
    """Wait for it no more, for as long as this hold lasts."""
    tx.execute(update(strangers).where(strangers.c.host == host).values(dismissed_by=who))


def joined(tx: Tx, name: str) -> None:
    """Forget those of this name: that machine is known now."""
    tx.execute(delete(strangers).where(strangers.c.name == name))


def recall(tx: Tx) -> None:
    """Wait for all of them again: what was said of them, was said of another history."""
    tx.execute(update(strangers).values(dismissed_by=None))


def forget(tx: Tx) -> None:
    tx.execute(delete(strangers))
