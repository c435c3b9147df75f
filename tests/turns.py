"""Which of several ways to show the same thing is gone today, where all of them each time would take too long.

Tests with the marker `takes_turns("what", "way")` are of one way among all those of the same name that were collected.
One way is told each day, the next one the day after; `--turn N` tells what day N had, `--whole` all. Where only one way
was asked for, it is always told.
"""

from collections.abc import Sequence

import pytest

MARKER = "takes_turns"


def not_today(items: Sequence[pytest.Item], turn: int) -> list[pytest.Item]:
    """Return the tests whose way is another day's."""
    ways: dict[str, set[str]] = {}
    marked = [(item, *mark.args) for item in items if (mark := item.get_closest_marker(MARKER)) is not None]
    for _, what, way in marked:
        ways.setdefault(what, set()).add(way)
    return [item for item, what, way in marked if sorted(ways[what])[turn % len(ways[what])] != way]
