"""A clock that ran too slowly, or stood still, is known by its renewals, and not mistaken for a line that was slow."""

import pytest

from renova.hosts.clocks import DOUBT_S, WINDOW_S, Clocks
from renova.model.ids import HostId

HOST = HostId("host")
EVERY_S = 2.0  # a renewal


class Renewals:
    """Those of one host, as they come in at a controller."""

    def __init__(self) -> None:
        self.clocks = Clocks(0.01)
        self.now = 1000.0  # of the controller
        self.theirs = 50.0
        self.boot = "boot"

    def come(self, seconds: float, *, rate: float = 1.0, late_s: float = 0.0) -> bool:
        """Let renewals come for so long, each so late; say whether the clock was found slow after each of them."""
        found = []
        for _ in range(int(seconds / EVERY_S)):
            self.now += EVERY_S
            self.theirs += EVERY_S * rate
            self.clocks.told(HOST, self.boot, self.theirs, self.now + late_s)
            found.append(self.slow)
        return all(found)

    @property
    def slow(self) -> bool:
        return self.clocks.slow(HOST, self.boot)


@pytest.mark.parametrize("first_s", [10, WINDOW_S + 100])
def test_a_clock_that_stood_still_is_slow_at_once_and_until_the_next_boot(first_s: float) -> None:
    host = Renewals()
    host.come(first_s)
    assert not host.slow
    host.now += 6
    assert host.come(3 * WINDOW_S, rate=1.00001)
    host.boot = "next"
    host.come(10)
    assert not host.slow


def test_a_clock_that_stood_still_and_was_made_to_catch_up_is_slow_all_the_same() -> None:
    host = Renewals()
    host.come(10)
    host.now += 4
    assert host.come(DOUBT_S + EVERY_S)
    assert host.come(WINDOW_S, rate=1.08), "as a time service may have it"


def test_a_renewal_that_was_long_on_its_way_counts_against_the_clock_until_the_next_is_in_time() -> None:
    host = Renewals()
    host.come(10)
    assert host.come(EVERY_S, late_s=3)
    host.come(EVERY_S)
    assert not host.slow
    host.come(2 * WINDOW_S)
    assert not host.slow


def test_renewals_that_are_late_for_long_are_not_told_from_a_clock_that_stood_still() -> None:
    host = Renewals()
    host.come(10)
    host.come(DOUBT_S + EVERY_S, late_s=3)
    assert host.come(2 * WINDOW_S)


def test_nothing_is_held_against_a_clock_for_the_time_in_which_nothing_was_heard() -> None:
    host = Renewals()
    host.come(10)
    host.come(EVERY_S, late_s=3)
    host.now, host.theirs = host.now + 2 * DOUBT_S, host.theirs + 2 * DOUBT_S
    host.come(EVERY_S)
    assert not host.slow


@pytest.mark.parametrize(("rate", "slow"), [(0.98, True), (0.985, True), (0.999, False), (1.0, False), (1.05, False)])
def test_a_clock_that_runs_too_slowly_is_found(rate: float, slow: bool) -> None:
    host = Renewals()
    host.come(WINDOW_S, rate=rate)
    assert host.slow is slow


def test_a_first_renewal_that_was_long_on_its_way_hides_nothing() -> None:
    host = Renewals()
    host.come(EVERY_S, late_s=10)
    host.come(10)
    host.now += 4
    assert host.come(10)


def test_a_controller_that_was_asleep_overlooks_no_clock_that_stands_still_later() -> None:
    host = Renewals()
    host.come(10)
    host.theirs += 100
    host.come(10)
    host.now += 4
    assert host.come(10)


def test_two_late_renewals_with_silence_between_make_no_slow_clock() -> None:
    host = Renewals()
    host.come(20)
    host.come(EVERY_S, late_s=3.5)
    host.now, host.theirs = host.now + 2 * DOUBT_S, host.theirs + 2 * DOUBT_S  # the line is down
    host.come(EVERY_S, late_s=3.5)
    host.come(20)
    assert not host.slow
