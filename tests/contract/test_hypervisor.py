"""What every hypervisor promises; the simulated one and libvirt pass the same tests."""

import asyncio
import contextlib
import uuid
from collections.abc import Callable

import msgspec
import pytest

from renova.drivers.hypervisor import DiskLocked
from renova.model.errors import Refused
from renova.model.guest import FoundGuest, Guest, GuestChanged, PowerState, Reply, RootDisk
from renova.model.ids import ImageId

from .benches import Bench, a_guest, told_boots, until, until_booted


def next_incarnation(guest: Guest) -> Guest:
    return msgspec.structs.replace(guest, incarnation=guest.incarnation + 1)


def root_of(guest: Guest) -> RootDisk:
    assert guest.disks.root
    return guest.disks.root


def rebuilt(guest: Guest, root: RootDisk | None = None) -> Guest:
    """Return the guest with a root disk of the next generation, of the same image if no other is given."""
    disks = msgspec.structs.replace(guest.disks, generation=guest.disks.generation + 1, root=root or guest.disks.root)
    return msgspec.structs.replace(guest, disks=disks)


async def running(bench: Bench) -> Guest:
    """Return a guest that runs on the first host and has booted once."""
    guest = bench.deaf_guest()
    await bench.first.prepare(guest, bench.images)
    await bench.first.start(guest)
    await until_booted(bench.first, guest, 1)
    return guest


def as_found(guest: Guest, power: PowerState) -> FoundGuest:
    return FoundGuest(guest.server, guest.incarnation, power, guest.disks.generation)


async def test_what_has_a_guest_started_is_kept_for_as_long_as_it_runs(bench: Bench) -> None:
    guest = await running(bench)
    assert await bench.first.started_as(guest.server) == ""
    named = msgspec.structs.replace(guest, started_as="1.7")
    await bench.first.start(named)  # it runs already
    assert await bench.first.started_as(guest.server) == ""
    await bench.first.kill(guest.server)
    await bench.first.start(named)
    assert await bench.first.started_as(guest.server) == "1.7"
    await bench.first.kill(guest.server)
    assert await bench.first.started_as(guest.server) == ""


# Disks.


async def test_a_root_disk_is_made_once_and_kept(bench: Bench) -> None:
    guest = bench.deaf_guest()
    assert not await bench.first.has_disks(guest.server, guest.disks)
    assert await bench.first.prepare(guest, bench.images)
    assert await bench.first.has_disks(guest.server, guest.disks)
    assert not await bench.first.prepare(guest, bench.images)
    assert bench.images.reads == [root_of(guest).image]


async def test_a_disk_that_was_carried_here_needs_no_image_but_the_one_that_it_is_built_on(bench: Bench) -> None:
    guest = bench.deaf_guest()
    await bench.first.prepare(guest, bench.images)
    gone = msgspec.structs.replace(root_of(guest), image=ImageId(str(uuid.uuid4())), image_sha256="0" * 64)
    disks = msgspec.structs.replace(guest.disks, root=gone)
    assert not await bench.first.prepare(msgspec.structs.replace(guest, disks=disks), bench.images)
    assert bench.images.reads == [root_of(guest).image]


async def test_a_shared_disk_is_found_by_the_other_host(bench: Bench) -> None:
    guest = bench.deaf_guest()
    await bench.first.prepare(guest, bench.images)
    assert await bench.second.has_disks(guest.server, guest.disks)
    assert not await bench.second.prepare(next_incarnation(guest), bench.images)


