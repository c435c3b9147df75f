"""Machines' clocks: drift, suspend, and a wall clock that people set."""

import asyncio

import pytest

from renova.simulation.clocks import MachineClock
from renova.simulation.loop import BEGINNING, run_virtual


def test_a_clock_that_drifts_waits_by_its_own_seconds() -> None:
    async def main() -> None:
        clock = MachineClock(drift=0.01)
        await clock.sleep(101)
        assert asyncio.get_running_loop().time() == pytest.approx(100)
        assert clock.monotonic() == pytest.approx(101)

    run_virtual(main())


@pytest.mark.parametrize(("virtual", "boottime"), [(False, 30.0), (True, 10.0)])
def test_the_monotonic_clock_stands_still_in_suspend_and_the_other_only_if_somebody_outside_stopped_it(
    virtual: bool, boottime: float
) -> None:
    async def main() -> None:
        clock = MachineClock()
        await asyncio.sleep(5)
        clock.stand_still()
        await asyncio.sleep(20)
        assert clock.monotonic() == 5
        clock.go_on(virtual=virtual)
        await asyncio.sleep(5)
        assert (clock.monotonic(), clock.boottime()) == (10.0, boottime)

    run_virtual(main())


def test_setting_the_wall_clock_moves_no_other() -> None:
    async def main() -> None:
        clock = MachineClock()
        await asyncio.sleep(1)
        clock.set_wall(-3600)
        assert (clock.wall() - BEGINNING).total_seconds() == -3599
        assert (clock.monotonic(), clock.boottime()) == (1.0, 1.0)

    run_virtual(main())
