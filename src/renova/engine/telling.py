"""Tells an operation's story from where its journal ends: runs its steps, undoes them when one fails, and settles.

One of two edges where errors are translated: `NotNow` to another try, everything else to undo and settle.
"""

import traceback
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from renova.engine.journal import Book, Entry, Held, Journal, Lost
from renova.engine.operation import Failure, Kind, Step, Story
from renova.engine.tries import FIRST_PAUSE, Tries
from renova.model.chance import Chance
from renova.model.clock import Clock
from renova.model.errors import Broken, CloudError, NotNow, details_of

log = structlog.get_logger()
C = TypeVar("C")
TX = TypeVar("TX")
R = TypeVar("R")

FIRST_EPOCH = 1  # of an operation that was never taken over
UNREAD = "steps are not undone: the journal cannot be read so far"
LONGEST_SETTLING_PAUSE = 60.0  # seconds between tries of a failed operation's end


class _StoryEnds(Exception):
    """Raised in a story read for its past only, where that past ends."""


class Teller(Generic[C, TX]):
    """Tells stories. `begin` is given what waited behind an operation that has ended."""

    def __init__(
        self,
        *,
        context: Callable[[Held], C],
        journal: Journal[TX],
        stories: Mapping[str, Story[Any]],
        clock: Clock,
        chance: Chance,
        begin: Callable[[Held | None], None],
    ) -> None:
        self._context = context
        self._journal = journal
        self._stories = stories
        self._clock = clock
        self._chance = chance
        self._begin = begin
        self._tries = Tries(journal, clock, chance)

    async def tell(self, held: Held) -> None:
        """Go on with the operation until it has ended; `Lost` as soon as it is no longer ours."""
        story = self._stories.get(held.story)
        if story is None or story.version != held.version:
            await self._tries.persist(lambda: self._journal.give_away(held))
            return
        want = msgspec.json.decode(held.want, type=story.want)
        # Nobody has told it yet where the epoch is the first: then there is no past to read.
        entries, undone = await self._journal.read(held) if held.epoch > FIRST_EPOCH else ([], set())
        # One for the whole telling: what it goes by was so when we were given the operation.
        context = self._context(held)
        reading = _Reading(context, self._tries, self._begin, held, entries)
        if held.undoing:
            failure = msgspec.json.decode(held.failure or b"", type=Failure)
            reading.past_only = True
            try:
                await story.tell(reading, want)
            except Exception:  # its past ends at `_StoryEnds`, or where the story itself failed, and fails again
                if reading.unread:
                    log.error(UNREAD, steps=reading.unread, exc_info=True)
        else:
            try:
                await story.tell(reading, want)
                if not reading.ended:
                    raise Broken("the story came to no end step")
                return
            except Lost:
                raise
            except Exception as error:
                failure = _failure(error, reading)
                log.warning("operation failed", error=failure.whole, exc_info=not isinstance(error, CloudError))
                if reading.unread:
                    log.error(UNREAD, steps=reading.unread, exc_info=True)
            stored = msgspec.json.encode(failure)
            await self._tries.commit(
                held, f"{story.name}: failure", lambda _tx, book, again: reading.begin_undo(book, stored, again=again)
            )
        await self._undo(held, reading, undone)

        def settle(tx: TX, book: Book, _again: bool) -> Held | None:
            book.demand_ours(reading.written)
            story.settle(context, tx, want, failure)
            return book.close("failed")

        self._begin(await self._settle(held, settle))

    async def _settle(self, held: Held, settle: Callable[[TX, Book, bool], Held | None]) -> Held | None:
        """Commit a failed operation's end, however often it takes: as long as it is active, its server has no other.

        An error here is a bug, or rows that nobody expected: both are mended while we run, the rows at least.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._tries.commit(held, f"{held.story}: settling", settle)
            except Lost:
                raise
            except Exception:
                log.error("operation not settled yet", exc_info=True)
            await self._clock.sleep(pause * self._chance.uniform(0.8, 1.2))
            pause = min(2 * pause, LONGEST_SETTLING_PAUSE)

    async def _undo(self, held: Held, reading: "_Reading[C, TX]", undone: set[int]) -> None:
        for place, step, arguments in reversed(reading.taken):
            if place in undone or step.undo_body is None:
                continue
            try:
                await self._take_back(held, reading, place, step, arguments)
            except Lost:
                raise
            except Exception:
                # The other undos must still run; what stays behind is said here and found by reconciliation.
                log.error("undo failed", step=step.name, exc_info=True)

    async def _take_back(
        self, held: Held, reading: "_Reading[C, TX]", place: int, step: Step[..., Any], arguments: tuple[Any, ...]
    ) -> None:
        context, written, undo = reading.context, reading.written, step.undo_body
        assert undo is not None

        def change(tx: TX, book: Book, again: bool) -> None:
            book.demand_ours(written)
            if again and book.is_undone(place):
                return
            if step.undo_kind is Kind.WRITE:
                undo(context, tx, *arguments)
            book.note_undone(place)

        if step.undo_kind is Kind.ACT:
            await self._tries.act(held, step.patience, written, lambda: undo(context, *arguments))
        await self._tries.commit(held, f"undo of {step.name}", change)


class _Reading(Generic[C, TX]):
    """One reading of a story: gives stored results while there are any, then runs the steps."""

    def __init__(
        self, context: C, tries: Tries[TX], begin: Callable[[Held | None], None], held: Held, entries: list[Entry]
    ) -> None:
        self.context = context
        self._tries = tries
        self._begin = begin
        self._held = held
        self._entries = entries
        self._unwritten: Entry | None = None  # of the act before: written with what comes next
        self.written = len(entries) - 1 if entries else None  # the place of the last entry that is known to be there
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
            done: R = await self._tries.act(
                self._held, step.patience, self.written, lambda: step.body(self.context, *arguments)
            )
            self._unwritten = Entry(place, step.name, step.encode(done))
            return done

        def change(tx: TX, book: Book, again: bool) -> tuple[R, Held | None]:
            book.demand_ours(self.written)
            if (again or self._doubtful) and (stored := book.result(place)) is not None:
                return step.decode(stored), None
            result: R = step.body(self.context, tx, *arguments)
            if step.kind is Kind.END:
                return result, book.close("done")
            self._write(book, again=again)
            book.note(Entry(place, step.name, step.encode(result)))
            return result, None

        try:
            written, waiting = await self._tries.commit(self._held, step.name, change, step.patience)
        except NotNow:
            if self._unwritten is None:
                raise
            self._doubtful = True
            await self._write_now()  # however long the database is away, what happened outside is not forgotten
            written, waiting = await self._tries.commit(self._held, step.name, change, 0)
        self._unwritten = None
        self.written = place
        self._doubtful = False
        self.ended = step.kind is Kind.END
        self._begin(waiting)
        return written

    @property
    def unread(self) -> list[str]:
        """The steps of the past that the story has not come to: where it ended before them, nobody undoes them."""
        return [entry.step for entry in self._entries[len(self.taken) :]]

    def begin_undo(self, book: Book, failure: bytes, *, again: bool) -> None:
        book.demand_ours(self.written)
        self._write(book, again=again)
        book.begin_undo(failure)

    async def _write_now(self) -> None:
        if (entry := self._unwritten) is not None:
            await self._tries.commit(self._held, entry.step, lambda _tx, book, again: self._write(book, again=again))
            self.written = entry.place
            self._unwritten = None

    def _write(self, book: Book, *, again: bool) -> None:
        """Note the act that is done, unless a commit that was not answered has."""
        entry = self._unwritten
        if entry is not None and not ((again or self._doubtful) and book.result(entry.place) is not None):
            book.note(entry)


def _failure(error: Exception, reading: _Reading[Any, Any]) -> Failure:
    chain = "".join(traceback.format_exception(error))
    message = str(error) if isinstance(error, CloudError) else "an unexpected error; the log holds its cause"
    step = reading.taken[-1][1].name if reading.taken else ""
    return Failure(message, type(error).__name__, chain, step, details_of(error))