async def test_an_image_that_many_want_is_downloaded_once(bench: Bench) -> None:
    root = root_of(bench.deaf_guest())
    hosts = [bench.first, bench.second] * 3
    made = await asyncio.gather(*(host.prepare(a_guest(root), bench.images) for host in hosts))
    assert all(made)
    assert bench.images.reads == [root.image]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda content: content[:-1] + b"!", id="changed"),
        pytest.param(lambda content: content[:-1], id="short"),
        pytest.param(lambda content: content + b"!", id="long"),
    ],
)
async def test_an_image_that_is_not_what_it_claims_is_refused(bench: Bench, spoil: Callable[[bytes], bytes]) -> None:
    guest = bench.deaf_guest()
    good = bench.images.contents[root_of(guest).image]
    bench.images.contents[root_of(guest).image] = spoil(good)
    with pytest.raises(Refused):
        await bench.first.prepare(guest, bench.images)
    assert not await bench.first.has_disks(guest.server, guest.disks)
    bench.images.contents[root_of(guest).image] = good
    assert await bench.first.prepare(guest, bench.images)


async def test_an_image_larger_than_its_disk_is_refused(bench: Bench) -> None:
    guest = bench.deaf_guest()
    small = msgspec.structs.replace(guest.disks, root=msgspec.structs.replace(root_of(guest), image_bytes=1 << 31))
    with pytest.raises(Refused):
        await bench.first.prepare(msgspec.structs.replace(guest, disks=small), bench.images)


async def test_blank_disks_are_made_with_the_root_disk_and_dropped_with_it(bench: Bench) -> None:
    plain = bench.deaf_guest()
    disks = msgspec.structs.replace(plain.disks, ephemerals_gb=(1,), swap_mb=16)
    guest = msgspec.structs.replace(plain, disks=disks)
    assert await bench.first.prepare(guest, bench.images)
    assert await bench.first.has_disks(guest.server, disks)
    assert not await bench.first.prepare(guest, bench.images)
    next_ones = msgspec.structs.replace(guest, disks=msgspec.structs.replace(disks, generation=2))
    assert await bench.first.newer_disks(guest.server, disks) == 0
    assert await bench.first.prepare(next_ones, bench.images)
    assert await bench.first.newer_disks(guest.server, disks) == 0, "these are here"
    assert await bench.first.drop_disks(guest.server, keep=2)
    assert not await bench.first.has_disks(guest.server, disks)
    assert await bench.first.has_disks(guest.server, next_ones.disks)
    assert await bench.second.newer_disks(guest.server, disks) == 2
    assert await bench.second.newer_disks(guest.server, next_ones.disks) == 0


async def test_a_server_without_disks_of_its_own_needs_none(bench: Bench) -> None:
    volume_backed = msgspec.structs.replace(bench.deaf_guest().disks, root=None)
    assert await bench.first.has_disks(bench.deaf_guest().server, volume_backed)


async def test_dropping_disks_spares_those_to_keep(bench: Bench) -> None:
    old = bench.deaf_guest()
    new = rebuilt(old, root_of(bench.deaf_guest()))
    await bench.first.prepare(old, bench.images)
    await bench.first.prepare(new, bench.images)
    assert await bench.first.drop_disks(old.server, keep=new.disks.generation)
    assert not await bench.first.has_disks(old.server, old.disks)
    assert await bench.first.has_disks(old.server, new.disks)
    assert await bench.first.drop_disks(old.server, keep=None)
    assert not await bench.first.has_disks(old.server, new.disks)
    assert await bench.first.drop_disks(old.server, keep=None)


async def test_disks_of_a_newer_incarnation_are_not_dropped(bench: Bench) -> None:
    guest = bench.deaf_guest()
    await bench.first.prepare(guest, bench.images)
    await bench.second.prepare(next_incarnation(guest), bench.images)
    assert await bench.first.owner(guest.server) == 2
    assert not await bench.first.drop_disks(guest.server, keep=None, up_to=1)
    assert await bench.first.has_disks(guest.server, guest.disks)
    assert await bench.first.drop_disks(guest.server, keep=None, up_to=2)
    assert await bench.first.owner(guest.server) is None


