"""Tells stories: runs their steps, resumes them after a crash, tries again, undoes, and always ends them.

One task an operation. What it may rely on is only the journal: any task may end at any point, here or with the whole
process, and another goes on from what is journalled. A commit that was not answered may have happened: it is tried
again, and finds what it left. Executors look after one another: what a dead one left, another takes over; who was
taken for dead stops all it does and goes on as another. One of two edges where errors are translated: `NotNow` to
another try, everything else to undo and settle.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import structlog

from renova.engine.executor import Executor
from renova.engine.journal import Book, Elsewhere, Entry, Held, Journal, Lost
from renova.engine.operation import Failure, Kind, Step, Story
from renova.model.chance import Chance
from renova.model.clock import Clock
from renova.model.errors import Broken, CloudError, NotNow
from renova.model.ids import ExecutorId, OperationId

log = structlog.get_logger()
C = TypeVar("C")
TX = TypeVar("TX")
R = TypeVar("R")

FIRST_EPOCH = 1  # of an operation that was never taken over
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0  # seconds between tries; doubling, with jitter
LONGEST_SETTLING_PAUSE = 60.0  # seconds between tries of a failed operation's end
HAND_OVER = 3.0  # seconds for which another executor has what a step needs, until it is given the operation
FIRST_REST, LONGEST_REST = 1.0, 60.0  # seconds for which an operation rests that could not be told


class _StoryEnds(Exception):
    """Raised in a story read for its past only, where that past ends."""


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
        self._context = context
        self._journal = journal
        self._stories = stories
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
                await self._tell(held)
                self._resting.pop(held.id, None)
            except Lost:
                log.info("operation lost", number=held.number)
            except Exception:
                # Nothing is lost: the operation stays in the journal, and is tried again.
                former = self._resting.get(held.id)
                pause = former.pause if former else FIRST_REST
                self._resting[held.id] = _Rest(self._clock.monotonic() + pause, min(2 * pause, LONGEST_REST))
                log.error("operation cannot be told", again_in_s=pause, exc_info=True)

    async def _tell(self, held: Held) -> None:
        story = self._stories.get(held.story)
        if story is None or story.version != held.version:
            await self.persist(lambda: self._journal.give_away(held))
            return
        want = msgspec.json.decode(held.want, type=story.want)
        # Nobody has told it yet where the epoch is the first: then there is no past to read.
        entries, undone = await self._journal.read(held) if held.epoch > FIRST_EPOCH else ([], set())
        telling = _Telling(self, held, entries)
        if held.undoing:
            failure = msgspec.json.decode(held.failure or b"", type=Failure)
            telling.past_only = True
            # Its past ends at `_StoryEnds`, or where the story itself failed, and fails again.
            with suppress(Exception):
                await story.tell(telling, want)
        else:
            try:
                await story.tell(telling, want)
                if not telling.ended:
                    raise Broken("the story came to no end step")
                return
            except Lost:
                raise
            except Exception as error:
                failure = _failure(error, telling)
                log.warning("operation failed", error=failure.message, exc_info=not isinstance(error, CloudError))
            stored = msgspec.json.encode(failure)
            await self.commit(held, lambda _tx, book, again: telling.begin_undo(book, stored, again=again))
        await self._undo(held, telling, undone)
        context = self._context(held)

        def settle(tx: TX, book: Book, _again: bool) -> Held | None:
            book.demand_ours()
            story.settle(context, tx, want, failure)
            return book.close("failed")

        self.start_next(await self._settle(held, settle))

    async def _settle(self, held: Held, settle: Callable[[TX, Book, bool], Held | None]) -> Held | None:
        """Commit a failed operation's end, however often it takes: as long as it is active, its server has no other.

        An error here is a bug, or rows that nobody expected: both are mended while we run, the rows at least.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                return await self.commit(held, settle)
            except Lost:
                raise
            except Exception:
                log.error("operation not settled yet", exc_info=True)
            await self._clock.sleep(pause * self._chance.uniform(0.8, 1.2))
            pause = min(2 * pause, LONGEST_SETTLING_PAUSE)

    async def _undo(self, held: Held, telling: "_Telling[C, TX]", undone: set[int]) -> None:
        for place, step, arguments in reversed(telling.taken):
            if place in undone or step.undo_body is None:
                continue
            try:
                await self._take_back(held, place, step, arguments)
            except Lost:
                raise
            except Exception:
                # The other undos must still run; what stays behind is said here and found by reconciliation.
                log.error("undo failed", step=step.name, exc_info=True)

    async def _take_back(self, held: Held, place: int, step: Step[..., Any], arguments: tuple[Any, ...]) -> None:
        context, undo = self._context(held), step.undo_body
        assert undo is not None

        def change(tx: TX, book: Book, again: bool) -> None:
            book.demand_ours()
            if again and book.is_undone(place):
                return
            if step.undo_kind is Kind.WRITE:
                undo(context, tx, *arguments)
            book.note_undone(place)

        if step.undo_kind is Kind.ACT:
            await self.act(held, step.patience, lambda: undo(context, *arguments))
        await self.commit(held, change)

    async def commit(self, held: Held, change: Callable[[TX, Book, bool], R], patience: float = float("inf")) -> R:
        """Commit, by default for as long as the database may be away: what happened outside must not be forgotten.

        `change` is told whether it was tried before: then it may have been committed, though nobody heard of it.
        """
        tries = 0

        def once() -> Awaitable[R]:
            nonlocal tries
            again, tries = tries > 0, tries + 1
            return self._journal.commit(held, lambda tx, book: change(tx, book, again))

        return await self.patiently(patience, once)

    async def act(self, held: Held, patience: float, call: Callable[[], Awaitable[R]]) -> R:
        """Call as `patiently` does; hand the operation over (`Lost`) to who has what was lacking here a while."""
        lacking_since: float | None = None

        async def once() -> R:
            nonlocal lacking_since
            try:
                return await call()
            except Elsewhere as away:
                now = self._clock.monotonic()
                lacking_since = now if lacking_since is None else lacking_since
                if now - lacking_since >= HAND_OVER:
                    lacking_since = now  # whoever has it may be gone by now: then we go on trying
                    await self._hand_over(held, away)
                raise
            except NotNow:
                lacking_since = None
                raise

        return await self.patiently(patience, once)

    async def _hand_over(self, held: Held, away: Elsewhere) -> None:
        """Have another executor go on with the operation, if it lives."""
        await self._journal.give_away(held, away.executor)
        await self._journal.read(held)  # raises `Lost` if it is no longer ours

    async def patiently(self, patience: float, call: Callable[[], Awaitable[R]]) -> R:
        """Call until it does not raise `NotNow`, for at most `patience` seconds."""
        began = self._clock.monotonic()
        pause = FIRST_PAUSE
        while True:
            try:
                return await call()
            except NotNow as away:
                if self._clock.monotonic() + pause - began > patience:
                    raise
                log.info("step waits", reason=str(away))
            await self._clock.sleep(pause * self._chance.uniform(0.8, 1.2))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def persist(self, commit: Callable[[], Awaitable[R]]) -> R:
        """Commit what may be committed twice, for as long as the database may be away."""
        return await self.patiently(float("inf"), commit)

    def context(self, held: Held) -> C:
        return self._context(held)

    @property
    def journal(self) -> Journal[TX]:
        return self._journal


