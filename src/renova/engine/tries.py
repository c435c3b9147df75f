"""Tries again what cannot be done now: commits while the database is away, acts while a host is.

A commit that was not answered may have happened: it is tried again, and finds what it left.
"""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

from renova.engine.journal import Book, Elsewhere, Held, Journal, Lost
from renova.model.chance import Chance
from renova.model.clock import Clock
from renova.model.errors import DatabaseAway, NotNow, OnHold, whole

log = structlog.get_logger()
TX = TypeVar("TX")
R = TypeVar("R")

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0  # seconds between tries; doubling, with jitter
HAND_OVER = 3.0  # seconds for which another executor has what a step needs, until it is given the operation


class Tries(Generic[TX]):
    """Tries for as long as the caller is patient."""

    def __init__(self, journal: Journal[TX], clock: Clock, chance: Chance) -> None:
        self._journal = journal
        self._clock = clock
        self._chance = chance

    async def commit(
        self, held: Held, name: str, change: Callable[[TX, Book, bool], R], patience: float = float("inf")
    ) -> R:
        """Commit, by default for as long as the database may be away: what happened outside must not be forgotten.

        `change` is told whether it was tried before: then it may have been committed, though nobody heard of it.
        """
        tries = 0

        def once() -> Awaitable[R]:
            nonlocal tries
            again, tries = tries > 0, tries + 1
            return self._journal.commit(held, lambda tx, book: change(tx, book, again), name)

        return await self.patiently(patience, once)

    async def act(self, held: Held, patience: float, written: int | None, call: Callable[[], Awaitable[R]]) -> R:
        """Call as `patiently` does; hand the operation over (`Lost`) to who has what was lacking here a while.

        `written` is the place of the last entry. After a hold, or when the database was away, it is looked for: if the
        database lost it, the act rests on what is not so any more, and the operation is to be told anew (`Lost`) before
        anything is done.
        """
        lacking_since: float | None = None
        held_up = False

        async def once() -> R:
            nonlocal lacking_since, held_up
            if held_up:
                await self._must_have(held, written)
                held_up = False
            try:
                return await call()
            except (OnHold, DatabaseAway):
                held_up, lacking_since = True, None
                raise
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

    async def _must_have(self, held: Held, written: int | None) -> None:
        entries, _ = await self._journal.read(held)
        if written is not None and all(entry.place != written for entry in entries):
            raise Lost(f"what operation {held.id} did last was lost with its commit")

    async def _hand_over(self, held: Held, away: Elsewhere) -> None:
        """Have another executor go on with the operation, if it lives."""
        await self._journal.give_away(held, away.executor)
        await self._journal.read(held)  # raises `Lost` if it is no longer ours

    async def patiently(self, patience: float, call: Callable[[], Awaitable[R]]) -> R:
        """Call until it does not raise `NotNow`, for at most `patience` seconds since it first did.

        What a call takes that is done, or fails for the first time, does not count: it may copy a large image. Nor does
        what all operations wait for alike, a database that is away or a cluster that is on hold: who waits with them
        must find each as it was.
        """
        since: float | None = None  # when it first failed; later by what does not count
        failed_at = self._clock.monotonic()
        pause = FIRST_PAUSE
        while True:
            try:
                return await call()
            except NotNow as away:
                now = self._clock.monotonic()
                if isinstance(away, (DatabaseAway, OnHold)):
                    since = None if since is None else since + now - failed_at
                else:
                    since = now if since is None else since
                    if now + pause - since > patience:
                        raise
                failed_at = now
                log.info("step waits", reason=whole(away))
            await self._clock.sleep(pause * self._chance.uniform(0.8, 1.2))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def persist(self, commit: Callable[[], Awaitable[R]]) -> R:
        """Commit what may be committed twice, for as long as the database may be away."""
        return await self.patiently(float("inf"), commit)