async def test_disks_that_are_set_aside_are_in_nobodys_way_and_kept_until_they_are_dropped(bench: Bench) -> None:
    guest = bench.deaf_guest()
    await bench.first.prepare(guest, bench.images)
    assert await bench.first.set_aside(guest.server, guest.incarnation)
    assert not await bench.first.has_disks(guest.server, guest.disks)
    assert await bench.first.owner(guest.server) is None
    assert await bench.first.set_aside(guest.server, guest.incarnation), "it may run again"
    (aside,) = [each for each in await bench.first.asides() if each.server == guest.server]
    assert aside.incarnation == guest.incarnation
    assert await bench.first.prepare(next_incarnation(guest), bench.images), "a fresh disk takes its place"
    assert aside not in await bench.first.drop_asides(older_than_s=3600)
    assert aside in await bench.first.asides()
    assert aside in await bench.first.drop_asides(older_than_s=-1)
    assert aside not in await bench.first.asides()
    assert await bench.first.has_disks(guest.server, guest.disks)


async def test_disks_of_a_newer_incarnation_are_not_set_aside(bench: Bench) -> None:
    guest = next_incarnation(bench.deaf_guest())
    await bench.first.prepare(guest, bench.images)
    assert not await bench.first.set_aside(guest.server, guest.incarnation - 1)
    assert await bench.first.has_disks(guest.server, guest.disks)


async def test_disks_of_a_running_guest_stay(bench: Bench) -> None:
    guest = await running(bench)
    with pytest.raises(Refused):
        await bench.first.drop_disks(guest.server, keep=None)
    assert await bench.first.has_disks(guest.server, guest.disks)


async def test_no_disk_is_dropped_where_those_to_keep_are_not_here(bench: Bench) -> None:
    guest = bench.deaf_guest()
    await bench.first.prepare(guest, bench.images)
    with pytest.raises(Refused, match="are not here"):
        await bench.first.drop_disks(guest.server, keep=guest.disks.generation + 1)
    assert await bench.first.has_disks(guest.server, guest.disks)


async def test_disks_that_a_guest_runs_on_stay_whichever_are_to_be_kept(bench: Bench) -> None:
    guest = await running(bench)
    other = rebuilt(guest)
    await bench.first.prepare(other, bench.images)
    with pytest.raises(Refused, match="runs on its disks of generation"):
        await bench.first.drop_disks(guest.server, keep=other.disks.generation)
    assert await bench.first.has_disks(guest.server, guest.disks)


async def test_no_disk_is_dropped_that_a_guest_has_open_on_another_host(bench: Bench) -> None:
    guest = await running(bench)
    with pytest.raises(DiskLocked):
        await bench.second.drop_disks(guest.server, keep=None, up_to=guest.incarnation)
    assert await bench.first.has_disks(guest.server, guest.disks)
    await bench.first.kill(guest.server)
    assert await bench.second.drop_disks(guest.server, keep=None, up_to=guest.incarnation)


# Running.


async def test_a_started_guest_runs_and_is_found(bench: Bench) -> None:
    guest = bench.deaf_guest()
    await bench.first.prepare(guest, bench.images)
    found = await bench.first.start(guest)
    assert found == as_found(guest, PowerState.RUNNING)
    assert await bench.first.guest(guest.server) == found
    assert found in await bench.first.guests()
    assert await bench.second.guest(guest.server) is None


async def test_starting_twice_leaves_the_guest_running(bench: Bench) -> None:
    guest = await running(bench)
    assert await bench.first.start(guest) == as_found(guest, PowerState.RUNNING)
    assert await told_boots(bench.first, guest) == [1]


async def test_a_newer_incarnation_takes_the_place_of_a_running_one(bench: Bench) -> None:
    guest = next_incarnation(await running(bench))
    assert await bench.first.start(guest) == as_found(guest, PowerState.RUNNING)
    await until_booted(bench.first, guest, 1, 2)


async def test_a_guest_on_other_disks_takes_the_place_of_one_that_runs_under_the_same_number(bench: Bench) -> None:
    guest = await running(bench)
    new = rebuilt(guest)
    await bench.first.prepare(new, bench.images)
    for each in (new, guest):
        assert await bench.first.start(each) == as_found(each, PowerState.RUNNING)
        assert await bench.first.guest(guest.server) == as_found(each, PowerState.RUNNING)


