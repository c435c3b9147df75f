"""Guests as hosts found them when they registered in an era: from them a database that lost commits learns again."""

from collections.abc import Iterable

from sqlalchemy import Column, String, Table, bindparam, delete, insert, select

from renova.model.guest import FoundGuest, PowerState
from renova.model.ids import HostId, ServerId
from renova.store.database import Tx
from renova.store.schema import Number, metadata

found_guests = Table(
    "found_guests",
    metadata,
    Column("host", String(36), primary_key=True),
    Column("server", String(36), primary_key=True),
    Column("incarnation", Number, nullable=False),
    Column("power", Number, nullable=False),
    Column("generation", Number, nullable=False, server_default="0"),
)

# Made once: making a statement costs five times as much as running it.
_ADD = insert(found_guests)
_REMOVE = delete(found_guests).where(found_guests.c.host == bindparam("host"))
_EVERY = select(found_guests).order_by(found_guests.c.server, found_guests.c.host)


def note(tx: Tx, host: HostId, guests: Iterable[FoundGuest]) -> None:
    """Note what the host has, in place of what it had before: guests of its own, none that arrives there."""
    tx.execute(_REMOVE, {"host": host})
    for guest in guests:
        values = {"server": guest.server, "incarnation": guest.incarnation, "generation": guest.generation}
        tx.execute(_ADD, {"host": host, "power": guest.power, **values})


def by_server(tx: Tx) -> dict[ServerId, dict[HostId, FoundGuest]]:
    """Return all that was found."""
    found: dict[ServerId, dict[HostId, FoundGuest]] = {}
    for row in tx.execute(_EVERY):
        guest = FoundGuest(row.server, row.incarnation, PowerState(row.power), row.generation)
        found.setdefault(row.server, {})[row.host] = guest
    return found


def keep_only(tx: Tx, server: ServerId, host: HostId) -> list[HostId]:
    """Forget the server's guests but that of the host, which an operator chose; returns the other hosts."""
    others = (found_guests.c.server == server) & (found_guests.c.host != host)
    hosts = [HostId(each) for each in tx.execute(select(found_guests.c.host).where(others)).scalars()]
    tx.execute(delete(found_guests).where(others))
    return hosts


def forget(tx: Tx) -> None:
    tx.execute(delete(found_guests))
