"""Questions to a PostgreSQL server and their answers, on one connection: some are waited for, some are sent ahead.

Each answer that is waited for costs both sides a turn of their processors: tens of microseconds, and more where these
have gone to sleep meanwhile. What is sent ahead costs none: it goes with the next question (libpq's pipeline mode), and
its answer is heard before that one's.

What the server has been sent must end with a sync whenever this process may stand still: only after one does it wait
for us as for an idle transaction, whose time is limited (`postgresql_server`), and not for as long as the connection
lives, with all locks held. libpq keeps back what is less than 8 KiB; before it would not, a sync is sent.
"""

import select
from collections.abc import Callable, Sequence

import psycopg
from psycopg import pq

from renova.store.postgresql_server import ANSWER_S
from renova.store.session import Spoilt

KEPT_BACK = 7000  # bytes: a little less than libpq keeps back, as they are reckoned here from above
_OF_A_QUESTION, _OF_A_VALUE = 64, 6  # bytes that are sent for it, at most, beside names and values


class Answers:
    """Waits for answers, but not for ever: libpq itself would wait for a server that hangs."""

    def __init__(self, pg: pq.abc.PGconn) -> None:
        self._pg = pg
        self._poll = select.poll()
        self._poll.register(pg.socket, select.POLLIN)
        # Who hears the answers that nobody waited for yet; None: a sync.
        self._ahead: list[Callable[[pq.abc.PGresult], None] | None] = []
        self._unsynced = 0  # bytes
        self._failed: Exception | None = None  # what the first of them that would not have its answer said

    def unasked(self) -> bool:
        """Say whether the server has something to say that answers nothing: it has ended the connection.

        What libpq has read of that already, behind an answer, is told as a notice now.
        """
        self._pg.is_busy()
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
        if self._ahead:
            self._keep_back(name, values)
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
        self._keep_back(name, values)
        self._pg.send_query_prepared(name, values, formats)
        self._ahead.append(heard)
        if self._unsynced > KEPT_BACK:  # alone
            self._sync()

    def settle(self) -> None:
        """Wait for what was sent ahead. `Spoilt` if something of it failed, and each time until that is forgotten."""
        self._raise_failed()
        if self._ahead:
            self._hear_ahead(0)

    def forget(self) -> None:
        """Have what was sent ahead fail nobody: its transaction is undone."""
        self._failed = None
        self._ahead = [heard and _ignore for heard in self._ahead]
        self.settle()

    def _keep_back(self, name: bytes, values: Sequence[bytes | None]) -> None:
        """Sync what was sent before if libpq would not keep it back together with this question."""
        size = _OF_A_QUESTION + len(name) + sum(len(value or b"") + _OF_A_VALUE for value in values)
        if self._unsynced and self._unsynced + size > KEPT_BACK:
            self._sync()
        self._unsynced += size

    def _sync(self) -> None:
        """Have the server wait after this; its answer is heard with the others. What failed before it fails all after.

        For they are of one transaction, whose beginning was waited for.
        """
        self._pg.pipeline_sync()
        self._ahead.append(None)
        self._unsynced = 0

    def _raise_failed(self) -> None:
        if self._failed is not None:
            raise Spoilt from self._failed

    def _hear_ahead(self, more: int) -> list[pq.abc.PGresult]:
        """Hear the answers to what was sent ahead, and return those to so many questions that were asked after it."""
        if self._unsynced:  # else the last that was sent is a sync
            self._sync()
        ahead, self._ahead = self._ahead[:-1], []
        answered = [(heard, self._hear()) for heard in ahead]
        results = [self._hear() for _ in range(more)]
        self._hear()  # that this was all
        self._pg.exit_pipeline_mode()
        try:
            for heard, result in answered:
                if heard is not None:
                    heard(result)
        except Exception as error:
            self._failed = error
            raise Spoilt from error
        return results

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