async def test_an_older_incarnation_never_starts(bench: Bench) -> None:
    old = await running(bench)
    new = next_incarnation(old)
    await bench.first.start(new)
    with pytest.raises(Refused):
        await bench.first.start(old)
    assert await bench.first.guest(new.server) == as_found(new, PowerState.RUNNING)
    await bench.first.kill(new.server)
    for host in (bench.first, bench.second):
        with pytest.raises(Refused):
            await host.start(old)
        with pytest.raises(Refused):
            await host.prepare(old, bench.images)


async def test_a_guest_without_its_disk_is_refused_and_the_old_one_runs_on(bench: Bench) -> None:
    guest = await running(bench)
    without = rebuilt(next_incarnation(guest))
    with pytest.raises(Refused):
        await bench.first.start(without)
    assert await bench.first.guest(guest.server) == as_found(guest, PowerState.RUNNING)


async def test_a_rebuilt_guest_has_a_fresh_disk_and_a_new_console(bench: Bench) -> None:
    guest = await running(bench)
    await until_booted(bench.first, guest, 1)
    new = rebuilt(guest)
    assert await bench.first.prepare(new, bench.images)
    await bench.first.kill(guest.server)
    assert await bench.first.start(new) == as_found(new, PowerState.RUNNING)
    assert await bench.first.guests() == [as_found(new, PowerState.RUNNING)], "on the disks that it was started on"
    await bench.first.drop_disks(guest.server, keep=new.disks.generation)
    await until_booted(bench.first, guest, 1)


async def test_killing_leaves_definition_and_disks(bench: Bench) -> None:
    guest = await running(bench)
    for _ in range(2):
        await bench.first.kill(guest.server)
        assert await bench.first.guest(guest.server) == as_found(guest, PowerState.SHUTDOWN)
    await bench.first.start(guest)
    await until_booted(bench.first, guest, 1, 2)


async def test_what_is_absent_needs_no_stopping(bench: Bench) -> None:
    guest = bench.deaf_guest()
    await bench.first.kill(guest.server)
    await bench.first.undefine(guest.server)
    assert await bench.first.shut_down(guest.server, 1.0)
    assert await bench.first.guest(guest.server) is None
    assert await bench.first.owner(guest.server) is None
    assert await bench.first.console(guest.server) == b""


async def test_a_defined_guest_is_off_until_it_is_started(bench: Bench) -> None:
    guest = bench.deaf_guest()
    await bench.first.prepare(guest, bench.images)
    for _ in range(2):
        await bench.first.define(guest)
        assert await bench.first.guest(guest.server) == as_found(guest, PowerState.SHUTDOWN)
    await bench.first.start(next_incarnation(guest))
    assert await bench.first.guest(guest.server) == as_found(next_incarnation(guest), PowerState.RUNNING)


async def test_the_definition_of_a_running_guest_stays(bench: Bench) -> None:
    guest = await running(bench)
    with pytest.raises(Refused):
        await bench.first.define(next_incarnation(guest))
    with pytest.raises(Refused):
        await bench.first.undefine(guest.server)
    assert await bench.first.guest(guest.server) == as_found(guest, PowerState.RUNNING)


async def test_an_undefined_guest_is_forgotten(bench: Bench) -> None:
    guest = await running(bench)
    await bench.first.kill(guest.server)
    for _ in range(2):
        await bench.first.undefine(guest.server)
        assert await bench.first.guest(guest.server) is None
    assert await bench.first.has_disks(guest.server, guest.disks)


async def test_a_disk_that_is_open_elsewhere_starts_no_second_guest(bench: Bench) -> None:
    guest = await running(bench)
    moved = next_incarnation(guest)
    await bench.second.prepare(moved, bench.images)
    with pytest.raises(DiskLocked):
        await bench.second.start(moved)
    found = await bench.second.guest(guest.server)
    assert found is None or found.power is not PowerState.RUNNING
    await bench.first.kill(guest.server)
    assert await bench.second.start(moved) == as_found(moved, PowerState.RUNNING)
    await until_booted(bench.second, moved, 1, 2)


