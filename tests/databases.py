"""The databases of tests: in memory, or with `pytest --database=postgresql` a real PostgreSQL's.

Either is empty, serves in the caller's thread, and keeps the time of the clock that it is given.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from renova.lab.postgresql import PostgreSQL
from renova.model.clock import Clock, SystemClock
from renova.store.database import Database
from renova.store.everything import open_database
from renova.store.inline import Inline
from renova.store.postgresql import open_postgresql, prepare
from renova.store.postgresql_server import Server
from renova.store.postgresql_session import PostgreSQLSession
from renova.store.schema import metadata
from renova.store.session import Session
from renova.store.sqlite import SQLiteSession, memory, open_sqlite


class _Lent(Inline):
    """Is used again by the next test: connecting takes longer than most of them."""

    def close(self) -> None:
        pass


class _Pool:
    """Databases on a server, as many as one test has open at the same time."""

    def __init__(self, postgresql: PostgreSQL, name: str) -> None:
        self._postgresql = postgresql
        self._name = name
        self._servers: list[Server] = []
        self._tables: list[int] = []
        self._sessions: list[PostgreSQLSession] = []
        self.taken = self._new = 0

    def take(self, clock: Clock) -> PostgreSQLSession:
        if self.taken == len(self._servers):
            name = f"{self._name}{self.taken}"
            self._postgresql.have_database(name)
            self._servers.append(Server(self._postgresql.url(name)))
            self._tables.append(0)
            self._sessions.append(PostgreSQLSession(self._servers[-1], writes=True))
        place, self.taken = self.taken, self.taken + 1
        session, server = self._sessions[place], self._servers[place]
        session.rollback()
        if self._tables[place] != len(metadata.tables):  # a module imported later may have brought more
            prepare(server)
            metadata.create_all(server.engine)
            self._tables[place] = len(metadata.tables)
        session.clock = clock
        session.begin()
        session.execute(text("SET idle_in_transaction_session_timeout = 0"))  # some tests keep one open
        session.commit()
        session.begin()
        session.execute(text(_empty()))
        session.commit()
        return session

    def new(self) -> str:
        """Return the address of a database that nobody else has."""
        self._new += 1
        self._postgresql.have_database(f"new{self._new}")
        return self._postgresql.url(f"new{self._new}")

    def close(self) -> None:
        for session, server in zip(self._sessions, self._servers, strict=True):
            session.close()
            server.engine.dispose()


def _empty() -> str:
    """Return what empties all tables, and has their numbers begin anew; quicker by far than new databases."""
    tables = [table.name for table in reversed(metadata.sorted_tables)]
    deletes = "".join(f'DELETE FROM "{name}"; ' for name in tables)
    numbers = "PERFORM setval(seqrelid, 1, false) FROM pg_sequence; "
    return f"DO $$ BEGIN {deletes} {numbers} END $$"


_pool: _Pool | None = None  # for one test
_kept: _Pool | None = None  # for as long as the tests run


@contextmanager
def on(postgresql: PostgreSQL) -> Iterator[None]:
    """Have all databases be on this server."""
    global _pool, _kept  # noqa: PLW0603
    _pool, _kept = _Pool(postgresql, "test"), _Pool(postgresql, "kept")
    try:
        yield
    finally:
        _pool.close()
        _kept.close()
        _pool = _kept = None


def next_test() -> None:
    """Give back what the last test has taken."""
    if _pool is not None:
        _pool.taken = 0


def open_empty(clock: Clock) -> Database:
    """Open an empty database that serves in the caller's thread."""
    return open_database(None, clock) if _pool is None else Database(_Lent(_pool.take(clock)))


def open_served(directory: Path) -> Database:
    """Open an empty database as a controller does: with threads, on its own clock."""
    if _pool is None:
        return open_sqlite(directory / "renova.db", SystemClock())
    return open_postgresql(_pool.new())


def empty_session() -> Session:
    """Return a connection to an empty database, the caller's as long as the tests run."""
    clock = SystemClock()
    return SQLiteSession(memory(), clock) if _kept is None else _kept.take(clock)
