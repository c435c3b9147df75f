"""When duties are done: each at its interval, or at once when somebody asks; never twice at the same time.

All controllers of a cloud share them: whoever sees first that one is due holds its post (`store.posts`) while doing
it. What dies with its controller in the middle is due still. Knows no duty itself (`operations.duties`). What a duty
found is kept in the database until it is done again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
import structlog
from msgspec.structs import replace

from renova.engine.executor import Executor
from renova.model.clock import Clock
from renova.model.errors import CloudError, NotFound, NotNow, whole
from renova.model.ids import ServerId
from renova.store import posts
from renova.store.database import Database, Tx

log = structlog.get_logger()

FIRST = 30.0  # seconds after the controller began, before which no duty is done by itself: hosts are still coming
LONGEST_LOOK, LOOK_AGAIN = 60.0, 2.0  # seconds until it is seen what others did; and whether they have done it
MOST_FINDINGS = 100  # that are kept of one round; all are counted and logged


class Finding(msgspec.Struct, frozen=True):
    """Something that was not as it should be: mended, or for an operator to see."""

    what: str
    mended: bool
    host: str | None = None  # by name
    server: ServerId | None = None


class Tally:
    """What a duty has found so far."""

    def __init__(self) -> None:
        self.looked = 0
        self.mended = 0
        self.failed = 0
        self.findings: list[Finding] = []

    def find(self, what: str, *, mended: bool, host: str | None = None, server: ServerId | None = None) -> None:
        self.mended += mended
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(Finding(what, mended, host, server))
        log.warning("duty found", what=what, mended=mended, host=host, server=server)

    @contextmanager
    def apart(self, *, host: str | None = None, server: ServerId | None = None) -> Iterator[None]:
        """Keep what goes wrong with this one from all others."""
        try:
            yield
        except Exception as error:
            self.failed += 1
            reason = whole(error)
            log.warning("duty failed", host=host, server=server, exc_info=not isinstance(error, CloudError))
            if len(self.findings) < MOST_FINDINGS:
                self.findings.append(Finding(f"not looked over: {reason}", False, host, server))


@dataclass(frozen=True, slots=True)
class Duty:
    """A duty and its interval in seconds; 0: only when somebody asks."""

    do: Callable[[Tally], Awaitable[None]]
    every_s: float


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """How a duty went the last time; None in `began_at` if it was not done yet."""

    name: str
    every_s: float
    rounds: int = 0  # that were ever finished
    began_at: str | None = None
    took_s: float = 0.0
    looked: int = 0
    mended: int = 0
    failed: int = 0
    findings: tuple[Finding, ...] = ()
    error: str | None = None  # why the round as a whole was not finished
    done_by: str | None = None  # the controller, by name
    doing: str | None = None  # the controller that does it now, by name


@dataclass(slots=True)
class Rounds:
    """The duties of a cloud, as one of its controllers does them."""

    clock: Clock
    duties: Mapping[str, Duty]
    database: Database
    me: Executor
    controller: str = ""  # this one's name
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def serve(self) -> None:
        """Do every duty at its interval, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, duty in self.duties.items():
                if duty.every_s > 0:
                    group.create_task(self._repeat(name, duty.every_s), name=f"duty-{name}")

    async def _repeat(self, name: str, every_s: float) -> None:
        await self.clock.sleep(min(FIRST, every_s))
        while True:
            try:
                await self._do_if_due(name, every_s)
                left = await self.database.read(lambda tx: _due_in(tx, name, every_s))
            except NotNow:
                log.warning("duty waits for the database", duty=name, exc_info=True)
                left = 0.0
            # Due still: another does it at this moment, or the database is away.
            await self.clock.sleep(min(left, LONGEST_LOOK) if left > 0 else LOOK_AGAIN)

    async def _do_if_due(self, name: str, every_s: float) -> None:
        if await self.database.read(lambda tx: _due_in(tx, name, every_s)) > 0:
            return
        async with self._locks.setdefault(name, asyncio.Lock()):
            began = await self.database.transact(lambda tx: self._begin(tx, name, every_s))
            if began is not None:
                await self._do(name, began)

    async def last(self) -> list[Round]:
        """Tell of every duty how it went the last time."""
        return await self.database.read(self.shown)

    def shown(self, tx: Tx) -> list[Round]:
        told, doing = posts.told(tx), {held.name: held.controller for held in posts.held(tx)}
        found = {name: msgspec.json.decode(how, type=Round) for name, how in told.items() if name in self.duties}
        return [
            replace(found.get(name, Round(name=name, every_s=0)), every_s=duty.every_s, doing=doing.get(_post(name)))
            for name, duty in self.duties.items()
        ]

    async def do(self, name: str) -> Round:
        """Do the duty now, after the round that may be going on. `NotFound`."""
        if name not in self.duties:
            raise NotFound(f"There is no duty {name}. There are: {', '.join(self.duties)}.")
        async with self._locks.setdefault(name, asyncio.Lock()):
            while (began := await self.database.transact(lambda tx: self._begin(tx, name, 0))) is None:
                await self.clock.sleep(LOOK_AGAIN)
            return await self._do(name, began)

    def _begin(self, tx: Tx, name: str, every_s: float) -> str | None:
        """Take the duty's post if it is due and nobody does it; returns when that was."""
        if (every_s > 0 and _due_in(tx, name, every_s) > 0) or not posts.take(tx, _post(name), self.me.id):
            return None
        return tx.now

    async def _do(self, name: str, began_at: str) -> Round:
        tally, began, me, duty = Tally(), self.clock.monotonic(), self.me.id, self.duties[name]
        reason = None
        try:
            await duty.do(tally)
        except Exception as error:
            reason = whole(error)
            log.error("duty not finished", duty=name, exc_info=True)
        done = Round(
            name=name,
            every_s=duty.every_s,
            began_at=began_at,
            took_s=round(self.clock.monotonic() - began, 3),
            looked=tally.looked,
            mended=tally.mended,
            failed=tally.failed,
            findings=tuple(tally.findings),
            error=reason,
            done_by=self.controller,
        )

        def end(tx: Tx) -> Round:
            # Where we were taken for dead meanwhile, another does it, and tells what it finds.
            if not posts.holds(tx, _post(name), me):
                return done
            before = posts.told(tx).get(name)
            rounds = msgspec.json.decode(before, type=Round).rounds if before else 0
            counted = replace(done, rounds=rounds + 1)
            posts.tell(tx, name, began_at, msgspec.json.encode(counted).decode())
            posts.leave(tx, _post(name), me)
            return counted

        while True:  # as long as we live nobody else can do it before it is written down that we did
            try:
                return await self.database.transact(end)
            except NotNow:
                log.warning("duty waits for the database", duty=name, exc_info=True)
            await self.clock.sleep(LOOK_AGAIN)


def _post(duty: str) -> str:
    return f"duty {duty}"


def _due_in(tx: Tx, name: str, every_s: float) -> float:
    """Return in how many seconds the duty is due."""
    last = posts.began_at(tx, name)
    if last is None:
        return 0.0
    since_s = (datetime.fromisoformat(tx.now) - datetime.fromisoformat(last)).total_seconds()
    return every_s - since_s if since_s >= 0 else 0.0  # the database's clock went back: nobody knows how long it is
