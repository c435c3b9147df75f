"""One database, one synchronous `transact(fn)`: the only way to change what the cloud knows.

SQLite has one writer: a thread that takes the waiting transactions together, gives each a savepoint, and commits
them with one fsync (group commit, `synchronous=FULL`). A caller hears of its result only after that commit. Reads
run on a connection of their own, on the event loop: they are short, never wait for the writer, and a hop to a
thread would cost more than most of them. Which executor serves transactions is a parameter: the simulation runs
them inline.
"""

import asyncio
import fcntl
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

import structlog
from sqlalchemy import Connection, Engine, Executable, create_engine, event, inspect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from renova.model.clock import Clock, stamp
from renova.model.errors import BadSetup, NotNow
from renova.store import prepared
from renova.store.prepared import Rows
from renova.store.schema import metadata

log = structlog.get_logger()
T = TypeVar("T")

GROUP = 64  # transactions a commit: more gains nothing (docs/decisions/0003), and the first would wait longer


class Tx:
    """A transaction: statements, the time it began, and what to do at its end and once it is committed."""

    __slots__ = ("_connection", "afterwards", "ending", "now", "otherwise", "watch")

    def __init__(self, connection: Connection, now: str) -> None:
        self._connection = connection
        self.now = now
        self.afterwards: list[Callable[[], None]] = []
        self.otherwise: list[Callable[[], None]] = []
        self.ending: list[Callable[[], None]] = []
        self.watch: Watch | None = None

    def execute(self, statement: Executable, values: Any = None) -> Rows:
        return prepared.execute(self._connection, statement, values)

    def then(self, call: Callable[[], None]) -> None:
        """Have `call` run on the event loop after the commit; never if it does not commit."""
        self.afterwards.append(call)

    def unless(self, call: Callable[[], None]) -> None:
        """Have `call` run before the next transaction if this one does not commit; never if it does."""
        self.otherwise.append(call)

    def undone(self) -> None:
        """Tell those who wanted to know that it did not commit."""
        for call in self.otherwise:
            call()

    def last(self, call: Callable[[], None]) -> None:
        """Have `call` run in this transaction, when all else of it is done; only in one that is watched."""
        self.ending.append(call)


# Told of a changed state of a server: (transaction, the server before or None, the server now).
Watch: TypeAlias = Callable[[Tx, Any, Any], None]


class Executor(Protocol):
    """Runs transactions one after the other, each all or nothing."""

    async def transact(self, fn: Callable[[Tx], T]) -> T: ...
    async def read(self, fn: Callable[[Tx], T]) -> T: ...
    def close(self) -> None: ...


