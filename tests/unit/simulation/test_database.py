"""A simulated database: what controllers hear of it, and what is true."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from renova.model.errors import NotNow
from renova.simulation.clocks import MachineClock
from renova.simulation.database import DatabaseServer, Hitch, LinkedDatabase
from renova.simulation.loop import run_virtual
from renova.simulation.processes import Process
from renova.store import cluster
from renova.store.database import Tx


class Bench:
    """A server, and two controllers that count in the cluster's row."""

    def __init__(self) -> None:
        self.server = DatabaseServer(MachineClock())
        self.world = self.server.open()
        self.processes = [Process("one"), Process("two")]
        self.links = [self.server.link(process, 0.01) for process in self.processes]
        self.one, self.two = (LinkedDatabase(link) for link in self.links)
        self.said: list[str] = []

    def count(self, tx: Tx) -> int:
        tx.then(lambda: self.said.append("then"))
        tx.unless(lambda: self.said.append("unless"))
        return cluster.tick(tx)

    async def counted(self) -> int:
        return (await self.world.read(cluster.get)).tick


def on_bench(story: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        bench = Bench()
        await story(bench)
        bench.server.close()

    run_virtual(main())


def test_controllers_see_what_each_other_committed_and_time_passes() -> None:
    async def story(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        assert await asyncio.gather(*[db.transact(bench.count) for db in (bench.one, bench.two, bench.one)]) == [
            1,
            3,
            2,
        ]
        assert loop.time() == pytest.approx(0.01)
        assert (await bench.two.read(cluster.get)).tick == 3
        assert loop.time() == pytest.approx(0.02)
        assert bench.said == ["then"] * 3

    on_bench(story)


@pytest.mark.parametrize(("hitch", "true"), [(Hitch.LOST, 0), (Hitch.UNHEARD, 1)])
def test_a_commit_whose_answer_is_lost_may_be_done_or_not(hitch: Hitch, true: int) -> None:
    async def story(bench: Bench) -> None:
        before = bench.one.standing
        struck: list[str] = []
        bench.server.hitches.append((hitch, lambda: struck.append("x")))
        reading = asyncio.get_running_loop().create_task(bench.one.read(cluster.get))
        with pytest.raises(NotNow, match="nobody knows"):
            await bench.one.transact(bench.count)
        assert (await bench.counted(), struck, bench.said) == (true, ["x"], ["unless"])
        await reading
        await bench.one.transact(bench.count)
        assert bench.one.standing.generation > before.generation + 1, "it knows that it missed something"

    on_bench(story)


def test_a_commit_in_anothers_way_runs_again() -> None:
    async def story(bench: Bench) -> None:
        bench.server.hitches.append((Hitch.CONFLICT, lambda: None))
        assert await bench.one.transact(bench.count) == 1
        assert (await bench.counted(), bench.said) == (1, ["unless", "then"])

    on_bench(story)


def test_one_that_is_away_is_not_waited_for() -> None:
    async def story(bench: Bench) -> None:
        bench.server.go_away()
        with pytest.raises(NotNow):
            await bench.one.transact(bench.count)
        with pytest.raises(NotNow):
            await bench.one.read(cluster.get)
        bench.server.come_back()
        bench.links[0].go_away()
        with pytest.raises(NotNow):
            await bench.one.transact(bench.count)
        assert await bench.two.transact(bench.count) == 1
        bench.links[0].come_back()
        assert await bench.one.transact(bench.count) == 2

    on_bench(story)


def test_a_full_disk_takes_no_commit_and_is_read() -> None:
    async def story(bench: Bench) -> None:
        bench.server.full = 1
        with pytest.raises(NotNow, match="full"):
            await bench.one.transact(bench.count)
        assert (await bench.one.read(cluster.get)).tick == 0
        bench.server.full = 0
        assert await bench.one.transact(bench.count) == 1

    on_bench(story)


@pytest.mark.parametrize("lags", [False, True])
def test_a_failover_is_another_timeline_and_loses_what_the_replica_lacks(lags: bool) -> None:
    async def story(bench: Bench) -> None:
        await bench.one.transact(bench.count)
        if lags:
            bench.server.lag()
        await bench.one.transact(bench.count)
        before = bench.one.standing
        assert bench.server.promote() is lags
        # That it lost something is known without anybody who remembers it.
        fresh = LinkedDatabase(bench.server.link(Process("three"), 0.01))
        assert ((await fresh.transact(cluster.get)).hold is not None) is lags
        assert (await bench.one.read(cluster.get)).tick == (1 if lags else 2)
        assert (bench.one.standing.timeline, bench.one.standing.generation) != (before.timeline, before.generation)
        assert bench.one.standing.timeline != before.timeline

    on_bench(story)


def test_while_the_replica_is_cut_off_nothing_is_confirmed_and_a_failover_loses_what_was_seen() -> None:
    async def story(bench: Bench) -> None:
        await bench.one.transact(bench.count)
        bench.server.cut_standby_off()
        for asked in (bench.count, cluster.get):  # also who writes nothing
            with pytest.raises(NotNow):
                await bench.one.transact(asked)
        assert (await bench.two.read(cluster.get)).tick == 2
        assert bench.server.promote()
        standing = await bench.two.transact(cluster.get)
        assert (standing.tick, standing.hold) == (1, None)

    on_bench(story)


def test_a_replica_that_is_reached_again_has_what_nobody_confirmed() -> None:
    async def story(bench: Bench) -> None:
        bench.server.cut_standby_off()
        with pytest.raises(NotNow):
            await bench.one.transact(bench.count)
        bench.server.reach_standby()
        assert (await bench.one.transact(cluster.get)).tick == 1
        assert not bench.server.promote()
        assert (await bench.one.transact(cluster.get)).tick == 1

    on_bench(story)


def test_a_restored_backup_is_what_was() -> None:
    async def story(bench: Bench) -> None:
        await bench.one.transact(bench.count)
        backup = bench.server.back_up()
        for _ in range(5):
            await bench.two.transact(bench.count)
        bench.server.restore(backup)
        backup.close()
        assert await bench.one.transact(bench.count) == 2

    on_bench(story)


def test_a_controller_that_dies_has_committed_or_has_not_and_never_hears() -> None:
    async def story(bench: Bench) -> None:
        bench.processes[0].spawn(bench.one.transact(bench.count), "counts")
        await asyncio.sleep(0.006)  # it is done, and the answer is on its way
        bench.processes[0].kill()
        bench.processes[1].spawn(bench.two.transact(bench.count), "counts")
        await asyncio.sleep(0.004)  # it has not arrived
        bench.processes[1].kill()
        await asyncio.sleep(1)
        assert (await bench.counted(), bench.said) == (1, [])

    on_bench(story)


def test_a_frozen_controller_hears_late() -> None:
    async def story(bench: Bench) -> None:
        bench.processes[0].spawn(bench.one.transact(bench.count), "counts")
        await asyncio.sleep(0.006)
        bench.processes[0].freeze()
        await asyncio.sleep(10)
        assert (await bench.counted(), bench.said) == (1, [])
        bench.processes[0].thaw()
        await asyncio.sleep(0.1)
        assert bench.said == ["then"]

    on_bench(story)
