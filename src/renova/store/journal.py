"""The engine's journal in the database: operations are told by executors, and taken over from those that are dead."""

from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

import structlog
from sqlalchemy import bindparam, select, update

from renova.engine.journal import Book, Entry, Held
from renova.model.ids import ExecutorId, OperationId
from renova.store import executors
from renova.store.book import StoredBook
from renova.store.database import Database, Tx
from renova.store.executors import Controller
from renova.store.operations import CHANGE, IS_ACTIVE, held_in, operations
from renova.store.ownership import demand_ours, is_ours
from renova.store.steps import steps

log = structlog.get_logger()
T = TypeVar("T")

LEASE_S = 3.5  # seconds for which an executor is not taken for dead: what it left is then resumed within 5
FREE = "operations"  # what is woken for when operations may be taken over
NOBODY = ExecutorId("")  # whose operations whoever can takes over

_STEPS = select(steps).where(steps.c.operation == bindparam("operation")).order_by(steps.c.place)
_ORPHANS = (
    select(operations.c.id, operations.c.story, operations.c.version)
    .where(IS_ACTIVE, operations.c.executor.not_in(select(executors.executors.c.id)))
    .order_by(operations.c.id)
)
_HELD_BY = select(operations.c.id, operations.c.created_at).where(
    IS_ACTIVE, operations.c.executor == bindparam("executor")
)
_TAKE = (
    update(operations)
    .where(operations.c.id == bindparam("operation"))
    .values(executor=bindparam("by"), epoch=operations.c.epoch + 1)
    .returning(operations)
)


class StoredJournal:
    """The engine's journal, in the database."""

    def __init__(self, database: Database, controller: Controller | None = None, lease_s: float = LEASE_S) -> None:
        self._database = database
        self._controller = controller or Controller()
        self.lease_s = lease_s
        self._foreign: Collection[int] = ()  # nobody's operations whose stories we do not know

    async def commit(self, held: Held, change: Callable[[Tx, Book], T], name: str) -> T:
        def work(tx: Tx) -> T:
            book = StoredBook(tx, held)
            result = change(tx, book)
            book.demand_ours()
            return result

        work.__qualname__ = name
        return await self._database.transact(work)

    async def read(self, held: Held) -> tuple[list[Entry], set[int]]:
        def work(tx: Tx) -> tuple[list[Entry], set[int]]:
            demand_ours(tx, held)
            rows = tx.execute(_STEPS, {"operation": held.id}).all()
            entries = [Entry(row.place, row.step, row.result) for row in rows if row.step]
            return entries, {row.place for row in rows if row.undone}

        return await self._database.transact(work)

    async def keep_alive(self, executor: ExecutorId) -> bool:
        return await self._database.transact(lambda tx: executors.renew(tx, executor, self.lease_s))

    async def enlist(self, executor: ExecutorId, *, alone: bool = False) -> None:
        """Add this executor; `alone` when the database's lock proves that no other can live (SQLite)."""

        def work(tx: Tx) -> None:
            if alone:
                executors.bury_all(tx)
            executors.enlist(tx, executor, self._controller, self.lease_s)

        await self._database.transact(work)

    async def resign(self, executor: ExecutorId) -> None:
        def work(tx: Tx) -> None:
            executors.resign(tx, executor)
            self._database.wake(tx, FREE)

        await self._database.transact(work)

    def on_free(self, call: Callable[[], None]) -> None:
        self._database.on_wake(FREE, call)

    async def give_away(self, held: Held, to: ExecutorId | None = None) -> None:
        def work(tx: Tx) -> None:
            if not is_ours(tx, held):
                return
            if to is None:
                tx.execute(CHANGE, {"operation": held.id, "executor": NOBODY})
            elif executors.leased(tx, to):
                tx.execute(_TAKE, {"operation": held.id, "by": to})
            self._database.wake(tx, FREE)

        await self._database.transact(work)

    async def adopt(self, executor: ExecutorId, stories: Collection[tuple[str, int]], *, bury: bool) -> list[Held]:
        def free(tx: Tx) -> list[int]:
            orphans = tx.execute(_ORPHANS).all()
            self._say_foreign(row for row in orphans if (row.story, row.version) not in stories)
            return [row.id for row in orphans if (row.story, row.version) in stories]

        def work(tx: Tx) -> list[Held]:
            if bury:
                executors.bury(tx, executor, self.lease_s)
            return _take(tx, executor, free(tx))

        # First only looked: there is nothing to write but when a controller has died.
        some = await self._database.read(
            lambda tx: bool(free(tx)) or (bury and executors.lapsed(tx, executor, self.lease_s))
        )
        return await self._database.transact(work) if some else []

    def _say_foreign(self, orphans: Iterable[Any]) -> None:
        """Say once of each that it waits for a controller that knows its story."""
        foreign = {row.id: row for row in orphans}
        for row in foreign.values():
            if row.id not in self._foreign:
                log.error("operation of another release", operation=row.id, story=row.story, version=row.version)
        self._foreign = foreign.keys()

    async def held_by(self, executor: ExecutorId) -> dict[OperationId, str]:
        rows = await self._database.read(lambda tx: tx.execute(_HELD_BY, {"executor": executor}).all())
        return {OperationId(row.id): row.created_at for row in rows}

    async def take_again(self, executor: ExecutorId, operations: Collection[OperationId]) -> list[Held]:
        def work(tx: Tx) -> list[Held]:
            mine = {OperationId(row.id) for row in tx.execute(_HELD_BY, {"executor": executor})}
            return _take(tx, executor, sorted(mine.intersection(operations)))

        return await self._database.transact(work)


def _take(tx: Tx, executor: ExecutorId, free: Iterable[int]) -> list[Held]:
    return [held_in(tx.execute(_TAKE, {"operation": operation, "by": executor}).one()) for operation in free]
