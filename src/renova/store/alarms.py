"""Alarms: what was said to have failed, and what came of that."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Index, String, Table, bindparam, delete, insert, select, text, update

from renova.model.alarm import OPEN, Alarm, AlarmKind, AlarmStatus, Told
from renova.store.database import Tx
from renova.store.schema import Document, Number, Stamp, metadata, only_where

alarms = Table(
    "alarms",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("segment", String(36), nullable=False),
    Column("segment_host", String(36), nullable=False),
    Column("host", String(36), nullable=False),
    Column("host_name", String(255), nullable=False),
    Column("generated_at", Stamp, nullable=False),
    Column("payload", Document(dict[str, str]), nullable=False),
    Column("status", String(16), nullable=False),
    Column("epoch", Number, nullable=False),
    Column("counter", Number, nullable=False),
    Column("told", Document(tuple[Told, ...]), nullable=False),
    Column("proof", Number),
    Column("who", String(255), nullable=False),
    Column("created_at", Stamp, nullable=False),
    Column("updated_at", Stamp),
    Index("alarms_open", "id", **only_where(text("status in ('new', 'running', 'error')"))),
)

# The statuses are written out: SQLite plans a statement anew for each value that tells whether a partial index serves.
_UNHEEDED = select(alarms).where(text("status in ('new', 'running', 'error')")).order_by(alarms.c.id)
_MOVE = update(alarms).where(alarms.c.id == bindparam("alarm"), alarms.c.status == bindparam("expected"))

assert set(OPEN) == {"new", "running", "error"}, "as the statements say"


def _alarm(row: Any) -> Alarm:
    values = {**row._mapping, "kind": AlarmKind(row.kind), "status": AlarmStatus(row.status)}
    return Alarm(**values)


def add(tx: Tx, **values: Any) -> None:
    """Add an alarm; `values` are the fields of `Alarm` but id, status, what was told, and times."""
    tx.execute(insert(alarms).values(status=AlarmStatus.NEW, told=(), created_at=tx.now, **values))


def get(tx: Tx, uuid: str) -> Alarm | None:
    row = tx.execute(select(alarms).where(alarms.c.uuid == uuid)).first()
    return _alarm(row) if row else None


def every(tx: Tx) -> list[Alarm]:
    """List the alarms, the newest first."""
    return [_alarm(row) for row in tx.execute(select(alarms).order_by(alarms.c.id.desc()))]


def unheeded(tx: Tx) -> list[Alarm]:
    """List the alarms that are not at their end, in the order in which they came."""
    return [_alarm(row) for row in tx.execute(_UNHEEDED)]


def move(tx: Tx, known: Alarm, status: AlarmStatus, told: Sequence[Told], **values: Any) -> bool:
    """Have the alarm in another status, if it has the one that it is known to have."""
    which = {"alarm": known.id, "expected": known.status}
    changed = {"status": status, "told": tuple(told), "updated_at": tx.now, **values}
    return tx.execute(_MOVE, {**which, **changed}).rowcount == 1


def forget(tx: Tx, before: str) -> None:
    """Forget alarms that came before then, and have come to their end."""
    tx.execute(delete(alarms).where(alarms.c.created_at < before, alarms.c.status.not_in(OPEN)))
