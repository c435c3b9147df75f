"""PostgreSQL: the database of several controllers.

Each controller has one writer (`writer`), whose turn among the others' `postgresql_session` sees to. Reads run in
threads, each on a connection of its own, for the database may be away and the event loop waits for nobody.
"""

import asyncio
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TypeVar

import psycopg
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from renova.model.errors import DatabaseAway
from renova.store.database import Database, Tx
from renova.store.history import DatabaseHistory
from renova.store.postgresql_bell import Bell
from renova.store.postgresql_server import ANSWER_S, TIMELINE, Server
from renova.store.postgresql_session import PostgreSQLSession
from renova.store.replication import is_synchronous
from renova.store.session import Trouble, reason
from renova.store.upgrade import is_current, schema_revision, upgrade
from renova.store.writer import Writer

T = TypeVar("T")

UPGRADE_S = 600  # that other controllers may take to change the tables
_TIMELINE = text(TIMELINE)
READERS = 4  # threads: more would only wait for the interpreter


class _Threads:
    """One thread writes, a few read."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="database-reader")
        self._idle: queue.SimpleQueue[PostgreSQLSession] = queue.SimpleQueue()
        self._sessions = [PostgreSQLSession(server, writes=False) for _ in range(READERS)]
        for session in self._sessions:
            self._idle.put(session)
        self._writer = Writer(PostgreSQLSession(server, writes=True, ahead=True))
        self.transact = self._writer.transact

    async def read(self, fn: Callable[[Tx], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, fn, monotonic())

    def _read(self, fn: Callable[[Tx], T], asked: float) -> T:
        if monotonic() - asked > ANSWER_S:
            raise DatabaseAway("the database does not keep up with what is read")
        session = self._idle.get()
        try:
            return self._read_with(session, fn, tries=2)
        finally:
            self._idle.put(session)

    def _read_with(self, session: PostgreSQLSession, fn: Callable[[Tx], T], tries: int) -> T:
        try:
            result = fn(Tx(session, session.begin()))
        except Exception as error:
            trouble = session.trouble(error)
            session.rollback()
            if trouble is Trouble.NONE:
                raise
            if trouble is Trouble.AWAY or tries == 1:
                raise DatabaseAway("the database could not be read", details=reason(error)) from error
            return self._read_with(session, fn, tries - 1)
        session.rollback()
        return result

    def close(self) -> None:
        self._writer.close()
        self._pool.shutdown()
        for session in self._sessions:
            session.close()
        self._server.engine.dispose()


def open_postgresql(address: str) -> Database:
    """Open the database at libpq's address, made on first use.

    `DatabaseAway` when it does not answer, `BadSetup` when it never will as long as the address is this one.
    """
    server = Server(address)
    try:
        prepare(server)
    except (psycopg.Error, DBAPIError) as error:
        raise server.refusal(error) from None  # its cause might repeat the address
    history = DatabaseHistory(lambda: server.standing.timeline, _timeline, is_synchronous)
    return Database(_Threads(server), lambda: server.standing, Bell(server), history)


def _timeline(tx: Tx) -> str:
    return str(tx.execute(_TIMELINE).scalar_one())


def prepare(server: Server) -> None:
    """Have the database be as this release needs it."""
    server.check()
    with server.engine.connect() as connection:
        connection.execution_options(isolation_level="READ COMMITTED")
        with connection.begin():
            if is_current(connection):
                return
            # One controller at a time, however long it takes; the others find it done. Then nobody writes meanwhile.
            server.be_patient(connection, UPGRADE_S)
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('renova schema'))")
            if not inspect(connection).has_table(schema_revision.name):
                schema_revision.create(connection)
            connection.exec_driver_sql(f"LOCK TABLE {schema_revision.name} IN EXCLUSIVE MODE")
            upgrade(connection, str(connection.exec_driver_sql("SELECT current_database()").scalar()))
