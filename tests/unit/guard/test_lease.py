"""The deadline never lies later than what the controllers believe."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from renova.guard.lease import Lease
from renova.model.chance import SeededChance
from renova.model.host import GuardClass
from renova.simulation.loop import BEGINNING
from renova.wire.leases import Renew, Renewed


class HandClock:
    """A clock that tests turn by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def wall(self) -> datetime:
        return BEGINNING

    def monotonic(self) -> float:
        return 0.0  # stands still: the lease must not look at it

    def boottime(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps here")


def answer(renewal: Renew, ttl: float = 20.0, **changed: int) -> Renewed:
    fields = {"nonce": renewal.nonce, "era": renewal.era, "epoch": renewal.epoch, "counter": 1} | changed
    return Renewed(ttl=ttl, returning=False, **fields)


def renewed_by(lease: Lease) -> Renew:
    return lease.renewal(GuardClass.A, "controller")


def fresh() -> tuple[Lease, HandClock]:
    clock = HandClock()
    lease = Lease(clock, "boot", SeededChance(1))
    lease.enter(1, 1)
    return lease, clock


def test_the_deadline_counts_from_the_sending_not_from_the_acknowledgement() -> None:
    lease, clock = fresh()
    assert not lease.holds()
    renewal = renewed_by(lease)
    clock.now += 15
    assert lease.acknowledged(answer(renewal))
    assert lease.holds()
    clock.now += 5
    assert not lease.holds()


def test_an_answer_to_a_former_run_of_the_guard_means_nothing() -> None:
    clock = HandClock()
    former, lease = Lease(clock, "boot", SeededChance(1)), Lease(clock, "boot", SeededChance(2))
    for each in (former, lease):
        each.enter(1, 1)
    late = answer(renewed_by(former))  # a network may keep it, and double it
    clock.now += 15
    renewed_by(lease)
    assert not lease.acknowledged(late)
    assert not lease.holds()


def test_an_acknowledgement_out_of_order_moves_nothing_back() -> None:
    lease, clock = fresh()
    first = renewed_by(lease)
    clock.now += 2
    second = renewed_by(lease)
    lease.acknowledged(answer(second))
    deadline = lease.deadline
    lease.acknowledged(answer(first))
    assert lease.deadline == deadline == clock.now + 20


@pytest.mark.parametrize("changed", [{"nonce": 99}, {"nonce": 0}, {"era": 2}, {"epoch": 2}, {"epoch": 0}])
def test_what_answers_no_renewal_of_this_lease_moves_nothing(changed: dict[str, int]) -> None:
    lease, _ = fresh()
    assert not lease.acknowledged(answer(renewed_by(lease), **changed))
    assert lease.deadline == float("-inf")
    assert not lease.heard


def test_a_new_lease_begins_lapsed_and_ignores_the_renewals_of_the_old() -> None:
    lease, _ = fresh()
    lease.acknowledged(answer(renewed_by(lease)))
    old = renewed_by(lease)
    lease.enter(1, 1)
    assert lease.holds()
    lease.enter(1, 2)
    assert not lease.holds()
    assert renewed_by(lease).counter == 0
    assert not lease.acknowledged(answer(old, epoch=2))
    assert lease.deadline == float("-inf")


def test_a_counter_that_went_on_without_us_is_learnt() -> None:
    lease, _ = fresh()
    far = answer(renewed_by(lease), nonce=0, counter=77)
    assert lease.trails(far)
    lease.acknowledged(far)
    assert not lease.trails(far)
    assert renewed_by(lease).counter == 77


def test_only_the_latest_renewals_are_remembered() -> None:
    lease, _ = fresh()
    first = renewed_by(lease)
    for _ in range(100):
        renewed_by(lease)
    assert not lease.acknowledged(answer(first))


class LeaseStory(RuleBasedStateMachine):
    """Renewals, answers late, twice, out of order or of another lease; beside it what a controller believes."""

    def __init__(self) -> None:
        super().__init__()
        self.lease, self.clock = fresh()
        self.epoch = 1
        self.sent: list[tuple[Renew, float]] = []
        self.allowed = float("-inf")  # the latest deadline that any committed renewal of this epoch permits

    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def renew(self) -> None:
        self.sent.append((renewed_by(self.lease), self.clock.now))

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), ttl=st.sampled_from([0.0, 10.0, 20.0]))
    def acknowledge(self, data: st.DataObject, ttl: float) -> None:
        renewal, at = data.draw(st.sampled_from(self.sent))
        if renewal.epoch == self.epoch:
            self.allowed = max(self.allowed, at + ttl)
        self.lease.acknowledged(answer(renewal, ttl))

    @rule(nonce=st.integers(-1, 200), era=st.integers(0, 2), epoch=st.integers(0, 4))
    def invent(self, nonce: int, era: int, epoch: int) -> None:
        known = [at for renewal, at in self.sent if (renewal.nonce, renewal.epoch) == (nonce, self.epoch)]
        if (era, epoch) == (1, self.epoch) and known:
            self.allowed = max(self.allowed, known[0] + 20)
        self.lease.acknowledged(Renewed(nonce=nonce, era=era, epoch=epoch, counter=5, ttl=20.0))

    @rule()
    def be_revoked(self) -> None:
        self.epoch += 1
        self.lease.enter(1, self.epoch)
        self.allowed = float("-inf")

    @invariant()
    def never_later_than_allowed(self) -> None:
        assert self.lease.deadline <= self.allowed


TestLeaseStory = LeaseStory.TestCase


@given(st.lists(st.tuples(st.integers(0, 10), st.booleans()), max_size=30))
def test_a_host_that_is_answered_in_time_never_lapses(steps: list[tuple[int, bool]]) -> None:
    lease, clock = fresh()
    lease.acknowledged(answer(renewed_by(lease)))
    silent = 0
    for seconds, answered in steps:
        clock.now += seconds
        silent += seconds
        if answered:
            lease.acknowledged(answer(renewed_by(lease)))
            silent = 0
        if silent < 20:
            assert lease.holds()
        else:
            assert not lease.holds()
            return
