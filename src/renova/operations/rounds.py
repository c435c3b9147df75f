"""When duties are done: each at its interval, or at once when somebody asks; never twice at the same time.

Knows no duty itself (`operations.duties`). What a duty found is kept until it is done again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec
import structlog

from renova.model.clock import Clock, stamp
from renova.model.errors import CloudError, NotFound
from renova.model.ids import ServerId

log = structlog.get_logger()

FIRST = 30.0  # seconds after the controller began, before which no duty is done by itself: hosts are still coming
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
            reason = str(error) or type(error).__name__
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
    rounds: int = 0  # since this controller began
    began_at: str | None = None
    took_s: float = 0.0
    looked: int = 0
    mended: int = 0
    failed: int = 0
    findings: tuple[Finding, ...] = ()
    error: str | None = None  # why the round as a whole was not finished


@dataclass(slots=True)
class Rounds:
    """The duties of one controller."""

    clock: Clock
    duties: Mapping[str, Duty]
    _last: dict[str, Round] = field(default_factory=dict)
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
            await self.do(name)
            await self.clock.sleep(every_s)

    def last(self) -> list[Round]:
        """Tell of every duty how it went the last time."""
        return [self._last.get(name, Round(name=name, every_s=duty.every_s)) for name, duty in self.duties.items()]

    async def do(self, name: str) -> Round:
        """Do the duty now, after the round that may be going on. `NotFound`."""
        if name not in self.duties:
            raise NotFound(f"There is no duty {name}. There are: {', '.join(self.duties)}.")
        async with self._locks.setdefault(name, asyncio.Lock()):
            done = await self._do(name, self.duties[name])
            self._last[name] = done
            return done

    async def _do(self, name: str, duty: Duty) -> Round:
        tally, began, began_at = Tally(), self.clock.monotonic(), stamp(self.clock.wall())
        reason = None
        try:
            await duty.do(tally)
        except Exception as error:
            reason = str(error) or type(error).__name__
            log.error("duty not finished", duty=name, exc_info=True)
        before = self._last.get(name)
        return Round(
            name=name,
            every_s=duty.every_s,
            rounds=(before.rounds if before else 0) + 1,
            began_at=began_at,
            took_s=round(self.clock.monotonic() - began, 3),
            looked=tally.looked,
            mended=tally.mended,
            failed=tally.failed,
            findings=tuple(tally.findings),
            error=reason,
        )
