"""A guest goes to another host with its memory; whatever fails on the way, it runs on one host only, and goes on."""

import asyncio
from typing import Any

import msgspec
import pytest

from renova.drivers.hypervisor.simulated.machine import SMALL_HOST
from renova.model.errors import Conflict, Invalid, Refused
from renova.model.guest import Capabilities, Departure, Guest, PowerState
from renova.model.ids import ServerId
from renova.model.server import TaskState, VmState
from renova.operations.delete import accept_delete
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.migrate_live import accept_migrate_live, wish_of_migration
from renova.operations.pause import accept_pause
from renova.store import migrations, rights
from renova.store.database import Tx
from renova.store.migrations import Migration, Wish
from tests.operations.failing_hosts import dead_host_of, fails
from tests.operations.story import Told, told_story
from tests.operations.test_migrations import disk_at, paid, record
from tests.operations.volumes import attached


async def migrated(told: Told, server: ServerId, host: str | None = None) -> Migration:
    """Have the server's guest go to another host, and return the record of it."""
    await told.ask(accept_migrate_live, server, host)
    await told.idle(server)
    return await record(told, server)


async def up(told: Told) -> ServerId:
    """Return a server whose guest is in userspace."""
    server = await told.created()
    await told.cloud.clock.sleep(2 * told.cloud.boot_s)
    return server


async def boots(told: Told, server: ServerId) -> int:
    """Return how often the server's guest has booted."""
    await told.cloud.clock.sleep(2 * told.cloud.boot_s)
    row = await told.get(server)
    told.cloud.hosts[row.host_name or ""].hypervisor.write(server, "looked")
    return disk_at(told, row).boots


async def until_status(told: Told, server: ServerId, status: str) -> Migration:
    limit = told.cloud.clock.monotonic() + 60
    while (found := await record(told, server)).status != status or found.memory_total is None:
        assert told.cloud.clock.monotonic() < limit, found
        await told.cloud.clock.sleep(0.01)
    return found


def arriving(told: Told) -> list[ServerId]:
    """Return what stands on any host without having executed there."""
    machines = [host.hypervisor for host in told.cloud.hosts.values()]
    return [server for machine in machines for server in machine.domains() if machine.standing_by(server)]


def test_a_guest_goes_on_elsewhere_with_its_memory() -> None:
    async def story(told: Told) -> None:
        server = await up(told)
        before = await told.get(server)
        tasks = told.watch_tasks()
        done = await migrated(told, server)
        after = await told.get(server)
        assert (done.type, done.status) == ("live-migration", "completed")
        assert (done.source_name, done.destination_name) == (before.host_name, after.host_name)
        assert after.host_name != before.host_name
        assert (after.vm_state, after.power_state) == (VmState.ACTIVE, PowerState.RUNNING)
        assert [task for task in dict.fromkeys(tasks) if task] == [TaskState.MIGRATING]
        assert await boots(told, server) == 1, "it has booted anew"
        assert told.cloud.hosts[before.host_name or ""].hypervisor.domains() == []

    told_story(story)


def test_it_is_told_how_far_the_memory_is() -> None:
    async def story(told: Told) -> None:
        server = await up(told)
        await told.ask(accept_migrate_live, server)
        seen = await until_status(told, server, "running")
        while not seen.memory_processed:
            await told.cloud.clock.sleep(0.1)
            seen = await record(told, server)
        assert seen.memory_total == 128 << 20
        assert seen.memory_processed + (seen.memory_remaining or 0) == seen.memory_total
        await told.idle(server)

    told_story(story, copy_s=10.0)


def test_a_guest_that_changes_faster_than_it_is_copied_stays_when_its_time_is_up() -> None:
    async def story(told: Told) -> None:
        server = await up(told)
        here = await told.get(server)
        told.cloud.hosts[here.host_name or ""].hypervisor.uncopyable.add(server)
        done = await migrated(told, server)
        after = await told.get(server)
        assert (done.status, after.host_name, after.vm_state) == ("error", here.host_name, VmState.ACTIVE)
        assert "changed faster" in (after.fault.message if after.fault else "")
        assert (await boots(told, server), arriving(told)) == (1, [])

    told_story(story)


def test_one_that_was_called_back_is_not_sent_away_again_though_the_answer_is_lost() -> None:
    async def story(told: Told) -> None:
        server = await up(told)
        here: Any = told.cloud.hosts[(await told.get(server)).host_name or ""]
        here.hypervisor.uncopyable.add(server)
        stay, depart = here.hypervisor.stay, here.hypervisor.depart
        stayed: list[float] = []
        sent_again: list[float] = []

        async def stays(*arguments: Any, **options: Any) -> Any:
            found = await stay(*arguments, **options)
            if not stayed:
                stayed.append(told.cloud.clock.monotonic())
                here.line.reset()
            return found

        async def departs(*arguments: Any, **options: Any) -> Any:
            if stayed:
                sent_again.append(told.cloud.clock.monotonic())
            return await depart(*arguments, **options)

        here.hypervisor.stay, here.hypervisor.depart = stays, departs
        done = await migrated(told, server)
        assert (done.status, len(stayed), sent_again) == ("error", 1, [])

    told_story(story)


