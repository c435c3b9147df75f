"""What fails is undone, tried elsewhere, or left in a true state with its reason; nothing is given twice."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from renova.model.errors import Broken, Conflict, Invalid, Refused
from renova.model.guest import PowerState
from renova.model.ids import ServerId
from renova.model.server import TaskState, VmState
from renova.operations.delete import accept_delete
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.reboot import accept_reboot
from renova.operations.rebuild import Rebuild, accept_rebuild
from renova.operations.start import accept_start
from renova.operations.stop import accept_stop
from renova.settings import ControllerSettings
from renova.simulation.cloud import BY_HAND, NO_BRAKE, QUICK_LEASE
from renova.store import actions, hosts, migrations, operations, rights, servers
from renova.store.database import Tx
from renova.store.placement import allocations
from tests.operations.crashes import controller_fuse
from tests.operations.failing_hosts import break_start, dead_host_of, evacuating
from tests.operations.story import FLAVOR, Told, an_image, told_story


def test_a_host_that_cannot_build_the_guest_gives_it_back_and_another_is_tried() -> None:
    async def story(told: Told) -> None:
        break_start(told.cloud, "host1", Refused("no such machine type"))
        server = await told.get(await told.created())
        assert server.host_name != "host1"

    told_story(story)


def test_a_create_that_fails_everywhere_leaves_only_the_reason() -> None:
    async def story(told: Told) -> None:
        for name in told.cloud.hosts:
            break_start(told.cloud, name, Refused("no such machine type"))
        server = await told.idle(await told.create())
        assert (server.vm_state, server.host, server.networks) == (VmState.ERROR, None, ())
        assert server.fault is not None
        assert "no such machine type" in server.fault.message
        assert await told.cloud.database.read(lambda tx: allocations.held(tx, server.id)) == []
        assert await told.cloud.networks.ports(server.id) == []

    told_story(story)


def test_a_create_that_fails_while_its_guest_may_run_leaves_nobody_else_its_addresses() -> None:
    async def story(told: Told) -> None:
        for host in told.cloud.hosts.values():
            machine: Any = host.hypervisor

            async def start_unheard(guest: object, really: Any = machine.start, line: Any = host.line) -> object:
                started = await really(guest)
                line.cut()
                return started

            machine.start = start_unheard
        server = await told.create()
        after = await told.idle(server)
        assert after.vm_state is VmState.ERROR
        (name,) = told.cloud.running(server)
        has = [nic.port for nic in told.cloud.hosts[name].hypervisor.nics(server)]
        assert [port.id for port in await told.cloud.networks.ports(server)] == has
        told.cloud.hosts[name].line.heal()
        await told.host_up(name)
        assert told.cloud.running(server) == []
        await told.ask(accept_delete, server)
        await told.idle(server)
        assert await told.cloud.networks.ports(server) == []

    told_story(story)


def test_a_server_that_fits_nowhere_says_which_rule_refused_which_hosts() -> None:
    async def story(told: Told) -> None:
        huge = msgspec.structs.replace(FLAVOR, memory_mb=10_000_000)
        server = await told.idle(await told.create(flavor=huge))
        assert server.vm_state is VmState.ERROR
        assert server.fault is not None
        assert "3 hosts: needs 10000000 MEMORY_MB" in server.fault.message

    told_story(story)


def test_hosts_are_filled_to_the_last_place_and_never_beyond() -> None:
    async def story(told: Told) -> None:
        half = msgspec.structs.replace(FLAVOR, memory_mb=30_000)
        made = [await told.create(f"server-{number}", flavor=half) for number in range(8)]
        ended = [await told.idle(server) for server in made]
        assert sorted(str(server.vm_state) for server in ended) == ["active"] * 6 + ["error"] * 2

    told_story(story)


def test_a_hard_reboot_ends_a_soft_one_that_hangs() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        row = await told.get(server)
        told.cloud.hosts[row.host_name or ""].hypervisor.ignoring_acpi.add(server)
        await told.ask(accept_reboot, server, hard=False)
        await told.cloud.clock.sleep(2)
        assert (await told.get(server)).task_state is TaskState.REBOOT_STARTED
        await told.ask(accept_reboot, server, hard=True)
        assert (await told.idle(server)).vm_state is VmState.ACTIVE
        done = await told.cloud.database.read(lambda tx: actions.of_server(tx, server))
        assert [(action.action, action.message) for action in done[:2]] == [("reboot", None), ("reboot", "Error")]

    told_story(story)


def test_a_guest_that_ignores_the_request_is_rebooted_hard_in_the_end() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        row = await told.get(server)
        told.cloud.hosts[row.host_name or ""].hypervisor.ignoring_acpi.add(server)
        began = told.cloud.clock.monotonic()
        await told.ask(accept_reboot, server, hard=False)
        assert (await told.idle(server)).vm_state is VmState.ACTIVE
        assert 10 <= told.cloud.clock.monotonic() - began < 20

    told_story(story)


def test_of_two_requests_at_once_one_is_refused() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.ask(accept_reboot, server, hard=False)
        with pytest.raises(Conflict, match="rebooting"):
            await told.ask(accept_reboot, server, hard=False)
        with pytest.raises(Conflict, match="task_state rebooting"):
            await told.ask(accept_stop, server)
        await told.idle(server)

    told_story(story)


def test_a_rebuild_that_fails_leaves_the_old_guest_running_on_its_old_disk() -> None:
    async def story(told: Told) -> None:
        before = await told.get(await told.created())
        gone = an_image("gone")  # the image service does not have its bytes
        await told.ask(accept_rebuild, before.id, Rebuild(image=gone, name="new", admin_pass="x"))
        after = await told.idle(before.id)
        assert after.fault is not None
        assert (after.vm_state, after.name, after.image, after.root_generation) == (
            VmState.ACTIVE,
            before.name,
            before.image,
            1,
        )

    told_story(story)


def test_what_others_write_while_a_rebuild_is_under_way_outlives_its_failure() -> None:
    async def story(told: Told) -> None:
        before = await told.get(await told.created())

        def has(**values: Any) -> Callable[[Tx], None]:
            return lambda tx: servers.change(tx, before.id, **values)

        await told.cloud.database.transact(has(metadata={"kept": "1", "dropped": "1"}))
        asked = {"kept": "2", "mine": "2", "later": "2"}
        rebuild = Rebuild(image=an_image("gone"), name="new", description="new", metadata=asked, admin_pass="x")
        await told.ask(accept_rebuild, before.id, rebuild)
        await told.cloud.database.transact(has(name="theirs", metadata={**asked, "later": "3", "HA_Enabled": "True"}))
        after = await told.idle(before.id)
        assert after.fault is not None
        assert (after.name, after.description) == ("theirs", before.description)
        assert after.metadata == {"kept": "1", "dropped": "1", "later": "3", "HA_Enabled": "True"}

    told_story(story)


def test_a_rebuild_whose_new_guest_does_not_start_brings_the_old_one_back() -> None:
    async def story(told: Told) -> None:
        before = await told.get(await told.created())
        hypervisor = told.cloud.hosts[before.host_name or ""].hypervisor
        really = hypervisor.start

        async def start(guest: object) -> object:
            if guest.disks.generation == 2:  # type: ignore[attr-defined]
                raise Refused("the new guest does not start")
            return await really(guest)  # type: ignore[arg-type]

        hypervisor.start = start  # type: ignore[assignment,method-assign]
        await told.ask(accept_rebuild, before.id, Rebuild(image=an_image("two"), admin_pass="x"))
        after = await told.idle(before.id)
        assert (after.vm_state, after.image, after.root_generation) == (VmState.ACTIVE, before.image, 1)
        disks = told.cloud.hosts["host1"].storage.disks
        assert [key for key in disks if key[0] == before.id] == [(before.id, 1)]

    told_story(story)


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.06, 0.2])
def test_a_server_deleted_while_it_is_created_leaves_nothing(after_s: float) -> None:
    async def story(told: Told) -> None:
        server = await told.create()
        await told.cloud.clock.sleep(after_s)
        await told.ask(accept_delete, server)
        assert (await told.idle(server)).vm_state is VmState.DELETED
        assert await told.cloud.networks.ports(server) == []
        assert not any(key[0] == server for key in told.cloud.hosts["host1"].storage.disks)

    told_story(story)


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


def ends_its_agent(told: Told, name: str) -> asyncio.Event:
    """Have the host's agent end as it is to end a guest; what is returned is set then."""
    hypervisor: Any = told.cloud.hosts[name].hypervisor
    really, ended = hypervisor.kill, asyncio.Event()

    async def kill(_server: ServerId) -> None:
        hypervisor.kill = really
        told.cloud.end_agent(name)
        ended.set()
        await asyncio.get_running_loop().create_future()

    hypervisor.kill = kill
    return ended


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


