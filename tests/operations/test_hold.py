"""The database is set back under a living cloud: everything holds, a new era begins, and the hosts say what is true."""

from typing import Any

import pytest
from msgspec.structs import replace

from renova.hosts import eras
from renova.model.errors import Conflict, Refused
from renova.model.ids import HostId, VolumeId
from renova.model.server import TaskState, VmState
from renova.operations.delete import accept_delete
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.migrate import accept_migrate
from renova.operations.migrate_live import accept_migrate_live
from renova.operations.pause import accept_pause, accept_unpause
from renova.operations.reboot import accept_reboot
from renova.operations.start import accept_start
from renova.operations.stop import accept_stop
from renova.simulation.database import Backup
from renova.simulation.loop import run_virtual
from renova.simulation.world import World
from renova.store import cluster, hosts, rights, servers, volumes
from renova.store.database import Tx
from renova.store.placement import allocations, claims
from tests.operations.failing_hosts import dead_host_of
from tests.operations.story import CONTENT, Told, an_image, told_story
from tests.operations.test_duties import do
from tests.operations.test_images_of_servers import busy_with
from tests.operations.test_standing_still import last_action
from tests.operations.volumes import a_new_volume


async def standing(told: Told) -> cluster.Cluster:
    return await told.cloud.database.read(cluster.get)


async def set_back(told: Told, change: object) -> None:
    """Have the database as a backup had it: the controller is stopped meanwhile."""
    await told.cloud.kill_controller()
    await told.cloud.database.transact(change)  # type: ignore[arg-type]
    await told.cloud.start_controller()


async def until_standing(told: Told, wanted: str) -> None:
    for _ in range(2000):
        now = await standing(told)
        if {"held": now.hold is not None, "free": now.hold is None}[wanted]:
            return
        await told.cloud.clock.sleep(0.05)
    raise TimeoutError(f"the cluster is not {wanted}")


def test_a_database_set_back_gives_nothing_twice_and_learns_from_the_hosts() -> None:
    async def story(told: Told) -> None:
        before = await told.get(await told.created())
        source = await dead_host_of(told, before.id)
        epochs = await told.cloud.database.read(lambda tx: {each.host: each.epoch for each in hosts.all_leases(tx)})
        await told.ask(accept_evacuate, before.id, Evacuation())
        after = await told.idle(before.id)
        assert after.host != before.host
        await told.back(source)

        def backup(tx: Tx) -> None:
            rights.put(tx, before.id, HostId(before.host or ""), 1, 1)
            servers.change(tx, before.id, host=before.host, host_name=before.host_name)
            for each in hosts.all_leases(tx):
                values = {"boot": each.boot, "ttl": each.ttl, "margin": each.margin}
                hosts.begin_lease(tx, each.host, epochs[each.host] - 1 or 1, **values)  # type: ignore[arg-type]

        await set_back(told, backup)
        await until_standing(told, "held")
        with pytest.raises(Conflict, match="on hold"):
            await told.ask(accept_evacuate, before.id, Evacuation())
        assert told.cloud.running(before.id) == [after.host_name]
        await told.cloud.database.transact(lambda tx: eras.begin(tx, "the operator"))
        await until_standing(told, "free")
        for name in told.cloud.hosts:
            await told.host_up(name)
        believed = await told.get(before.id)
        assert (believed.host, believed.host_name) == (after.host, after.host_name)
        assert told.cloud.running(before.id) == [after.host_name], "it was never touched"
        assert (await standing(told)).era == 2
        # Life goes on: it can be moved again, and numbers go on above all that were lost.
        await dead_host_of(told, before.id)
        await told.ask(accept_evacuate, before.id, Evacuation())
        again = await told.idle(before.id)
        assert again.host != after.host
        right = await told.cloud.database.read(lambda tx: rights.right(tx, before.id))
        assert right is not None
        assert right.incarnation > eras.GAP
        await told.back(after.host_name or "")

    told_story(story)


def test_a_host_that_lost_its_journal_too_is_accounted_for() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        name = server.host_name or ""
        await told.cloud.kill_agent(name)
        told.cloud.hosts[name].journal.lose()

        def backup(tx: Tx) -> None:
            rights.put(tx, server.id, None, 0, 1)

        await set_back(told, backup)
        await told.cloud.database.transact(lambda tx: eras.begin(tx, "the operator"))
        told.cloud.start_agent(name)
        await until_standing(told, "free")
        await told.host_up(name)
        assert told.cloud.running(server.id) == [name]

    told_story(story)


