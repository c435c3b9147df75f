"""What every watchdog promises. The real one is driven over a simulated device file: few test machines have a device,
and none may reset itself."""

from pathlib import Path
from typing import Protocol

import pytest

from renova.drivers.guard import Watchdog
from renova.drivers.guard import watchdog_device as device
from renova.drivers.guard.simulated import SimulatedWatchdog
from renova.drivers.guard.strength import Facts, strength_of
from renova.drivers.guard.watchdog import KernelWatchdog, NoWatchdog, SeenResets, watchdog_behind, watchdog_of_host
from renova.model.errors import BadSetup, NotNow
from renova.model.host import GuardClass

from .watchdogs import HandClock, SimulatedDevice

HARDWARE = strength_of(Facts(watchdog="iTCO_wdt", seen_to_reset=True))


class WatchdogBench(Protocol):
    """A host with a watchdog; `reset` counts how often the host was reset by other means."""

    clock: HandClock
    resets: int

    def watchdog(self) -> Watchdog:
        """Open one that resets after 5 s."""
        ...

    def has_reset(self) -> bool: ...
    def guard_dies(self) -> None: ...


class RealBench:
    """The real one, over a device file that is simulated."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.device = SimulatedDevice(self.clock)
        self.resets = 0

    def watchdog(self, wanted_s: int = 5) -> KernelWatchdog:
        return KernelWatchdog(self.device, wanted_s, HARDWARE, self.reset)

    def reset(self) -> None:
        self.resets += 1

    def has_reset(self) -> bool:
        return self.device.has_reset() or self.resets > 0

    def guard_dies(self) -> None:
        self.device.close()  # as the kernel does for a process that ended


class SimulatedBench:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.resets = 0

    def watchdog(self) -> SimulatedWatchdog:
        return SimulatedWatchdog(self.reset, self.clock.later)

    def reset(self) -> None:
        self.resets += 1

    def has_reset(self) -> bool:
        return self.resets > 0

    def guard_dies(self) -> None: ...


@pytest.fixture(params=[RealBench, SimulatedBench])
def either(request: pytest.FixtureRequest) -> WatchdogBench:
    made: WatchdogBench = request.param()
    return made


@pytest.fixture
def bench() -> RealBench:
    return RealBench()


def test_the_host_is_reset_unless_it_is_petted_in_time(either: WatchdogBench) -> None:
    watchdog = either.watchdog()
    assert watchdog.timeout_s == 5
    for _ in range(10):
        either.clock.pass_by(4)
        watchdog.pet()
        assert not either.has_reset()
    either.clock.pass_by(5)
    assert either.has_reset()


def test_disarmed_it_never_resets_the_host(either: WatchdogBench) -> None:
    either.watchdog().disarm()
    either.clock.pass_by(1000)
    assert not either.has_reset()


def test_it_counts_on_when_the_guard_dies(either: WatchdogBench) -> None:
    either.watchdog()
    either.guard_dies()
    either.clock.pass_by(5)
    assert either.has_reset()


def test_a_watchdog_that_lets_nobody_out_is_not_said_to_be_disarmed(bench: RealBench) -> None:
    bench.device.options = device.SETS_TIMEOUT
    with pytest.raises(NotNow, match="lets nobody out"):
        bench.watchdog().disarm()
    bench.clock.pass_by(5)
    assert bench.has_reset()


def test_a_reset_does_not_wait_until_the_time_is_up(either: WatchdogBench) -> None:
    either.watchdog().reset()
    either.clock.pass_by(1)
    assert either.has_reset()
    assert either.resets == 1


def test_the_timeout_is_what_the_device_says_and_not_what_it_was_told(bench: RealBench) -> None:
    bench.device.timeout_s, bench.device.options = 4, device.MAGIC_CLOSE
    assert bench.watchdog(5).timeout_s == 4


@pytest.mark.parametrize(("granularity", "options"), [(6, device.SETS_TIMEOUT), (1, 0)])
def test_a_watchdog_that_counts_longer_than_it_may_is_refused(bench: RealBench, granularity: int, options: int) -> None:
    bench.device.granularity, bench.device.options = granularity, options
    with pytest.raises(BadSetup, match=r"cannot be set to 5 s\. .*It counts already and cannot be stopped"):
        bench.watchdog(5)


def test_a_watchdog_that_is_refused_does_not_reset_the_host_afterwards(bench: RealBench) -> None:
    bench.device.granularity = 6
    with pytest.raises(BadSetup, match=r"times for lease and watchdog\.$"):
        bench.watchdog(5)
    bench.clock.pass_by(120)
    assert not bench.device.has_reset()


def test_a_device_that_fails_resets_the_host_and_not_the_guard(bench: RealBench) -> None:
    watchdog = bench.watchdog()
    bench.device.broken = True
    watchdog.pet()
    watchdog.reset()
    bench.clock.pass_by(5)
    assert bench.device.has_reset()
    assert bench.resets == 1


def test_a_watchdog_is_remembered_to_have_reset_the_host(bench: RealBench, tmp_path: Path) -> None:
    bench.device.boot_status = device.RESET_THE_HOST
    watchdog_behind(bench.device, tmp_path / "watchdog9", 5, tmp_path, bench.reset)
    bench.device.boot_status = 0
    watchdog_behind(bench.device, tmp_path / "watchdog9", 5, tmp_path, bench.reset)
    assert SeenResets(tmp_path).all() == ["iTCO_wdt"]


def test_a_watchdog_whose_reset_cannot_be_noted_is_taken_all_the_same(bench: RealBench, tmp_path: Path) -> None:
    bench.device.boot_status = device.RESET_THE_HOST
    (tmp_path / "state").touch()  # a directory in which nothing can be written
    watchdog = watchdog_behind(bench.device, tmp_path / "watchdog9", 5, tmp_path / "state", bench.reset)
    watchdog.pet()
    assert watchdog.strength is not GuardClass.A, "nobody would know it after the next boot"


def test_a_device_that_fails_while_it_is_taken_does_not_reset_the_host_afterwards(
    bench: RealBench, tmp_path: Path
) -> None:
    bench.device.broken = True
    with pytest.raises(BadSetup, match=r"watchdog9 cannot be used \(the device is broken\)\.$"):
        watchdog_behind(bench.device, tmp_path / "watchdog9", 5, tmp_path, bench.reset)
    bench.clock.pass_by(120)
    assert not bench.device.has_reset()


def test_a_host_without_a_watchdog_has_a_guard_that_says_so(tmp_path: Path) -> None:
    watchdog = watchdog_of_host(tmp_path / "watchdog", 5, tmp_path, lambda: None)
    assert isinstance(watchdog, NoWatchdog)
    assert watchdog.kind == "none"
    assert watchdog.strength in (GuardClass.C, GuardClass.V)  # the machine of this test may be a virtual one
    assert watchdog.found.reasons


def test_the_requests_are_those_of_the_kernels_headers() -> None:
    # linux/watchdog.h, as compiled for x86_64 and ARM.
    assert (device.GET_SUPPORT, device.GET_BOOT_STATUS) == (0x80285700, 0x80045702)
    assert (device.SET_OPTIONS, device.KEEP_ALIVE) == (0x80045704, 0x80045705)
    assert (device.SET_TIMEOUT, device.GET_TIMEOUT) == (0xC0045706, 0x80045707)
