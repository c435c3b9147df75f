"""Operations under way, and the journal of their steps: the store's side of the engine.

At most one operation a server is active, by a unique index; behind a quiet one others wait, in their order. An
operation belongs to an executor (one run of a controller) under an epoch; every commit in its name compares both, so
an executor that was only paused, while another took over, commits nothing.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

import structlog
from sqlalchemy import (
    Boolean,
    Column,
    Index,
    LargeBinary,
    String,
    Table,
    bindparam,
    cast,
    delete,
    exists,
    false,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError

from renova.engine.journal import Book, Entry, Held, Lost
from renova.model.errors import Conflict
from renova.model.ids import ExecutorId, OperationId, ServerId
from renova.store import executors, servers
from renova.store.database import Database, Tx
from renova.store.executors import Controller
from renova.store.prepared import Rows
from renova.store.schema import Number, Stamp, metadata, only_where

log = structlog.get_logger()
T = TypeVar("T")

operations = Table(
    "operations",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("server", String(36), nullable=False),
    Column("number", Number, nullable=False),
    Column("story", String(64), nullable=False),
    Column("version", Number, nullable=False),
    Column("want", LargeBinary, nullable=False),
    Column("action", Number, nullable=False),
    Column("state", String(16), nullable=False),  # queued, active, done, failed, superseded
    Column("quiet", Boolean, nullable=False, default=False),
    Column("undoing", Boolean, nullable=False, default=False),
    Column("failure", LargeBinary),
    Column("executor", String(36), nullable=False, index=True),
    Column("epoch", Number, nullable=False),
    Column("created_at", Stamp, nullable=False),
    Column("ended_at", Stamp),
    Index("one_active_operation_a_server", "server", unique=True, **only_where(text("state = 'active'"))),
    Index("operations_active", "state", "executor"),
    Index("operations_queued", "server", **only_where(text("state = 'queued'"))),
)

steps = Table(
    "steps",
    metadata,
    Column("operation", Number, primary_key=True),
    Column("place", Number, primary_key=True),
    Column("step", String(128), nullable=False),
    Column("result", LargeBinary, nullable=False),
    Column("undone", Boolean, nullable=False, default=False),
)

LEASE_S = 3.5  # seconds for which an executor is not taken for dead: what it left is then resumed within 5
ERASED = b""
FREE = "operations"  # what is woken for when operations may be taken over
NOBODY = ExecutorId("")  # whose operations whoever can takes over
UNDER_WAY = "Another operation on this server is under way."

# Made once: every step runs them, and making a statement costs five times as much as running it. States are written
# out: SQLite plans a statement anew for each value that says whether a partial index may serve.
_IS_ACTIVE, _IS_QUEUED = operations.c.state == text("'active'"), operations.c.state == text("'queued'")
_SUBMIT = insert(operations).returning(operations)
_ACTIVE = select(operations).where(operations.c.server == bindparam("server"), _IS_ACTIVE)
_QUEUED = select(operations).where(operations.c.server == bindparam("server"), _IS_QUEUED).order_by(operations.c.id)
_FIRST_QUEUED = _QUEUED.limit(1)
_IS_OURS = (
    operations.c.id == bindparam("our_id"),
    operations.c.created_at == bindparam("our_created_at"),
    _IS_ACTIVE,
    operations.c.executor == bindparam("our_executor"),
    operations.c.epoch == bindparam("our_epoch"),
)
_OURS = select(operations.c.id).where(*_IS_OURS)
_OURS_WITH = _OURS.where(
    exists().where(steps.c.operation == operations.c.id, steps.c.place == bindparam("after", type_=Number))
)
_CHANGE_OURS = update(operations).where(*_IS_OURS)
_CHANGE = update(operations).where(operations.c.id == bindparam("operation"))
_STEPS = select(steps).where(steps.c.operation == bindparam("operation")).order_by(steps.c.place)
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
    ).where(*_IS_OURS, _HAS_THE_FORMER),
)
_ORPHANS = (
    select(operations.c.id, operations.c.story, operations.c.version)
    .where(_IS_ACTIVE, operations.c.executor.not_in(select(executors.executors.c.id)))
    .order_by(operations.c.id)
)
_HELD_BY = select(operations.c.id, operations.c.created_at).where(
    _IS_ACTIVE, operations.c.executor == bindparam("executor")
)
_TAKE = (
    update(operations)
    .where(operations.c.id == bindparam("operation"))
    .values(executor=bindparam("by"), epoch=operations.c.epoch + 1)
    .returning(operations)
)
_FORGET = delete(steps).where(steps.c.operation == bindparam("operation"))


def submit(
    tx: Tx,
    server: ServerId,
    *,
    story: str,
    version: int,
    want: bytes,
    action: int,
    executor: ExecutorId,
    quiet: bool = False,
    waits: bool = False,
) -> tuple[OperationId, Held | None]:
    """Add an operation that this executor is to run; returns it if it may begin, and its id either way.

    It waits where a quiet one is active, and where it `waits` for whichever is; else `Conflict` when the server has
    another one that is, or that waits already (the server's task state, which usually says so, an administrator may
    have reset).
    """
    before = active(tx, server)
    waiting = [] if before is None else queued(tx, server)
    if (before is not None and not before.quiet and not waits) or (
        not quiet and any(not held.quiet for held in waiting)
    ):
        raise Conflict(UNDER_WAY)
    values = {
        "server": server,
        "number": servers.next_number(tx, server) if before is None else 0,
        "story": story,
        "version": version,
        "want": want,
        "action": action,
        "state": "active" if before is None else "queued",
        "quiet": quiet,
        "executor": executor,
        "epoch": 1,
        "created_at": tx.now,
    }
    try:
        row = tx.execute(_SUBMIT, values).one()
    except IntegrityError as error:
        raise Conflict(UNDER_WAY) from error
    return OperationId(row.id), _held(row) if before is None else None


def active(tx: Tx, server: ServerId) -> Held | None:
    row = tx.execute(_ACTIVE, {"server": server}).first()
    return _held(row) if row else None


def unfinished(tx: Tx) -> list[Held]:
    """List the operations of all servers that are active or wait."""
    rows = tx.execute(select(operations).where(operations.c.state.in_(("active", "queued"))))
    return [_held(row) for row in rows]


def demand_ours(tx: Tx, held: Held, after: int | None = None) -> None:
    """Raise `Lost` unless the operation is active and still run by its executor, and has its entry at `after`."""
    query, values = (_OURS, {}) if after is None else (_OURS_WITH, {"after": after})
    if tx.execute(query, _named(held) | values).first() is None:
        raise _lost(held)


def _lost(held: Held) -> Lost:
    return Lost(f"operation {held.id} is no longer run by this controller")


def _named(held: Held) -> dict[str, object]:
    return {
        "our_id": held.id,
        "our_created_at": held.created_at,
        "our_executor": held.executor,
        "our_epoch": held.epoch,
    }


def has_done(tx: Tx, held: Held, step: str) -> bool:
    """Say whether the operation has journalled this step."""
    found = select(steps.c.place).where(steps.c.operation == held.id, steps.c.step == step)
    return tx.execute(found).first() is not None


def queued(tx: Tx, server: ServerId) -> list[Held]:
    """List what waits behind the server's active operation, the first first."""
    return [_held(row) for row in tx.execute(_QUEUED, {"server": server})]


