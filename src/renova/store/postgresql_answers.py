"""Questions to a PostgreSQL server and their answers, on one connection: some are waited for, some are sent ahead.

Each answer that is waited for costs both sides a turn of their processors: tens of microseconds, and more where these
have gone to sleep meanwhile. What is sent ahead costs none: it goes with the next question (libpq's pipeline mode), and
its answer is heard before that one's.
"""

import select
from collections.abc import Callable, Sequence

import psycopg
from psycopg import pq

from renova.store.postgresql_server import ANSWER_S
from renova.store.session import Spoilt


class Answers:
    """Waits for answers, but not for ever: libpq itself would wait for a server that hangs."""

    def __init__(self, pg: pq.abc.PGconn) -> None:
        self._pg = pg
        self._poll = select.poll()
        self._poll.register(pg.socket, select.POLLIN)
        self._ahead: list[Callable[[pq.abc.PGresult], None]] = []  # who hears the answers that nobody waited for yet
        self._failed: Exception | None = None  # what the first of them that would not have its answer said

    def unasked(self) -> bool:
        """Say whether the server has said something that answers nothing: it has ended the connection."""
        return bool(self._poll.poll(0))

    def query(self, sql: bytes) -> pq.abc.PGresult:
        """Run statements that have no values; return the last one's result."""
        self.settle()
        self._pg.send_query(sql)
        return self._hear()

    def prepare(self, name: bytes, sql: bytes) -> pq.abc.PGresult:
        self.settle()
        self._pg.send_prepare(name, sql)
        return self._hear()

    def run(self, name: bytes, values: Sequence[bytes | None], formats: Sequence[int]) -> pq.abc.PGresult:
        """Run a prepared statement, after what was sent ahead. `Spoilt` if something of that failed."""
        self._raise_failed()
        self._pg.send_query_prepared(name, values, formats)
        return self._hear_ahead(1)[0] if self._ahead else self._hear()

    def send_ahead(
        self,
        name: bytes,
        values: Sequence[bytes | None],
        formats: Sequence[int],
        heard: Callable[[pq.abc.PGresult], None],
    ) -> None:
        """Have a prepared statement run before the next question is answered.

        `heard` is called with the result then, or with none when that or the connection failed before; what it raises
        spoils the transaction.
        """
        self._raise_failed()
        if not self._ahead:
            self._pg.enter_pipeline_mode()
        self._pg.send_query_prepared(name, values, formats)
        self._ahead.append(heard)

    def settle(self) -> None:
        """Wait for what was sent ahead. `Spoilt` if something of it failed, and each time until that is forgotten."""
        self._raise_failed()
        if self._ahead:
            self._hear_ahead(0)

    def forget(self) -> None:
        """Have what was sent ahead fail nobody: its transaction is undone."""
        self._failed, ahead = None, self._ahead
        self._ahead = [_ignore] * len(ahead)
        self.settle()

    def _raise_failed(self) -> None:
        if self._failed is not None:
            raise Spoilt from self._failed

    def _hear_ahead(self, more: int) -> list[pq.abc.PGresult]:
        """Hear the answers to what was sent ahead, and return those to so many questions that were asked after it."""
        ahead, self._ahead = self._ahead, []
        self._pg.pipeline_sync()
        results = [self._hear() for _ in range(len(ahead) + more)]
        self._hear()  # that this was all
        self._pg.exit_pipeline_mode()
        try:
            for heard, result in zip(ahead, results, strict=False):
                heard(result)
        except Exception as error:
            self._failed = error
            raise Spoilt from error
        return results[len(ahead) :]

    def _hear(self) -> pq.abc.PGresult:
        """Wait for the answer to the first question that has none yet; return its last result."""
        pg, last = self._pg, None
        while pg.flush():
            self._poll.modify(pg.socket, select.POLLIN | select.POLLOUT)
            self._wait()
            pg.consume_input()
            self._poll.modify(pg.socket, select.POLLIN)
        while True:
            while pg.is_busy():
                self._wait()
                pg.consume_input()
            result = pg.get_result()
            if result is None:
                break
            last = result
            if pg.status != pq.ConnStatus.OK or result.status == pq.ExecStatus.PIPELINE_SYNC:
                break
        if last is None:
            raise psycopg.OperationalError("the connection to the database was lost")
        return last

    def _wait(self) -> None:
        if not self._poll.poll(ANSWER_S * 1000):
            self._pg.finish()
            raise psycopg.OperationalError(f"the database gave no answer for {ANSWER_S:.0f} s")


def _ignore(_result: pq.abc.PGresult) -> None:
    """Hear an answer that means nothing any more."""
