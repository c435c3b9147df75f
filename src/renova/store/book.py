"""What one transaction notes in the name of one operation: the engine's `Book`."""

from typing import Any

from sqlalchemy import Executable, LargeBinary, String, bindparam, cast, exists, false, insert, or_, select, update

from renova.engine.journal import Entry, Held
from renova.store import ownership
from renova.store.database import Tx
from renova.store.operations import ERASED, begin_next, operations
from renova.store.ownership import IS_OURS
from renova.store.schema import Number
from renova.store.steps import forget, steps

_CHANGE_OURS = update(operations).where(*IS_OURS)
_STEP = select(steps).where(steps.c.operation == bindparam("operation"), steps.c.place == bindparam("place"))
_NOTE = insert(steps)
# A database that lost commits has no former one: what came of it is lost, too.
_HAS_THE_FORMER = or_(
    bindparam("place", type_=Number) == 0,
    exists().where(steps.c.operation == operations.c.id, steps.c.place == bindparam("place", type_=Number) - 1),
)
_NOTE_OURS = _NOTE.from_select(
    ["operation", "place", "step", "result", "undone"],
    select(
        operations.c.id,
        bindparam("place", type_=Number),
        bindparam("step", type_=String),
        cast(bindparam("result", type_=LargeBinary), LargeBinary),
        false(),
    ).where(*IS_OURS, _HAS_THE_FORMER),
)


class StoredBook:
    """The operation as this transaction reads and changes it; every change makes sure that it is ours."""

    def __init__(self, tx: Tx, held: Held) -> None:
        self._tx = tx
        self._held = held
        self._ours = False  # whether this transaction has made sure of it

    def result(self, place: int) -> bytes | None:
        row = self._step(place)
        return bytes(row.result) if row is not None and row.step else None

    def is_undone(self, place: int) -> bool:
        row = self._step(place)
        return row is not None and bool(row.undone)

    def note(self, entry: Entry) -> None:
        if self._ours:
            self._note(entry.place, entry.step, entry.result, undone=False)
        else:
            values = {"place": entry.place, "step": entry.step, "result": entry.result}
            self._demand(_NOTE_OURS, values)

    def note_undone(self, place: int) -> None:
        self.demand_ours()
        done = self._tx.execute(
            update(steps).where(steps.c.operation == self._held.id, steps.c.place == place).values(undone=True)
        )
        if done.rowcount == 0:  # the step that failed has no entry of its own
            self._note(place, "", ERASED, undone=True)

    def begin_undo(self, failure: bytes) -> None:
        self._change(undoing=True, failure=failure)

    def close(self, outcome: str) -> Held | None:
        self._change(state=outcome, ended_at=self._tx.now, want=ERASED)
        forget(self._tx, self._held.id)
        return begin_next(self._tx, self._held.server, self._held.executor)

    def demand_ours(self, after: int | None = None) -> None:
        """Raise `Lost` unless the operation is ours, if this transaction has not made sure of it yet."""
        if not self._ours:
            ownership.demand_ours(self._tx, self._held, after)
            self._ours = True
        elif after is not None and self._step(after) is None:
            raise ownership.lost(self._held)

    def _step(self, place: int) -> Any:
        return self._tx.execute(_STEP, {"operation": self._held.id, "place": place}).first()

    def _change(self, **values: object) -> None:
        self._demand(_CHANGE_OURS, values)

    def _demand(self, change: Executable, values: dict[str, object]) -> None:
        self._tx.demand(change, values | ownership.named(self._held), lambda: ownership.lost(self._held))
        self._ours = True

    def _note(self, place: int, step: str, result: bytes, *, undone: bool) -> None:
        self._tx.execute(
            _NOTE, {"operation": self._held.id, "place": place, "step": step, "result": result, "undone": undone}
        )