def test_a_renewal_that_the_database_forgot_holds_everything() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())

        def back(tx: Tx) -> None:
            tx.execute(hosts.leases.update().where(hosts.leases.c.host == server.host).values(counter=0))

        await told.cloud.clock.sleep(5)
        await set_back(told, back)
        await until_standing(told, "held")
        assert "has heard of renewal" in ((await standing(told)).hold or "")
        await told.cloud.clock.sleep(60)
        assert told.cloud.running(server.id) == [server.host_name], "a hold harms no guest"
        assert told.cloud.cloud.hosts.up(server.host), "leases are renewed"
        await told.cloud.database.transact(lambda tx: eras.begin(tx, "the operator"))
        await until_standing(told, "free")
        for name in told.cloud.hosts:
            await told.host_up(name)

    told_story(story)


def test_a_controller_that_counted_higher_than_the_database_holds_everything() -> None:
    async def story(told: Told) -> None:
        await told.cloud.clock.sleep(20)
        await told.cloud.database.transact(lambda tx: tx.execute(cluster.cluster.update().values(tick=1)))
        await until_standing(told, "held")
        assert "has counted to" in ((await standing(told)).hold or "")
        await told.cloud.database.transact(lambda tx: eras.begin(tx, "the operator"))
        await until_standing(told, "free")
        for name in told.cloud.hosts:
            await told.host_up(name)

    told_story(story)


def test_a_controller_that_missed_the_whole_hold_of_an_era_goes_on_in_it() -> None:
    async def story(told: Told) -> None:
        await told.cloud.clock.sleep(20)
        missed = cluster.cluster.update().values(tick=1, era=cluster.cluster.c.era + 1)
        await told.cloud.database.transact(lambda tx: tx.execute(missed))
        await told.cloud.clock.sleep(30)
        assert (await standing(told)).hold is None
        for name in told.cloud.hosts:
            await told.host_up(name)

    told_story(story)


def test_a_controller_that_saw_a_hold_end_does_not_see_it_end_once_more() -> None:
    async def story(told: Told) -> None:
        await told.cloud.database.transact(lambda tx: eras.begin(tx, "the operator"))
        backup = await standing(told)
        await until_standing(told, "free")
        again = cluster.cluster.update().values(hold=backup.hold, restoring=True)
        await told.cloud.database.transact(lambda tx: tx.execute(again))
        await told.cloud.clock.sleep(60)
        assert "has seen era 2 go on" in ((await standing(told)).hold or "")
        assert await told.cloud.database.transact(lambda tx: eras.begin(tx, "the operator")) == 3
        await until_standing(told, "free")
        for name in told.cloud.hosts:
            await told.host_up(name)

    told_story(story)


def test_a_host_that_stays_silent_is_vouched_for_and_the_hold_ends() -> None:
    async def story(told: Told) -> None:
        await told.cloud.clock.sleep(5)
        host = told.cloud.hosts["host3"]
        host.line.cut()  # its power says on: nothing proves it dead
        await told.cloud.database.transact(lambda tx: eras.begin(tx, "the operator"))
        await told.cloud.clock.sleep(120)
        assert (await told.cloud.database.read(eras.waiting)).hosts == ("host3",)
        await told.cloud.cloud.hosts.vouch(host.id, "the operator", False)
        await until_standing(told, "free")
        host.line.heal()
        await told.host_up("host3")
        for name in told.cloud.hosts:
            await told.host_up(name)

    told_story(story)


def test_a_host_that_comes_when_the_hold_is_over_brings_back_neither_the_hold_nor_its_guest() -> None:
    async def story(told: Told) -> None:
        before = await told.get(await told.created())
        home = await dead_host_of(told, before.id)
        await told.ask(accept_evacuate, before.id, Evacuation())
        late = (await told.idle(before.id)).host_name or ""
        await told.back(home)  # it gives up what it had
        await dead_host_of(told, before.id)

        def backup(tx: Tx) -> None:
            rights.put(tx, before.id, HostId(before.host or ""), 1, 1)
            servers.change(tx, before.id, host=before.host, host_name=before.host_name)
            for held in allocations.held(tx, before.id):
                claims.release(tx, before.id, held.provider)
            amounts = before.flavor.resources(volume_backed=False)
            claims.claim(tx, before.id, before.project, before.user, HostId(before.host or ""), amounts)

        await set_back(told, backup)
        await told.cloud.database.transact(lambda tx: eras.begin(tx, "the operator"))
        await until_standing(told, "free")
        await told.host_up(home)
        await told.cloud.clock.sleep(5)  # the hosts say hello once more
        assert (await do(told, "power_states")).mended == 1
        again = await told.idle(before.id)
        assert (again.vm_state, again.host_name) == (VmState.ACTIVE, home), again.fault
        right = await told.cloud.database.read(lambda tx: rights.right(tx, before.id))
        assert right is not None
        assert right.incarnation > eras.GAP, "above the number that its home has given up, and that of its disks"
        await told.back(late)
        await told.cloud.clock.sleep(60)
        await told.cloud.kill_agent(late)
        told.cloud.start_agent(late)  # and says hello once more
        await told.host_up(late)
        assert (await standing(told)).hold is None
        assert told.cloud.running(before.id) == [home]
        assert before.id not in told.cloud.hosts[late].hypervisor.domains()

    told_story(story)