class Database:
    """What the rest of the controller sees of the database."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.watch: Watch | None = None  # who is told of servers' changed states, within the transactions

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` in one transaction and return its result once that is durable.

        What `fn` raises undoes all it did, and nothing of other transactions. `fn` may touch only the transaction:
        no I/O, no await. A database that cannot serve raises `NotNow`.
        """
        if self.watch is None:
            return await self._executor.transact(fn)

        def watched(tx: Tx) -> T:
            tx.watch = self.watch
            result = fn(tx)
            for call in tx.ending:
                call()
            return result

        return await self._executor.transact(watched)

    async def read(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` on a consistent view of what is committed; it must not write."""
        return await self._executor.read(fn)

    def close(self) -> None:
        self._executor.close()


class Inline:
    """Serves each transaction at once, in the caller's turn of the event loop: for tests and the simulation."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._clock = clock
        self._connection = _unkept(connection)
        self._raw: Any = self._connection.connection.driver_connection

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        tx = Tx(self._connection, stamp(self._clock.wall()))
        self._raw.execute("BEGIN")
        try:
            result = fn(tx)
            self._raw.execute("COMMIT")
        except BaseException:
            if self._raw.in_transaction:
                self._raw.execute("ROLLBACK")
            tx.undone()
            raise
        for call in tx.afterwards:
            call()
        return result

    async def read(self, fn: Callable[[Tx], T]) -> T:
        self._raw.execute("BEGIN")
        try:
            return fn(Tx(self._connection, stamp(self._clock.wall())))
        finally:
            self._raw.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()


def _unkept(connection: Connection) -> Connection:
    """Have transactions begun and ended at the driver: SQLAlchemy's own bookkeeping costs more than most reads."""
    return connection.execution_options(isolation_level="AUTOCOMMIT")


@dataclass(slots=True)
class _Job:
    fn: Callable[[Tx], Any]
    future: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop
    result: Any = None
    error: BaseException | None = None
    tx: Tx | None = None


class WriterThread:
    """SQLite's single writer, with group commit."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._reader = _unkept(engine.connect())
        self._reader.exec_driver_sql("PRAGMA query_only=ON")
        self._thread = threading.Thread(target=self._serve, name="sqlite-writer", daemon=True)
        self._thread.start()

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put(_Job(fn, future, loop))
        # Shielded by construction: a cancelled caller does not cancel the transaction, which may be committed.
        return await future

    async def read(self, fn: Callable[[Tx], T]) -> T:
        raw: Any = self._reader.connection.driver_connection
        raw.execute("BEGIN")
        try:
            return fn(Tx(self._reader, stamp(self._clock.wall())))
        finally:
            raw.execute("COMMIT")

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join()
        self._reader.close()
        self._engine.dispose()

    def _serve(self) -> None:
        with _unkept(self._engine.connect()) as connection:
            while (first := self._jobs.get()) is not None:
                group = [first]
                ending = False
                with suppress(queue.Empty):
                    while len(group) < GROUP:
                        job = self._jobs.get_nowait()
                        if job is None:
                            ending = True
                            break
                        group.append(job)
                self._commit(connection, group)
                if ending:
                    return

    def _commit(self, connection: Connection, group: list[_Job]) -> None:
        now = stamp(self._clock.wall())
        try:
            raw: Any = connection.connection.driver_connection
            if raw.in_transaction:  # a commit that failed may have left it open
                raw.rollback()
            raw.execute("BEGIN")
            for job in group:
                self._run(connection, raw, job, now)
            raw.execute("COMMIT")
        except Exception as error:  # the commit itself failed: nothing of the group is known
            log.error("commit failed", group=len(group), exc_info=True)
            for job in group:
                if job.tx is not None and job.error is None:
                    job.tx.undone()
                job.error = NotNow(f"the database could not commit: {_reason(error)}")
        # A whole group may have one loop in common; it is woken once.
        for loop in {job.loop for job in group}:
            mine = [job for job in group if job.loop is loop]
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_tell, mine)

    def _run(self, connection: Connection, raw: Any, job: _Job, now: str) -> None:
        tx = Tx(connection, now)
        raw.execute("SAVEPOINT member")
        job.tx = tx
        try:
            job.result = job.fn(tx)
        except Exception as error:
            tx.undone()
            job.error = error  # also in a group that ends here: it is not undone twice
            if not raw.in_transaction:
                raise  # a full disk, and SQLite has given up the whole transaction: of the group nothing is there
            raw.execute("ROLLBACK TO member")
            job.error = NotNow(f"the database refused: {_reason(error)}") if _is_busy(error) else error
        raw.execute("RELEASE member")


def _is_busy(error: Exception) -> bool:
    return isinstance(error, DBAPIError) and any(sign in str(error.orig) for sign in ("locked", "disk I/O", "is full"))


def _reason(error: Exception) -> str:
    """Say what the database said, without the statement: this goes to users."""
    return str(error.orig) if isinstance(error, DBAPIError) else str(error)


def _tell(group: list[_Job]) -> None:
    for job in group:
        if job.error is None and job.tx is not None:
            for call in job.tx.afterwards:
                try:
                    call()
                except Exception:  # it is committed all the same, and the others of the group wait to hear of theirs
                    log.error("what was to follow a commit failed", exc_info=True)
        if job.future.cancelled():
            continue
        if job.error is None:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.error)


STATEMENTS = 2000  # compiled ones that are kept: more than there are, in every form
PREPARED = 500  # those that SQLite has at hand: all that operations use (the driver's own limit is 128)


def sqlite_engine(path: Path | None) -> Engine:
    """Return an engine for the file; when `path` is None, each of its connections is a database in memory."""
    # An error must not repeat the values of its statement, secrets among them, into logs and faults.
    hidden: dict[str, Any] = {"hide_parameters": True, "query_cache_size": STATEMENTS}
    settings: dict[str, Any] = {"check_same_thread": False, "cached_statements": PREPARED}
    if path is None:
        engine = create_engine("sqlite://", poolclass=NullPool, connect_args=settings, **hidden)
    else:
        engine = create_engine(f"sqlite:///{path}", connect_args=settings | {"timeout": 30}, **hidden)

    @event.listens_for(engine, "connect")
    def _prepare(raw: Any, _record: Any) -> None:
        raw.isolation_level = None  # we say BEGIN ourselves: the driver's own guesses break savepoints
        raw.execute("PRAGMA foreign_keys=ON")
        if path is not None:
            raw.execute("PRAGMA journal_mode=WAL")
            raw.execute("PRAGMA synchronous=FULL")  # NORMAL may lose the last commits at a power cut
            raw.execute("PRAGMA secure_delete=ON")  # what is deleted may be a secret

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN")

    return engine


def open_sqlite(path: Path | None, clock: Clock) -> Database:
    """Open the embedded database, made on first use; `None` opens one in memory, served inline.

    One process at a time: a second one on the same file is refused (`BadSetup`), as is a file that is no database.
    """
    if path is None:
        return Database(Inline(memory(), clock))
    _lock(path)
    engine = sqlite_engine(path)
    try:
        metadata.create_all(engine)
    except DBAPIError as error:
        raise BadSetup(
            f"The database {path} cannot be opened ({error.orig}). "
            "Restore it, or name another file with RENOVA_DATABASE."
        ) from error
    _demand_all_columns(engine, path)
    return Database(WriterThread(engine, clock))


def memory() -> Connection:
    """Return a new database in memory with all tables; simulated clouds come by the thousand, so that it is a copy."""
    new = _in_memory().connect()
    raw: Any = _empty(len(metadata.tables)).connection.driver_connection
    raw.backup(new.connection.driver_connection)
    return new


@cache
def _in_memory() -> Engine:
    """Return the engine of all databases in memory: what is compiled for one is for all."""
    return sqlite_engine(None)


@cache
def _empty(_tables: int) -> Connection:
    """Return a database with all tables that there are now: a module imported later may bring more."""
    connection = _in_memory().connect()
    with connection.begin():
        metadata.create_all(connection)
    return connection


def _demand_all_columns(engine: Engine, path: Path) -> None:
    """Raise `BadSetup` if a table was made by a release that knew less of it: better now than in some request."""
    here = inspect(engine)
    for table in metadata.sorted_tables:
        missing = {column.name for column in table.columns} - {each["name"] for each in here.get_columns(table.name)}
        if missing:
            raise BadSetup(
                f"The database {path} was made by an earlier release of Renova: its table {table.name} has no "
                f"{', '.join(sorted(missing))}. Go on with that release, or begin a new cloud with another database."
            )


_locks: list[int] = []  # held until the process ends: closing the descriptor would give the lock away


def _lock(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadSetup(
            f"The database directory {path.parent} cannot be used ({error.strerror}). "
            "Make it writable, or name another file with RENOVA_DATABASE."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise BadSetup(f"The database {path} is in use by another controller. Stop that one first.") from error
    _locks.append(descriptor)
