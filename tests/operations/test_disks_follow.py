"""A database that does not know which disks a server has learns it from the guest, and no number is given twice."""

from collections.abc import Iterable

import pytest

from renova.drivers.hypervisor import DiskLocked
from renova.model.errors import Refused
from renova.model.guest import PowerState
from renova.model.ids import ServerId
from renova.model.server import Server, VmState
from renova.operations.delete import accept_delete
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.reboot import accept_reboot
from renova.operations.rebuild import Rebuild, accept_rebuild
from renova.operations.start import accept_start
from renova.operations.stop import accept_stop
from renova.simulation.database import Backup
from renova.simulation.loop import run_virtual
from renova.simulation.world import World
from renova.store import servers
from tests.operations.failing_hosts import break_start, dead_host_of, fails
from tests.operations.story import Told, an_image, told_story
from tests.operations.test_duties import do
from tests.operations.test_hold import in_world, restore, until_standing

TWO = Rebuild(image=an_image("two"), admin_pass="x")


def disks_of(told: Told, server: ServerId) -> dict[int, str | None]:
    """Return the server's disks on the storage that all hosts share: of each generation, which image it was made of."""
    storage = next(iter(told.cloud.hosts.values())).storage
    return {generation: disk.image for (of, generation), disk in storage.disks.items() if of == server}


async def restored(world: World, told: Told, backup: Backup, dead: Iterable[str] = ()) -> None:
    """Restore the backup, and wait until each host has said what it has."""
    await restore(world, backup)
    await world.start_controller()
    for name in dead:
        await world.power_on(name)
    await until_standing(told, "free")
    for name in world.hosts:
        await told.host_up(name)


async def demand_works(told: Told, server: ServerId) -> Server:
    """Have the server start as it is, and rebuilt on disks of its own; returns it as it was before that."""
    found = await told.idle(server)
    if found.vm_state is VmState.STOPPED:
        await told.ask(accept_start, server)
    else:
        await told.ask(accept_reboot, server, hard=True)
    assert (await told.idle(server)).vm_state is VmState.ACTIVE
    assert found.root_generation in disks_of(told, server)
    await told.ask(accept_rebuild, server, Rebuild(image=an_image("one"), admin_pass="x"))
    again = await told.idle(server)
    assert (again.vm_state, again.fault) == (VmState.ACTIVE, None)
    assert disks_of(told, server) == {again.root_generation: "image-one"}
    assert again.root_generation > found.root_generation
    await told.check()
    return found


@pytest.mark.parametrize("stopped", [False, True])
def test_a_server_whose_rebuild_was_lost_goes_on_with_the_disks_that_it_has(stopped: bool) -> None:
    async def main() -> None:
        world, told = await in_world(count=2, storage_count=0, shared=True)
        server = await told.created()
        if stopped:
            await told.ask(accept_stop, server)
            await told.idle(server)
        backup = world.data.back_up()
        await told.ask(accept_rebuild, server, TWO)
        await told.idle(server)
        await restored(world, told, backup)
        assert (await demand_works(told, server)).root_generation == 2
        await world.down()

    run_virtual(main())


def test_a_rebuild_that_a_restored_database_has_under_way_and_that_was_taken_back_since_is_taken_back() -> None:
    async def main() -> None:
        world, told = await in_world(count=2, storage_count=0, shared=True, start_s=0.05)
        server = await told.created()
        before = await told.get(server)
        await told.ask(accept_rebuild, server, TWO)
        await world.clock.sleep(0.01)
        backup = world.data.back_up()
        source = await dead_host_of(told, server)
        await told.ask(accept_evacuate, server, Evacuation())
        assert (await told.idle(server)).host_name != source
        await restored(world, told, backup, [source])
        found = await demand_works(told, server)
        assert (found.root_generation, found.image) == (before.root_generation, before.image)
        await world.down()

    run_virtual(main())