async def test_after_a_power_cut_the_other_host_starts_the_guest_with_its_disk(bench: Bench) -> None:
    guest = await running(bench)
    await bench.cut_power()
    assert await bench.first.guest(guest.server) == as_found(guest, PowerState.SHUTDOWN)
    moved = next_incarnation(guest)
    assert not await bench.second.prepare(moved, bench.images)
    await bench.second.start(moved)
    await until_booted(bench.second, moved, 1, 2)


# Standing still.


async def test_a_paused_guest_keeps_its_memory_and_goes_on(bench: Bench) -> None:
    guest = await running(bench)
    for _ in range(2):
        await bench.first.pause(guest.server)
        assert await bench.first.guest(guest.server) == as_found(guest, PowerState.PAUSED)
    with pytest.raises(Refused):
        await bench.first.define(guest)
    for _ in range(2):
        await bench.first.unpause(guest.server)
        assert await bench.first.guest(guest.server) == as_found(guest, PowerState.RUNNING)
    assert await told_boots(bench.first, guest) == [1]


async def test_a_paused_guest_has_its_disk_open_and_can_be_killed(bench: Bench) -> None:
    guest = await running(bench)
    await bench.first.pause(guest.server)
    moved = next_incarnation(guest)
    await bench.second.prepare(moved, bench.images)
    with pytest.raises(DiskLocked):
        await bench.second.start(moved)
    assert not await bench.first.shut_down(guest.server, 0.3)
    await bench.first.kill(guest.server)
    assert await bench.first.guest(guest.server) == as_found(guest, PowerState.SHUTDOWN)


async def test_a_started_guest_does_not_stand_still(bench: Bench) -> None:
    guest = await running(bench)
    await bench.first.pause(guest.server)
    assert await bench.first.start(guest) == as_found(guest, PowerState.RUNNING)
    assert await told_boots(bench.first, guest) == [1]


async def test_what_is_off_neither_stands_still_nor_goes_on(bench: Bench) -> None:
    guest = bench.deaf_guest()
    await bench.first.pause(guest.server)
    await bench.first.unpause(guest.server)
    assert not await bench.first.suspend(guest.server)
    await bench.first.prepare(guest, bench.images)
    await bench.first.define(guest)
    await bench.first.pause(guest.server)
    await bench.first.unpause(guest.server)
    assert not await bench.first.suspend(guest.server)
    assert await bench.first.guest(guest.server) == as_found(guest, PowerState.SHUTDOWN)


async def test_a_suspended_guest_is_off_and_goes_on_with_its_memory(bench: Bench) -> None:
    guest = await running(bench)
    for _ in range(2):
        assert await bench.first.suspend(guest.server)
        assert await bench.first.guest(guest.server) == as_found(guest, PowerState.SHUTDOWN)
    for _ in range(2):
        assert await bench.first.resume(guest) == as_found(guest, PowerState.RUNNING)
    await bench.first.kill(guest.server)
    assert await told_boots(bench.first, guest) == [1]
    assert not await bench.first.suspend(guest.server)


async def test_saved_memory_outlives_a_power_cut(bench: Bench) -> None:
    guest = await running(bench)
    assert await bench.first.suspend(guest.server)
    await bench.cut_power()
    assert await bench.first.resume(guest) == as_found(guest, PowerState.RUNNING)
    await bench.first.kill(guest.server)
    assert await told_boots(bench.first, guest) == [1]


async def test_a_start_drops_saved_memory_and_boots(bench: Bench) -> None:
    guest = await running(bench)
    assert await bench.first.suspend(guest.server)
    await bench.first.start(guest)
    await until_booted(bench.first, guest, 1, 2)
    await bench.first.kill(guest.server)
    assert not await bench.first.suspend(guest.server)


