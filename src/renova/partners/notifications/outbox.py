"""Delivers what is written in the outbox (store.notices): each event at least once, a server's in their order.

Runs in every controller, and delivers in the one that holds its post. When that one is taken for dead the next goes
on, and what was on its way may arrive once more. A receiver that is away is tried again and again, ever more slowly;
meanwhile events wait in the database, but not for ever: what is too old, or too much, is dropped, counted and logged.
"""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

import msgspec
import structlog

from renova.engine.executor import Executor
from renova.model.chance import Chance
from renova.model.clock import Clock, stamp
from renova.model.errors import NotNow, Refused
from renova.model.ids import ServerId
from renova.partners.notifications import CloudEvent, Sink
from renova.store import notices
from renova.store.database import Database, Tx
from renova.store.notices import Notice
from renova.store.posts import Post

log = structlog.get_logger()

BATCH = 256  # events read at a time
AT_ONCE = 8  # events on their way at the same time, each of another server
LOOK = 1.0  # seconds between looks for what other controllers have written
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds before another try; doubling, with jitter


@dataclass(frozen=True, slots=True)
class Limits:
    """How long events wait for a receiver that is away, in seconds, and how many of them."""

    age_s: float
    count: int


class Passed(Enum):
    """How a pass ended: nothing waits, some were delivered, or none could be."""

    NOTHING = "nothing"
    SOME = "some"
    STUCK = "stuck"


class Outbox:
    """Writes events down, and delivers them while it is served."""

    def __init__(
        self, database: Database, clock: Clock, chance: Chance, me: Executor, sink: Sink, source: str, limits: Limits
    ) -> None:
        self._database = database
        self._clock = clock
        self._chance = chance
        self._me = me
        self._post = Post(database, me, "notices")
        self._sink = sink
        self._source = source
        self._limits = limits
        self._news = asyncio.Event()
        self._failed: set[ServerId] = set()  # of the last pass
        self.dropped = 0  # since this controller began

    def put(self, tx: Tx, server: ServerId, kind: str, data: bytes) -> None:
        """Write an event down with the change that it tells of; it leaves after the commit."""
        notices.add(tx, self._chance.uuid(), server, kind, data)
        tx.then(self._news.set)

    async def serve(self) -> None:
        """Deliver until cancelled."""
        pause = FIRST_PAUSE
        try:
            while not await self._is_mine():
                await self._clock.sleep(LOOK)
            await self._make_room()
            while True:
                self._news.clear()
                match await self._pass():
                    case Passed.NOTHING:
                        await self._look()
                    case Passed.SOME:
                        pause = FIRST_PAUSE
                    case Passed.STUCK:
                        await self._make_room()
                        await self._clock.sleep(pause * self._chance.uniform(0.8, 1.2))
                        pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            await self._sink.close()

    async def _look(self) -> None:
        """Wait for an event of this controller; of the others' it is looked for now and then."""
        news = asyncio.ensure_future(self._news.wait())
        nap = asyncio.ensure_future(self._clock.sleep(LOOK))
        try:
            await asyncio.wait({news, nap}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
            nap.cancel()

    async def _is_mine(self) -> bool:
        try:
            return await self._post.mine()
        except NotNow:
            log.warning("notices wait for the database", exc_info=True)
            return False

    async def _pass(self) -> Passed:
        if not await self._is_mine():
            return Passed.NOTHING
        try:
            batch = await self._database.read(lambda tx: notices.oldest(tx, BATCH))
            if not batch:
                return Passed.NOTHING
            done = await self._deliver(batch)
            if done:
                await self._database.transact(lambda tx: notices.remove(tx, done))
                return Passed.SOME
        except NotNow:
            log.warning("notices wait for the database", exc_info=True)
        return Passed.STUCK

    async def _make_room(self) -> None:
        oldest = stamp(self._clock.wall() - timedelta(seconds=self._limits.age_s))

        def drop(tx: Tx) -> int:
            return notices.drop_excess(tx, oldest, self._limits.count)

        with suppress(NotNow):  # the next pass says so
            if dropped := await self._database.transact(drop):
                self._note_dropped(dropped, "they waited too long, or too many did")

    def _note_dropped(self, count: int, reason: str) -> None:
        self.dropped += count
        log.error("notices dropped", count=count, in_all=self.dropped, reason=reason)

    async def _deliver(self, batch: list[Notice]) -> list[Notice]:
        """Deliver a batch as far as possible, several servers' at once; returns what is done."""
        lines: dict[ServerId, list[Notice]] = {}
        for notice in batch:
            lines.setdefault(notice.server, []).append(notice)
        # Those that failed come last: one that its receiver cannot stand must not keep back all the others.
        waiting = deque(sorted(lines.values(), key=lambda line: line[0].server in self._failed))
        self._failed = set()
        done: list[Notice] = []

        async def work() -> None:
            while waiting and not self._failed:
                await self._deliver_line(waiting.popleft(), done)

        await asyncio.gather(*(work() for _ in range(min(AT_ONCE, len(lines)))))
        return done

    async def _deliver_line(self, line: list[Notice], done: list[Notice]) -> None:
        for notice in line:
            if self._clock.monotonic() >= self._me.leased_until:
                self._failed.add(notice.server)  # another may be telling it by now
                return
            try:
                await self._sink.deliver(self._event(notice))
            except Refused as error:
                log.warning("notice refused", id=notice.id, type=notice.type, server=notice.server)
                self._note_dropped(1, str(error))
            except NotNow as error:
                self._failed.add(notice.server)
                log.warning("notice not delivered yet", id=notice.id, server=notice.server, reason=str(error))
                return
            except Exception:
                # Whatever is wrong with who is told: it must not end the controller, which tells.
                self._failed.add(notice.server)
                log.error("notice not delivered yet", id=notice.id, server=notice.server, exc_info=True)
                return
            done.append(notice)

    def _event(self, notice: Notice) -> CloudEvent:
        return CloudEvent(
            id=notice.id,
            source=self._source,
            type=notice.type,
            subject=notice.server,
            time=f"{notice.created_at}Z",
            sequence=f"{notice.number:020}",
            data=msgspec.Raw(notice.data.encode()),
        )