def test_a_guest_of_a_former_era_starts_under_a_new_number_and_runs_on_under_its_own() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await told.cloud.database.transact(lambda tx: eras.begin(tx, "the operator"))
        await until_standing(told, "free")
        await told.host_up(server.host_name or "")
        assert told.cloud.running(server.id) == [server.host_name]

        async def number() -> int:
            return await told.cloud.database.read(lambda tx: rights.incarnation(tx, server.id))

        await told.ask(accept_pause, server.id)
        await told.idle(server.id)
        assert await number() == 1
        await told.ask(accept_unpause, server.id)
        await told.idle(server.id)
        await told.ask(accept_stop, server.id)
        await told.idle(server.id)
        assert await number() == 1
        await told.ask(accept_start, server.id)
        assert (await told.idle(server.id)).vm_state is VmState.ACTIVE
        granted = await number()
        assert granted > eras.GAP
        await told.ask(accept_reboot, server.id, hard=True)
        await told.idle(server.id)
        assert await number() == granted, "once in an era"
        assert told.cloud.running(server.id) == [server.host_name]

    told_story(story)


async def in_world(**options: Any) -> tuple[World, Told]:
    """Begin a world whose database can be backed up and restored."""
    world = World(**{"seed": 1, "shared": False, "controller_count": 1, **options})
    told = Told.__new__(Told)
    told.cloud = world
    for name in ("one", "two"):
        world.images.have(an_image(name), CONTENT)
    return world, await told.begin()


async def restore(world: World, backup: Backup) -> None:
    """Have the database as it was, and say that this is the one to go on with."""
    await world.kill_controller()
    world.data.restore(backup)
    await world.database.transact(lambda tx: eras.begin(tx, "the operator"))


def test_an_operation_of_a_restored_database_does_not_start_a_server_where_it_was_before() -> None:
    async def main() -> None:
        world, told = await in_world(count=2, storage_count=0)
        for name in world.hosts:
            assert world.freeze_agent(name)
        server = await told.get(await told.create())
        await world.clock.sleep(1)  # it is claimed where it is to be made, and waits for that host
        backup = world.data.back_up()
        source = (await told.get(server.id)).host_name or ""
        await world.cut_power(source)
        for name in world.hosts:
            world.thaw_agent(name)
        await told.idle(server.id)
        moved = await told.get(server.id)
        assert (moved.vm_state, moved.host_name != source) == (VmState.ACTIVE, True), moved.fault
        await restore(world, backup)
        await world.start_controller()
        await world.power_on(source)  # it never heard that the server was moved
        ran: set[str] = set()
        for _ in range(1200):
            ran.update(world.running(server.id))
            await world.clock.sleep(0.05)
        assert ran == {moved.host_name}, "an operation that the database brought back started it elsewhere"
        await told.idle(server.id)
        await told.check()
        await world.down()

    run_virtual(main())


@pytest.mark.parametrize("accept", [accept_migrate, accept_migrate_live])
def test_a_move_that_a_restored_database_has_under_way_holds_no_room_where_the_server_is_not(accept: Any) -> None:
    async def main() -> None:
        world, told = await in_world(count=2, storage_count=0, shared=True, copy_s=4.0, shut_down_s=4.0)
        for host in world.hosts.values():
            host.hypervisor.tears = lambda _server: False
        server = await told.created()
        before = await told.get(server)
        await told.ask(accept, server)
        await world.clock.sleep(2)  # room is held at the other host, and the guest is on its way off this one
        backup = world.data.back_up()
        moved = await told.idle(server)
        assert moved.host_name != before.host_name, moved.fault
        await restore(world, backup)
        await world.start_controller()
        await until_standing(told, "free")
        await told.idle(server)
        await world.clock.sleep(5)
        after = await told.get(server)
        assert (after.host_name, world.running(server)) == (moved.host_name, [moved.host_name])
        await told.check()
        await world.down()

    run_virtual(main())


