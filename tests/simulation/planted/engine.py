"""Bugs of how operations are told: who tells one, what counts as done, what is undone, and who comes next."""

from typing import Any

from sqlalchemy import bindparam, select, update

from renova.engine.telling import Teller
from renova.engine.tries import Tries
from renova.model.errors import NotNow
from renova.store import book, journal, ownership
from renova.store.operations import operations
from tests.simulation.planted.bugs import Patch, bug
from tests.simulation.planted.shapes import EVACUATING, POWER

TAKEN_OVER = "controller frozen, database away for, disk of a host slow"
BUSY: dict[str, Any] = {"users": 8, "servers": 12}


@bug("1", "a step commits though its operation was taken over", "one_teller ended", TAKEN_OVER, **BUSY)
def no_lease_compare(patch: Patch) -> None:
    table = operations
    its = table.c.id == bindparam("our_id")
    patch.setattr(ownership, "_OURS", select(table.c.id).where(its))
    patch.setattr(ownership, "_OURS_WITH", select(table.c.id).where(its))
    patch.setattr(book, "_CHANGE_OURS", update(table).where(its))
    patch.setattr(ownership, "named", lambda held: {"our_id": held.id})

    def note(self: Any, entry: Any) -> None:
        self._note(entry.place, entry.step, entry.result, undone=False)

    patch.setattr(book.StoredBook, "note", note)


@bug("37", "undos are dropped", "at_the_end", f"{POWER}, disk of a host fails, hypervisor away", **EVACUATING)
def no_undo(patch: Patch) -> None:
    async def nothing(self: Any, held: Any, telling: Any, undone: Any) -> None:
        """Undo nothing."""

    patch.setattr(Teller, "_undo", nothing)


@bug("a", "what waits behind a quiet operation is forgotten", "at_the_end", "guest dies", users=6, seeds=80)
def queue_lost(patch: Patch) -> None:
    patch.setattr(book, "begin_next", lambda _tx, _server, _executor: None)


@bug("c", "nobody takes over the operations of a dead controller", "at_the_end", "controller killed")
def never_adopted(patch: Patch) -> None:
    async def adopt(self: Any, *_arguments: Any, **_options: Any) -> list[Any]:
        return []

    patch.setattr(journal.StoredJournal, "adopt", adopt)


@bug("e", "an operation is taken over under the epoch that it had", "monotone one_teller", TAKEN_OVER, **BUSY)
def no_new_epoch(patch: Patch) -> None:
    table = operations
    take = update(table).where(table.c.id == bindparam("operation")).values(executor=bindparam("by"))
    patch.setattr(journal, "_TAKE", take.returning(table))


UNANSWERED: dict[str, Any] = {"minutes": 0.2, "rate": 3.0}


@bug("h", "a commit whose answer was lost counts as not done", "unexpected", "commit's answer lost", **UNANSWERED)
def unheard_is_undone(patch: Patch) -> None:
    commit = Tries.commit

    async def distrusting(self: Any, held: Any, name: str, change: Any, patience: float = float("inf")) -> Any:
        return await commit(self, held, name, lambda tx, book, _again: change(tx, book, False), patience)

    patch.setattr(Tries, "commit", distrusting)


@bug("i", "a commit without an answer counts as done", "right at_the_end ended", "commit lost", **UNANSWERED)
def unheard_is_done(patch: Patch) -> None:
    commit = Tries.commit

    async def trusting(self: Any, held: Any, name: str, change: Any, patience: float = float("inf")) -> Any:
        done: list[Any] = []

        def noted(tx: Any, book: Any, again: bool) -> Any:
            done[:] = [change(tx, book, again)]
            return done[0]

        try:
            return await self._journal.commit(held, lambda tx, book: noted(tx, book, False), name)
        except NotNow:
            return done[0] if done else await commit(self, held, name, change, patience)

    def note(self: Any, entry: Any) -> None:
        self.demand_ours()
        self._note(entry.place, entry.step, entry.result, undone=False)

    patch.setattr(Tries, "commit", trusting)
    # Nor does it look whether what it did last is there.
    patch.setattr(book.StoredBook, "note", note)
    patch.setattr(book.StoredBook, "demand_ours", lambda self, _after=None: ownership.demand_ours(self._tx, self._held))