class _Telling(Generic[C, TX]):
    """One reading of a story: gives stored results while there are any, then runs the steps."""

    def __init__(self, runner: Runner[C, TX], held: Held, entries: list[Entry]) -> None:
        self._runner = runner
        self._held = held
        self._entries = entries
        self._context = runner.context(held)
        self._unwritten: Entry | None = None  # of the act before: written with what comes next
        self.taken: list[tuple[int, Step[..., Any], tuple[Any, ...]]] = []
        self._doubtful = False  # whether a commit at this place was not answered, and may have happened
        self.past_only = False
        self.ended = False

    async def __call__(self, step: Step[..., R], *arguments: Any) -> R:
        if self.ended:
            raise Broken(f"step {step.name} comes after the end")
        place = len(self.taken)
        self.taken.append((place, step, arguments))
        if place < len(self._entries):
            entry = self._entries[place]
            if entry.step != step.name:
                raise Broken(f"the journal has {entry.step} where the story has {step.name}")
            return step.decode(entry.result)
        if self.past_only:
            raise _StoryEnds
        log.debug("step begins", step=step.name)
        if step.kind is Kind.ACT:
            await self._write_now()  # what an act rests on is written before it begins
            done: R = await self._runner.act(self._held, step.patience, lambda: step.body(self._context, *arguments))
            self._unwritten = Entry(place, step.name, step.encode(done))
            return done

        def change(tx: TX, book: Book, again: bool) -> tuple[R, Held | None]:
            book.demand_ours()
            if (again or self._doubtful) and (stored := book.result(place)) is not None:
                return step.decode(stored), None
            result: R = step.body(self._context, tx, *arguments)
            if step.kind is Kind.END:
                return result, book.close("done")
            self._write(book, again=again)
            book.note(Entry(place, step.name, step.encode(result)))
            return result, None

        try:
            written, waiting = await self._runner.commit(self._held, change, step.patience)
        except NotNow:
            if self._unwritten is None:
                raise
            self._doubtful = True
            await self._write_now()  # however long the database is away, what happened outside is not forgotten
            written, waiting = await self._runner.commit(self._held, change, 0)
        self._unwritten = None
        self._doubtful = False
        self.ended = step.kind is Kind.END
        self._runner.start_next(waiting)
        return written

    def begin_undo(self, book: Book, failure: bytes, *, again: bool) -> None:
        self._write(book, again=again)
        book.begin_undo(failure)

    async def _write_now(self) -> None:
        if self._unwritten is not None:
            await self._runner.commit(self._held, lambda _tx, book, again: self._write(book, again=again))
            self._unwritten = None

    def _write(self, book: Book, *, again: bool) -> None:
        """Note the act that is done, unless a commit that was not answered has."""
        entry = self._unwritten
        if entry is not None and not ((again or self._doubtful) and book.result(entry.place) is not None):
            book.note(entry)


def _failure(error: Exception, telling: _Telling[Any, Any]) -> Failure:
    chain = "".join(traceback.format_exception(error))
    message = str(error) if isinstance(error, CloudError) else "an unexpected error; the log holds its cause"
    step = telling.taken[-1][1].name if telling.taken else ""
    return Failure(message=message, kind=type(error).__name__, traceback=chain, step=step)
