"""Reaching a PostgreSQL server, and knowing when it was lost: connections for `postgresql`, bounded in their waits.

The address is libpq's, with several hosts if there are standbys: whichever takes writes is connected to, so that a
failover is followed. Whatever hangs ends: each wait on a connection has a limit here, each statement and lock one at
the server.
"""

import re
import threading
from typing import Any

import psycopg
import structlog
from psycopg import conninfo
from psycopg.abc import PQGen
from psycopg.adapt import Loader
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import NullPool

from renova.model.errors import BadSetup, CloudError, DatabaseAway
from renova.store.database import Standing

log = structlog.get_logger()

# Of one statement at the server. Not of a commit that waits for its replica: that goes on, and keeps other writers
# waiting, until the replica has it, or somebody cancels it or ends the server. It is we who give up, after `ANSWER_S`.
STATEMENT_S = 5.0
LOCK_S = 4.0  # of waiting for other controllers' transactions
IDLE_S = 2.0  # between statements of a transaction: a frozen controller keeps the others waiting no longer
ANSWER_S = 6.0  # of silence after a question: above the server's own limits, so that it can say what it was
CONNECT_S = 3

TIMELINE = (
    "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || ' of ' || system_identifier FROM pg_control_system()"
)
# Read before anything is written: what is there may be the operator's, and is only ever raised.
_SETTLE = f"""SET statement_timeout = '{STATEMENT_S}s'; SET lock_timeout = '{LOCK_S}s';
SET idle_in_transaction_session_timeout = '{IDLE_S}s'; SET jit = off; SET client_min_messages = warning;
SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply');
{TIMELINE}
"""
_DEFAULTS = {
    "connect_timeout": CONNECT_S,
    "target_session_attrs": "read-write",
    "application_name": "renova",
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": int(ANSWER_S * 1000),
}
_FIT = "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = current_database()"
_BYTE_ORDER = ("C", "POSIX", "C.UTF-8", "C.utf8")  # in which text sorts as SQLite and Python sort it

# What libpq says where waiting would not help.
_WRONG = (
    (r"password authentication failed", "it refuses the user's password"),
    (r"no password supplied", "it wants a password"),
    (r"no pg_hba.conf entry", "it does not let this user in from here (pg_hba.conf)"),
    (r"could not translate host name|Name or service not known", "no address is known for its host's name"),
    (r'role "[^"]*" does not exist', "it does not know the user"),
    (r'database "[^"]*" does not exist', "there is no database of this name"),
    (r"invalid port number", "its port is none"),
    (r"permission denied", "the user may not make tables there"),
)


class Unreachable(psycopg.OperationalError):
    """No server that takes writes could be connected to."""


class Link(psycopg.Connection[Any]):
    """A connection that waits for no answer for ever."""

    patience: float = ANSWER_S

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        return super().wait(gen, interval, timeout or self.patience)


class _Number(Loader):
    """Sums of whole numbers are whole, as on SQLite."""

    def load(self, data: Any) -> int | float:
        text = bytes(data).decode()
        return float(text) if "." in text or "N" in text else int(text)


class Server:
    """A database on a server, and the connections of this controller to it."""

    def __init__(self, address: str) -> None:
        """Take libpq's address of it; `BadSetup` where it is none."""
        try:
            given = conninfo.conninfo_to_dict(address)
        except psycopg.Error:
            # Without libpq's words and without the cause: they repeat the address, and there may be a password in it.
            raise BadSetup(
                "RENOVA_DATABASE is not an address that PostgreSQL's library understands. "
                "Write it as postgresql://user:password@host:5432/database."
            ) from None
        self._parameters: dict[str, Any] = {**_DEFAULTS, **given}
        self._standing = Standing()
        self._lock = threading.Lock()
        self.engine: Engine = create_engine(
            "postgresql+psycopg://",
            creator=self._connect,
            poolclass=NullPool,
            pool_reset_on_return=None,
            isolation_level="AUTOCOMMIT",
            use_native_hstore=False,
            hide_parameters=True,
            query_cache_size=2000,
        )

    @property
    def standing(self) -> Standing:
        return self._standing

    def lost(self, generation: int) -> None:
        """Note that a connection of this generation was lost: all of it are given up, for the server may be another."""
        with self._lock:
            if generation == self._standing.generation:
                self._standing = Standing(generation + 1, self._standing.timeline)
                log.warning("database connection lost", generation=generation)

    def link(self) -> Link:
        """Return a new connection, for whoever looks after it himself."""
        return Link.connect(autocommit=True, prepare_threshold=None, client_encoding="utf8", **self._parameters)

    def _connect(self) -> Link:
        try:
            link = self.link()
        except psycopg.Error as error:
            # What libpq says names addresses: that is for the log, where the cause is, and not for users.
            raise Unreachable("no database that takes writes answers") from error
        link.adapters.register_loader("numeric", _Number)
        cursor = link.execute(_SETTLE)
        while cursor.nextset():
            pass
        row = cursor.fetchone()
        assert row is not None
        with self._lock:
            if self._standing.timeline not in ("", row[0]):
                log.warning("database failed over", before=self._standing.timeline, now=row[0])
                self._standing = Standing(self._standing.generation + 1, row[0])
            elif self._standing.timeline == "":
                self._standing = Standing(self._standing.generation, row[0])
        return link

    def refusal(self, error: BaseException) -> CloudError:
        """Return what a server's refusal to be opened means: it is away, or the address is wrong."""
        said = str(error)
        while error.__cause__ is not None:  # the innermost is libpq's own
            error = error.__cause__
            said = str(error)
        for sign, reason in _WRONG:
            if re.search(sign, said):
                return BadSetup(
                    f"The database of RENOVA_DATABASE cannot be used: {reason}. Mend the address, or the server."
                )
        return DatabaseAway("the database does not answer", details=said.strip().splitlines()[0])

    def be_patient(self, connection: Connection, seconds: int) -> None:
        """Have the transaction of this connection wait so long for locks and answers."""
        link: Any = connection.connection.driver_connection
        link.patience = seconds + ANSWER_S
        for limit in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
            connection.exec_driver_sql(f"SET LOCAL {limit} = '{seconds}s'")

    def check(self) -> None:
        """Raise `BadSetup` unless the database keeps text as we need it."""
        with self.engine.connect() as connection:
            encoding, order = connection.exec_driver_sql(_FIT).one()
            name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
        if encoding != "UTF8" or order not in _BYTE_ORDER:
            raise BadSetup(
                f"The database {name} has encoding {encoding} and sorts text by {order}; Renova needs UTF8 and C. Make "
                f"one with: CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
            )
