"""Hunts every planted bug, or those named, and prints how many seeds each needs."""

import sys

from tests.simulation.planted import BUGS, IN_STORIES, LATER
from tests.simulation.planted.bugs import Bug, BugInStory
from tests.simulation.planted.hunting import broken_in_story, hunt


def main() -> int:
    """Hunt every bug, or those named, and say how many seeds each took."""
    lost = 0
    for number in sys.argv[1:] or [*BUGS, *IN_STORIES]:
        name, found = _in_its_story(IN_STORIES[number]) if number in IN_STORIES else _by_seeds(BUGS[number])
        lost += found is None
        sys.stdout.write(f"| {number} | {name} | {found or 'NOT FOUND'} |\n")
        sys.stdout.flush()
    for number, reason in LATER.items():
        sys.stdout.write(f"| {number} | | later: {reason} |\n")
    return 1 if lost else 0


def _by_seeds(planted: Bug) -> tuple[str, str | None]:
    seeds, outcome = hunt(planted)
    return planted.name, f"{outcome.invariant}, after {seeds} seeds" if outcome else None


def _in_its_story(planted: BugInStory) -> tuple[str, str | None]:
    invariant = broken_in_story(planted)
    return planted.name, f"{invariant}, in {planted.story}" if invariant else None


if __name__ == "__main__":
    sys.exit(main())