def ends_nothing(told: Told, *names: str) -> Callable[[], None]:
    """Have these hosts start guests, say that they did not, and fail to end them; what is returned mends them."""
    hypervisors: list[Any] = [told.cloud.hosts[name].hypervisor for name in names]
    really = [(each.start, each.kill) for each in hypervisors]
    for each in hypervisors:

        async def start(guest: object, started: Any = each.start) -> None:
            await started(guest)
            raise Refused("it went wrong in the end")

        async def kill(_server: ServerId) -> None:
            raise Broken("it does not die")

        each.start, each.kill = start, kill

    def mend() -> None:
        for each, (start, kill) in zip(hypervisors, really, strict=True):
            each.start, each.kill = start, kill

    return mend


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


def test_a_host_that_cannot_end_the_guest_of_a_failed_create_owes_it() -> None:
    async def story(told: Told) -> None:
        mend = ends_nothing(told, *told.cloud.hosts)
        server = await told.create()
        failed = await told.idle(server)
        assert (failed.vm_state, [failed.host_name]) == (VmState.ERROR, told.cloud.running(server))
        mend()
        await told.cloud.until(lambda: not told.cloud.running(server), 60)
        await told.cloud.clock.sleep(1)
        assert (await told.get(server)).host is None
        assert not any(disks for disks in (host.storage.disks for host in told.cloud.hosts.values()))

    told_story(story)


