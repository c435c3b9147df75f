"""What every gate promises; around cgroups of both versions, around a mere list of processes, and simulated."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from renova.lab.processes import wait_until

from .gates import LIMIT_S, GateBench, RealGateBench, SimulatedGateBench, an_enclosure


@pytest.fixture(params=["cgroup2", "cgroup", "listed"])
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealGateBench]:
    with an_enclosure(request.param, tmp_path) as enclosure:
        made = RealGateBench(enclosure, tmp_path)
        yield made
        made.end()


@pytest.fixture(params=["simulated", "cgroup2", "cgroup", "listed"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GateBench]:
    if request.param == "simulated":
        yield SimulatedGateBench()
        return
    with an_enclosure(request.param, tmp_path) as enclosure:
        made = RealGateBench(enclosure, tmp_path)
        yield made
        made.end()


async def test_whoever_is_behind_a_closed_gate_stands_still_and_goes_on_when_it_opens(bench: GateBench) -> None:
    behind = [await bench.guest(), await bench.guest()]
    assert all(each.executes() for each in behind)
    assert await bench.gate.close()
    assert await bench.gate.is_closed()
    assert not any(each.executes() for each in behind)
    assert await bench.gate.open()
    assert all(each.executes() for each in behind)
    assert not await bench.gate.is_closed()


async def test_a_program_that_writes_disks_stands_still_and_goes_on_as_guests_do(real: RealGateBench) -> None:
    work = real.work()
    assert await real.gate.close()
    assert not work.executes()
    assert await real.gate.open()
    assert work.executes()


async def test_a_program_that_is_begun_behind_a_closed_gate_executes_nothing_until_it_opens(
    real: RealGateBench,
) -> None:
    assert await real.gate.close()
    work = real.work()
    assert not work.executes()
    assert not any(work.counts())
    assert await real.gate.is_closed()
    assert await real.gate.open()
    wait_until(work.has_begun, LIMIT_S, "it does not go on")


async def test_an_open_gate_is_not_closed_though_nobody_be_behind_it(bench: GateBench) -> None:
    assert not await bench.gate.is_closed()
    assert await bench.gate.is_empty()


async def test_closing_and_opening_may_be_said_twice(bench: GateBench) -> None:
    guest = await bench.guest()
    assert await bench.gate.close()
    assert await bench.gate.close()
    assert not guest.executes()
    assert await bench.gate.open()
    assert await bench.gate.open()
    assert guest.executes()


async def test_a_guest_that_comes_in_after_the_gate_closed_stands_still_until_it_opens(bench: GateBench) -> None:
    come_in = await bench.newcomer()
    assert await bench.gate.close()
    late = await come_in()
    wait_until(lambda: not late.executes(), LIMIT_S, "a guest executes behind a closed gate")
    assert await bench.gate.close()
    assert not late.executes()
    assert await bench.gate.open()
    wait_until(lambda: late.executes() or not late.alive(), LIMIT_S, "it does not go on")


async def test_all_die_though_they_stand_still_and_the_gate_stays_closed(bench: GateBench) -> None:
    behind = [await bench.guest(), await bench.guest()]
    assert await bench.gate.close()
    await bench.gate.kill_all()
    wait_until(lambda: not any(each.alive() for each in behind), LIMIT_S, "killed ones live")
    assert await bench.gate.is_empty()
    assert await bench.gate.is_closed()


async def test_a_guest_whose_device_would_work_on_is_killed_by_closing(bench: GateBench) -> None:
    tireless, other = await bench.guest(), await bench.guest()
    bench.tireless(tireless)
    assert await bench.gate.close()
    wait_until(lambda: not tireless.alive(), LIMIT_S, "it lives")  # it executes no more, and may still be ending
    assert other.alive()
    assert not other.executes()
