"""A server is taken once, from a host that is proven dead, to one that can have it; its source ends what it had."""

import asyncio

import pytest

from renova.model.errors import Conflict, Invalid, Refused
from renova.model.server import VmState
from renova.operations.delete import accept_delete
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.rebuild import Rebuild, accept_rebuild
from renova.store import hosts, migrations, rights
from renova.store.placement import allocations
from tests.operations.crashes import controller_fuse
from tests.operations.failing_hosts import break_start, dead_host_of, ends_its_agent, ends_nothing, evacuating
from tests.operations.story import Told, an_image, told_story


def test_a_server_on_a_host_that_is_up_is_not_evacuated() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        with pytest.raises(Invalid, match="still in use: it is up"):
            await told.ask(accept_evacuate, server, Evacuation())

    told_story(story)


def test_silence_alone_proves_nothing() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        told.cloud.hosts[server.host_name or ""].line.cut()  # a partition: the guest runs on
        await told.cloud.until(lambda: not told.cloud.cloud.hosts.up(server.host))
        await told.cloud.clock.sleep(100)
        with pytest.raises(Invalid, match="nothing proves that its guests have stopped"):
            await told.ask(accept_evacuate, server.id, Evacuation())
        told.cloud.hosts[server.host_name or ""].line.heal()
        await told.host_up(server.host_name or "")

    told_story(story)


def test_the_operators_word_counts_once_the_lease_has_lapsed_and_the_guest_is_gone_before_its_host_is_up() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        name = server.host_name or ""
        told.cloud.hosts[name].line.cut()
        await told.cloud.database.transact(lambda tx: hosts.change(tx, server.host, forced_down=True))  # type: ignore[arg-type]
        await told.cloud.until(lambda: not told.cloud.cloud.hosts.up(server.host))
        with pytest.raises(Invalid, match="nothing proves"):
            await told.ask(accept_evacuate, server.id, Evacuation())
        await told.cloud.clock.sleep(20)
        await told.cloud.database.transact(lambda tx: hosts.change(tx, server.host, forced_down=False))  # type: ignore[arg-type]
        # The operator was wrong: the guest still runs, and the shared disk's lock holds the new one off.
        await told.ask(accept_evacuate, server.id, Evacuation())
        ended = await told.idle(server.id)
        assert ended.host_name == name
        assert ended.fault is not None
        told.cloud.hosts[name].line.heal()
        await told.host_up(name)
        assert told.cloud.running(server.id) == []
        # Nobody may run it now: it is started again where it was, from the disk it had.
        await told.cloud.until(lambda: told.cloud.running(server.id) == [name], 30.0)
        assert (await told.idle(server.id)).vm_state is VmState.ACTIVE

    told_story(story)


def test_a_live_host_forced_down_is_told_apart_from_a_dead_one() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await told.cloud.database.transact(lambda tx: hosts.change(tx, server.host, forced_down=True))  # type: ignore[arg-type]
        await told.cloud.clock.sleep(60)
        with pytest.raises(Invalid, match="still renews its lease"):
            await told.ask(accept_evacuate, server.id, Evacuation())

    told_story(story)


def test_one_server_has_one_evacuation() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await dead_host_of(told, server)
        await told.ask(accept_evacuate, server, Evacuation())
        with pytest.raises(Conflict, match="another evacuation"):
            await told.ask(accept_evacuate, server, Evacuation())
        assert (await told.idle(server)).vm_state is VmState.ACTIVE

    told_story(story)


def test_a_destination_that_refuses_is_given_up_for_another() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        source = await dead_host_of(told, server)
        first = sorted(name for name in told.cloud.hosts if name != source)[0]
        break_start(told.cloud, first, Refused("no such machine type"))
        await told.ask(accept_evacuate, server, Evacuation())
        ended = await told.idle(server)
        assert ended.vm_state is VmState.ACTIVE
        assert ended.host_name not in (source, first)

    told_story(story)


def test_a_destination_whose_agent_is_started_anew_as_it_gives_the_server_up_is_waited_for() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        source = await dead_host_of(told, server)
        first = sorted(name for name in told.cloud.hosts if name != source)[0]
        break_start(told.cloud, first, Refused("no such machine type"))
        ended = ends_its_agent(told, first)
        await told.ask(accept_evacuate, server, Evacuation())
        await told.cloud.until(ended.is_set, 30)
        await told.cloud.clock.sleep(2)
        told.cloud.start_agent(first)
        after = await told.idle(server)
        assert (after.vm_state, after.fault) == (VmState.ACTIVE, None)
        assert after.host_name not in (source, first)

    told_story(story)


def test_an_evacuation_that_no_host_takes_leaves_the_server_as_it_was() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        source = await dead_host_of(told, server)
        for name in told.cloud.hosts:
            if name != source:
                break_start(told.cloud, name, Refused("no such machine type"))
        await told.ask(accept_evacuate, server, Evacuation())
        ended = await told.idle(server)
        assert (ended.vm_state, ended.task_state, ended.host_name) == (VmState.ACTIVE, None, source)
        assert ended.fault is not None
        assert "No valid host was found. 3 hosts" in ended.fault.message
        assert "no such machine type" in ended.fault.message
        status = await told.cloud.database.read(lambda tx: [each.status for each in migrations.find(tx)])
        assert status == ["failed"]
        assert any(key[0] == server for key in told.cloud.hosts[source].storage.disks), "the only disk is gone"
        held = await told.cloud.database.read(lambda tx: allocations.held(tx, server))
        assert {allocation.provider for allocation in held} == {ended.host}
        # When the host comes back, the server runs there again.
        await told.back(source)
        await told.cloud.until(lambda: told.cloud.running(server) == [source], 10.0)
        await told.idle(server)

    told_story(story)


