"""No more recoveries are begun than may be at once, in the order of their plan, none before those it waits for."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from renova.ha.turns import whose_turn
from renova.ha.waves import Limits
from renova.model.ids import HostId, ServerId
from renova.model.recovery import AGAIN, Recovery, RecoveryState

STATES = [RecoveryState.WAITING, RecoveryState.MOVING, *AGAIN]


def a_recovery(nth: int, state: RecoveryState, target: str, after: tuple[int, ...] = ()) -> Recovery:
    return Recovery(
        id=nth,
        server=ServerId(f"server{nth}"),
        name="web",
        host=HostId("dead"),
        host_name="dead",
        proof=1,
        state=state,
        place=nth,
        after=tuple(ServerId(f"server{other}") for other in after),
        target=target,
        proven_at="2026-01-01T00:00:00.000000",
        planned_at="2026-01-01T00:00:00.000000",
    )


@st.composite
def plans(draw: st.DrawFn) -> list[Recovery]:
    """Recoveries in a plan's order: whoever is waited for comes before."""
    return [
        a_recovery(
            nth,
            draw(st.sampled_from(STATES)),
            draw(st.sampled_from("abc")),
            tuple(draw(st.sets(st.integers(0, nth - 1), max_size=2))) if nth else (),
        )
        for nth in range(draw(st.integers(0, 20)))
    ]


@given(plan=plans(), at_once=st.integers(1, 8), per_host=st.integers(1, 4))
def test_whose_turn_it_is(plan: list[Recovery], at_once: int, per_host: int) -> None:
    begun = whose_turn(plan, Limits(at_once=at_once, at_once_per_host=per_host))
    moving = [each for each in plan if each.state is RecoveryState.MOVING]
    assert all(each.state is RecoveryState.WAITING for each in begun)
    assert len(moving) + len(begun) <= max(at_once, len(moving))
    there = Counter(each.target for each in moving)
    then = there + Counter(each.target for each in begun)
    assert all(then[host] <= max(per_host, there[host]) for host in then)
    unfinished = {each.server for each in plan if each.state in (RecoveryState.WAITING, RecoveryState.MOVING)}
    assert all(unfinished.isdisjoint(each.after) for each in begun)


@given(plan=plans())
def test_whoever_waits_for_nobody_has_a_turn_in_the_end(plan: list[Recovery]) -> None:
    limits = Limits(at_once=2, at_once_per_host=1)
    left = [each for each in plan if each.state is RecoveryState.WAITING]
    for _ in range(len(plan) + 1):
        done = {each.server for each in whose_turn(left, limits)}
        left = [each for each in left if each.server not in done]
    assert left == []


def test_the_first_of_the_plan_come_first() -> None:
    plan = [a_recovery(nth, RecoveryState.WAITING, f"host{nth % 2}") for nth in range(6)]
    assert [each.id for each in whose_turn(plan, Limits(at_once=3, at_once_per_host=2))] == [0, 1, 2]
    assert [each.id for each in whose_turn(plan, Limits(at_once=9, at_once_per_host=1))] == [0, 1]


def test_nobody_waits_for_a_server_that_is_not_brought_up() -> None:
    plan = [a_recovery(0, RecoveryState.FAILED, "a"), a_recovery(1, RecoveryState.WAITING, "a", after=(0,))]
    assert [each.id for each in whose_turn(plan, Limits(at_once=1, at_once_per_host=1))] == [1]
