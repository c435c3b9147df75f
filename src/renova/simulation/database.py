"""A simulated database server: several controllers share one SQLite in memory, each over a link of its own.

A link behaves as `store.writer` over PostgreSQL does: what waits is committed together, one group at a time; a group
that was in another's way runs again; a connection that breaks before the commit is made anew, one that breaks while the
answer is awaited leaves an unknown outcome, which is `DatabaseAway`. Transactions are atomic in one turn of the loop,
and so serializable: whoever dies has committed or has not.

The server can be away, slow or full, fail over, and be restored; it takes each commit to its replica, unless that lags
or is cut off.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

import structlog

from renova.model.clock import Clock
from renova.model.errors import DatabaseAway
from renova.simulation.processes import Process
from renova.store import cluster
from renova.store.database import Database, Standing, Tx
from renova.store.history import DatabaseHistory
from renova.store.inline import Inline
from renova.store.job import Job
from renova.store.session import Trouble, reason
from renova.store.sqlite import SQLiteSession, memory

log = structlog.get_logger()
T = TypeVar("T")

GROUP = 64  # transactions a commit, as in `store.writer`
REFUSED_S, TIMEOUT_S = 0.01, 5.0  # until a connection is refused, or given up when nobody answers


class Hitch(StrEnum):
    """What happens to one commit, once."""

    CONFLICT = "conflict"  # another controller was in the way: it is undone, and runs again
    LOST = "lost"  # the connection breaks during it, and it is not done
    UNHEARD = "unheard"  # it is done, and the connection breaks before anybody hears of it


class Backup:
    """The whole database as it was at one moment."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self.kept = sqlite3.connect(":memory:", check_same_thread=False)
        raw.backup(self.kept)

    def close(self) -> None:
        self.kept.close()


class DatabaseServer:
    """The server: its data, and what ails it now."""

    def __init__(self, clock: Clock) -> None:
        connection = memory()
        self.session = SQLiteSession(connection, clock)
        self.raw: Any = connection.connection.driver_connection
        self._inline = Inline(self.session)
        self.links: list[DatabaseLink] = []
        self.timeline = 1
        self.commits = 0  # of groups
        self.away = 0  # how many faults keep it away
        self.silent = False  # while it is away: nobody even refuses a connection
        self.full = 0  # how many faults keep its disk from taking a commit
        self.slow_s = 0.0  # a commit takes longer by
        self.hitches: deque[tuple[Hitch, Callable[[], None]]] = deque()  # of the next commits, and who is told of each
        self.lagging: Backup | None = None  # what the replica has, while it is behind
        self.unconfirmed: Backup | None = None  # what the replica has, while it is cut off and commits wait for it
        self.on_commit: list[Callable[[], None]] = []  # told of each, in the world
        self.on_loss: list[Callable[[], None]] = []  # told when commits were lost

    def open(self) -> Database:
        """Return the database as the world sees it: always there, and at once."""
        history = DatabaseHistory(lambda: str(self.timeline), lambda _tx: str(self.timeline), self.is_synchronous)
        return Database(self._inline, history=history)

    def link(self, process: Process, latency_s: float) -> "DatabaseLink":
        """Return a new run's way to the database."""
        link = DatabaseLink(self, process, latency_s)
        self.links = [*(each for each in self.links if each.process.alive), link]
        return link

    def close(self) -> None:
        self.session.close()

    def back_up(self) -> Backup:
        return Backup(self.raw)

    # --- what happens to it ---

    def go_away(self, *, silent: bool = False) -> None:
        """Break every connection, and take none until `come_back`."""
        self.away += 1
        self.silent = silent
        self.drop_all()

    def come_back(self) -> None:
        self.away -= 1

    def drop_all(self) -> None:
        for link in self.links:
            link.drop()

    def is_synchronous(self, _tx: Tx) -> bool:
        return self.lagging is None

    def lag(self) -> None:
        """Have the replica fall behind: what is committed from now on is lost in a failover.

        Commits wait for it no more, which was so for a while, and was seen.
        """
        if self.lagging is None:
            self._note(synchronous=False)
            self.lagging = self.back_up()

    def catch_up(self) -> None:
        if self.lagging is not None:
            self.lagging.close()
            self.lagging = None
            self._note(synchronous=True)

    def _note(self, *, synchronous: bool) -> None:
        cluster.note_history(Tx(self.session, self.session.begin()), str(self.timeline), synchronous=synchronous)
        self.session.commit()

    def cut_standby_off(self) -> None:
        """Have no commit be confirmed any more, even one that wrote nothing; what is done is to be seen all the same.

        So it is once the server was restarted, or the commits that wait were cancelled.
        """
        self.unconfirmed = self.unconfirmed or self.back_up()

    def reach_standby(self) -> None:
        if self.unconfirmed is not None:
            self.unconfirmed.close()
            self.unconfirmed = None

    def promote(self) -> bool:
        """Have the replica take over; True when it lacked commits, which are lost."""
        lost, self.lagging, self.unconfirmed = self.lagging or self.unconfirmed, None, None
        if lost is not None:
            self.restore(lost)
            lost.close()
        self.timeline += 1
        self.drop_all()
        return lost is not None

    def restore(self, backup: Backup) -> None:
        """Have the database be as it was then."""
        backup.kept.backup(self.raw)
        for call in self.on_loss:
            call()
        self.drop_all()


@dataclass(slots=True, eq=False)
class _Job(Job):
    name: str = ""  # of who asked


