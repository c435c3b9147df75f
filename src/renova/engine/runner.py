"""Tells stories: runs their steps, resumes them after a crash, tries again, undoes, and always ends them.

One task an operation. What it may rely on is only the journal: any task may end at any point, here or with the whole
process, and another goes on from what is journalled. One of two edges where errors are translated: `NotNow` to
another try, everything else to undo and settle.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from renova.engine.journal import Book, Entry, Held, Journal, Lost
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


class _StoryEnds(Exception):
    """Raised in a story read for its past only, where that past ends."""


class Runner(Generic[C, TX]):
    """Runs the operations of one executor."""

    def __init__(
        self,
        *,
        executor: ExecutorId,
        context: Callable[[Held], C],
        journal: Journal[TX],
        stories: Mapping[str, Story[Any]],
        clock: Clock,
        chance: Chance,
        beat: float = 1.5,
    ) -> None:
        self.executor = executor
        self._context = context
        self._journal = journal
        self._stories = stories
        self._clock = clock
        self._chance = chance
        self._beat = beat  # seconds between renewals of the executor's lease
        self._tasks: dict[OperationId, asyncio.Task[None]] = {}
        self._again: dict[OperationId, Held] = {}  # to begin when their former telling here has ended

    def start(self, held: Held) -> None:
        """Begin or resume the operation, as a task of its own."""
        former = self._tasks.get(held.id)
        if former is None:
            task = asyncio.get_running_loop().create_task(self._run(held), name=f"operation-{held.id}")
            self._tasks[held.id] = task
            task.add_done_callback(lambda _: self._ended(held.id))
        elif former.cancelling():
            # It was put back, and its turn came while the telling that was stopped for it still ends.
            self._again[held.id] = held

    def _ended(self, operation: OperationId) -> None:
        del self._tasks[operation]
        self.start_next(self._again.pop(operation, None))

    def start_next(self, waiting: Held | None) -> None:
        """Begin what waited behind an operation that has ended."""
        if waiting is not None:
            self.start(waiting)

    def stop(self, operation: OperationId) -> None:
        """Stop running the operation here: it was superseded."""
        self._again.pop(operation, None)
        task = self._tasks.get(operation)
        if task is not None and not task.cancelling():  # a second time would break into what it still ends
            task.cancel()

    async def finished(self, operation: OperationId) -> None:
        """Wait until the operation is no longer run here."""
        if task := self._tasks.get(operation):
            await asyncio.wait([task])

    @property
    def running(self) -> int:
        return len(self._tasks)

    async def serve(self) -> None:
        """Keep this executor's lease, and take over what dead ones left; runs until cancelled.

        An executor that others took for dead ends with `Lost`: the process must not go on under its old name.
        """
        while True:
            try:
                if not await self._journal.keep_alive(self.executor):
                    raise Lost("this controller was taken for dead and its operations were given to another")
                for held in await self._journal.adopt(self.executor):
                    log.info("operation resumed", operation=held.id, story=held.story, server=held.server)
                    self.start(held)
            except NotNow:
                log.warning("database away", exc_info=True)
            await self._clock.sleep(self._beat)

    async def close(self) -> None:
        """Stop all tasks; their operations stay in the journal for the next executor."""
        self._again.clear()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, held: Held) -> None:
        with structlog.contextvars.bound_contextvars(operation=held.id, server=held.server, story=held.story):
            try:
                await self._tell(held)
            except Lost:
                log.info("operation lost", number=held.number)
            except Exception:
                # Nothing is lost: the operation stays in the journal, and the next executor tries it again.
                log.error("operation cannot be told", exc_info=True)

    async def _tell(self, held: Held) -> None:
        story = self._stories.get(held.story)
        if story is None or story.version != held.version:
            raise Broken(f"no story {held.story} of version {held.version} in this release")
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
            await self.persist(lambda: self._journal.commit(held, lambda _tx, book: telling.begin_undo(book, stored)))
        await self._undo(held, telling, undone)
        context = self._context(held)

        def settle(tx: TX, book: Book) -> Held | None:
            story.settle(context, tx, want, failure)
            return book.close("failed")

        self.start_next(await self._settle(held, settle))

    async def _settle(self, held: Held, settle: Callable[[TX, Book], Held | None]) -> Held | None:
        """Commit a failed operation's end, however often it takes: as long as it is active, its server has no other.

        An error here is a bug, or rows that nobody expected: both are mended while we run, the rows at least.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                return await self.persist(lambda: self._journal.commit(held, settle))
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

        def change(tx: TX, book: Book) -> None:
            if step.undo_kind is Kind.WRITE:
                undo(context, tx, *arguments)
            book.note_undone(place)

        if step.undo_kind is Kind.ACT:
            await self.patiently(step.patience, lambda: undo(context, *arguments))
        await self.persist(lambda: self._journal.commit(held, change))

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
        """Commit, for as long as the database may be away: what happened outside must not be forgotten."""
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
            done: R = await self._runner.patiently(step.patience, lambda: step.body(self._context, *arguments))
            self._unwritten = Entry(place, step.name, step.encode(done))
            return done

        def change(tx: TX, book: Book) -> tuple[R, Held | None]:
            result: R = step.body(self._context, tx, *arguments)
            if step.kind is Kind.END:
                return result, book.close("done")
            self._write(book)
            book.note(Entry(place, step.name, step.encode(result)))
            return result, None

        def commit() -> Awaitable[tuple[R, Held | None]]:
            return self._runner.journal.commit(self._held, change)

        try:
            written, waiting = await self._runner.patiently(step.patience, commit)
        except NotNow:
            if self._unwritten is None:
                raise
            await self._write_now()  # however long the database is away, what happened outside is not forgotten
            written, waiting = await self._runner.patiently(0, commit)
        self._unwritten = None
        self.ended = step.kind is Kind.END
        self._runner.start_next(waiting)
        return written

    def begin_undo(self, book: Book, failure: bytes) -> None:
        self._write(book)
        book.begin_undo(failure)

    async def _write_now(self) -> None:
        if self._unwritten is not None:
            await self._runner.persist(
                lambda: self._runner.journal.commit(self._held, lambda _tx, book: self._write(book))
            )
            self._unwritten = None

    def _write(self, book: Book) -> None:
        if self._unwritten is not None:
            book.note(self._unwritten)


def _failure(error: Exception, telling: _Telling[Any, Any]) -> Failure:
    chain = "".join(traceback.format_exception(error))
    message = str(error) if isinstance(error, CloudError) else "an unexpected error; the log holds its cause"
    step = telling.taken[-1][1].name if telling.taken else ""
    return Failure(message=message, kind=type(error).__name__, traceback=chain, step=step)
