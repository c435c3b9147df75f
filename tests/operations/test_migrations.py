"""A server moves between two hosts that live; whatever fails on the way, it runs again, on one of them only."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest

from renova.drivers.hypervisor.simulated.image import Write
from renova.drivers.hypervisor.simulated.storage import SimulatedDisk, SimulatedStorage
from renova.model.errors import Conflict, Invalid, Refused
from renova.model.guest import PowerState
from renova.model.ids import ServerId
from renova.model.server import Server, TaskState, VmState
from renova.operations.cloud import Cloud
from renova.operations.delete import accept_delete
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.migrate import accept_migrate
from renova.operations.reboot import accept_reboot
from renova.operations.stop import accept_stop
from renova.operations.submission import Asked
from renova.store import actions, migrations, rights, servers
from renova.store.database import Tx
from renova.store.migrations import Migration
from tests.operations.failing_hosts import break_start, dead_host_of
from tests.operations.story import FLAVOR, Told, told_story
from tests.operations.volumes import attached

Story = Callable[[Told], Awaitable[None]]


async def migrated(told: Told, server: ServerId, host: str | None = None) -> Migration:
    """Have the server migrated, and return the record of it."""
    await told.ask(accept_migrate, server, host)
    await told.idle(server)
    return await record(told, server)


async def record(told: Told, server: ServerId) -> Migration:
    found = await told.cloud.database.read(lambda tx: migrations.find(tx, [migrations.migrations.c.server == server]))
    return found[0]


def disk_at(told: Told, row: Server) -> SimulatedDisk:
    return told.cloud.hosts[row.host_name or ""].storage.disks[row.id, row.root_generation]


async def paid(told: Told) -> None:
    """Wait until no host has anything to clean up."""
    limit = told.cloud.clock.monotonic() + 60
    while await told.cloud.database.read(rights.debtors):
        assert told.cloud.clock.monotonic() < limit
        await told.cloud.clock.sleep(0.2)


async def until_task(told: Told, server: ServerId, task: TaskState) -> None:
    limit = told.cloud.clock.monotonic() + 60
    while (await told.get(server)).task_state is not task:
        assert told.cloud.clock.monotonic() < limit, await told.get(server)
        await told.cloud.clock.sleep(0.01)


def test_a_migrated_server_runs_elsewhere_on_the_disk_it_had() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        before = await told.get(server)
        tasks = told.watch_tasks()
        done = await migrated(told, server)
        after = await told.get(server)
        assert (done.type, done.status) == ("migration", "confirmed")
        assert (done.source_name, done.destination_name) == (before.host_name, after.host_name)
        assert after.host_name != before.host_name
        assert (after.vm_state, after.power_state) == (VmState.ACTIVE, PowerState.RUNNING)
        assert after.launched_at == before.launched_at
        assert after.root_generation == before.root_generation
        assert [task for task in dict.fromkeys(tasks) if task] == [
            TaskState.RESIZE_PREP,
            TaskState.RESIZE_MIGRATING,
            TaskState.RESIZE_FINISH,
        ]

    told_story(story)


def test_a_stopped_server_stays_stopped_where_it_goes() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.ask(accept_stop, server)
        before = await told.idle(server)
        await migrated(told, server)
        after = await told.get(server)
        assert (after.vm_state, after.power_state) == (VmState.STOPPED, PowerState.SHUTDOWN)
        assert after.host_name != before.host_name

    told_story(story)


def test_volumes_go_along_and_are_cut_off_from_the_former_host() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await attached(told, server)
        await migrated(told, server)
        assert (await told.get(server)).vm_state is VmState.ACTIVE

    told_story(story)


def test_a_root_disk_is_carried_to_a_host_that_does_not_share_it_with_all_that_is_on_it() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        before = await told.get(server)
        disk_at(told, before).writes.append(Write(1, "a letter"))
        done = await migrated(told, server)
        after = await told.get(server)
        assert (done.status, after.vm_state) == ("confirmed", VmState.ACTIVE)
        assert after.host_name != before.host_name
        assert "a letter" in [write.text for write in disk_at(told, after).writes]
        assert (after.image, after.root_generation) == (before.image, before.root_generation)
        await told.ask(accept_reboot, server, hard=True)
        assert (await told.idle(server)).vm_state is VmState.ACTIVE
        await paid(told)
        left = told.cloud.hosts[before.host_name or ""].storage
        assert [aside.server for aside, _ in left.asides] == [server]
        assert sorted(told.cloud.images.images) == ["image-one", "image-two"]

    told_story(story, shared=False)


def test_hosts_that_share_the_disk_are_taken_before_others() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        here = told.cloud.hosts[(await told.get(server)).host_name or ""]
        beside = SimulatedStorage("elsewhere")
        await told.cloud.add_host("host4", "10.1.0.4", beside)
        await told.host_up("host4")
        for _ in range(3):
            done = await migrated(told, server)
            assert done.destination_name != "host4"
        assert not beside.disks
        assert here.storage.disks

    told_story(story)


def test_a_server_with_ephemeral_disks_goes_only_to_hosts_that_share_them_and_is_not_stopped_for_less() -> None:
    async def story(told: Told) -> None:
        server = await told.created(flavor=msgspec.structs.replace(FLAVOR, ephemeral_gb=1))
        before = await told.get(server)
        runs = told.cloud.running(server)
        done = await migrated(told, server)
        after = await told.get(server)
        assert (done.status, after.host_name) == ("error", before.host_name)
        assert "shared storage" in (after.fault.message if after.fault else "")
        assert told.cloud.running(server) == runs
        assert await told.cloud.database.read(lambda tx: rights.incarnation(tx, server)) == 1, "it was stopped"

    told_story(story, shared=False)


def test_a_carried_disk_that_nobody_can_start_from_is_gone_again_and_the_old_one_is_used() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        before = await told.get(server)
        for name in told.cloud.hosts:
            if name != before.host_name:
                break_start(told.cloud, name, Refused("never (planted)"))
        done = await migrated(told, server)
        assert done.status == "error"
        assert told.cloud.running(server) == [before.host_name]
        others = [host.storage for name, host in told.cloud.hosts.items() if name != before.host_name]
        assert not any(key[0] == server for storage in others for key in storage.disks)
        assert sorted(told.cloud.images.images) == ["image-one", "image-two"]

    told_story(story, shared=False)


def test_a_server_that_its_destination_cannot_have_runs_again_where_it_was() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        before = await told.get(server)
        for name in told.cloud.hosts:
            if name != before.host_name:
                break_start(told.cloud, name, Refused("never (planted)"))
        done = await migrated(told, server)
        after = await told.get(server)
        assert (done.status, after.host_name) == ("error", before.host_name)
        assert (after.vm_state, after.power_state) == (VmState.ACTIVE, PowerState.RUNNING)
        assert "never (planted)" in (after.fault.message if after.fault else "")

    told_story(story)


def test_a_destination_that_dies_gives_the_server_back_once_that_is_proven() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.ask(accept_migrate, server)
        await until_task(told, server, TaskState.RESIZE_FINISH)
        towards = (await record(told, server)).destination_name or ""
        await told.cloud.cut_power(towards)
        await told.down(told.cloud.hosts[towards].id)
        assert told.cloud.running(server) == [], "nobody has proven that its destination does not run it"
        assert await told.cloud.cloud.hosts.seek_proof(told.cloud.hosts[towards].id)
        after = await told.idle(server)
        assert after.vm_state is VmState.ACTIVE
        assert told.cloud.running(server) == [after.host_name]
        assert after.host_name != towards
        await told.back(towards)

    told_story(story, start_s=2.0)


def test_a_source_that_dies_after_it_let_go_is_not_needed() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        before = await told.get(server)
        await told.ask(accept_migrate, server)
        await until_task(told, server, TaskState.RESIZE_FINISH)
        await told.cloud.cut_power(before.host_name or "")
        after = await told.idle(server)
        assert told.cloud.running(server) == [after.host_name]
        assert after.host_name != before.host_name

    told_story(story, start_s=2.0)


def test_the_server_of_a_source_that_dies_before_can_be_evacuated_and_no_room_stays_held() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        told.cloud.hosts[(await told.get(server)).host_name or ""].hypervisor.ignoring_acpi.add(server)
        await told.ask(accept_migrate, server)
        await until_task(told, server, TaskState.RESIZE_MIGRATING)
        await dead_host_of(told, server)
        await told.ask(accept_evacuate, server, Evacuation())
        after = await told.idle(server)
        assert told.cloud.running(server) == [after.host_name]

        def types(tx: Tx) -> list[tuple[str, str]]:
            return [(each.type, each.status) for each in migrations.find(tx)]

        assert await told.cloud.database.read(types) == [("evacuation", "done"), ("migration", "error")]

    told_story(story)


@pytest.mark.parametrize("task", [TaskState.RESIZE_MIGRATING, TaskState.RESIZE_FINISH])
def test_a_server_that_moves_can_be_deleted(task: TaskState) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.ask(accept_migrate, server)
        await until_task(told, server, task)
        await told.ask(accept_delete, server)
        assert (await told.idle(server)).deleted

    told_story(story, start_s=2.0, shut_down_s=2.0)


def test_what_cannot_be_is_refused_before_anything_is_touched() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        here = (await told.get(server)).host_name or ""
        for host, error in ((here, Invalid), ("nowhere", Invalid)):
            with pytest.raises(error):
                await told.ask(accept_migrate, server, host)
        await told.cloud.cut_power(here)
        await told.down(told.cloud.hosts[here].id)
        with pytest.raises(Conflict, match="Evacuate it"):
            await told.ask(accept_migrate, server)
        await told.back(here)
        await told.idle(server)
        written = await told.cloud.database.read(lambda tx: actions.of_server(tx, server))
        assert "migrate" not in {each.action for each in written}

    told_story(story)


def test_a_guest_that_ends_while_its_move_finds_no_place_makes_its_server_stopped() -> None:
    async def story(told: Told) -> None:
        server = await told.created(flavor=msgspec.structs.replace(FLAVOR, ephemeral_gb=1))
        here = (await told.get(server)).host_name or ""
        await told.ask(accept_migrate, server)
        told.cloud.hosts[here].hypervisor.power_off_inside(server)
        after = await told.idle(server)
        assert (after.vm_state, after.host_name) == (VmState.STOPPED, here)

    told_story(story, shared=False)


def test_a_move_from_where_the_server_is_not_any_more_ends_nobodys_right() -> None:
    """As a restored database may have it: asked for before another move, which is lost, and whose end was found."""

    async def story(told: Told) -> None:
        server = await told.created()
        home = await told.get(server)
        former = next(host for name, host in told.cloud.hosts.items() if name != home.host_name)

        def accept(cloud: Cloud, tx: Tx, who: Asked) -> None:
            servers.change(tx, server, host=former.id, host_name=former.name)
            accept_migrate(cloud, tx, who, server)
            servers.change(tx, server, host=home.host, host_name=home.host_name)

        await told.ask(accept)
        after = await told.idle(server)
        assert (await record(told, server)).status == "error"
        assert "not on the host any more" in (after.fault.message if after.fault else "")
        assert told.cloud.running(server) == [home.host_name]

    told_story(story)
