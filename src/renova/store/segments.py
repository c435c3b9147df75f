"""Failover segments and the hosts in them."""

from typing import Any

from sqlalchemy import Boolean, Column, ForeignKey, String, Table, Text, delete, insert, select, update

from renova.model.segment import RecoveryMethod, Segment, SegmentHost
from renova.store.database import Tx
from renova.store.schema import Number, Stamp, metadata

segments = Table(
    "segments",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("description", Text),
    Column("recovery_method", String(16), nullable=False),
    Column("service_type", String(255), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created_at", Stamp, nullable=False),
    Column("updated_at", Stamp),
)

segment_hosts = Table(
    "segment_hosts",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("segment", String(36), ForeignKey("segments.uuid"), nullable=False, index=True),
    Column("name", String(255), nullable=False, unique=True),  # a host stands in one place only
    Column("type", String(255)),
    Column("control_attributes", Text),
    Column("reserved", Boolean, nullable=False),
    Column("on_maintenance", Boolean, nullable=False),
    Column("created_at", Stamp, nullable=False),
    Column("updated_at", Stamp),
)


def _segment(row: Any) -> Segment:
    return Segment(**{**row._mapping, "recovery_method": RecoveryMethod(row.recovery_method)})


def add(tx: Tx, **values: Any) -> None:
    """Add a segment; `values` are the fields of `Segment` but id and times."""
    tx.execute(insert(segments).values(created_at=tx.now, **values))


def get(tx: Tx, uuid: str) -> Segment | None:
    row = tx.execute(select(segments).where(segments.c.uuid == uuid)).first()
    return _segment(row) if row else None


def by_name(tx: Tx, name: str) -> Segment | None:
    row = tx.execute(select(segments).where(segments.c.name == name)).first()
    return _segment(row) if row else None


def every(tx: Tx) -> list[Segment]:
    """List the segments, the newest first."""
    return [_segment(row) for row in tx.execute(select(segments).order_by(segments.c.id.desc()))]


def change(tx: Tx, uuid: str, **values: Any) -> None:
    tx.execute(update(segments).where(segments.c.uuid == uuid).values(updated_at=tx.now, **values))


def remove(tx: Tx, uuid: str) -> None:
    """Remove the segment with its hosts' places in it."""
    tx.execute(delete(segment_hosts).where(segment_hosts.c.segment == uuid))
    tx.execute(delete(segments).where(segments.c.uuid == uuid))


# --- its hosts ---


def add_host(tx: Tx, **values: Any) -> None:
    """Give a host a place; `values` are the fields of `SegmentHost` but id and times."""
    tx.execute(insert(segment_hosts).values(created_at=tx.now, **values))


def host(tx: Tx, uuid: str) -> SegmentHost | None:
    row = tx.execute(select(segment_hosts).where(segment_hosts.c.uuid == uuid)).first()
    return SegmentHost(**row._mapping) if row else None


def host_named(tx: Tx, name: str) -> SegmentHost | None:
    row = tx.execute(select(segment_hosts).where(segment_hosts.c.name == name)).first()
    return SegmentHost(**row._mapping) if row else None


def hosts_of(tx: Tx, segment: str) -> list[SegmentHost]:
    """List the hosts of a segment, the newest first."""
    query = select(segment_hosts).where(segment_hosts.c.segment == segment).order_by(segment_hosts.c.id.desc())
    return [SegmentHost(**row._mapping) for row in tx.execute(query)]


def change_host(tx: Tx, uuid: str, **values: Any) -> None:
    tx.execute(update(segment_hosts).where(segment_hosts.c.uuid == uuid).values(updated_at=tx.now, **values))


def remove_host(tx: Tx, uuid: str) -> None:
    tx.execute(delete(segment_hosts).where(segment_hosts.c.uuid == uuid))
