"""A connection to PostgreSQL, as the writer and readers use it: transactions, prepared statements, what went wrong.

The writers of all controllers take turns, group by group, by a lock on one table: every group sees all that was
committed before it and none is undone for another's sake, where serializable transactions side by side would undo
nearly each other's every time (docs/decisions/0018). They are serializable all the same: the lock is for speed, the
level for truth.
"""

import itertools
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, NamedTuple
from weakref import WeakKeyDictionary

import psycopg
import structlog
from psycopg import pq
from psycopg.adapt import Transformer
from psycopg.errors import Diagnostic, error_from_result
from sqlalchemy import Connection, Executable, Integer, Select, String
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

from renova.model.clock import Clock, stamp
from renova.model.errors import Invalid
from renova.store.postgresql_answers import Answers
from renova.store.postgresql_server import Link, Server, Unreachable
from renova.store.postgresql_values import CONVERTERS, binary, converter_of
from renova.store.prepared import Rows, Shape, Statement, Statements, Value, shape, value
from renova.store.session import UNKEPT, Spoilt, Trouble

log = structlog.get_logger()

_NOW = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"
# The lock is taken before the transaction sees anything: a statement that read would see what was there before it
# waited. The table is hardly ever written, so that no vacuum is in the way; who changes the schema is in turn, too.
_WRITE = f"BEGIN ISOLATION LEVEL SERIALIZABLE; LOCK TABLE schema_revision IN EXCLUSIVE MODE; {_NOW}".encode()
# The server waits for no standby when a transaction has written nothing, though what it has read may be a commit that
# no standby has: one whose wait was broken off, or that a crash cut short. So something is written to its log each
# time, even if nobody reads it: a standby that confirms this has all that was to be seen before (docs/safety.md).
_COMMIT = b"SELECT pg_logical_emit_message(true, 'renova', ''); COMMIT"
_READ = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {_NOW}".encode()
_PLACE = re.compile(r"%\((\w+)\)s")
_LIST = re.compile(r"(NOT )?IN \(__\[POSTCOMPILE_(\w+?)(?:~~.*?)?\]\)")
_AGAIN = ("40001", "40P01")  # serialization failure, deadlock
_LOST = ("08", "57P", "25P03")  # connection, shutdown, too long idle
_READ_ONLY = "25006"  # says a server that was the primary
_AWAY = ("53", "55P03", "57014", "58")  # no room, a lock or statement that took too long, an I/O error
_OK = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK, pq.ExecStatus.EMPTY_QUERY)


class _Ended(psycopg.OperationalError):
    """The connection was lost before anything was committed."""


class _Prepared(NamedTuple):
    name: bytes  # at the server
    sql: bytes
    values: list[Value]
    shape: Shape
    writes: bool


class _Changed(Rows):
    """How many rows a statement that was sent ahead has changed: whoever wants to know waits for it."""

    __slots__ = ("_session",)

    def __init__(self, session: "PostgreSQLSession") -> None:
        super().__init__((), -1)
        self._session = session

    def hear(self, result: pq.abc.PGresult) -> int:
        self._changed = result.command_tuples or 0
        return self._changed

    @property
    def rowcount(self) -> int:
        if self._changed < 0:
            self._session.settle()
        return self._changed


