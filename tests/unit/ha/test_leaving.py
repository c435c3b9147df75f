"""Whose turn it is to leave a host: nobody is tried again before its time, and nobody new waits for who fails."""

from hypothesis import given
from hypothesis import strategies as st

from renova.ha.leaving import Leaver, Progress, Stage, progress, whose_turn
from renova.model.ids import ServerId

NOW = "2026-01-01T00:01:00.000000"


def leaver(name: str, stage: Stage = Stage.WAITING, *, busy: bool = False, failed: int = 0, again: str = "") -> Leaver:
    return Leaver(server=ServerId(name), name=name, stage=stage, busy=busy, attempts=failed, again_at=again or None)


def names(found: list[Leaver]) -> list[str]:
    return [each.name for each in found]


def test_who_was_not_tried_yet_comes_before_who_failed() -> None:
    known = [leaver("a", failed=2), leaver("b", failed=1), leaver("d"), leaver("c")]
    assert names(whose_turn(known, 3, NOW)) == ["c", "d", "b"]


def test_nobody_is_tried_before_its_time_or_while_something_else_is_done_to_it() -> None:
    later, earlier = "2026-01-01T00:01:00.000001", "2026-01-01T00:00:59.000000"
    known = [leaver("a", failed=1, again=later), leaver("b", busy=True), leaver("c", failed=1, again=earlier)]
    assert names(whose_turn(known, 9, NOW)) == ["c"]


@given(st.lists(st.sampled_from(Stage), max_size=8), st.integers(1, 4))
def test_no_more_leave_at_once_than_may(stages: list[Stage], at_once: int) -> None:
    known = [leaver(str(nth), stage) for nth, stage in enumerate(stages)]
    moving = stages.count(Stage.MOVING)
    begun = whose_turn(known, at_once, NOW)
    assert len(begun) == max(min(at_once - moving, stages.count(Stage.WAITING)), 0)


def test_a_host_is_drained_only_when_nothing_is_left_and_held_up_when_only_somebody_can_help() -> None:
    assert progress([]) is Progress.DRAINED
    assert progress([leaver("a", Stage.STAYING)]) is Progress.HELD_UP
    assert progress([leaver("a", Stage.STAYING), leaver("b")]) is Progress.DRAINING