@pytest.mark.parametrize("after_s", [0.01, 0.06, 0.12])
def test_a_rebuild_that_a_restored_database_has_under_way_goes_on_or_was_done(after_s: float) -> None:
    async def main() -> None:
        world, told = await in_world(count=2, storage_count=0, shared=True, start_s=0.05)
        server = await told.created()
        await told.ask(accept_rebuild, server, TWO)
        await world.clock.sleep(after_s)
        await restored(world, told, world.data.back_up())
        after = await told.idle(server)
        assert (after.vm_state, after.image, after.fault) == (VmState.ACTIVE, "image-two", None)
        assert disks_of(told, server) == {after.root_generation: "image-two"}
        await told.check()
        await world.down()

    run_virtual(main())


@pytest.mark.parametrize("stopped", [False, True])
def test_a_rebuild_that_was_done_in_what_was_lost_does_not_put_back_disks_that_are_gone(stopped: bool) -> None:
    async def main() -> None:
        world, told = await in_world(count=2, storage_count=0, shared=True, start_s=0.05)
        server = await told.created()
        await told.ask(accept_rebuild, server, TWO)
        await world.clock.sleep(0.01)
        backup = world.data.back_up()
        await told.idle(server)
        if stopped:
            await told.ask(accept_stop, server)
        home = (await told.idle(server)).host_name or ""
        break_start(world, home, Refused("it could not be told on"))
        await restored(world, told, backup)
        after = await told.idle(server)
        assert (after.image, after.root_generation, after.fault) == ("image-two", 2, None)
        assert after.vm_state is (VmState.STOPPED if stopped else VmState.ACTIVE)
        assert disks_of(told, server) == {2: "image-two"}
        await told.check()
        await world.down()

    run_virtual(main())


@pytest.mark.parametrize("known", ["not at all", "as under way", "as under way, where it was not done"])
def test_a_server_whose_host_dies_before_it_could_tell_of_a_rebuild_is_evacuated_with_the_disks_that_are_there(
    known: str,
) -> None:
    """Only its host knew whether the new guest had come up, and so which disks are there."""

    async def main() -> None:
        world, told = await in_world(count=2, storage_count=0, shared=True, start_s=0.05)
        server = await told.created()
        home = (await told.get(server)).host_name or ""
        backup = world.data.back_up()
        await told.ask(accept_rebuild, server, TWO)
        await world.clock.sleep(0.01)
        if known != "not at all":
            backup = world.data.back_up()
        if known != "as under way, where it was not done":
            await told.idle(server)
        await world.cut_power(home)
        await restore(world, backup)
        await world.start_controller()
        await until_dead(told, home)
        await until_standing(told, "free")
        await told.ask(accept_evacuate, server, Evacuation())
        after = await told.idle(server)
        there = 1 if known == "as under way, where it was not done" else 2
        assert (after.vm_state, after.host_name != home, after.fault) == (VmState.ACTIVE, True, None)
        assert (after.root_generation, list(disks_of(told, server))) == (there, [there])
        await world.power_on(home)
        await told.host_up(home)
        await demand_works(told, server)
        await world.down()

    run_virtual(main())


async def until_dead(told: Told, name: str) -> None:
    """Have the host be proven dead, once its silence has been heard for long enough."""
    host = told.cloud.hosts[name].id
    await told.cloud.until(lambda: told.cloud.cloud.hosts.settled and not told.cloud.cloud.hosts.up(host))
    assert await told.cloud.cloud.hosts.seek_proof(host)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_rebuild_asked_for_before_its_host_has_told_of_a_lost_one_puts_no_disks_back_that_are_gone(
    stopped: bool,
) -> None:
    async def main() -> None:
        world, told = await in_world(count=2, storage_count=0, shared=True)
        server = await told.created()
        if stopped:
            await told.ask(accept_stop, server)
        home = (await told.idle(server)).host_name or ""
        backup = world.data.back_up()
        await told.ask(accept_rebuild, server, TWO)
        await told.idle(server)
        await world.kill_agent(home)
        await restore(world, backup)
        await world.start_controller()
        await until_standing(told, "held")
        await told.ask(accept_rebuild, server, TWO)
        hypervisor, why = world.hosts[home].hypervisor, Refused("it could not be told on")
        works = [fails(hypervisor, begin, why) for begin in ("start", "define")]
        world.start_agent(home)
        await until_standing(told, "free")
        for name in world.hosts:
            await told.host_up(name)
        await told.idle(server)
        for mend in works:
            mend()
        assert (await demand_works(told, server)).root_generation == 2
        await world.down()

    run_virtual(main())