class LinkedDatabase(Database):
    """The database as a simulated controller has it: crash points are named after who asks."""

    def __init__(self, link: "DatabaseLink") -> None:
        super().__init__(link, lambda: link.standing, history=link.history())
        self._link = link

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        asks = fn.func if isinstance(fn, partial) else fn
        self._link.naming = asks.__qualname__.replace(".<locals>", "").removesuffix(".<lambda>").removesuffix(".work")
        return await super().transact(fn)


class DatabaseLink:
    """One controller's way to the database: an `Executor`. Half of `latency_s` passes each way."""

    def __init__(self, server: DatabaseServer, process: Process, latency_s: float) -> None:
        self.process = process
        self.latency_s = latency_s
        self.away = 0  # how many faults keep this controller alone from the database
        self.passed: Callable[[str], bool] = lambda _point: False  # asked at each crash point; True: it dies there
        self.naming = ""  # what is asked for next
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Job] = []
        self._busy = False  # a group is on its way, or its answer is
        self._broken = True  # the connection: made anew with the next transaction
        self._breaks = 0
        self._known = Standing(0, str(server.timeline))

    @property
    def standing(self) -> Standing:
        """Return how the database stood at the last transaction."""
        return self._known

    def history(self) -> DatabaseHistory:
        """Return what this run of its controller knows of the server's timelines: nothing yet."""
        server = self._server
        return DatabaseHistory(lambda: self._known.timeline, lambda _tx: str(server.timeline), server.is_synchronous)

    def drop(self) -> None:
        """Break the connection; whoever awaits the answer to a commit will never hear it."""
        self._broken = True
        self._breaks += 1

    def go_away(self) -> None:
        """Cut this controller off from the database until `come_back`."""
        self.away += 1
        self.drop()

    def come_back(self) -> None:
        self.away -= 1

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append(_Job(fn, future, name=self.naming))
        if not self._busy:
            self._set_out()
        return await future

    async def read(self, fn: Callable[[Tx], T]) -> T:
        future: asyncio.Future[T] = self._loop.create_future()
        self._later(self._path_s, self._read, _Job(fn, future))
        return await future

    def close(self) -> None:
        """The server goes on without it."""

    @property
    def _path_s(self) -> float:
        return self.latency_s / 2

    def _later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        self._loop.call_later(seconds, call, *arguments, context=self.process.context())

    def _reach(self) -> float:
        """Make the connection, unless it is there; else return how long it takes until that is given up."""
        if self.away or self._server.away:
            return TIMEOUT_S if self.away or self._server.silent else REFUSED_S
        if self._broken:
            self._broken = False
            self._known = Standing(self._known.generation + 1, str(self._server.timeline))
        return 0.0

    # --- reads ---

    def _read(self, job: _Job) -> None:
        if (seconds := self._reach()) > 0:
            job.error = DatabaseAway("the database does not answer")
            self._later(seconds, job.tell)
            return
        session = self._server.session
        tx = Tx(session, session.begin())
        try:
            job.result = job.fn(tx)
        except Exception as error:  # noqa: BLE001  (the caller's)
            job.error = error
        finally:
            session.rollback()
        self._later(self._path_s, job.tell)

    # --- transactions ---

    def _set_out(self) -> None:
        self._busy = True
        self._later(self._path_s, self._arrive)

    def _arrive(self) -> None:
        if (seconds := self._reach()) > 0:
            group, self._waiting = self._waiting, []
            self._fail(group, "the database does not answer")
            self._later(seconds, self._answer, group, self._breaks)
            return
        group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
        server, breaks = self._server, self._breaks
        name = group[0].name
        if self.passed(f"before the commit of {name}"):
            return
        hitch = None
        if server.hitches:
            hitch, struck = server.hitches.popleft()
            struck()
        if hitch is Hitch.CONFLICT:
            self._run(group, keep=False)
        done = self._run(group, keep=hitch is not Hitch.LOST and not server.full)
        if server.full and done:
            self._fail(group, "the database could not commit: its disk is full")
        elif hitch in (Hitch.LOST, Hitch.UNHEARD):
            self.drop()
        hangs_s = 0.0
        if server.unconfirmed is not None:
            self.drop()
            hangs_s = TIMEOUT_S
        if self.passed(f"after the commit of {name}"):
            return
        self._later(self._path_s + server.slow_s + hangs_s, self._answer, group, breaks)

    def _run(self, group: list[_Job], *, keep: bool) -> bool:
        """Run the group's transactions, each of its own; whether any wanted to be committed."""
        wanted = False
        for job in group:
            wanted |= self._do(job, keep=keep)
        if wanted and keep:
            self._server.commits += 1
            for call in self._server.on_commit:
                call()
        return wanted

    def _do(self, job: _Job, *, keep: bool) -> bool:
        session = self._server.session
        tx = job.tx = Tx(session, session.begin())
        job.error = None
        try:
            job.result = job.fn(tx)
            if keep:
                session.commit()
        except Exception as error:  # noqa: BLE001  (the caller's)
            trouble = session.trouble(error)
            session.rollback()
            job.undone()
            away = DatabaseAway("the database refused", details=reason(error))
            job.error = error if trouble is Trouble.NONE else away
            return False
        if not keep:
            session.rollback()
            job.undone()
        return True

    def _fail(self, group: list[_Job], why: str) -> None:
        for job in reversed(group):
            job.undone()
            job.error = DatabaseAway(why)

    def _answer(self, group: list[_Job], breaks: int) -> None:
        if breaks != self._breaks:
            self._fail(group, "the connection to the database broke: nobody knows whether it committed")
        for job in group:
            job.tell()
        self._busy = False
        if self._waiting:
            self._set_out()