async def test_a_definition_has_no_memory(bench: Bench) -> None:
    guest = await running(bench)
    assert await bench.first.suspend(guest.server)
    await bench.first.define(guest)
    assert not await bench.first.suspend(guest.server)
    await bench.first.resume(guest)
    await until_booted(bench.first, guest, 1, 2)


async def test_another_incarnation_has_another_memory(bench: Bench) -> None:
    guest = await running(bench)
    assert await bench.first.suspend(guest.server)
    new = next_incarnation(guest)
    assert await bench.first.resume(new) == as_found(new, PowerState.RUNNING)
    await until_booted(bench.first, guest, 1, 2)


# Copies for the image service.


async def copied(bench: Bench, guest: Guest, image: ImageId) -> RootDisk:
    """Return a root disk of an image that is this copy of the guest's."""
    size = await bench.first.snapshot(guest.server, guest.disks, image)
    content = b"".join([piece async for piece in bench.first.read_snapshot(guest.server, image)])
    assert len(content) == size
    return bench.images.add(content, "qcow2")


async def boots_of_a_copy(bench: Bench, root: RootDisk, *boots: int) -> None:
    """Assert that another server boots from the copy, and finds there what was written before."""
    another = a_guest(root)
    await bench.first.prepare(another, bench.images)
    await bench.first.start(another)
    await until_booted(bench.first, another, *boots)
    await bench.first.kill(another.server)


async def test_a_running_guests_disk_is_copied_while_it_runs_on(bench: Bench) -> None:
    guest, image = await running(bench), new_image()
    root = await copied(bench, guest, image)
    assert await bench.first.guest(guest.server) == as_found(guest, PowerState.RUNNING)
    await boots_of_a_copy(bench, root, 2)
    # Nothing of its disk has changed: the other host takes it over as it is.
    await bench.first.kill(guest.server)
    moved = next_incarnation(guest)
    await bench.second.prepare(moved, bench.images)
    await bench.second.start(moved)
    await until_booted(bench.second, moved, 1, 2)


async def test_a_copy_is_made_once_under_its_name(bench: Bench) -> None:
    guest, image = await running(bench), new_image()
    first = await copied(bench, guest, image)
    await bench.first.kill(guest.server)
    await bench.first.start(guest)
    await until_booted(bench.first, guest, 1, 2)
    assert (await copied(bench, guest, image)).image_sha256 == first.image_sha256
    await boots_of_a_copy(bench, await copied(bench, guest, new_image()), 3)
    for _ in range(2):
        await bench.first.drop_snapshot(guest.server, image)
    with pytest.raises(Refused):
        await anext(bench.first.read_snapshot(guest.server, image))


@pytest.mark.parametrize("state", ["off", "paused", "suspended"])
async def test_the_disk_of_a_guest_that_does_not_run_is_copied(bench: Bench, state: str) -> None:
    guest = await running(bench)
    powers = {"off": PowerState.SHUTDOWN, "paused": PowerState.PAUSED, "suspended": PowerState.SHUTDOWN}
    if state == "off":
        await bench.first.kill(guest.server)
    elif state == "paused":
        await bench.first.pause(guest.server)
    else:
        await bench.first.suspend(guest.server)
    await boots_of_a_copy(bench, await copied(bench, guest, new_image()), 2)
    assert await bench.first.guest(guest.server) == as_found(guest, powers[state])
    if state == "suspended":
        await bench.first.resume(guest)
        assert await told_boots(bench.first, guest) == [1]


async def test_a_cancelled_copy_leaves_the_guest_alone(bench: Bench) -> None:
    guest, image = await running(bench), new_image()
    copying = asyncio.create_task(bench.first.snapshot(guest.server, guest.disks, image))
    await asyncio.sleep(0)
    copying.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await copying
    assert await bench.first.guest(guest.server) == as_found(guest, PowerState.RUNNING)
    await bench.first.drop_snapshot(guest.server, image)
    await boots_of_a_copy(bench, await copied(bench, guest, image), 2)