def test_a_host_whose_clean_up_failed_for_an_unforeseen_reason_owes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **_also: object) -> None:
        raise RuntimeError("a bug")

    async def story(told: Told) -> None:
        name, host = next(iter(told.cloud.hosts.items()))
        really = host.hypervisor.start

        async def start(guest: Any) -> Any:
            await really(guest)
            raise Refused("it ended badly")

        host.hypervisor.start = start  # type: ignore[method-assign]
        monkeypatch.setattr("renova.operations.create.clear", broken)
        server = await told.create()
        failed = await told.idle(server)
        assert (failed.vm_state, failed.host_name) == (VmState.ERROR, name), "it may run there"
        await told.cloud.until(lambda: not told.cloud.running(server), 60)
        await told.cloud.clock.sleep(1)
        assert (await told.get(server)).host is None, "it is nowhere once its host has confirmed that"

    told_story(story, count=1)


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


def test_nothing_is_written_by_a_refused_request() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        before = await told.get(server)
        count = await told.cloud.database.read(lambda tx: len(actions.of_server(tx, server)))
        with pytest.raises(Invalid):
            await told.ask(accept_evacuate, server, Evacuation())
        assert await told.get(server) == before
        assert await told.cloud.database.read(lambda tx: len(actions.of_server(tx, server))) == count
        assert await told.cloud.database.read(lambda tx: operations.active(tx, server)) is None

    told_story(story)


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


def test_a_rebuild_whose_host_boots_before_the_old_disks_are_deleted_leaves_a_guest_that_runs() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        name = server.host_name or ""
        hypervisor, deleting = told.cloud.hosts[name].hypervisor, asyncio.Event()
        delete = hypervisor.drop_disks

        async def hang(*_: object, **_others: object) -> bool:
            deleting.set()
            await asyncio.Event().wait()
            return True

        hypervisor.drop_disks = hang  # type: ignore[method-assign]
        await told.ask(accept_rebuild, server.id, Rebuild(image=an_image("two"), admin_pass="x"))
        await deleting.wait()
        await told.cloud.cut_power(name)
        hypervisor.drop_disks = delete  # type: ignore[method-assign]
        await told.cloud.power_on(name)
        ended = await told.idle(server.id)
        assert (ended.vm_state, ended.power_state) == (VmState.ACTIVE, PowerState.RUNNING), ended.fault
        assert told.cloud.running(server.id) == [name]

    told_story(story)


@pytest.mark.parametrize("resume", [True, False])
def test_a_guest_whose_host_boots_before_its_start_has_ended_follows_the_setting_all_the_same(resume: bool) -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        name = server.host_name or ""
        host = told.cloud.hosts[name].id
        await told.ask(accept_stop, server.id)
        await told.idle(server.id)
        networks = told.cloud.cloud.networks
        settle, settling, go_on = networks.settle, asyncio.Event(), asyncio.Event()

        async def hang(*arguments: Any, **options: Any) -> None:
            settling.set()
            await go_on.wait()
            await settle(*arguments, **options)

        networks.settle = hang
        await told.ask(accept_start, server.id)
        await settling.wait()
        assert told.cloud.running(server.id) == [name], "it is started, and that has yet to be noted"
        await told.cloud.cut_power(name)
        await told.down(host)
        await told.back(name)

        def followed(tx: Tx) -> bool:
            row = hosts.get(tx, host)
            return row is not None and not row.resume

        while not await told.cloud.database.read(followed):
            await told.cloud.clock.sleep(0.05)
        go_on.set()
        ended = await told.idle(server.id)
        wanted = (VmState.ACTIVE, PowerState.RUNNING) if resume else (VmState.STOPPED, PowerState.SHUTDOWN)
        assert (ended.vm_state, ended.power_state) == wanted, ended.fault

    told_story(
        story,
        settings=ControllerSettings(lease=QUICK_LEASE, recovery=BY_HAND, brake=NO_BRAKE, resume_guests_on_boot=resume),
    )
