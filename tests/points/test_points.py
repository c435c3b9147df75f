"""Nothing is lost: whatever dies or fails at whatever point of an operation, all ends in a final, true state."""

from collections.abc import Callable

import pytest

from renova.operations.stories import STORIES
from tests.points.cases import CASES
from tests.points.faults import EVERY, KILLS
from tests.points.telling import Told, tell_case

FAST = {
    "create": 7,
    "evacuate": 11,
    "rebuild with a volume": 13,
    "soft reboot": 3,
    "undo rebuild": 11,
}  # each n-th point
Note = Callable[[str, object], None]


def test_every_story_has_its_cases() -> None:
    told = {story for case in CASES.values() for story in case.stories.split()}
    assert told == set(STORIES), "a story without a case in tests/points/cases.py, or a case of none"


def prove(told: Told, note: Note) -> None:
    note("points", told.points)
    note("fired", dict(told.fired))
    assert not told.failed, f"{len(told.failed)} of {told.planned} failed\n\n" + "\n\n".join(told.failed)
    assert sum(told.fired.values()) == told.planned, "a fault did not fire"


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_an_operation_survives_being_killed_at_every_point_and_a_fault_at_each(
    case: str, record_property: Note
) -> None:
    first = list(CASES).index(case)  # so that each fault comes to each kind of point, in some case
    prove(tell_case(case, {fault.name for fault in KILLS}, one_of_others=first), record_property)


@pytest.mark.parametrize("case", FAST)
def test_an_operation_survives_faults_at_some_points(case: str, record_property: Note) -> None:
    prove(tell_case(case, set(EVERY), every_nth=FAST[case]), record_property)
