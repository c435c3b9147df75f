"""The one thread of a controller that writes, with group commit; SQLite and PostgreSQL alike.

It takes the waiting transactions together and commits them at once: a disk's flush, or a replica's word, costs as much
for sixty as for one. A caller hears of its result only after that commit. What is given to it may run more than once:
a group is undone and runs again when another controller was in its way, when its connection broke before the commit,
and when one of its members failed after it had written, or nobody knows which failed. Only then each member gets a
savepoint of its own: nearly all groups do without.
"""

import asyncio
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import structlog

from renova.model.errors import DatabaseAway, NotNow
from renova.store.database import Tx
from renova.store.job import Job
from renova.store.session import TURNS, Session, Spoilt, Trouble, reason

log = structlog.get_logger()
T = TypeVar("T")

GROUP = 64  # transactions a commit: more gains nothing (docs/decisions/0003), and the first would wait longer


class Writer:
    """Serves transactions one after the other in a thread of its own."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="database-writer", daemon=True)
        self._thread.start()

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put(Job(fn, future))
        # Shielded by construction: a cancelled caller does not cancel the transaction, which may be committed.
        return await future

    def close(self) -> None:
        """Serve what was asked for so far, and end."""
        self._jobs.put(None)
        self._thread.join()

    def _serve(self) -> None:
        ending = False
        while not ending:
            first = self._jobs.get()
            ending = first is None
            if first is not None:
                group = [first]
                ending = self._gather(group, GROUP)
                ending |= self._run_whatever_comes(group)
        self._session.close()

    def _run_whatever_comes(self, group: list[Job]) -> bool:
        try:
            return self._run(group)
        except Exception as error:
            # Of what nobody has foreseen: were this thread to end by it, nobody would ever be answered any more.
            log.error("transactions failed of what nobody has foreseen", group=len(group), exc_info=True)
            for job in group:
                job.error = DatabaseAway("nobody knows whether it was committed", details=reason(error))
            _tell_all(group)
            return False

    def _gather(self, group: list[Job], most: int) -> bool:
        """Add those that wait already; True when the last one was asked for."""
        with suppress(queue.Empty):
            while len(group) < most:
                job = self._jobs.get_nowait()
                if job is None:
                    return True
                group.append(job)
        return False

    def _run(self, group: list[Job]) -> bool:
        """Have the group done, or know why not, and tell its callers; True when the last one was asked for."""
        refused, trouble = self._commit(group)
        ending = False
        if refused is not None and trouble is Trouble.AGAIN and len(group) > 1:
            for job in group:
                ending |= self._run([job])
            return ending
        if refused is not None:
            log.error("commit failed", group=len(group), exc_info=refused)
            if trouble in (Trouble.AWAY, Trouble.LOST):
                # Those who wait have waited as long: nobody waits longer for others to be refused first.
                ending = self._gather(group, sys.maxsize)
            kind = NotNow if trouble is Trouble.NONE else DatabaseAway
            for job in group:
                job.error = kind("the database could not commit", details=reason(refused))
        _tell_all(group)
        return ending

    def _commit(self, group: Sequence[Job]) -> tuple[Exception | None, Trouble]:
        """Commit the group; the error if that failed for good, and then nothing of it is known to be done."""
        session, careful, lost = self._session, False, False
        refused: Exception | None = None
        for _ in range(TURNS):
            committing = False
            try:
                now = session.begin()
                for job in group:
                    self._do(job, now, careful=careful)
                session.settle()
                committing = True
                session.commit()
            except Exception as error:  # noqa: BLE001  its callers are told
                trouble = session.trouble(error)
                session.rollback()
                for job in reversed(group):
                    job.undone()
                if trouble is Trouble.LOST and not committing and not lost:
                    lost = True  # an idle connection ends with its server: that is found out only when it is used
                elif trouble is Trouble.NONE and isinstance(error, Spoilt):
                    careful = True
                elif trouble is not Trouble.AGAIN:
                    return error, trouble
                refused = error
            else:
                return None, Trouble.NONE
        return refused, Trouble.AGAIN

    def _do(self, job: Job, now: str, *, careful: bool) -> None:
        session = self._session
        tx = job.tx = Tx(session, now)
        if careful:
            session.savepoint()
        mark = session.mark()
        try:
            job.result = job.fn(tx)
        except Exception as error:
            trouble = session.trouble(error)
            if trouble in (Trouble.AGAIN, Trouble.LOST):
                raise
            if not careful and not session.clean_since(mark):
                raise Spoilt from error
            if careful:
                session.undo()
            job.undone()
            away = DatabaseAway("the database refused", details=reason(error))
            job.error = away if trouble is Trouble.AWAY else error
        else:
            if careful:
                session.release()


def _tell_all(group: Sequence[Job]) -> None:
    # A whole group may have one loop in common; it is woken once.
    for loop in {job.future.get_loop() for job in group}:
        mine = [job for job in group if job.future.get_loop() is loop]
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_tell, mine)


def _tell(group: Sequence[Job]) -> None:
    for job in group:
        job.tell()
