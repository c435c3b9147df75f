"""A host counts as off by two readings of the right machine, however its power controller takes being told so."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from renova.ha import fencing
from renova.model.errors import NotNow, Refused
from renova.model.power import Reading, Said
from renova.power import HostPower
from renova.simulation.loop import VirtualClock, run_virtual

ON, OFF, UNKNOWN = Reading.ON, Reading.OFF, Reading.UNKNOWN
MINE, OTHER = "11111111-0000-4000-8000-000000000001", "22222222-0000-4000-8000-000000000002"


class Machine:
    """A machine whose power controller has whims."""

    def __init__(self) -> None:
        self.state = ON
        self.system = MINE
        self.goes_off_after = 0.0  # seconds; endless where it never does
        self.readings: list[Said | Exception] = []  # said before the truth
        self.refusals: list[Exception] = []  # of commands, before one is heeded
        self.told: list[tuple[str, float]] = []
        self.read_at: list[float] = []

    async def check(self) -> None: ...

    async def read(self) -> Said:
        now = asyncio.get_running_loop().time()
        self.read_at.append(now)
        if self.readings:
            said = self.readings.pop(0)
            if isinstance(said, Exception):
                raise said
            return said
        return Said(self.state, self.system)

    async def switch_off(self) -> None:
        self._hear("off")
        asyncio.get_running_loop().call_later(self.goes_off_after, setattr, self, "state", OFF)

    async def switch_on(self) -> None:
        self._hear("on")
        self.state = ON

    def _hear(self, what: str) -> None:
        self.told.append((what, asyncio.get_running_loop().time()))
        if self.refusals:
            raise self.refusals.pop(0)


def tell(
    story: Callable[[Machine, HostPower, VirtualClock], Awaitable[None]], system: str = MINE, rehearsed_at: str = ""
) -> None:
    async def main() -> None:
        machine = Machine()
        power = HostPower(machine, by="a whim", system=system, rehearsed_at=rehearsed_at)
        await story(machine, power, VirtualClock())

    run_virtual(main())


async def always() -> bool:
    return True


def test_a_machine_is_told_and_then_read_twice_a_second_apart() -> None:
    async def story(machine: Machine, power: HostPower, clock: VirtualClock) -> None:
        readings = await fencing.switch_off(power, clock, always)
        assert [what for what, _ in machine.told] == ["off"]
        assert machine.read_at[-1] - machine.read_at[-2] >= fencing.BETWEEN_READINGS
        assert (readings["reading_1"], readings["reading_2"], readings["system"]) == ("off", "off", MINE)
        assert readings["commanded"] <= readings["reading_1_at"] < readings["reading_2_at"]

    tell(story)


def test_how_far_the_switch_was_tried_is_in_the_readings() -> None:
    async def story(machine: Machine, power: HostPower, clock: VirtualClock) -> None:
        assert (await fencing.switch_off(power, clock, always))["rehearsed"] == "never"

    tell(story, rehearsed_at="never")


def test_one_reading_of_off_between_others_is_none() -> None:
    async def story(machine: Machine, power: HostPower, clock: VirtualClock) -> None:
        on, off = Said(ON, MINE), Said(OFF, MINE)
        machine.readings = [on, off, on, off, Said(UNKNOWN, MINE), on]
        await fencing.switch_off(power, clock, always)
        assert len(machine.read_at) == 6 + 2

    tell(story)


def test_a_machine_that_takes_its_time_is_waited_for_and_told_again() -> None:
    async def story(machine: Machine, power: HostPower, clock: VirtualClock) -> None:
        machine.goes_off_after = 25.0
        await fencing.switch_off(power, clock, always)
        times = [at for _, at in machine.told]
        assert len(times) == 3
        assert all(later - earlier >= fencing.TELL_AGAIN for earlier, later in itertools.pairwise(times))

    tell(story)


def test_a_machine_that_stays_on_is_not_said_to_be_off() -> None:
    async def story(machine: Machine, power: HostPower, clock: VirtualClock) -> None:
        machine.goes_off_after = 1e6
        began = clock.monotonic()
        with pytest.raises(NotNow, match="does not go off"):
            await fencing.switch_off(power, clock, always)
        assert clock.monotonic() - began < fencing.CHANGE_S + 5

    tell(story)


def test_a_refusal_of_what_is_so_already_does_not_matter() -> None:
    async def story(machine: Machine, power: HostPower, clock: VirtualClock) -> None:
        machine.state = OFF
        machine.refusals = [Refused("it is off already")]
        readings = await fencing.switch_off(power, clock, always)
        assert readings["commanded"] == "refused: it is off already"
        assert readings["reading_2"] == "off"

    tell(story)


def test_a_power_controller_that_was_busy_is_told_again() -> None:
    async def story(machine: Machine, power: HostPower, clock: VirtualClock) -> None:
        machine.refusals = [NotNow("busy"), NotNow("busy")]
        readings = await fencing.switch_off(power, clock, always)
        assert len(machine.told) == 3
        assert not readings["commanded"].startswith("refused")

    tell(story)


def test_another_machine_is_never_switched() -> None:
    async def story(machine: Machine, power: HostPower, clock: VirtualClock) -> None:
        machine.system = OTHER
        for switch in (fencing.switch_off(power, clock, always), fencing.switch_on(power, clock)):
            with pytest.raises(NotNow, match=OTHER):
                await switch
        assert machine.told == []
        machine.state = OFF
        assert await fencing.read_off(power, clock) is None, "nor is its being off anybody's"

    tell(story)


def test_a_machine_that_cannot_be_read_is_not_switched() -> None:
    async def story(machine: Machine, power: HostPower, clock: VirtualClock) -> None:
        machine.readings = [NotNow("silent")]
        with pytest.raises(NotNow, match="silent"):
            await fencing.switch_off(power, clock, always)
        assert machine.told == []

    tell(story, system="")


def test_nothing_is_switched_that_may_not_be_any_more() -> None:
    async def story(machine: Machine, power: HostPower, clock: VirtualClock) -> None:
        async def once() -> bool:
            return not machine.told

        machine.goes_off_after = 1e6
        with pytest.raises(Refused, match="any more"):
            await fencing.switch_off(power, clock, once)
        assert len(machine.told) == 1

    tell(story)


def test_a_machine_that_is_switched_on_is_seen_to_be() -> None:
    async def story(machine: Machine, power: HostPower, clock: VirtualClock) -> None:
        machine.state = OFF
        await fencing.switch_on(power, clock)
        assert (await power.read()).reading is ON
        machine.readings = [Said(OFF, MINE)] * 100
        with pytest.raises(NotNow, match="does not come on"):
            await fencing.switch_on(power, clock)

    tell(story)


def test_what_only_reads_is_not_asked_to_switch() -> None:
    async def story(machine: Machine, _power: HostPower, clock: VirtualClock) -> None:
        reader = HostPower(machine, by="a command", can_switch=False)
        with pytest.raises(Refused, match="only reads power: give the host a power controller"):
            await fencing.switch_off(reader, clock, always)
        assert machine.told == []

    tell(story)
