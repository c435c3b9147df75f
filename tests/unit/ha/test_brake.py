"""No more than a share of the hosts are taken for dead at once without a word, however many controllers look."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from renova.ha import brake
from renova.model.clock import later
from renova.model.errors import Conflict
from renova.model.host import HostState, ProofKind
from renova.partners.notifications import CloudEvent
from renova.settings import BrakeSettings, ControllerSettings
from renova.simulation.cloud import QUICK_LEASE, SimulatedCloud
from renova.simulation.loop import run_virtual
from renova.store import cluster, hosts
from renova.store.cluster import Cluster

SETTINGS = ControllerSettings(lease=QUICK_LEASE, brake=BrakeSettings(share=0.3, hosts=2, window=600.0))
# For stories that go on beyond it.
SOON_OVER = replace(SETTINGS, brake=replace(SETTINGS.brake, window=240.0))
HOSTS = 9  # and a storage host: three of the ten may be
Story = Callable[[SimulatedCloud], Awaitable[None]]


class Heard:
    """Takes notifications."""

    def __init__(self) -> None:
        self.events: list[CloudEvent] = []

    async def deliver(self, event: CloudEvent) -> None:
        self.events.append(event)

    async def close(self) -> None: ...


def tell(story: Story, **options: Any) -> None:
    async def main() -> None:
        whole: dict[str, Any] = {"count": HOSTS, "settings": SETTINGS}
        cloud = SimulatedCloud(**whole | options)
        await cloud.up()
        await story(cloud)
        await cloud.down()
        assert cloud.ended == []

    with structlog.testing.capture_logs():
        run_virtual(main(), limit_s=5000)


async def die(cloud: SimulatedCloud, first: int, last: int) -> None:
    for nth in range(first, last + 1):
        await cloud.cut_power(f"host{nth}")


async def dead(cloud: SimulatedCloud) -> int:
    found = await cloud.database.read(hosts.every)
    return sum(host.state is HostState.DEAD for host in found)


async def standing(cloud: SimulatedCloud) -> Cluster:
    return await cloud.database.read(cluster.get)


@pytest.mark.parametrize(("members", "most"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (7, 2), (10, 3), (1000, 300)])
def test_how_many_hosts_may_be_taken_for_dead_at_once(members: int, most: int) -> None:
    assert brake.limit(members, BrakeSettings(share=0.3, hosts=2)) == most
    assert brake.limit(members, BrakeSettings(share=1.0)) == members


@given(members=st.integers(0, 10_000), share=st.floats(0.01, 0.5), fewest=st.integers(1, 100))
def test_who_hears_fewer_than_it_misses_takes_nobody_for_dead_unless_more_than_half_may_be(
    members: int, share: float, fewest: int
) -> None:
    assert brake.limit(members, BrakeSettings(share=share, hosts=fewest)) <= members / 2


def test_as_many_hosts_as_may_are_proven_dead_and_one_more_stops_all_until_an_operator_has_looked() -> None:
    sink = Heard()

    async def story(cloud: SimulatedCloud) -> None:
        await die(cloud, 1, 3)
        await cloud.clock.sleep(60)
        assert await dead(cloud) == 3
        assert (await standing(cloud)).brake is None
        await die(cloud, 4, 4)
        await cloud.clock.sleep(60)
        assert await dead(cloud) == 3
        reason = (await standing(cloud)).brake or ""
        assert reason.startswith("4 of 10 hosts are silent, or were taken for dead within 600 s, and no more than 3")
        await cloud.power_on("host4")
        await cloud.clock.sleep(60)
        assert (await standing(cloud)).brake == reason, "nobody has said that all is well"
        await die(cloud, 4, 6)
        await cloud.database.transact(lambda tx: brake.release(cloud.cloud, tx, "ada"))
        await cloud.clock.sleep(60)
        assert await dead(cloud) == 6, "who releases it has seen them all"
        assert (await standing(cloud)).brake is None

    tell(story, sink=sink)
    told = [(event.subject, event.type) for event in sink.events]
    assert told == [("cluster", "cluster.brake.engaged"), ("cluster", "cluster.brake.released")]
    assert msgspec.json.decode(sink.events[0].data)["payload"]["most"] == 3


def test_where_too_many_fall_silent_at_once_not_one_is_taken_for_dead() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        await die(cloud, 1, 4)
        await cloud.clock.sleep(200)
        assert await dead(cloud) == 0

    tell(story)


@pytest.mark.slow
def test_hosts_that_die_one_after_the_other_over_a_long_time_are_all_taken_for_dead() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        for nth in range(1, 7):
            await die(cloud, nth, nth)
            await cloud.clock.sleep(SOON_OVER.brake.window / 2 + 20)
        assert await dead(cloud) == 6

    tell(story, settings=SOON_OVER)


def test_two_controllers_do_not_go_beyond_the_limit_together() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        # Each has seen another half of them fall silent, as where the network between is cut in two.
        ids = [cloud.hosts[f"host{nth}"].id for nth in range(1, 5)]
        admitted = 0
        for seen in (frozenset(ids[:2]), frozenset(ids[2:])):
            for host in sorted(seen):
                ask = partial(brake.admits, cloud.cloud, host=host, silent=seen)
                admitted += await cloud.database.transact(ask)
        assert admitted == 2, "the second knows of those that the first was admitted"
        assert (await standing(cloud)).brake is not None

    tell(story)


def test_words_count_while_the_brake_is_on() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        await die(cloud, 1, 4)
        await cloud.clock.sleep(60)
        assert (await standing(cloud)).brake is not None
        await cloud.cloud.hosts.vouch(cloud.hosts["host1"].id, "ada", True)
        assert await dead(cloud) == 1

    tell(story)


def test_silent_hosts_where_somebody_is_at_work_are_not_counted() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        for nth in range(1, 4):
            change = partial(hosts.change, host=cloud.hosts[f"host{nth}"].id, disabled=True)
            await cloud.database.transact(change)
            for line in cloud.hosts[f"host{nth}"].lines.values():
                line.cut()
        await die(cloud, 4, 5)  # of the seven others
        await cloud.clock.sleep(60)
        assert await dead(cloud) == 2
        assert (await standing(cloud)).brake is None

    tell(story)


def test_a_brake_that_is_not_on_cannot_be_released() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        with pytest.raises(Conflict, match="not on"):
            await cloud.database.transact(lambda tx: brake.release(cloud.cloud, tx, "ada"))

    tell(story, count=1)


def test_after_a_restart_nobody_is_taken_for_dead_before_a_whole_lease_has_passed() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        for line in cloud.hosts["host1"].lines.values():
            line.cut()
        await cloud.clock.sleep(30)
        await cloud.kill_controller()
        await cloud.clock.sleep(300)
        await cloud.start_controller()
        await cloud.database.transact(lambda tx: hosts.change(tx, cloud.hosts["host1"].id, forced_down=True))
        began = cloud.clock.monotonic()
        while await dead(cloud) == 0:
            await cloud.clock.sleep(0.2)
        assert cloud.clock.monotonic() - began >= QUICK_LEASE.ttl + QUICK_LEASE.margin

    tell(story, count=2)


def test_a_host_that_comes_back_and_dies_again_counts_from_its_last_death() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        async def admitted(nth: int) -> bool:
            host = cloud.hosts[f"host{nth}"].id
            return await cloud.database.transact(partial(brake.admits, cloud.cloud, host=host, silent=frozenset()))

        assert [await admitted(nth) for nth in (1, 2, 3)] == [True, True, True]
        await cloud.clock.sleep(SOON_OVER.brake.window - 100)
        assert await admitted(1)
        await cloud.clock.sleep(200)  # the first deaths are longer ago than the window, and that one is not
        assert [await admitted(nth) for nth in (4, 5, 6)] == [True, True, False]

    tell(story, settings=SOON_OVER)


def test_a_death_that_was_decided_may_be_proven_and_one_after_a_return_is_one_more() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        async def admitted(nth: int) -> bool:
            host = cloud.hosts[f"host{nth}"].id
            return await cloud.database.transact(partial(brake.admits, cloud.cloud, host=host, silent=frozenset()))

        assert [await admitted(nth) for nth in (1, 2, 3, 4)] == [True, True, True, False]
        await cloud.database.transact(lambda tx: brake.release(cloud.cloud, tx, "an operator"))
        await cloud.clock.sleep(SOON_OVER.brake.window - 10)
        assert [await admitted(nth) for nth in (1, 2, 3, 4)] == [True, True, True, True]
        await cloud.clock.sleep(20)  # what was released holds no more
        assert await admitted(1), "it was to be switched off, and is proven dead now"
        came_back = cloud.hosts["host2"].id
        proof = (ProofKind.NEW_BOOT, 2, {"boot": "another"}, "the host")
        await cloud.database.transact(lambda tx: hosts.note_proof(tx, came_back, *proof))
        assert not await admitted(2)

    tell(story, settings=SOON_OVER)


def test_deaths_of_before_the_databases_clock_went_back_are_not_at_once_for_hours() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        async def admitted(nth: int) -> bool:
            host = cloud.hosts[f"host{nth}"].id
            return await cloud.database.transact(partial(brake.admits, cloud.cloud, host=host, silent=frozenset()))

        for nth in (1, 2, 3):
            host = cloud.hosts[f"host{nth}"].id
            await cloud.database.transact(lambda tx: hosts.change(tx, host, condemned_at=later(tx.now, 7200.0)))  # noqa: B023
        assert [await admitted(nth) for nth in (4, 5, 6, 7)] == [True, True, True, False]

    tell(story)