class PostgreSQLSession(Statements[_Prepared]):
    """A connection to a PostgreSQL database, made when it is needed and anew when it was lost."""

    kept: ClassVar[WeakKeyDictionary[Executable, Any]] = WeakKeyDictionary()
    _numbers: ClassVar[Any] = itertools.count(1)

    def __init__(self, server: Server, *, writes: bool, ahead: bool = False, clock: Clock | None = None) -> None:
        """Take the server's time for that of transactions, unless another clock is given.

        Where it may be sent `ahead`, what gives no rows is not waited for at once.
        """
        self._server = server
        self._ahead = ahead
        self._careful = False
        self._begin = _WRITE if writes else _READ
        self.clock = clock
        self._generation = 0
        self._written = 0
        self._warning = ""
        self._ended = False  # by the server, as it has said
        self._link: Link | None = None

    def begin(self) -> str:
        if self._link is None or self._generation != self._server.standing.generation:
            self._connect()
        self._warning = ""
        self._written = 0
        self._careful = False
        row = self._query(self._begin).get_value(0, 0)
        assert row is not None
        return row.decode() if self.clock is None else stamp(self.clock.wall())

    def commit(self) -> None:
        if self._answers.unasked() or self._ended:
            # Nothing was asked: the server has ended the connection, and with it the transaction.
            raise _Ended("the connection was ended before the commit")
        result = self._query(_COMMIT)
        if result.command_status != b"COMMIT":
            raise psycopg.errors.InFailedSqlTransaction("a statement had failed, and its error was not passed on")
        if self._warning:
            # Its replica did not confirm it: a failover may still undo it, so that it does not count as committed.
            raise psycopg.errors.TransactionResolutionUnknown(self._warning)

    def rollback(self) -> None:
        if self._link is None:
            return
        try:
            self._answers.forget()
            if self._pg.transaction_status != pq.TransactionStatus.IDLE:
                self._query(b"ROLLBACK")
        except psycopg.Error:
            log.info("rollback failed", exc_info=True)  # the connection is given up, and the server undoes it
            self._give_up()

    def mark(self) -> int:
        return self._written

    def clean_since(self, mark: int) -> bool:
        if self._written != mark:
            return False
        self.settle()
        return self._pg.transaction_status == pq.TransactionStatus.INTRANS

    def settle(self) -> None:
        self._answers.settle()

    def savepoint(self) -> None:
        self._query(b"SAVEPOINT member")
        self._careful = True

    def undo(self) -> None:
        self._query(b"ROLLBACK TO member; RELEASE member")

    def release(self) -> None:
        self._query(b"RELEASE member")

    def trouble(self, error: Exception) -> Trouble:
        if isinstance(error, Spoilt):
            trouble = self.trouble(error.__cause__) if isinstance(error.__cause__, Exception) else Trouble.NONE
            return trouble if trouble in (Trouble.AGAIN, Trouble.LOST) else Trouble.NONE
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not isinstance(cause, psycopg.Error):
            return Trouble.NONE
        if isinstance(cause, Unreachable):
            return Trouble.AWAY
        if isinstance(cause, _Ended):
            self._give_up()
            return Trouble.AGAIN
        state = cause.sqlstate or ""
        demoted = state == _READ_ONLY and self._begin is _WRITE
        if demoted or state.startswith(_LOST) or self._link is None or self._pg.status != pq.ConnStatus.OK:
            self._give_up()
            return Trouble.LOST
        if state in _AGAIN:
            return Trouble.AGAIN
        return Trouble.AWAY if state.startswith(_AWAY) else Trouble.NONE

    def close(self) -> None:
        if self._link is not None:
            self.connection.close()
            self._link = None

    def run(self, prepared: _Prepared, given: Mapping[str, Any]) -> Rows:
        shape = prepared.shape
        if prepared.writes:
            self._written += 1
            if shape.row is None and self._ahead and not self._careful:
                return self._send_ahead(prepared, given)
        bound, formats = self._bind(prepared, given)
        result = self._answers.run(prepared.name, bound, formats)
        if result.status not in _OK:
            self._check(result, prepared.sql)
        if shape.row is None or not result.ntuples:
            return Rows((), result.command_tuples or 0)
        self._transformer.set_pgresult(result)
        return Rows(shape.rows(self._transformer.load_rows(0, result.ntuples, tuple)), result.command_tuples or 0)

    def demand(self, statement: Executable, values: Any, otherwise: Callable[[], Exception]) -> None:
        prepared = self.prepared(statement, values) if self._ahead and not self._careful else None
        if prepared is None:
            super().demand(statement, values, otherwise)
            return
        if prepared.writes:
            self._written += 1
        self._send_ahead(prepared, values, otherwise)

    def _send_ahead(
        self, prepared: _Prepared, given: Mapping[str, Any], otherwise: Callable[[], Exception] | None = None
    ) -> Rows:
        changed = _Changed(self)

        def heard(result: pq.abc.PGresult) -> None:
            self._check(result, prepared.sql)
            if changed.hear(result) == 0 and otherwise is not None:
                raise otherwise()

        bound, formats = self._bind(prepared, given)
        self._answers.send_ahead(prepared.name, bound, formats, heard)
        return changed

    def _bind(self, prepared: _Prepared, given: Mapping[str, Any]) -> tuple[list[bytes | None], list[pq.Format]]:
        """Return the statement's values as they go to the server, which knows it from now on."""
        bound, formats = list[bytes | None](), list[pq.Format]()
        for each in prepared.values:
            found = each.of(given)
            convert = CONVERTERS.get(type(found)) or converter_of(found)
            bound.append(convert(found))
            formats.append(pq.Format.BINARY if convert is binary else pq.Format.TEXT)
        if prepared.name not in self._known:
            self._check(self._answers.prepare(prepared.name, prepared.sql), prepared.sql)
            self._known.add(prepared.name)
        return bound, formats

    def run_new(self, statement: Executable, values: Any) -> Rows:
        self.settle()
        if not isinstance(statement, Select):
            self._written += 1
        try:
            return super().run_new(statement, values)
        except DBAPIError as error:
            if isinstance(error.orig, psycopg.Error):
                _forget_values(error.orig)
                error.args = (f"({type(error.orig).__name__}) {error.orig}",)
                _refuse_values(error.orig)
            raise
        except UnicodeEncodeError as error:
            raise Invalid(UNKEPT) from error

    def keep(self, statement: Statement, compiled: SQLCompiler, names: Collection[str]) -> _Prepared | None:
        places, values = list[str](), list[Value]()
        sql = str(compiled)
        kept = True

        def place(key: str) -> str:
            nonlocal kept
            if key not in places:
                found = value(compiled, key, names)
                kept = kept and found is not None and (not found.is_list or found.name in (None, key))
                places.append(key)
                values.append(found or Value(None))
            return f"${places.index(key) + 1}"

        def listed(match: re.Match[str]) -> str:
            nonlocal kept
            kind = compiled.binds[match[2]].type
            kept = kept and isinstance(kind, String | Integer)
            array = "TEXT[]" if isinstance(kind, String) else "BIGINT[]"
            return f"{'<> ALL' if match[1] else '= ANY'} ({place(match[2])}::{array})"

        sql = _LIST.sub(listed, sql)
        sql = _PLACE.sub(lambda match: place(match[1]), sql).replace("%%", "%")
        if not kept or "POSTCOMPILE" in sql:
            return None
        writes = not isinstance(statement, Select)
        name = b"renova_%d" % next(self._numbers)
        return _Prepared(name, sql.encode(), values, shape(statement, compiled.dialect), writes)

    def _connect(self) -> None:
        self.close()
        standing = self._server.standing
        connection: Connection = self._server.engine.connect()
        super().__init__(connection)
        link: Any = connection.connection.driver_connection
        self._link = link
        self._ended = False
        self._pg: pq.abc.PGconn = link.pgconn
        link.add_notice_handler(self._hear)
        self._answers = Answers(self._pg)
        self._transformer = Transformer(link)
        self._known: set[bytes] = set()
        self._generation = max(standing.generation, 1)

    def _give_up(self) -> None:
        """Close the connection, and have all others of its generation made anew."""
        if self._link is not None:
            self._pg.finish()
            self.connection.invalidate()
            self.connection.close()
            self._link = None
            self._server.lost(self._generation)

    def _hear(self, notice: Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self._warning = notice.message_primary or "a warning without words"
        self._ended |= notice.severity_nonlocalized in ("FATAL", "PANIC")

    def _query(self, sql: bytes) -> pq.abc.PGresult:
        """Run statements that have no values; return the last one's result."""
        result = self._answers.query(sql)
        if result.status not in _OK:
            self._check(result, sql)
        return result

    def _check(self, result: pq.abc.PGresult, sql: bytes) -> None:
        """Raise the error that the result is, as SQLAlchemy tells it and without values."""
        if result.status in _OK:
            return
        error = error_from_result(result)
        _forget_values(error)
        _refuse_values(error)
        dialect = self.connection.dialect
        raise DBAPIError.instance(
            sql.decode(), None, error, psycopg.Error, hide_parameters=True, dialect=dialect
        ) from error


def _forget_values(error: psycopg.Error) -> None:
    """Leave of the server's message what names no values: there may be secrets among them."""
    error.args = (error.diag.message_primary or str(error).split("\n", maxsplit=1)[0],)


def _refuse_values(error: psycopg.Error) -> None:
    if isinstance(error, psycopg.DataError):
        raise Invalid(UNKEPT) from error
