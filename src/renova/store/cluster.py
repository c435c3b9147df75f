"""The cluster's own row: its era, whether it is on hold, and marks by which a database that lost commits is known.

An era is one unbroken history of the database. After a backup was restored, or commits were lost in a failover, the
hosts know more than the database does; then a new era begins, and nothing is given to anybody before every host has
been accounted for (`hosts.eras`). A hold forbids grants, starts, proofs and clean-up; leases are renewed. The brake
(`ha.brake`) only keeps hosts from being taken for dead without anybody's word.
"""

from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, String, Table, Text, insert, select, update

from renova.store.database import Tx
from renova.store.schema import Number, Stamp, metadata

cluster = Table(
    "cluster",
    metadata,
    Column("id", Number, primary_key=True),
    Column("era", Number, nullable=False),
    Column("hold", Text),  # why nothing may be granted, or null
    Column("held_at", Stamp),
    Column("restoring", Boolean, nullable=False, default=False),
    Column("reported", Number, nullable=False, default=0),  # highest era that any host has said it has seen
    Column("floor", Number, nullable=False, default=0),
    Column("tick", Number, nullable=False, default=0),
    Column("created_at", Stamp, nullable=False),
    Column("brake", Text),  # why no host is taken for dead by itself, or null
    Column("braked_at", Stamp),
    Column("brake_lifted_until", Stamp),  # by who released it
    Column("timeline", Text),  # of the server whose rows these are; null with SQLite
    Column("synchronous", Boolean),  # whether it was seen to wait for standbys, so that a failover loses nothing
    Column("authority", String(64)),  # the fingerprint of the certificate by which hosts know controllers
)

_GET = select(cluster).where(cluster.c.id == 1)
_CHANGE = update(cluster).where(cluster.c.id == 1)


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """How the cluster stands."""

    era: int = 1
    hold: str | None = None
    held_at: str | None = None
    restoring: bool = False  # the hold is that of a new era, and ends when every host has been accounted for
    reported: int = 0
    floor: int = 0  # up to this one, incarnations and versions of volumes may have been given by what was lost
    tick: int = 0
    brake: str | None = None  # why no host is taken for dead by itself
    braked_at: str | None = None
    brake_lifted_until: str | None = None  # and until when that cannot be again: somebody has said that all is well
    timeline: str | None = None  # of the database's server, as it was judged last
    synchronous: bool | None = None  # whether replication was seen to be so


def get(tx: Tx) -> Cluster:
    row = tx.execute(_GET).first()
    if row is None:
        return Cluster()
    values = dict(row._mapping)
    return Cluster(**{name: values[name] for name in Cluster.__struct_fields__})


def _change(tx: Tx, **values: Any) -> None:
    if tx.execute(_CHANGE, values).rowcount == 0:
        tx.execute(insert(cluster).values(**{"id": 1, "era": 1, "created_at": tx.now, **values}))


def begin_hold(tx: Tx, reason: str) -> bool:
    """Put the cluster on hold, or keep that of a new era from ending by itself; False when it is so already."""
    standing = get(tx)
    if standing.hold is not None and not standing.restoring:
        return False
    _change(tx, hold=reason, held_at=tx.now, restoring=False)
    return True


def report(tx: Tx, era: int) -> None:
    """Note that a host has seen this era."""
    if era > get(tx).reported:
        _change(tx, reported=era)


def begin_era(tx: Tx, reason: str, gap: int) -> int:
    """Begin a new era, on hold, above all that were ever seen; returns its number.

    Each era grants incarnations of its own, from its number times `gap`: those of an era that was lost are not known.
    """
    known = get(tx)
    era = max(known.era, known.reported) + 1
    floor = max(era * gap, known.floor)
    _change(tx, era=era, hold=reason, held_at=tx.now, restoring=True, reported=era, floor=floor)
    return era


def known_authority(tx: Tx) -> str | None:
    """Return the fingerprint of the cloud's certificate authority; None before any controller had one."""
    row = tx.execute(_GET).first()
    return None if row is None or row.authority is None else str(row.authority)


def authority(tx: Tx, mine: str) -> str:
    """Return the fingerprint of the cloud's certificate authority: the first that any controller had."""
    if (known := known_authority(tx)) is not None:
        return known
    _change(tx, authority=mine)
    return mine


def end_hold(tx: Tx) -> None:
    _change(tx, hold=None, held_at=None, restoring=False)


def note_history(tx: Tx, timeline: str, *, synchronous: bool) -> None:
    """Note of which timeline the database is, and whether a failover from it loses nothing."""
    _change(tx, timeline=timeline, synchronous=synchronous)


def engage_brake(tx: Tx, reason: str) -> None:
    _change(tx, brake=reason, braked_at=tx.now, brake_lifted_until=None)


def release_brake(tx: Tx, until: str) -> None:
    _change(tx, brake=None, braked_at=None, brake_lifted_until=until)


def tick(tx: Tx) -> int:
    """Count on, and return the count: a controller that has seen a higher one knows that commits were lost."""
    count = get(tx).tick + 1
    _change(tx, tick=count)
    return count
