"""Each way to show the same thing has its day, and what has no other way has every day."""

import pytest

from tests.turns import MARKER, not_today

WAYS = ("BMC", "armed", "witness")


def an_item(request: pytest.FixtureRequest, *way: str) -> pytest.Item:
    made: pytest.Item = pytest.Function.from_parent(request.node.parent, name="test", callobj=lambda: None)
    if way:
        made.add_marker(getattr(pytest.mark, MARKER)("how it is proven", *way))
    return made


def ways_of(items: list[pytest.Item], turn: int) -> list[str]:
    """Return the way of each test that is told; "" of one that is of none."""
    others = not_today(items, turn)
    return [mark.args[1] if (mark := each.get_closest_marker(MARKER)) else "" for each in items if each not in others]


def test_each_way_has_its_turn_with_all_its_tests_and_no_way_the_same_one(request: pytest.FixtureRequest) -> None:
    items = [an_item(request, way) for way in WAYS for _ in range(2)]
    days = [ways_of(items, turn) for turn in range(739_000, 739_003)]
    assert sorted(days) == [[way, way] for way in sorted(WAYS)]


def test_what_has_no_other_way_has_every_turn(request: pytest.FixtureRequest) -> None:
    items = [an_item(request), an_item(request, "armed")]
    assert all(ways_of(items, turn) == ["", "armed"] for turn in range(3))
