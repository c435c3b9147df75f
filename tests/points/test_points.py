"""Nothing is lost: whatever dies or fails at whatever point of an operation, all ends in a final, true state."""

import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from renova.engine.operation import Step
from renova.operations.stories import STORIES
from tests.points.cases import CASES
from tests.points.faults import EVERY, FREEZES, KILLS, OTHERS
from tests.points.taps import Point, Seam
from tests.points.telling import Scope, Told, tell_case, undone

FAST = ("create", "evacuate", "rebuild with a volume", "soft reboot", "undo rebuild")
Note = Callable[[str, object], None]


def test_every_story_has_its_cases() -> None:
    told = {story for case in CASES.values() for story in case.stories.split()}
    assert told == set(STORIES), "a story without a case in tests/points/cases.py, or a case of none"


@pytest.mark.slow
def test_every_undo_has_its_case() -> None:
    modules = [module for name, module in sys.modules.items() if name.startswith("renova.operations.")]
    steps = {found.name: found for module in modules for found in vars(module).values() if isinstance(found, Step)}
    with_undo = {name for name, step in steps.items() if step.undo_body is not None}
    taken_back = set[str]().union(*(undone(case.name) for case in CASES.values() if case.undo))
    assert with_undo
    assert with_undo <= taken_back, "steps whose undo no case in tests/points/cases.py comes to"


@pytest.mark.parametrize("nth", [1, 3, 100])
def test_as_many_turns_as_it_takes_come_to_every_fault_at_every_point(nth: int) -> None:
    points = [Point("controller1", Seam.TRANSACTION, "work", number) for number in range(1, 8)]
    scope = Scope(in_turn=KILLS, nth=nth)
    plans = [replace(scope, turn=turn).plan(points) for turn in range(1_000, 1_000 + 2 * nth)]
    assert all(plans)
    assert {pair for plan in plans for pair in plan} == {(point, kill) for point in points for kill in KILLS}
    assert Scope(in_turn=KILLS).plan([]) == []


def prove(told: Told, note: Note) -> None:
    note("points", told.points)
    note("fired", dict(told.fired))
    assert not told.failed, f"{len(told.failed)} of {told.planned} failed\n\n" + "\n\n".join(told.failed)
    assert sum(told.fired.values()) == told.planned, "a fault did not fire"


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_an_operation_survives_whatever_is_killed_fails_stands_still_or_comes_twice(
    case: str, turn: int, record_property: Note
) -> None:
    # Before one, after the next: a kill after a point leaves what one before the next point does, or nearly so.
    kills = Scope(in_turn=KILLS, nth=7, turn=turn)
    prove(tell_case(case, kills, Scope(in_turn=(*OTHERS, *FREEZES), nth=14, turn=turn)), record_property)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_an_operation_is_taken_over_wherever_its_controller_dies_or_stands_still(
    case: str, turn: int, record_property: Note
) -> None:
    prove(tell_case(case, Scope(in_turn=(*FREEZES, *KILLS), nth=17, controllers=2, turn=turn)), record_property)


@pytest.mark.parametrize("case", FAST)
def test_an_operation_survives_faults_at_some_points(case: str, turn: int, record_property: Note) -> None:
    prove(tell_case(case, Scope(faults=tuple(EVERY.values()), nth=31, turn=turn)), record_property)