@pytest.mark.parametrize("moved", [False, True])
def test_a_deletion_asked_for_before_its_host_has_told_what_was_lost_is_done(moved: bool) -> None:
    async def main() -> None:
        world, told = await in_world(count=2, storage_count=0, shared=True)
        server = await told.created()
        backup = world.data.back_up()
        if moved:
            await dead_host_of(told, server)
            await told.ask(accept_evacuate, server, Evacuation())
        else:
            await told.ask(accept_rebuild, server, TWO)
        home = (await told.idle(server)).host_name or ""
        await world.kill_agent(home)
        await restore(world, backup)
        await world.start_controller()
        await until_standing(told, "held")
        await told.ask(accept_delete, server)
        world.start_agent(home)
        for name in world.hosts:
            if name != home and moved:
                await world.power_on(name)
        await until_standing(told, "free")
        for name in world.hosts:
            await told.host_up(name)
        assert (await told.idle(server)).deleted
        assert disks_of(told, server) == {}
        await told.check()
        await world.down()

    run_virtual(main())


def test_a_disk_that_a_lost_rebuild_had_begun_is_not_taken_for_that_of_the_next_one() -> None:
    async def main() -> None:
        world, told = await in_world(count=1, storage_count=0, shared=True, start_s=0.05)
        server = await told.created()
        backup = world.data.back_up()
        await told.ask(accept_rebuild, server, TWO)
        await world.until(lambda: 2 in disks_of(told, server))
        await restored(world, told, backup)
        await demand_works(told, server)
        await world.down()

    run_virtual(main())


def test_a_disk_that_a_failed_rebuild_could_not_delete_is_not_taken_for_that_of_the_next_one() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        hypervisor = told.cloud.hosts["host1"].hypervisor
        really = hypervisor.start, hypervisor.drop_disks

        async def start(guest: object) -> object:
            hypervisor.start = really[0]  # type: ignore[method-assign]
            raise DiskLocked("the new guest does not start")

        async def drop_disks(*_: object, **_also: object) -> bool:
            raise DiskLocked("it cannot be deleted")

        hypervisor.start, hypervisor.drop_disks = start, drop_disks  # type: ignore[assignment,method-assign]
        await told.ask(accept_rebuild, server, TWO)
        assert (await told.idle(server)).root_generation == 1
        assert disks_of(told, server) == {1: "image-one", 2: "image-two"}
        hypervisor.drop_disks = really[1]  # type: ignore[method-assign]
        await demand_works(told, server)

    told_story(story, count=1)


@pytest.mark.parametrize(
    ("power", "burnt", "follows"),
    [
        (PowerState.RUNNING, 0, True),
        (PowerState.RUNNING, 3, True),
        (PowerState.SHUTDOWN, 0, True),  # made in what was lost
        (PowerState.SHUTDOWN, 3, False),  # given up, and maybe deleted
    ],
)
def test_disks_that_a_guest_has_are_seen_later_too(power: PowerState, burnt: int, follows: bool) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        for _ in range(2):
            await told.ask(accept_rebuild, server, TWO)
            await told.idle(server)
        if power is PowerState.SHUTDOWN:
            await told.ask(accept_stop, server)
            await told.idle(server)
        forgotten = {"root_generation": 1, "burnt_generation": burnt}
        await told.cloud.database.transact(lambda tx: servers.change(tx, server, **forgotten))
        assert (await do(told, "power_states")).mended == int(follows)
        assert (await told.get(server)).root_generation == (3 if follows else 1)
        if follows:
            await demand_works(told, server)

    told_story(story, count=1)
