"""A controller's database goes away under its work and comes back: what was acknowledged stays, all or nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic

import pytest
from sqlalchemy import text

from renova.hosts import eras
from renova.lab.replication import Pair
from renova.model.errors import NotNow
from renova.store import cluster
from renova.store.database import Database, Tx
from renova.store.postgresql import open_postgresql
from renova.store.postgresql_server import ANSWER_S, CONNECT_S

pytestmark = pytest.mark.slow

WORKERS = 8
LIMIT_S = 60.0
# Of one answer, on a machine that has other things to do, too.
SOON_S = ANSWER_S + 2 * CONNECT_S + 10.0

LEFT, RIGHT = (text(f"INSERT INTO {side} VALUES (:number)") for side in ("left_side", "right_side"))


@pytest.fixture
async def database(pair: Pair) -> AsyncIterator[Database]:
    pair.up()
    found = await asyncio.to_thread(open_postgresql, pair.url())

    def make(tx: Tx) -> None:
        for side in ("left_side", "right_side"):
            tx.execute(text(f"CREATE TABLE IF NOT EXISTS {side} (number bigint PRIMARY KEY)"))

    await found.transact(make)
    yield found
    await asyncio.to_thread(found.close)


def write(number: int) -> Callable[[Tx], None]:
    def both(tx: Tx) -> None:
        tx.execute(LEFT, {"number": number})
        tx.execute(RIGHT, {"number": number})

    return both


async def sides(database: Database) -> tuple[set[int], set[int]]:
    def look(tx: Tx) -> tuple[set[int], set[int]]:
        left, right = (tx.execute(text(f"SELECT number FROM {side}")).scalars() for side in ("left_side", "right_side"))
        return set(left), set(right)

    return await database.read(look)


class Work:
    """Workers who write numbers on both sides, each as soon as its last one was answered, until `stop`."""

    def __init__(self, database: Database, first: int) -> None:
        self._database = database
        self._number = first
        self.acknowledged: set[int] = set()
        self.refused: set[int] = set()
        self.longest = 0.0  # seconds for one answer
        self._ending = False
        self._tasks = [asyncio.create_task(self._work()) for _ in range(WORKERS)]

    async def _work(self) -> None:
        while not self._ending:
            self._number += 1
            number, asked = self._number, monotonic()
            try:
                await self._database.transact(write(number))
                self.acknowledged.add(number)
            except NotNow:
                self.refused.add(number)
            self.longest = max(self.longest, monotonic() - asked)

    async def more(self, count: int = 20) -> None:
        """Wait until so many more were acknowledged."""
        wanted = len(self.acknowledged) + count
        await until(lambda: len(self.acknowledged) >= wanted, "no more transactions are acknowledged")

    async def stop(self) -> None:
        self._ending = True
        await asyncio.gather(*self._tasks)

    async def check(self) -> None:
        left, right = await sides(self._database)
        assert left == right, "half of a transaction is there"
        assert self.acknowledged <= left, "what was acknowledged is lost"


async def until(true: Callable[[], bool], what: str) -> None:
    deadline = monotonic() + LIMIT_S
    while not true():
        assert monotonic() < deadline, what
        await asyncio.sleep(0.01)


async def in_thread(act: Callable[[], None]) -> None:
    await asyncio.to_thread(act)


async def hurt(database: Database, first: int, act: Callable[[], Awaitable[None]]) -> Work:
    """Do it while there is work, and return that when it has gone on."""
    work = Work(database, first)
    try:
        await work.more()
        await act()
        await work.more()
    finally:
        await work.stop()
    await work.check()
    return work


async def test_work_goes_on_at_the_standby_with_all_that_was_acknowledged(pair: Pair, database: Database) -> None:
    before = pair.primary

    async def fail_over() -> None:
        await in_thread(pair.fail_over)

    await hurt(database, 0, fail_over)
    assert pair.primary != before


@pytest.mark.parametrize("waits", [True, False], ids=["synchronous", "not_synchronous"])
async def test_all_is_on_hold_after_a_fail_over_unless_commits_were_seen_to_wait_for_the_standby(
    pair: Pair, database: Database, waits: bool
) -> None:
    history = database.history
    assert history is not None
    await in_thread(pair.up)
    await database.transact(lambda tx: eras.begin(tx, "operator"))
    await database.transact(cluster.end_hold)
    if not waits:
        await in_thread(lambda: pair.primary.set(synchronous_standby_names=""))
    await database.transact(history.note)
    assert (await database.read(cluster.get)).synchronous is waits
    before = database.standing.timeline

    await in_thread(pair.fail_over)
    fresh = await asyncio.to_thread(open_postgresql, pair.url())
    try:
        standing = await fresh.transact(cluster.get)  # by whoever comes first, even if it has seen nothing before
        assert (standing.hold is None) is waits
        assert standing.timeline not in (None, before)
    finally:
        await asyncio.to_thread(fresh.close)


async def test_work_goes_on_when_a_killed_server_is_back(pair: Pair, database: Database) -> None:
    async def kill() -> None:
        work_before = await sides(database)
        await in_thread(pair.primary.kill)
        with pytest.raises(NotNow):
            await database.transact(write(-1))
        with pytest.raises(NotNow):
            await sides(database)
        await in_thread(pair.up)
        assert work_before[0] <= (await sides(database))[0]

    work = await hurt(database, 1_000_000, kill)
    assert work.longest < SOON_S


async def test_a_frozen_server_is_given_up_soon_and_used_again_when_it_thaws(pair: Pair, database: Database) -> None:
    async def freeze() -> None:
        await in_thread(pair.primary.freeze)
        try:
            began = monotonic()
            with pytest.raises(NotNow):
                await database.transact(write(-2))
            with pytest.raises(NotNow):
                await sides(database)
            assert monotonic() - began < 2 * SOON_S
        finally:
            pair.primary.thaw()

    work = await hurt(database, 2_000_000, freeze)
    assert work.refused
    assert work.longest < SOON_S


async def test_nothing_counts_as_written_while_the_standby_is_away(pair: Pair, database: Database) -> None:
    async def kill_standby() -> None:
        await in_thread(pair.standby.kill)
        with pytest.raises(NotNow):
            await database.transact(write(-3))
        await in_thread(pair.up)

    work = await hurt(database, 3_000_000, kill_standby)
    assert work.longest < SOON_S


async def has_written(database: Database, number: int) -> bool:
    """Say whether it is there, in a transaction that writes nothing."""
    query = text("SELECT number FROM left_side WHERE number = :number")
    return await database.transact(lambda tx: tx.execute(query, {"number": number}).first() is not None)


async def test_a_commit_that_no_standby_has_is_not_found_again_before_one_has_it(
    pair: Pair, database: Database
) -> None:
    """It hangs while the standby is away; a restart ends that, and then everybody sees it."""
    await in_thread(pair.standby.kill)
    with pytest.raises(NotNow):
        await database.transact(write(-4))
    await in_thread(pair.primary.kill)
    await in_thread(pair.primary.start)
    assert -4 in (await sides(database))[0]
    with pytest.raises(NotNow):
        await has_written(database, -4)
    await in_thread(pair.up)
    assert await has_written(database, -4)


async def test_a_server_that_is_killed_again_and_again_keeps_all_and_halves_nothing(
    pair: Pair, database: Database
) -> None:
    async def kill_often() -> None:
        for _ in range(3):
            await in_thread(pair.primary.kill)
            await in_thread(pair.primary.start)
            left, right = await sides(database)
            assert left == right

    await hurt(database, 4_000_000, kill_often)