def supersede(tx: Tx, held: Held) -> None:
    """End the operation in favour of a newer one: from this transaction on it can commit nothing."""
    tx.execute(
        _CHANGE,
        {"operation": held.id, "state": "superseded", "ended_at": tx.now, "want": ERASED, "failure": None},
    )
    tx.execute(_FORGET, {"operation": held.id})


def put_back(tx: Tx, held: Held) -> None:
    """Have a quiet operation that has begun wait again, in its old place, to be told from its beginning."""
    tx.execute(_CHANGE, {"operation": held.id, "state": "queued", "undoing": False, "failure": None})
    tx.execute(_FORGET, {"operation": held.id})


def outcome(tx: Tx, operation: OperationId) -> tuple[str, bytes | None]:
    """Return the operation's state and, where it has one, its failure; "lost" of one that the database has lost."""
    row = tx.execute(select(operations.c.state, operations.c.failure).where(operations.c.id == operation)).first()
    return (row.state, row.failure) if row is not None else ("lost", None)


def _next(tx: Tx, server: ServerId, executor: ExecutorId) -> Held | None:
    """Make the first that waits the server's active operation, run by this executor."""
    row = tx.execute(_FIRST_QUEUED, {"server": server}).first()
    if row is None:
        return None
    # Numbered only now: in the order in which they reach the host, each has a higher number than the one before.
    values = {"state": "active", "number": servers.next_number(tx, server), "executor": executor}
    tx.execute(_CHANGE, {"operation": row.id, "epoch": row.epoch + 1, **values})
    return active(tx, server)


def _held(row: Any) -> Held:
    mapping = row._mapping
    return Held(**{name: mapping[name] for name in Held.__struct_fields__})


class _Book:
    """Notes of one transaction about one operation."""

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
            self._demand(self._tx.execute(_NOTE_OURS, values | _named(self._held)))

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
        self._tx.execute(_FORGET, {"operation": self._held.id})
        return _next(self._tx, self._held.server, self._held.executor)

    def demand_ours(self, after: int | None = None) -> None:
        """Raise `Lost` unless the operation is ours, if this transaction has not made sure of it yet."""
        if not self._ours:
            demand_ours(self._tx, self._held, after)
            self._ours = True
        elif after is not None and self._step(after) is None:
            raise _lost(self._held)

    def _step(self, place: int) -> Any:
        return self._tx.execute(_STEP, {"operation": self._held.id, "place": place}).first()

    def _change(self, **values: object) -> None:
        self._demand(self._tx.execute(_CHANGE_OURS, values | _named(self._held)))

    def _demand(self, done: Rows) -> None:
        if done.rowcount == 0:
            raise _lost(self._held)
        self._ours = True

    def _note(self, place: int, step: str, result: bytes, *, undone: bool) -> None:
        self._tx.execute(
            _NOTE, {"operation": self._held.id, "place": place, "step": step, "result": result, "undone": undone}
        )


class StoredJournal:
    """The engine's journal, in the database."""

    def __init__(self, database: Database, controller: Controller | None = None, lease_s: float = LEASE_S) -> None:
        self._database = database
        self._controller = controller or Controller()
        self.lease_s = lease_s
        self._foreign: Collection[int] = ()  # nobody's operations whose stories we do not know

    async def commit(self, held: Held, change: Callable[[Tx, Book], T]) -> T:
        def work(tx: Tx) -> T:
            book = _Book(tx, held)
            result = change(tx, book)
            book.demand_ours()
            return result

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
            if tx.execute(_OURS, _named(held)).first() is None:
                return
            if to is None:
                tx.execute(_CHANGE, {"operation": held.id, "executor": NOBODY})
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
    return [_held(tx.execute(_TAKE, {"operation": operation, "by": executor}).one()) for operation in free]
