"""What a planted bug is: a mutation of one place, and what may bring it to light."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]


@dataclass(frozen=True)
class Bug:
    """A planted bug: what it is called, how it is planted, and who may find it."""

    number: str  # of the protocol, or a letter
    name: str
    plant: Plant
    found_by: tuple[str, ...]
    faults: tuple[str, ...] = ()
    shape: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 40  # at most


def bug(
    number: str, name: str, found_by: str, faults: str = "", *, seeds: int = 40, **shape: Any
) -> Callable[[Plant], Bug]:
    """Have the decorated function plant this bug."""

    def planted_by(plant: Plant) -> Bug:
        words = tuple(word.strip() for word in faults.split(",") if word.strip())
        return Bug(number, name, plant, tuple(found_by.split()), words, shape, seeds)

    return planted_by


@dataclass(frozen=True)
class BugInStory:
    """A planted bug that shows only where several things meet within seconds: a scenario has them meet."""

    number: str
    name: str
    plant: Plant
    found_by: str
    story: str  # folder of the scenario


def in_story(number: str, name: str, found_by: str, story: str) -> Callable[[Plant], BugInStory]:
    """Have the decorated function plant this bug."""

    def planted_by(plant: Plant) -> BugInStory:
        return BugInStory(number, name, plant, found_by, story)

    return planted_by
