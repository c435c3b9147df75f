"""SQLite: the embedded database of a controller that is alone, in a file of its own or in memory.

It has one writer (`writer`), whose commits are on the disk before anybody hears of them. Reads run on a connection of
their own, on the event loop: they are short, never wait for the writer, and a hop to a thread would cost more than
most of them.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, Executable, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.compiler import SQLCompiler

from renova.model.clock import Clock, stamp
from renova.model.errors import BadSetup, Broken, DatabaseAway, Invalid
from renova.store.database import Database, Tx
from renova.store.inline import Inline
from renova.store.prepared import Rows, Shape, Statement, Statements, Value, shape, value
from renova.store.schema import metadata
from renova.store.session import UNKEPT, Trouble, reason
from renova.store.upgrade import REVISIONS, is_current, upgrade
from renova.store.writer import Writer

T = TypeVar("T")

STATEMENTS = 2000  # compiled ones that are kept: more than there are, in every form
PREPARED = 500  # those that SQLite has at hand: all that operations use (the driver's own limit is 128)


class _Prepared(NamedTuple):
    sql: str
    values: list[Value]
    has_lists: bool
    shape: Shape


class SQLiteSession(Statements[_Prepared]):
    """A connection to a SQLite database, given up to it."""

    kept: ClassVar[WeakKeyDictionary[Executable, Any]] = WeakKeyDictionary()

    def __init__(self, connection: Connection, clock: Clock) -> None:
        # Transactions are begun and ended at the driver: SQLAlchemy's own bookkeeping costs more than most reads.
        super().__init__(connection.execution_options(isolation_level="AUTOCOMMIT"))
        self._clock = clock
        self._raw: Any = self.connection.connection.driver_connection

    def begin(self) -> str:
        if self._raw.in_transaction:  # a commit that failed may have left it open
            self._raw.rollback()
        self._raw.execute("BEGIN")
        return stamp(self._clock.wall())

    def commit(self) -> None:
        self._raw.execute("COMMIT")

    def rollback(self) -> None:
        if self._raw.in_transaction:
            self._raw.rollback()

    def mark(self) -> int:
        found: int = self._raw.total_changes
        return found

    def clean_since(self, mark: int) -> bool:
        clean: bool = self._raw.in_transaction and self._raw.total_changes == mark
        return clean

    def savepoint(self) -> None:
        self._raw.execute("SAVEPOINT member")

    def undo(self) -> None:
        self._raw.execute("ROLLBACK TO member")
        self._raw.execute("RELEASE member")

    def release(self) -> None:
        self._raw.execute("RELEASE member")

    def trouble(self, error: Exception) -> Trouble:
        if not isinstance(error, DBAPIError | sqlite3.Error):
            return Trouble.NONE
        if not self._raw.in_transaction:
            return Trouble.LOST  # a full disk, and SQLite has given up the whole transaction
        away = any(sign in str(error) for sign in ("locked", "disk I/O", "is full"))
        return Trouble.AWAY if away else Trouble.NONE

    def close(self) -> None:
        self.connection.close()

    def run(self, prepared: _Prepared, given: Mapping[str, Any]) -> Rows:
        sql, values, has_lists, shape = prepared
        if has_lists:
            sql, bound = _with_lists(sql, values, given)
        else:
            bound = [
                constant if name is None else given[name] if convert is None else convert(given[name])
                for name, constant, convert, _ in values
            ]
        try:
            cursor = self._raw.execute(sql, bound)
            found = cursor.fetchall() if shape.row is not None else ()
        except (OverflowError, UnicodeEncodeError) as error:
            raise Invalid(UNKEPT) from error
        except sqlite3.Error as error:
            # As SQLAlchemy tells it, and without the values: there may be secrets among them.
            dialect = self.connection.dialect
            raise DBAPIError.instance(sql, None, error, sqlite3.Error, hide_parameters=True, dialect=dialect) from error
        return Rows(shape.rows(found) if found else (), cursor.rowcount)

    def run_new(self, statement: Executable, values: Any) -> Rows:
        try:
            return super().run_new(statement, values)
        except (OverflowError, UnicodeEncodeError) as error:
            raise Invalid(UNKEPT) from error

    def keep(self, statement: Statement, compiled: SQLCompiler, names: Collection[str]) -> _Prepared | None:
        sql, values = str(compiled), list[Value]()
        if compiled.positiontup is None:
            return None
        for place in compiled.positiontup:
            found = value(compiled, place, names)
            if found is None:
                return None
            if not found.is_list:
                values.append(found)
            elif _marker(place) not in sql or found.name not in (None, place):
                return None
            elif found.name is None:
                sql = sql.replace(_marker(place), ",".join("?" * len(found.constant)))
                values += [Value(None, each) for each in found.constant]
            else:
                values.append(found)
        has_lists = any(value.is_list for value in values)
        return _Prepared(sql, values, has_lists, shape(statement, compiled.dialect))


def _with_lists(sql: str, values: list[Value], given: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Write the lists out: as many marks as there are values."""
    bound = list[Any]()
    for name, constant, convert, is_list in values:
        each = [constant] if name is None else given[name] if is_list else [given[name]]
        bound += [convert(one) for one in each] if convert is not None else each
        if is_list:
            sql = sql.replace(_marker(name), ",".join("?" * len(each)))
    return sql, bound


def _marker(name: str | None) -> str:
    """Return what SQLAlchemy writes where a list will be."""
    return f"__[POSTCOMPILE_{name}]"


class _File:
    """A database in a file: one thread writes, reads run where they are asked for."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._reader = SQLiteSession(engine.connect(), clock)
        self._reader.connection.exec_driver_sql("PRAGMA query_only=ON")
        self._writer = Writer(SQLiteSession(engine.connect(), clock))
        self.transact = self._writer.transact

    async def read(self, fn: Callable[[Tx], T]) -> T:
        try:
            return fn(Tx(self._reader, self._reader.begin()))
        except Exception as error:
            if self._reader.trouble(error) is Trouble.NONE:
                raise
            raise DatabaseAway("the database could not be read", details=reason(error)) from error
        finally:
            self._reader.rollback()

    def close(self) -> None:
        self._writer.close()
        self._reader.close()
        self._engine.dispose()


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
        return Database(Inline(SQLiteSession(memory(), clock)))
    _lock(path)
    engine = sqlite_engine(path)
    try:
        with engine.connect() as connection:
            bring_up(connection, path)
    except DBAPIError as error:
        raise BadSetup(
            f"The database {path} cannot be opened ({error.orig}). "
            "Restore it, or name another file with RENOVA_DATABASE."
        ) from error
    return Database(_File(engine, clock))


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


def bring_up(connection: Connection, path: Path, revisions: Path = REVISIONS) -> None:
    """Have the tables be this release's. The file is ours alone by now."""
    raw: Any = connection.connection.driver_connection
    raw.execute("PRAGMA foreign_keys=OFF")  # where a table is made anew, what refers to it would be deleted
    try:
        with connection.begin():
            if not is_current(connection, revisions):
                upgrade(connection, str(path), revisions)
                if broken := raw.execute("PRAGMA foreign_key_check").fetchone():
                    raise Broken(f"a revision has left rows of {broken[0]} that refer to nothing")
    finally:
        raw.execute("PRAGMA foreign_keys=ON")


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
        raise BadSetup(
            f"The database {path} is in use by another controller. Stop that one first; several need PostgreSQL."
        ) from error
    _locks.append(descriptor)
