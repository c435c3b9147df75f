"""Evacuations that had to wait, or could not be asked for (rows B4, B6, B21)."""

from collections import Counter
from typing import Any

from renova.model.guest import Guest
from renova.model.server import VmState
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.settings import AgentSettings
from renova.store import hosts, migrations
from renova.store.database import Tx
from tests.operations.failing_hosts import dead_host_of
from tests.operations.story import Told, told_story


def test_b4_an_evacuation_is_taken_as_soon_as_the_death_is_proven_and_not_a_minute_later() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        before = told.cloud.clock.monotonic()
        source = await dead_host_of(told, server)
        await told.ask(accept_evacuate, server, Evacuation())
        assert told.cloud.clock.monotonic() - before < 10
        assert (await told.idle(server)).host_name != source
        await told.back(source)

    told_story(story)


async def force_down(told: Told, forced: bool) -> None:
    """Have every host of the site forced down, or none."""

    def work(tx: Tx) -> None:
        for host in told.cloud.hosts.values():
            hosts.change(tx, host.id, forced_down=forced)

    await told.cloud.database.transact(work)


def test_b6_where_every_host_is_dead_or_forced_down_an_evacuation_is_taken_and_says_what_it_found() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await force_down(told, True)
        source = await dead_host_of(told, server)
        await told.ask(accept_evacuate, server, Evacuation())
        left = await told.idle(server)
        assert (left.host_name, left.vm_state) == (source, VmState.ACTIVE)
        assert left.fault is not None
        assert "No valid host was found" in left.fault.message
        (record,) = await told.cloud.database.read(migrations.find)
        assert record.status in ("failed", "error")
        await force_down(told, False)
        await told.back(source)
        await told.cloud.until(lambda: told.cloud.running(server) == [source])

    told_story(story, count=2)


def test_b21_all_servers_of_a_host_are_evacuated_at_once_and_their_new_host_makes_a_few_at_a_time() -> None:
    async def story(told: Told) -> None:
        wanted = [await told.created(f"server-{number}", host="host1") for number in range(20)]
        hypervisor: Any = told.cloud.hosts["host2"].hypervisor
        really, starting, seen = hypervisor.start, set[str](), list[int]()

        async def start(guest: Guest) -> object:
            starting.add(guest.server)
            seen.append(len(starting))
            try:
                return await really(guest)
            finally:
                starting.discard(guest.server)

        hypervisor.start = start
        await dead_host_of(told, wanted[0])
        for server in wanted:
            await told.ask(accept_evacuate, server, Evacuation())
        await told.cloud.until(lambda: len(seen) > 6)
        records = await told.cloud.database.read(migrations.find)
        progress = Counter(record.status for record in records)
        assert progress["done"] > 0
        assert progress["done"] < len(wanted)
        for server in wanted:
            assert (await told.idle(server)).host_name == "host2"
        assert max(seen) == 3
        await told.back("host1")

    told_story(story, count=2, agent_settings=AgentSettings(builds_at_once=3))
