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


def is_ours(tx: Tx, held: Held) -> bool:
    """Say whether the operation is active and still run by its executor."""
    return tx.execute(_OURS, named(held)).first() is not None


def demand_ours(tx: Tx, held: Held, after: int | None = None) -> None:
    """Have nothing of this transaction be done, and `Lost` raised, unless the operation is ours.

    It is if it is active and still run by its executor, and has its entry at `after`.
    """
    query, values = (_OURS, {}) if after is None else (_OURS_WITH, {"after": after})
    tx.demand(query, named(held) | values, lambda: lost(held))


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
