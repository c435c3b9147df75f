"""What the steps of operations came to, and which were undone; an operation that has ended has none."""

from sqlalchemy import Boolean, Column, LargeBinary, String, Table, bindparam, delete, select

from renova.engine.journal import Held
from renova.model.ids import OperationId
from renova.store.database import Tx
from renova.store.schema import Number, metadata

steps = Table(
    "steps",
    metadata,
    Column("operation", Number, primary_key=True),
    Column("place", Number, primary_key=True),
    Column("step", String(128), nullable=False),
    Column("result", LargeBinary, nullable=False),
    Column("undone", Boolean, nullable=False, default=False),
)

_FORGET = delete(steps).where(steps.c.operation == bindparam("operation"))


def has_done(tx: Tx, held: Held, step: str) -> bool:
    """Say whether the operation has journalled this step."""
    found = select(steps.c.place).where(steps.c.operation == held.id, steps.c.step == step)
    return tx.execute(found).first() is not None


def forget(tx: Tx, operation: OperationId) -> None:
    tx.execute(_FORGET, {"operation": operation})