@pytest.mark.parametrize("shared", [True, False])
def test_a_destination_that_cannot_end_what_it_began_keeps_the_right_until_it_has(shared: bool) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        home = (await told.get(server)).host_name or ""
        mend = ends_nothing(told, *(name for name in told.cloud.hosts if name != home))
        await dead_host_of(told, server)
        await told.ask(accept_evacuate, server, Evacuation())
        after = await told.idle(server)
        assert "has not confirmed its stop" in str(after.fault)
        (left,) = told.cloud.running(server)
        right = await told.cloud.database.read(lambda tx: rights.right(tx, server))
        assert right is not None
        assert right.host == told.cloud.hosts[left].id
        with pytest.raises(Invalid, match="nothing proves that its guests have stopped"):
            await told.ask(accept_evacuate, server, Evacuation())
        await told.back(home)
        await told.cloud.clock.sleep(60)
        assert told.cloud.running(server) == [left], "a second guest beside one that nobody has ended"
        mend()
        await told.cloud.until(lambda: told.cloud.running(server) == [home], 60)

    told_story(story, shared=shared)


def test_a_destination_that_dies_on_the_way_is_survived() -> None:
    async def story(told: Told) -> None:
        server, source = await evacuating(told)
        await told.cloud.clock.sleep(0.02)
        right = await told.cloud.database.read(lambda tx: rights.right(tx, server))
        assert right is not None
        first = next(name for name, host in told.cloud.hosts.items() if host.id == right.host)
        assert first != source
        await told.cloud.cut_power(first)
        ended = await told.idle(server)
        assert ended.vm_state is VmState.ACTIVE, ended.fault
        assert ended.host_name not in (source, first)
        await told.back(source, first)

    told_story(story, start_s=0.5)


def test_a_source_that_returns_during_its_evacuation_never_runs_the_guest_too() -> None:
    async def story(told: Told) -> None:
        server, source = await evacuating(told)
        await told.cloud.clock.sleep(0.05)
        await told.back(source)
        ended = await told.idle(server)
        assert ended.vm_state is VmState.ACTIVE
        status = await told.cloud.database.read(lambda tx: [each.status for each in migrations.find(tx)])
        assert status == ["completed"]
        held = await told.cloud.database.read(lambda tx: allocations.held(tx, server))
        assert {allocation.provider for allocation in held} == {ended.host}

    told_story(story, start_s=2.0)


def test_shared_storage_is_refused_where_it_is_not() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        source = await dead_host_of(told, server)
        await told.ask(accept_evacuate, server, Evacuation(on_shared_storage=True))
        ended = await told.idle(server)
        assert ended.host_name == source
        assert ended.fault is not None
        assert "shared storage" in ended.fault.message
        await told.back(source)
        await told.idle(server)

    told_story(story, shared=False)


def test_a_controller_that_dies_when_a_host_comes_back_does_not_forget_its_servers() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        name = server.host_name or ""
        await told.cloud.cut_power(name)
        fuse = controller_fuse(told.cloud)
        fuse.arm(None, before=True)
        await told.cloud.power_on(name)
        async with asyncio.timeout(60):
            while not fuse.passed:
                await told.cloud.clock.sleep(0.001)
        await told.cloud.kill_controller()  # after it heard of the boot, before it did anything about it
        await told.cloud.start_controller()
        await told.host_up(name)
        await told.cloud.until(lambda: told.cloud.running(server.id) == [name])
        await told.idle(server.id)

    told_story(story)


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.05, 0.1, 0.3])
def test_a_server_whose_rebuild_was_cut_off_by_its_hosts_death_is_evacuated(after_s: float) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.ask(accept_rebuild, server, Rebuild(image=an_image("two"), admin_pass="x"))
        await told.cloud.clock.sleep(after_s)
        source = await dead_host_of(told, server)
        await told.ask(accept_evacuate, server, Evacuation())
        ended = await told.idle(server)
        assert ended.vm_state is VmState.ACTIVE, ended.fault
        disks = told.cloud.hosts[source].storage.disks
        assert [key for key in disks if key[0] == server] == [(server, ended.root_generation)]
        await told.back(source)

    told_story(story, start_s=0.05)


def test_a_delete_that_was_accepted_is_not_undone_by_an_evacuation() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        told.cloud.hosts[server.host_name or ""].line.cut()
        await told.ask(accept_delete, server.id)
        with pytest.raises(Conflict, match="deleting"):
            await told.ask(accept_evacuate, server.id, Evacuation())
        assert (await told.idle(server.id)).vm_state is VmState.DELETED
        told.cloud.hosts[server.host_name or ""].line.heal()
        await told.host_up(server.host_name or "")

    told_story(story)
