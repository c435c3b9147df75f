"""Whose an operation is: an executor's (one run of a controller), under an epoch.

Every commit in an operation's name compares both, so an executor that was only paused, while another took over,
commits nothing.
"""

from sqlalchemy import bindparam, exists, select

from renova.engine.journal import Held, Lost
from renova.store.database import Tx
from renova.store.operations import IS_ACTIVE, operations
from renova.store.schema import Number
from renova.store.steps import steps

IS_OURS = (
    operations.c.id == bindparam("our_id"),
    operations.c.created_at == bindparam("our_created_at"),
    IS_ACTIVE,
    operations.c.executor == bindparam("our_executor"),
    operations.c.epoch == bindparam("our_epoch"),
)
_OURS = select(operations.c.id).where(*IS_OURS)
_OURS_WITH = _OURS.where(
    exists().where(steps.c.operation == operations.c.id, steps.c.place == bindparam("after", type_=Number))
)


def is_ours(tx: Tx, held: Held, after: int | None = None) -> bool:
    """Say whether the operation is active and still run by its executor, and has its entry at `after`."""
    query, values = (_OURS, {}) if after is None else (_OURS_WITH, {"after": after})
    return tx.execute(query, named(held) | values).first() is not None


def demand_ours(tx: Tx, held: Held, after: int | None = None) -> None:
    """Raise `Lost` unless the operation is active and still run by its executor, and has its entry at `after`."""
    if not is_ours(tx, held, after):
        raise lost(held)


def lost(held: Held) -> Lost:
    return Lost(f"operation {held.id} is no longer run by this controller")


def named(held: Held) -> dict[str, object]:
    """Return what `IS_OURS` compares."""
    return {
        "our_id": held.id,
        "our_created_at": held.created_at,
        "our_executor": held.executor,
        "our_epoch": held.epoch,
    }
