"""What whoever drains a host reads meanwhile."""

from typing import Any

from renova.main.maintenance_commands import progress_line


def drained(**fields: Any) -> dict[str, Any]:
    """Return what the API tells of host1, of which nothing has moved yet."""
    stages: dict[str, Any] = {"moving": [], "waiting": [], "staying": []}
    return {"host": "host1", "state": "draining", "heard": True, "moved": 0} | stages | fields


def test_how_much_of_each_moving_guests_memory_is_there_is_told() -> None:
    moving = [
        {"name": "web", "copied": 0.426},
        {"name": "db", "copied": None},  # cold, or nothing is known of it yet
    ]
    told = progress_line(drained(moving=moving, waiting=[{"name": "mail", "copied": None}], moved=3))
    assert told == "host1: draining, 3 moved, 2 moving, 1 waiting (web 43% of memory copied)"


def test_nothing_is_told_of_memory_where_none_moves() -> None:
    assert progress_line(drained(state="drained", moved=1)) == "host1: drained, 1 moved"


def test_that_nothing_leaves_a_host_that_is_not_heard_nor_is_recovered_is_told() -> None:
    told = progress_line(drained(staying=[{"name": "web", "copied": None}], heard=False))
    assert told.endswith("1 staying; it is not heard: nothing leaves it, nor is it recovered until --undo")
