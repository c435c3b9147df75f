"""A look into the witness counts from when it was made, and only where the controllers know that it counts."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renova.guard.lease import Lease
from renova.guard.witnessed import NEVER, Witnessed
from renova.model.chance import SeededChance
from renova.model.host import GuardClass
from renova.model.ids import HostId
from renova.simulation.loop import BEGINNING
from renova.uplink.local import Look, Seen
from renova.wire.leases import Renewed

TTL = 20.0
WORD = "word"


class HandClock:
    """A clock that tests turn by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def wall(self) -> datetime:
        return BEGINNING

    def monotonic(self) -> float:
        return 0.0

    def boottime(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps here")


class Bench:
    """A guard's lease that was renewed once, and what the witness shows of it."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.witnessed = Witnessed(HostId("host"), self.clock)
        self.lease = Lease(self.clock, "boot", SeededChance(1), self.witnessed)
        self.lease.enter(1, 1)
        self.counter = 0

    def renew(self, counts_s: float = TTL) -> None:
        renewal = self.lease.renewal(GuardClass.A, "controller")
        self.said = renewal.witness
        self.counter += 1
        answer = Renewed(
            nonce=renewal.nonce, era=1, epoch=self.lease.epoch, counter=self.counter, ttl=TTL, witness=counts_s
        )
        assert self.lease.acknowledged(answer)

    def look(self) -> Look:
        return self.witnessed.look(1, self.lease.epoch)

    def see(self, look: Look, word: str = WORD, *, revoked: bool = False) -> None:
        self.witnessed.seen(Seen(nonce=look.nonce, word=word, revoked=revoked))

    def agree(self) -> None:
        """Have a look, and a renewal that says its word acknowledged."""
        self.see(self.look())
        self.renew()


@given(late_s=st.floats(0, 60))
def test_a_look_counts_from_its_making_however_late_its_answer(late_s: float) -> None:
    bench = Bench()
    bench.agree()
    made = bench.clock.now
    look = bench.look()
    bench.clock.now += late_s
    bench.see(look)
    assert bench.lease.until == made + TTL
    assert bench.lease.may_stay_open() is (late_s < TTL)


def test_a_gate_may_stay_open_by_the_witness_and_not_be_opened_by_it() -> None:
    bench = Bench()
    bench.agree()
    bench.clock.now += TTL + 1
    bench.see(bench.look())
    assert bench.lease.may_stay_open()
    assert not bench.lease.holds()
    assert not bench.lease.may_open()


def test_nothing_counts_before_a_renewal_that_said_the_word_was_acknowledged_as_such() -> None:
    bench = Bench()
    bench.renew()
    assert bench.said == ""
    bench.see(bench.look())
    assert bench.witnessed.until == NEVER, "the controllers do not know yet"
    bench.renew(counts_s=0.0)
    assert bench.said == WORD
    assert bench.witnessed.until == NEVER, "this controller has not read the word, or has no witness"
    bench.renew()
    assert bench.witnessed.until == bench.clock.now + TTL


def test_a_revocation_that_was_seen_is_the_end_of_all_looks() -> None:
    bench = Bench()
    bench.agree()
    bench.see(bench.look(), revoked=True)
    assert bench.witnessed.until == NEVER
    bench.see(bench.look())
    assert bench.witnessed.until == NEVER, "whatever is read later"


def test_a_file_with_another_word_counts_for_nothing_until_that_was_agreed_on() -> None:
    bench = Bench()
    bench.agree()
    bench.see(bench.look(), "another")
    assert bench.witnessed.until == NEVER
    bench.renew()
    assert (bench.said, bench.witnessed.until) == ("another", bench.clock.now + TTL)


@pytest.mark.parametrize("over", ["entered another", "lapsed"])
def test_what_was_seen_of_a_lease_that_is_over_counts_no_more(over: str) -> None:
    bench = Bench()
    bench.agree()
    late = bench.look()
    if over == "lapsed":
        bench.lease.lapse()
    else:
        bench.lease.enter(1, 2)
    bench.see(late)
    assert bench.lease.until == NEVER
    assert bench.witnessed.word == ""


def test_only_the_answer_to_the_newest_look_means_anything() -> None:
    bench = Bench()
    bench.agree()
    former = bench.look()
    bench.clock.now += 5
    bench.look()
    bench.clock.now += 5
    bench.see(former)
    assert bench.witnessed.until == bench.clock.now - 10 + TTL, "as it was"


def test_what_cannot_be_read_changes_nothing() -> None:
    bench = Bench()
    bench.agree()
    until = bench.witnessed.until
    bench.clock.now += 5
    bench.see(bench.look(), "")
    assert bench.witnessed.until == until
