"""Short runs of the simulation: nothing breaks, each run can be told again, and what was planted is found."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from renova.settings import BrakeSettings
from renova.simulation.campaign import Figures, Part
from renova.simulation.fault_kinds import KINDS
from renova.simulation.run import Outcome, Plan, run, short
from tests.simulation.planted import BUGS, IN_STORIES, KNOWN, LATER
from tests.simulation.planted.hunting import broken_in_story, hunt

pytestmark = pytest.mark.first

SEEDS, PARTS = 200, 10
# Brief faults, and a brake that forgets soon: else most of such a run would be the wait for the end of these.
BRAKE = BrakeSettings(window=8.0)
SHORTEST = {"minutes": 0.07, "rate": 2.0, "pace": 0.4, "hosts": 2, "servers": 3, "brake": BRAKE}

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize("part", range(PARTS))
def test_no_invariant_breaks_in_a_short_run(part: int) -> None:
    for seed in range(1 + part * SEEDS // PARTS, 1 + (part + 1) * SEEDS // PARTS):
        outcome = run(short(seed, **SHORTEST))
        history = "\n".join(outcome.history[-100:])
        assert outcome.error is None, f"seed {seed}: {outcome.error}\n{history}"


@pytest.mark.slow
def test_no_invariant_breaks_on_armed_hosts() -> None:
    for seed in range(1, 21):
        outcome = run(short(seed, **SHORTEST, armed=True))
        history = "\n".join(outcome.history[-100:])
        assert outcome.error is None, f"seed {seed}: {outcome.error}\n{history}"


@pytest.mark.slow
def test_an_ailing_control_plane_costs_no_guest_on_an_armed_host_its_life() -> None:
    ailing = ("database away", "controller killed", "controller frozen", "agent killed")
    for seed in range(1, 6):
        outcome = run(short(seed, faults=ailing, armed=True, minutes=0.7))
        assert outcome.error is None, f"seed {seed}: {outcome.error}"


def test_a_run_is_the_same_each_time() -> None:
    first, again, other = (run(short(seed, **SHORTEST)) for seed in (7, 7, 8))
    assert (first.digest, first.lines, first.fired) == (again.digest, again.lines, again.fired)
    assert first.digest != other.digest


@pytest.mark.slow
def test_a_run_is_the_same_in_another_process() -> None:
    told = (
        "from renova.settings import BrakeSettings; from renova.simulation.run import run, short; "
        f"print(run(short(7, **{SHORTEST})).digest)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(CHECKOUT / "src")}
    digests = {
        subprocess.run([sys.executable, "-c", told], env=environment, capture_output=True, check=True, text=True).stdout
        for _ in range(2)
    }
    assert len(digests) == 1


def test_a_run_has_users_at_work_and_faults_meanwhile() -> None:
    outcomes = [run(short(seed)) for seed in range(1, 3)]
    assert all(outcome.events > 5 and outcome.promises > 5 and outcome.checks > 100 for outcome in outcomes)


def test_only_the_kinds_asked_for_strike() -> None:
    outcome = run(short(3, faults=("guest dies",), rate=3.0))
    assert set(outcome.fired) == {"guest dies"}
    assert all(kind.name == "guest dies" for kind in Plan(seed=1, faults=("guest dies",)).kinds())


@pytest.mark.slow
def test_a_campaign_goes_on_where_it_stopped(tmp_path: Path) -> None:
    def heard(_figures: Figures, _outcome: object) -> None:
        told.append(1)

    told: list[int] = []
    kept = tmp_path / "figures.json"
    Part(range(1, 4), short, 1, kept).tell(heard)
    figures = Part(range(1, 6), short, 1, kept).tell(heard)
    assert len(told) == 5
    assert (figures.runs, figures.seeds) == (5, [[1, 5]])
    assert figures.events == sum(figures.fired.values())
    assert set(figures.silent_faults(short(1))) <= {kind.name for kind in KINDS}


@pytest.mark.slow
def test_a_campaign_aims_at_crash_points_at_which_nobody_has_died() -> None:
    told: list[Outcome] = []
    part = Part(range(1, 3), short, 1)
    begun = part.tell(lambda _figures, outcome: told.append(outcome))
    silent = begun.silent_points()[:3]  # a fifth of a minute is short
    begun.points |= dict.fromkeys(set(begun.passed) - set(silent), 1)  # as if these had fired: all would take long
    met = {point: begun.met[point].seed for point in silent}
    assert not any(outcome.plan.aims for outcome in told)
    told.clear()
    figures = part.aim(begun, 1, lambda _figures, outcome: told.append(outcome))
    first = told[: len(set(met.values()))]
    assert {outcome.plan.seed: set(outcome.plan.aims) for outcome in first} == {
        seed: {point for point in silent if met[point] == seed} for seed in met.values()
    }, "first those that passed them"
    died = {point for outcome in first for point in outcome.points}
    assert died & set(silent)
    assert not died & set(figures.silent_points())
    assert max(outcome.plan.seed for outcome in told) <= 4, "of those that follow as many as are in hand at a time"
    aimed = [(outcome.plan.seed, outcome.plan.aims) for outcome in told]
    assert len(aimed) == len(set(aimed)), "none goes the same way twice"


def test_whoever_passed_a_point_dies_there_in_the_same_run_when_it_is_aimed_at() -> None:
    before = run(short(3))
    seldom = min((point for point in before.passed if not before.points[point]), key=lambda at: before.passed[at])
    assert run(replace(short(3), aims=(seldom,))).points[seldom] == 1


def test_who_comes_to_a_point_that_is_aimed_at_dies_there_though_others_are_still_dead() -> None:
    before = run(short(3))
    aims = tuple(sorted(point for point in before.passed if not before.points[point]))
    aimed = run(replace(short(3), aims=aims))
    assert not [point for point in aims if aimed.passed[point] and not aimed.points[point]]


@pytest.mark.slow
@pytest.mark.timeout(3600)  # when the known seed no longer finds it, and all have to be tried
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(number, marks=pytest.mark.takes_turns("planted bugs", f"{nth % 5 + 1} of 5"))
        for nth, number in enumerate(BUGS)
    ],
)
def test_every_planted_bug_is_found(number: str) -> None:
    """Begin with the seed that found it the last time: some take many."""
    _, outcome = hunt(BUGS[number], KNOWN.get(number, 1))
    assert outcome is not None, f"{BUGS[number].name}: not found in {BUGS[number].seeds} seeds"


@pytest.mark.parametrize("number", IN_STORIES)
def test_every_bug_planted_in_a_story_breaks_it(number: str) -> None:
    assert broken_in_story(IN_STORIES[number]) == IN_STORIES[number].found_by


def test_every_bug_of_the_protocol_is_planted_or_waits_for_its_part() -> None:
    numbers = [*BUGS, *IN_STORIES, *LATER]
    assert {int(number) for number in numbers if number.isdecimal()} == set(range(1, 39))
    assert len(set(numbers)) == len(numbers)
