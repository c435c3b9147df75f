"""What every hypervisor promises of guests that go from host to host with their memory."""

from msgspec.structs import replace

from renova.drivers.hypervisor import Hypervisor
from renova.model.guest import Departure, FoundGuest, Guest, PowerState, Way

from .benches import FIRST, SECOND, Bench, told_boots, until
from .test_hypervisor import as_found, next_incarnation, running

LONG_S = 120.0


async def expected(bench: Bench, guest: Guest) -> Way:
    """Have the second host expect the guest of the first."""
    return replace(await bench.second.expect(guest, FIRST), host=SECOND)


async def departed(bench: Bench, guest: Guest, way: Way) -> Departure:
    """Have the guest leave the first host, however long it takes."""
    while (found := await bench.first.depart(guest.server, way, hurry=False, wait_s=LONG_S)).under_way:
        pass
    return found


def arrived(guest: Guest) -> FoundGuest:
    return replace(as_found(guest, PowerState.PAUSED), arriving=True)


async def boots(hypervisor: Hypervisor, guest: Guest) -> list[int]:
    return await told_boots(hypervisor, guest)


async def test_a_guest_arrives_standing_still_and_goes_on_where_it_stood_as_the_next_incarnation(bench: Bench) -> None:
    guest = await running(bench)
    found = await departed(bench, guest, await expected(bench, guest))
    assert found.left, found.reason
    assert await bench.second.guest(guest.server) == arrived(guest)
    await bench.second.unpause(guest.server)
    assert await bench.second.guest(guest.server) == arrived(guest), "it was let go on by who had no right to"
    moved = next_incarnation(guest)
    assert await bench.second.take_in(moved, guest.incarnation) == as_found(moved, PowerState.RUNNING)
    assert await bench.second.take_in(moved, guest.incarnation) == as_found(moved, PowerState.RUNNING)
    assert await bench.second.guest(guest.server) == as_found(moved, PowerState.RUNNING)
    assert await boots(bench.second, guest) == [1], "it has booted anew"
    assert await bench.second.owner(guest.server) == moved.incarnation
    await bench.second.kill(guest.server)
    await bench.second.start(moved)
    await until_boots(bench, moved, [1, 2])


async def until_boots(bench: Bench, guest: Guest, wanted: list[int]) -> None:
    async def told() -> bool:
        return await boots(bench.second, guest) == wanted

    await until(told)


async def test_the_way_leads_nowhere_once_the_guest_has_been_taken_in(bench: Bench) -> None:
    guest = await running(bench)
    way = await expected(bench, guest)
    assert (await departed(bench, guest, way)).left
    moved = next_incarnation(guest)
    await bench.second.take_in(moved, guest.incarnation)
    await bench.second.kill(guest.server)
    await bench.second.undefine(guest.server)
    back = next_incarnation(moved)
    await bench.first.start(back)
    assert not (await departed(bench, back, way)).left
    assert await bench.first.guest(guest.server) == as_found(back, PowerState.RUNNING)
    assert await bench.second.guest(guest.server) is None


async def test_that_a_guest_has_left_is_said_however_often_it_is_asked_for(bench: Bench) -> None:
    guest = await running(bench)
    way = await expected(bench, guest)
    assert (await departed(bench, guest, way)).left
    assert (await departed(bench, guest, way)).left
    assert await bench.first.stay(guest.server)
    assert await bench.first.guest(guest.server) == as_found(guest, PowerState.SHUTDOWN)
    await bench.second.turn_away(guest.server)
    assert await bench.second.guest(guest.server) is None
    await bench.first.start(next_incarnation(guest))
    assert not await bench.first.stay(guest.server)


async def test_one_that_nobody_expects_stays_and_runs(bench: Bench) -> None:
    guest = await running(bench)
    way = await expected(bench, guest)
    await bench.second.turn_away(guest.server)
    found = await departed(bench, guest, way)
    assert (found.left, found.under_way) == (False, False)
    assert found.reason
    assert await bench.first.guest(guest.server) == as_found(guest, PowerState.RUNNING)
    assert await bench.second.guest(guest.server) is None


async def test_one_that_is_to_stay_runs_on_and_may_leave_later(bench: Bench) -> None:
    guest = await running(bench)
    way = await expected(bench, guest)
    await bench.first.depart(guest.server, way, hurry=True, wait_s=0.0)
    left = await bench.first.stay(guest.server)
    if not left:  # else it was there before that could be said
        assert await bench.first.guest(guest.server) == as_found(guest, PowerState.RUNNING)
        assert (await departed(bench, guest, await expected(bench, guest))).left
    assert await bench.second.guest(guest.server) == arrived(guest)


async def test_a_guest_that_was_lost_while_it_stood_still_boots(bench: Bench) -> None:
    guest = await running(bench)
    assert (await departed(bench, guest, await expected(bench, guest))).left
    await bench.second.turn_away(guest.server)
    moved = next_incarnation(guest)
    assert await bench.second.take_in(moved, guest.incarnation) == as_found(moved, PowerState.RUNNING)
    await until_boots(bench, moved, [1, 2])


async def test_what_arrived_is_no_guest_that_a_start_lets_go_on(bench: Bench) -> None:
    guest = await running(bench)
    assert (await departed(bench, guest, await expected(bench, guest))).left
    await bench.second.start(guest)
    assert await bench.second.guest(guest.server) == as_found(guest, PowerState.RUNNING)
    await until_boots(bench, guest, [1, 2])


async def test_one_that_is_off_does_not_leave(bench: Bench) -> None:
    guest = await running(bench)
    way = await expected(bench, guest)
    await bench.first.kill(guest.server)
    found = await departed(bench, guest, way)
    assert (found.left, found.under_way) == (False, False)
    assert not await bench.first.stay(guest.server)
