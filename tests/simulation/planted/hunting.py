"""Planting a bug and looking whether the simulation, or its scenario, finds it."""

import pytest

from renova.simulation.invariants.checks import Violation
from renova.simulation.run import Outcome, Plan, run, short
from tests.scenarios.telling import HERE, tell
from tests.simulation.planted.bugs import Bug, BugInStory


def plan(planted: Bug, seed: int) -> Plan:
    return short(seed, **{"faults": planted.faults, "minutes": 0.7, "rate": 1.5, **planted.shape})


def hunt(planted: Bug, known: int = 1) -> tuple[int, Outcome | None]:
    """Return the first seed that finds the bug, and how that came; None: none of its seeds did.

    A seed that fails without the bug, too, has found something else. One that is `known` to have found it is tried
    before the others.
    """
    for seed in dict.fromkeys([known, *range(1, planted.seeds + 1)]):
        with pytest.MonkeyPatch.context() as patch:
            planted.plant(patch)
            outcome = run(plan(planted, seed))
        if outcome.invariant in planted.found_by and run(plan(planted, seed)).error is None:
            return seed, outcome
    return planted.seeds, None


def broken_in_story(planted: BugInStory) -> str | None:
    """Return the invariant that the bug breaks in its scenario; None: it breaks none."""
    with pytest.MonkeyPatch.context() as patch:
        planted.plant(patch)
        try:
            tell(HERE / planted.story)
        except Violation as violation:
            return violation.invariant
    return None