def test_one_that_is_to_complete_stands_still_until_it_has() -> None:
    async def story(told: Told) -> None:
        server = await up(told)
        here = (await told.get(server)).host_name or ""
        told.cloud.hosts[here].hypervisor.uncopyable.add(server)
        await told.ask(accept_migrate_live, server)
        await wished(told, await until_status(told, server, "running"), Wish.COMPLETE)
        after = await told.idle(server)
        assert after.host_name != here
        assert await boots(told, server) == 1

    told_story(story)


def test_one_that_is_aborted_goes_on_where_it_was() -> None:
    async def story(told: Told) -> None:
        server = await up(told)
        here = (await told.get(server)).host_name or ""
        told.cloud.hosts[here].hypervisor.uncopyable.add(server)
        await told.ask(accept_migrate_live, server)
        under_way = await until_status(told, server, "running")
        await wished(told, under_way, Wish.ABORT)
        after = await told.idle(server)
        assert ((await record(told, server)).status, after.host_name) == ("cancelled", here)
        assert (await boots(told, server), arriving(told)) == (1, [])
        with pytest.raises(Invalid, match="only live migrations"):
            await wished(told, under_way, Wish.ABORT)

    told_story(story)


async def wished(told: Told, migration: Migration, wanted: Wish) -> None:
    cloud = told.cloud.cloud
    await cloud.database.transact(lambda tx: wish_of_migration(cloud, tx, migration, wanted, ("running",)))


@pytest.mark.parametrize("given_up", ["aborted", "aborted, and its answer lost", "its time is up"])
def test_one_that_is_given_up_when_it_has_left_goes_on_there_with_its_memory(given_up: str) -> None:
    async def story(told: Told) -> None:
        server = await up(told)
        here = (await told.get(server)).host_name or ""
        source: Any = told.cloud.hosts[here]
        depart = source.hypervisor.depart

        async def leaves(*arguments: Any, **options: Any) -> Departure:
            found: Departure = await depart(*arguments, **options)
            if not found.left:
                return found
            source.hypervisor.depart = depart
            if given_up == "its time is up":
                await told.cloud.clock.sleep(told.cloud.cloud.settings.live_migration_wait)
            else:
                await wished(told, await record(told, server), Wish.ABORT)
            if given_up == "aborted, and its answer lost":
                source.line.reset()
                return found
            return Departure(under_way=True)  # as it was a moment before

        source.hypervisor.depart = leaves
        await told.ask(accept_migrate_live, server)
        after = await told.idle(server)
        assert ((await record(told, server)).status, after.host_name != here) == ("completed", True)
        assert (await boots(told, server), arriving(told)) == (1, [])

    told_story(story)


def test_a_way_that_is_lost_when_all_was_copied_leaves_the_guest_at_home_and_what_arrived_never_runs() -> None:
    async def story(told: Told) -> None:
        server = await up(told)
        before = await told.get(server)
        told.cloud.hosts[before.host_name or ""].hypervisor.torn.add(server)
        done = await migrated(told, server)
        after = await told.get(server)
        assert (done.status, after.host_name) == ("error", before.host_name)
        assert told.cloud.running(server) == [before.host_name]
        assert (await boots(told, server), arriving(told)) == (1, [])

    told_story(story)


def test_a_destination_that_dies_while_the_memory_is_copied_costs_nothing() -> None:
    async def story(told: Told) -> None:
        server = await up(told)
        before = await told.get(server)
        await told.ask(accept_migrate_live, server)
        towards = (await until_status(told, server, "running")).destination_name or ""
        await told.cloud.cut_power(towards)
        after = await told.idle(server)
        assert (after.host_name, after.vm_state) == (before.host_name, VmState.ACTIVE)
        assert await boots(told, server) == 1
        await told.back(towards)
        await paid(told)
        assert arriving(told) == []

    told_story(story, copy_s=10.0)


def test_a_source_that_dies_is_evacuated_and_what_had_begun_to_arrive_goes() -> None:
    async def story(told: Told) -> None:
        server = await up(told)
        await told.ask(accept_migrate_live, server)
        await until_status(told, server, "running")
        await dead_host_of(told, server)
        await told.ask(accept_evacuate, server, Evacuation())
        after = await told.idle(server)
        assert told.cloud.running(server) == [after.host_name]
        await paid_but_for_the_dead(told)
        assert arriving(told) == []

        def types(tx: Tx) -> list[tuple[str, str]]:
            return [(each.type, each.status) for each in migrations.find(tx)]

        assert await told.cloud.database.read(types) == [("evacuation", "done"), ("live-migration", "error")]

    told_story(story, copy_s=10.0)


