"""Runs the operations of one executor, one task each, and resumes them after a crash; `telling` tells them.

What a task may rely on is only the journal: it may end at any point, here or with the whole process, and another goes
on from what is journalled. Executors look after one another: what a dead one left, another takes over; who was taken
for dead stops all it does and goes on as another.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import structlog

from renova.engine.executor import Executor
from renova.engine.journal import Held, Journal, Lost
from renova.engine.operation import Story
from renova.engine.telling import Teller
from renova.model.chance import Chance
from renova.model.clock import Clock
from renova.model.errors import NotNow
from renova.model.ids import ExecutorId, OperationId

log = structlog.get_logger()
C = TypeVar("C")
TX = TypeVar("TX")

FIRST_REST, LONGEST_REST = 1.0, 60.0  # seconds for which an operation rests that could not be told


class _Running(NamedTuple):
    held: Held
    task: "asyncio.Task[None]"


class _Rest(NamedTuple):
    until: float  # monotonic
    pause: float  # seconds, of the next one


class Runner(Generic[C, TX]):
    """Runs the operations of one executor."""

    def __init__(
        self,
        *,
        executor: Executor,
        context: Callable[[Held], C],
        journal: Journal[TX],
        stories: Mapping[str, Story[Any]],
        clock: Clock,
        chance: Chance,
        beat: float = 0.75,
    ) -> None:
        self.me = executor
        self._journal = journal
        self._teller = Teller(
            context=context, journal=journal, stories=stories, clock=clock, chance=chance, begin=self.start_next
        )
        self._known = frozenset((story.name, story.version) for story in stories.values())
        self._clock = clock
        self._chance = chance
        self._beat = beat  # seconds between renewals of the executor's lease
        self._running: dict[OperationId, _Running] = {}
        self._again: dict[OperationId, Held] = {}  # to begin when their former telling here has ended
        self._idle: set[OperationId] = set()  # ours that did not run here when we looked the last time
        self._lost: set[OperationId] = set()  # those that ran here though they were not ours
        self._resting: dict[OperationId, _Rest] = {}  # ours that could not be told
        self._closed = False

    @property
    def executor(self) -> ExecutorId:
        return self.me.id

    def start(self, held: Held) -> None:
        """Begin or resume the operation, as a task of its own."""
        if self._closed:
            return  # another takes it over
        former = self._running.get(held.id)
        if former is None:
            task = asyncio.get_running_loop().create_task(self._run(held), name=f"operation-{held.id}")
            self._running[held.id] = _Running(held, task)
            task.add_done_callback(lambda _: self._ended(held.id))
        elif former.task.cancelling():
            # It was put back, and its turn came while the telling that was stopped for it still ends.
            self._again[held.id] = held
        elif former.held.epoch < held.epoch or former.held.created_at != held.created_at:
            # It was taken from us and has come back, or the former one was lost with its commit and the database gave
            # its id again: what is told here can commit nothing.
            self._again[held.id] = held
            former.task.cancel()

    def _ended(self, operation: OperationId) -> None:
        del self._running[operation]
        self.start_next(self._again.pop(operation, None))

    def start_next(self, waiting: Held | None) -> None:
        """Begin what waited behind an operation that has ended."""
        if waiting is not None:
            self.start(waiting)

    def stop(self, operation: OperationId) -> None:
        """Stop running the operation here: it was superseded."""
        self._again.pop(operation, None)
        running = self._running.get(operation)
        if running is not None and not running.task.cancelling():  # a second time would break into what it still ends
            running.task.cancel()

    async def finished(self, operation: OperationId) -> None:
        """Wait until the operation is no longer run here."""
        if running := self._running.get(operation):
            await asyncio.wait([running.task])

    @property
    def running(self) -> int:
        return len(self._running)

    async def enlist(self, *, alone: bool = False) -> None:
        """Join the executors, as soon as the database can be asked; `alone`: there can be no other."""
        while True:
            sent = self._clock.monotonic()
            try:
                await self._journal.enlist(self.me.id, alone=alone)
            except NotNow:
                log.warning("not among the controllers yet", exc_info=True)
            else:
                break
            self.me.rename(self._chance)  # under the former name it may be there already
            await self._clock.sleep(self._beat)
        self.me.leased_until = sent + self._journal.lease_s
        self.me.steady_since = sent

    async def serve(self) -> None:
        """Keep this executor's lease, take over what dead ones left, resume what was left here; until cancelled."""
        woken = asyncio.Event()
        self._journal.on_free(woken.set)
        while True:
            woken.clear()
            try:
                await self._look_after()
            except NotNow:
                log.warning("database away", exc_info=True)
            await self._nap(woken)

    async def _nap(self, woken: asyncio.Event) -> None:
        """Wait for the next beat, or for another to give something away."""
        called, beat = asyncio.ensure_future(woken.wait()), asyncio.ensure_future(self._clock.sleep(self._beat))
        try:
            await asyncio.wait({called, beat}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            called.cancel()
            beat.cancel()

    async def _look_after(self) -> None:
        sent = self._clock.monotonic()
        if not await self._journal.keep_alive(self.me.id):
            await self._begin_anew()
            return
        if sent >= self.me.leased_until:
            # Whatever kept us from the database may have kept the others, too: their leases count from now on.
            self.me.steady_since = sent
        self.me.leased_until = sent + self._journal.lease_s
        bury = sent - self.me.steady_since >= self._journal.lease_s
        self._resume(await self._journal.adopt(self.me.id, self._known, bury=bury))
        await self._compare()

    async def _compare(self) -> None:
        """Resume what is ours and does not run: nobody heard that it was submitted, or it could not be told.

        And stop what runs and is not ours any more: another controller superseded it, or has taken it over.
        """
        held = await self._journal.held_by(self.me.id)
        ours = {operation for operation, run in self._running.items() if held.get(operation) == run.held.created_at}
        now = self._clock.monotonic()
        self._resting = {operation: rest for operation, rest in self._resting.items() if operation in held}
        awake = {operation for operation in held if (rest := self._resting.get(operation)) is None or rest.until <= now}
        idle = awake - self._running.keys()
        lost = self._running.keys() - ours
        # Found so twice: one that is only just beginning here, or has only just ended, is left alone.
        for operation in lost & self._lost:
            self.stop(operation)
        self._lost = lost
        left, self._idle = idle & self._idle, idle
        if left:
            self._resume(await self._journal.take_again(self.me.id, left))

    def _resume(self, operations: Iterable[Held]) -> None:
        for held in operations:
            log.info("operation resumed", operation=held.id, story=held.story, server=held.server)
            self.start(held)

    async def _begin_anew(self) -> None:
        """Stop all that runs under a name that others took for dead, and go on under another."""
        log.warning("this controller was taken for dead, and goes on under another name", former=self.me.id)
        self.me.leased_until = float("-inf")
        while self._running:
            await self._stop_all()
        self.me.rename(self._chance)
        await self.enlist()

    async def close(self) -> None:
        """Stop all tasks; their operations stay in the journal for the next executor."""
        self._closed = True
        await self._stop_all()

    async def resign(self) -> None:
        """Stop all tasks, and give their operations away at once."""
        await self.close()
        await self._journal.resign(self.me.id)

    async def _stop_all(self) -> None:
        self._again.clear()
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, held: Held) -> None:
        with structlog.contextvars.bound_contextvars(operation=held.id, server=held.server, story=held.story):
            try:
                await self._teller.tell(held)
                self._resting.pop(held.id, None)
            except Lost:
                log.info("operation lost", number=held.number)
            except Exception:
                # Nothing is lost: the operation stays in the journal, and is tried again.
                former = self._resting.get(held.id)
                pause = former.pause if former else FIRST_REST
                self._resting[held.id] = _Rest(self._clock.monotonic() + pause, min(2 * pause, LONGEST_REST))
                log.error("operation cannot be told", again_in_s=pause, exc_info=True)
