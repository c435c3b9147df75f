"""Controllers wake each other: at once when it works, and never for what was not committed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from renova.model.errors import Refused
from renova.store.database import Database, Tx
from renova.store.postgresql import open_postgresql

LIMIT_S = 30.0


class Sleeper:
    """Waits at one database, and counts how often it was woken."""

    def __init__(self, database: Database, topic: str) -> None:
        self.times = 0
        self._woken = asyncio.Event()
        database.on_wake(topic, self._wake)

    def _wake(self) -> None:
        self.times += 1
        self._woken.set()

    async def woken(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            await self._woken.wait()
        self._woken.clear()


@asynccontextmanager
async def two(url: str) -> AsyncIterator[tuple[Database, Database]]:
    here, there = [await asyncio.to_thread(open_postgresql, url) for _ in range(2)]
    try:
        yield here, there
    finally:
        for database in (here, there):
            await asyncio.to_thread(database.close)


async def test_who_waits_in_another_controller_is_woken_by_a_commit(postgresql_url: str) -> None:
    async with two(postgresql_url) as (here, there):
        sleeper, other = Sleeper(there, "operations"), Sleeper(there, "something else")
        await sleeper.woken()  # as soon as it listens: what was said before, it may have missed
        await other.woken()

        def refused(tx: Tx) -> None:
            here.wake(tx, "operations")
            raise Refused("no")

        with pytest.raises(Refused):
            await here.transact(refused)
        await here.transact(lambda tx: here.wake(tx, "operations"))
        await sleeper.woken()
        assert (sleeper.times, other.times) == (2, 1), "once when it listened, once by the commit"


async def test_after_a_lost_connection_all_are_woken_for_they_may_have_missed_something(postgresql_url: str) -> None:
    async with two(postgresql_url) as (here, there):
        sleeper = Sleeper(there, "operations")
        await sleeper.woken()

        def end(tx: Tx) -> None:
            listening = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
            tx.execute(text(listening)).all()

        await here.transact(end)
        await sleeper.woken()
        await here.transact(lambda tx: here.wake(tx, "operations"))
        await sleeper.woken()


async def test_who_waits_in_the_same_controller_is_woken_too(postgresql_url: str) -> None:
    async with two(postgresql_url) as (here, _):
        sleeper = Sleeper(here, "operations")
        await sleeper.woken()
        await here.transact(lambda tx: here.wake(tx, "operations"))
        await sleeper.woken()