async def paid_but_for_the_dead(told: Told) -> None:
    alive = {host.id for host in told.cloud.hosts.values() if host.powered}
    limit = told.cloud.clock.monotonic() + 60
    while alive & set(await told.cloud.database.read(rights.debtors)):
        assert told.cloud.clock.monotonic() < limit
        await told.cloud.clock.sleep(0.2)


def test_a_guest_that_cannot_go_on_there_is_booted_where_it_was() -> None:
    async def story(told: Told) -> None:
        server = await up(told)
        before = await told.get(server)
        for host in told.cloud.hosts.values():
            fails(host.hypervisor, "take_in", Refused("never (planted)"))
        done = await migrated(told, server)
        after = await told.get(server)
        assert (done.status, after.host_name) == ("error", before.host_name)
        assert (after.vm_state, after.power_state) == (VmState.ACTIVE, PowerState.RUNNING)
        assert (await boots(told, server), arriving(told)) == (2, [])

    told_story(story)


def test_a_guest_that_was_booted_where_it_was_goes_on_though_the_controller_that_saw_to_it_dies() -> None:
    async def story(told: Told) -> None:
        server = await up(told)
        before = await told.get(server)
        source = told.cloud.hosts[before.host_name or ""]
        for host in told.cloud.hosts.values():
            fails(host.hypervisor, "take_in", Refused("never (planted)"))
        booted = has_the_controller_die(told, source.hypervisor)
        await told.ask(accept_migrate_live, server)
        await told.cloud.until(booted.is_set, 30)
        source.lines["controller1"].cut()
        await told.cloud.start_controller()
        await told.cloud.clock.sleep(1)
        source.lines["controller1"].heal()
        after = await told.idle(server)
        assert (after.host_name, after.vm_state) == (before.host_name, VmState.ACTIVE)
        assert await boots(told, server) == 2, "once more than for what has left"

    told_story(story, boot_s=0.001)


def has_the_controller_die(told: Told, hypervisor: Any) -> asyncio.Event:
    """Have the controller die once this hypervisor has started a guest; what is returned is set then."""
    really, started = hypervisor.start, asyncio.Event()

    async def start(guest: Guest) -> object:
        hypervisor.start = really
        done: object = await really(guest)
        told.cloud.end_controller("controller1")
        started.set()
        return done

    hypervisor.start = start
    return started


def test_an_agent_that_dies_while_a_guest_leaves_has_it_stay() -> None:
    async def story(told: Told) -> None:
        server = await up(told)
        before = await told.get(server)
        await told.ask(accept_migrate_live, server)
        await until_status(told, server, "running")
        await told.cloud.kill_agent(before.host_name or "")
        await told.cloud.clock.sleep(1)
        told.cloud.start_agent(before.host_name or "")
        after = await told.idle(server)
        assert told.cloud.running(server) == [after.host_name]
        assert await boots(told, server) == 1

    told_story(story, copy_s=10.0)


@pytest.mark.parametrize("after_s", [1.0, 9.9, 10.1])
def test_a_server_on_its_way_can_be_deleted(after_s: float) -> None:
    async def story(told: Told) -> None:
        server = await up(told)
        await told.ask(accept_migrate_live, server)
        await told.cloud.clock.sleep(after_s)
        await told.ask(accept_delete, server)
        assert (await told.idle(server)).deleted
        await paid(told)
        assert (told.cloud.running(server), arriving(told)) == ([], [])

    told_story(story, copy_s=10.0)


def test_what_cannot_go_with_its_memory_is_refused_with_the_reason() -> None:
    async def story(told: Told) -> None:
        server = await up(told)
        here = (await told.get(server)).host_name or ""
        for host in (here, "nowhere"):
            with pytest.raises(Invalid):
                await told.ask(accept_migrate_live, server, host)
        await attached(told, server)
        with pytest.raises(Conflict, match="volumes"):
            await told.ask(accept_migrate_live, server)
        other = await told.created()
        await told.ask(accept_pause, other)
        await told.idle(other)
        with pytest.raises(Conflict, match="vm_state paused"):
            await told.ask(accept_migrate_live, other)

    told_story(story)


def test_one_whose_disk_no_other_host_shares_stays_with_the_reason() -> None:
    async def story(told: Told) -> None:
        server = await up(told)
        before = await told.get(server)
        done = await migrated(told, server)
        after = await told.get(server)
        assert (done.status, after.host_name, told.cloud.running(server)) == (
            "error",
            before.host_name,
            [before.host_name],
        )
        assert "shared storage" in (after.fault.message if after.fault else "")

    told_story(story, shared=False)


def test_hosts_that_guests_do_not_leave_so_say_it() -> None:
    async def story(told: Told) -> None:
        server = await up(told)
        with pytest.raises(Conflict, match="do not leave its host"):
            await told.ask(accept_migrate_live, server)

    told_story(story, facts=msgspec.structs.replace(SMALL_HOST, capabilities=Capabilities()))