async def test_copies_go_with_the_servers_disks(bench: Bench) -> None:
    guest, image = await running(bench), new_image()
    await bench.first.snapshot(guest.server, guest.disks, image)
    await bench.first.kill(guest.server)
    assert await bench.first.drop_disks(guest.server, keep=None)
    with pytest.raises(Refused):
        await anext(bench.first.read_snapshot(guest.server, image))
    with pytest.raises(Refused):
        await bench.first.snapshot(guest.server, guest.disks, image)


def new_image() -> ImageId:
    return ImageId(str(uuid.uuid4()))


# Powering off.


async def test_a_guest_that_obeys_powers_off(bench: Bench) -> None:
    guest = bench.obedient_guest()
    await bench.first.prepare(guest, bench.images)
    await bench.first.start(guest)
    # While it boots it does not hear the button, so this holds only because it is pressed again.
    assert await bench.first.shut_down(guest.server, 60.0)
    assert await bench.first.guest(guest.server) == as_found(guest, PowerState.SHUTDOWN)
    assert await bench.first.shut_down(guest.server, 0.0)


async def test_a_guest_that_does_not_listen_runs_on(bench: Bench) -> None:
    guest = await running(bench)
    assert not await bench.first.shut_down(guest.server, 0.3)
    assert not await bench.first.shut_down(guest.server, 0.0)
    assert await bench.first.guest(guest.server) == as_found(guest, PowerState.RUNNING)


# Telling.


async def test_each_change_is_told(bench: Bench) -> None:
    async def told(power: PowerState) -> None:
        async def last() -> bool:
            return [c for c in bench.changes if c.server == guest.server][-1:] == [change]

        change = GuestChanged(guest.server, guest.incarnation, power)
        await until(last, 10.0)

    guest = await running(bench)
    await told(PowerState.RUNNING)
    await bench.first.kill(guest.server)
    await told(PowerState.SHUTDOWN)
    await bench.first.start(guest)
    await told(PowerState.RUNNING)
    bench.crash(guest.server)
    await told(PowerState.CRASHED)
    assert await bench.first.guest(guest.server) == as_found(guest, PowerState.CRASHED)


async def test_a_guest_in_which_no_agent_is_owes_no_answer_and_does_not_hang(bench: Bench) -> None:
    guest = bench.is_watched(bench.deaf_guest())
    await bench.first.prepare(guest, bench.images)
    assert (await bench.first.pulse(guest.server)).reply is Reply.NOBODY
    assert await bench.first.start(guest) == as_found(guest, PowerState.RUNNING)
    begun = await bench.first.pulse(guest.server)
    assert begun.reply is Reply.NOBODY
    await bench.first.pause(guest.server)
    await bench.first.unpause(guest.server)

    async def begins_anew() -> bool:
        return (await bench.first.pulse(guest.server)).life > begun.life

    await until(begins_anew)
    assert await bench.first.guest(guest.server) == as_found(guest, PowerState.RUNNING)


async def test_the_console_is_given_from_its_end(bench: Bench) -> None:
    guest = await running(bench)
    whole = await bench.first.console(guest.server)
    assert await bench.first.console(guest.server, limit=5) == whole[-5:]
    assert await bench.first.console(guest.server, limit=0) == b""
    await bench.first.kill(guest.server)
    assert await bench.first.console(guest.server) == whole


async def test_hosts_that_share_a_directory_say_so(bench: Bench) -> None:
    facts, others = await bench.first.facts(), await bench.second.facts()
    assert facts.storage_id
    assert facts.storage_id == others.storage_id
    assert facts.hypervisor_type == "QEMU"
    assert facts.hypervisor_version >= 7000000
    assert min(facts.vcpus, facts.memory_mb, facts.local_gb) > 0


async def test_a_host_reports_what_its_hypervisor_can_do(bench: Bench) -> None:
    assert (await bench.first.facts()).capabilities == bench.first.capabilities()
    assert bench.first.capabilities().evacuate
