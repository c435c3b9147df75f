"""As many are brought back at once as the limits let, nobody is held up without need, and all are in the end."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renova.ha.waves import Limits, StageTimes, Start, waves
from renova.model.ids import HostId, ServerId

TIMES = StageTimes(detect_s=5, prove_s=2, plan_s=1, start_s=3, start_anew_s=8, up_s=10)


def start(server: str, target: str = "a", anew: bool = False, runs: bool = True, after: tuple[str, ...] = ()) -> Start:
    others = tuple(ServerId(each) for each in after)
    return Start(server=ServerId(server), target=HostId(target), anew=anew, runs=runs, after=others)


@st.composite
def many(draw: st.DrawFn) -> list[Start]:
    names = [f"s{nth:02}" for nth in range(draw(st.integers(0, 20)))]
    return [
        start(
            name,
            draw(st.sampled_from("abc")),
            draw(st.booleans()),
            draw(st.booleans()),
            tuple(draw(st.lists(st.sampled_from(names[:nth]), max_size=2, unique=True))) if nth else (),
        )
        for nth, name in enumerate(names)
    ]


@given(
    starts=many(),
    limits=st.builds(Limits, at_once=st.integers(1, 5), at_once_per_host=st.integers(1, 3)),
    up_s=st.sampled_from([0, 10]),
)
def test_limits_hold_at_every_moment_and_nobody_waits_without_need(
    starts: list[Start], limits: Limits, up_s: float
) -> None:
    times = StageTimes(detect_s=0, prove_s=0, plan_s=0, start_s=3, start_anew_s=8, up_s=up_s)
    when = waves(starts, limits, times)
    assert set(when) == {each.server for each in starts}
    begun = {each.server: when[each.server].begun_s for each in starts}
    started = {each.server: begun[each.server] + (8 if each.anew else 3) for each in starts}
    moments = {0.0, *started.values(), *(each.done_s for each in when.values())}
    for now in sorted(moments):
        running = [each for each in starts if begun[each.server] <= now < started[each.server]]
        on = Counter(each.target for each in running)
        assert len(running) <= limits.at_once
        assert all(count <= limits.at_once_per_host for count in on.values())
        for each in starts:
            waits = [other for other in each.after if when[other].done_s > now]
            assert not (waits and begun[each.server] <= now), "begun before one it depends on is up"
            if begun[each.server] > now and not waits:
                assert len(running) == limits.at_once or on[each.target] == limits.at_once_per_host
    by_wave = {each.wave: each.begun_s for each in when.values()}
    assert sorted(by_wave) == list(range(1, len(by_wave) + 1))
    assert sorted(by_wave.values()) == [by_wave[wave] for wave in sorted(by_wave)]
    assert all(by_wave[each.wave] == each.begun_s for each in when.values())


def test_times_are_counted_from_the_hosts_death() -> None:
    when = waves(
        [start("a"), start("b", anew=True), start("c", runs=False)], Limits(at_once=9, at_once_per_host=9), TIMES
    )
    assert {server: (each.wave, each.begun_s, each.done_s) for server, each in when.items()} == {
        "a": (1, 8, 21),
        "b": (1, 8, 26),
        "c": (1, 8, 11),
    }


def test_the_plans_order_decides_who_goes_first() -> None:
    when = waves([start("a"), start("b"), start("c", "x")], Limits(at_once=2, at_once_per_host=1), TIMES)
    assert {server: each.wave for server, each in when.items()} == {"a": 1, "c": 1, "b": 2}


def test_a_start_that_takes_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="some time"):
        StageTimes(detect_s=0, prove_s=0, plan_s=0, start_s=0, start_anew_s=1, up_s=0)
