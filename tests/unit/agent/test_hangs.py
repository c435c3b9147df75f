"""A guest counts as hung only when its agent has answered in this life of its, is there, and is silent for long."""

import asyncio
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from renova.agent.hangs import LOOK_S, SILENT, TELL_AGAIN_S, Hangs
from renova.drivers.hypervisor import WATCHDOG_FIRED
from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.drivers.hypervisor.simulated.storage import SimulatedStorage
from renova.model.guest import GuestChanged, PowerState, Pulse, Reply
from renova.model.ids import ServerId
from renova.simulation.loop import VirtualClock, run_virtual
from tests.agent.host import SERVER, guest

AFTER_S = 20.0
HUNG = GuestChanged(SERVER, 1, PowerState.RUNNING, SILENT)
Befalls = Callable[[SimulatedHypervisor], None]


class Watched:
    """A host with one running guest, whose agent is asked."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.hypervisor = SimulatedHypervisor(self.clock, SimulatedStorage("storage"))
        self.told: list[GuestChanged] = []
        self.hangs = Hangs(self.hypervisor, self.told.append, self.clock)
        self.guest = replace(guest(nics=()), guest_agent=True, disks=replace(guest().disks, root=None))

    async def begin(self, after_s: float = AFTER_S) -> "asyncio.Task[None]":
        await self.hypervisor.prepare(self.guest, images=None)  # type: ignore[arg-type]  # it has none
        await self.hypervisor.start(self.guest)
        self.hangs.count_after(after_s)
        return asyncio.create_task(self.hangs.serve())

    async def found_hung(self) -> bool:
        found = await self.hypervisor.guest(SERVER)
        assert found is not None
        return bool((await self.hangs.confirmed(found)).hung)


def watch(
    befalls: Befalls,
    *,
    after_s: float = AFTER_S,
    answers_first: bool = True,
    watchdog: str = "",
    for_s: float = 120.0,
) -> list[GuestChanged]:
    """Return what was told of a guest, some time after something befell it."""
    told: list[GuestChanged] = []

    async def story() -> None:
        watched = Watched()
        watched.guest = replace(watched.guest, watchdog=watchdog)
        serving = await watched.begin(after_s)
        if answers_first:
            await watched.clock.sleep(2 * LOOK_S + 1)
        befalls(watched.hypervisor)
        await watched.clock.sleep(for_s)
        serving.cancel()
        told.extend(watched.told)

    run_virtual(story())
    return told


def test_a_guest_that_answered_and_is_silent_for_long_hangs() -> None:
    assert set(watch(lambda machine: machine.hang(SERVER), for_s=AFTER_S + 2 * LOOK_S)) == {HUNG}


@pytest.mark.parametrize("after_s", [AFTER_S, 0.0], ids=["agents are asked", "nobody is asked"])
@pytest.mark.parametrize("action", ["none", "pause"])
def test_a_guest_whose_watchdog_fired_is_told_again_and_again(action: str, after_s: float) -> None:
    def fires(machine: SimulatedHypervisor) -> None:
        machine.fire_watchdog(SERVER)

    power = PowerState.PAUSED if action == "pause" else PowerState.RUNNING
    told = watch(fires, watchdog=action, after_s=after_s, for_s=2 * TELL_AGAIN_S)
    assert told.count(GuestChanged(SERVER, 1, power, WATCHDOG_FIRED)) == 2


def test_it_is_told_again_while_it_hangs() -> None:
    for_s = AFTER_S + 2 * LOOK_S + 2 * TELL_AGAIN_S
    assert watch(lambda machine: machine.hang(SERVER), for_s=for_s).count(HUNG) >= 3


def test_a_guest_that_is_silent_for_less_does_not() -> None:
    assert watch(lambda machine: machine.hang(SERVER), for_s=AFTER_S - LOOK_S) == []


def _cannot_be_asked(machine: SimulatedHypervisor) -> None:
    machine.hang(SERVER)
    machine.go_away()


def _is_well(_machine: SimulatedHypervisor) -> None:
    """Nothing befalls it."""


def _stands_still(machine: SimulatedHypervisor) -> None:
    machine.freeze()


@pytest.mark.parametrize(
    "befalls",
    [
        lambda machine: machine.end_agent_inside(SERVER),
        lambda machine: machine.power_off_inside(SERVER),
        lambda machine: machine.crash(SERVER),
        _is_well,
        _cannot_be_asked,
        _stands_still,
    ],
    ids=["agent ended", "powered off", "crashed", "is well", "hypervisor away", "behind a closed gate"],
)
def test_nothing_else_counts_as_a_hang(befalls: Befalls) -> None:
    assert watch(befalls) == []


def test_who_never_answered_does_not_hang() -> None:
    assert watch(lambda machine: machine.hang(SERVER), answers_first=False) == []


def test_nobody_hangs_where_it_is_not_configured() -> None:
    assert watch(lambda machine: machine.hang(SERVER), after_s=0.0) == []


def test_a_guest_that_was_started_again_has_to_answer_before_it_can_hang() -> None:
    async def story() -> None:
        watched = Watched()
        serving = await watched.begin()
        await watched.clock.sleep(LOOK_S + 1)
        watched.hypervisor.hang(SERVER)
        await watched.clock.sleep(AFTER_S + 2 * LOOK_S)
        assert await watched.found_hung()
        await watched.hypervisor.kill(SERVER)
        await watched.hypervisor.start(watched.guest)
        watched.hypervisor.hang(SERVER)
        assert not await watched.found_hung()
        watched.told.clear()
        await watched.clock.sleep(120)
        assert watched.told == []
        serving.cancel()

    run_virtual(story())


def test_a_guest_that_answers_again_hangs_no_more_when_it_is_looked_at() -> None:
    async def story() -> None:
        watched = Watched()
        serving = await watched.begin()
        await watched.clock.sleep(LOOK_S + 1)
        watched.hypervisor.hang(SERVER)
        await watched.clock.sleep(AFTER_S + 2 * LOOK_S)
        assert await watched.found_hung()
        watched.hypervisor.recover(SERVER)
        assert not await watched.found_hung()
        serving.cancel()

    run_virtual(story())


def test_what_nobody_could_read_ends_nothing() -> None:
    """Whatever a guest answers, and a library makes of it: the others are asked on."""

    class Garbled(SimulatedHypervisor):
        async def pulse(self, server: ServerId) -> Pulse:
            raise UnicodeDecodeError("utf-8", b"\xed\xb0\x80", 0, 1, "surrogates are no text")

    async def main() -> None:
        watched = Watched()
        watched.hypervisor = Garbled(watched.clock, SimulatedStorage("storage"))
        watched.hangs = Hangs(watched.hypervisor, watched.told.append, watched.clock)
        serving = await watched.begin()
        await watched.clock.sleep(3 * LOOK_S)
        assert not serving.done()
        assert watched.told == []
        serving.cancel()

    run_virtual(main())


def test_a_guest_is_asked_once_at_a_time_however_many_want_to_know() -> None:
    asked: list[ServerId] = []

    class Silent(SimulatedHypervisor):
        async def pulse(self, server: ServerId) -> Pulse:
            asked.append(server)
            await self._clock.sleep(LOOK_S)
            return Pulse(Reply.SILENT, 0)

    async def main() -> None:
        watched = Watched()
        watched.hypervisor = Silent(watched.clock, SimulatedStorage("storage"))
        watched.hangs = Hangs(watched.hypervisor, watched.told.append, watched.clock)
        serving = await watched.begin()
        found = await watched.hypervisor.guest(SERVER)
        assert found is not None
        await asyncio.gather(*(watched.hangs._ask(found) for _ in range(10)))
        assert asked == [SERVER]
        serving.cancel()

    run_virtual(main())