def test_a_volume_that_was_made_and_deleted_in_what_was_lost_is_made_again() -> None:
    async def main() -> None:
        world, told = await in_world(count=2, storage_count=1)
        await world.cut_power("storage1")
        await told.down(world.storage_hosts["storage1"].id)
        volume = a_new_volume(told, delete_on_termination=True)
        server = await told.create(devices=(volume,))
        await world.clock.sleep(1)  # no host could hold the volume yet
        backup = world.data.back_up()
        await world.power_on("storage1")
        assert (await told.idle(server)).vm_state is VmState.ACTIVE
        await told.ask(accept_delete, server)
        await told.idle(server)
        assert not world.storage_hosts["storage1"].volumes.volumes
        await restore(world, backup)
        await world.start_controller()
        await until_standing(told, "free")
        again = await told.idle(server)
        assert again.vm_state is VmState.ACTIVE, again.fault
        assert list(world.storage_hosts["storage1"].volumes.volumes) == [volume.volume]
        await told.check()
        await world.down()

    run_virtual(main())


def test_a_create_that_fails_in_a_restored_database_leaves_no_guest_that_was_built_in_what_was_lost() -> None:
    async def main() -> None:
        world, told = await in_world(count=1, storage_count=1)
        await world.cut_power("storage1")
        volume = a_new_volume(told)
        server = await told.create(devices=(volume,))
        await world.clock.sleep(1)  # its host is claimed, and it waits for its volume
        backup = world.data.back_up()
        await world.power_on("storage1")
        await told.idle(server)
        assert world.running(server) == ["host1"]
        await world.cut_power("storage1")
        await restore(world, backup)
        await world.start_controller()
        await until_standing(told, "free")
        await told.host_up("host1")
        wanted = volume.volume or VolumeId("")
        await world.database.transact(lambda tx: volumes.change(tx, wanted, status="error", error="it cannot be made"))
        await world.power_on("storage1")
        failed = await told.idle(server)
        assert (failed.vm_state, failed.host_name) == (VmState.ERROR, "host1"), "its host owes the clean-up"
        await world.until(lambda: not world.running(server))
        await world.clock.sleep(1)
        assert (await told.get(server)).host is None, "it is nowhere once that is confirmed"
        await told.check()
        await world.down()

    run_virtual(main())


@pytest.mark.parametrize("whole", [False, True])
def test_an_image_that_a_restored_database_has_under_way_is_taken_back_unless_it_became_whole(whole: bool) -> None:
    async def main() -> None:
        world, told = await in_world(count=2, storage_count=0, shared=True)
        server = await told.created()
        made = await told.make_image(server)
        source = (await busy_with(told, server, TaskState.IMAGE_UPLOADING)).host_name or ""
        backup, described = world.data.back_up(), world.images.images[made][0]
        copies = world.hosts[source].storage.copies
        assert copies
        # Its host dies, and the one that it goes to, which shares the storage, deletes no copy.
        other = next(host for host in world.hosts.values() if host.name != source)
        drop = other.hypervisor.drop_snapshot

        async def refuse(*_: object) -> None:
            raise Refused("it is stuck")

        other.hypervisor.drop_snapshot = refuse  # type: ignore[assignment, method-assign]
        await dead_host_of(told, server)
        await told.ask(accept_evacuate, server, Evacuation())
        moved = await told.idle(server)
        assert (moved.host_name, bool(copies)) == (other.name, True), moved.fault
        other.hypervisor.drop_snapshot = drop  # type: ignore[method-assign]
        # What describes the image is older again, too, or had become true in what was lost.
        world.images.images[made] = (replace(described, status="active" if whole else described.status), b"")
        await restore(world, backup)
        await world.start_controller()
        await world.power_on(source)
        await until_standing(told, "free")
        after = await told.idle(server)
        assert (after.vm_state, after.task_state, after.host_name) == (VmState.ACTIVE, None, other.name)
        assert (made in world.images.images) is whole
        assert (await last_action(told, server))[0] in ("clear_away", "heal_ports")
        for name in world.hosts:
            await told.host_up(name)
        await told.check()
        assert world.running(server) == [other.name]
        await world.down()

    run_virtual(main())
