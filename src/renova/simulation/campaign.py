"""Many runs of the simulation, in several processes: what they found, and how often everything went wrong.

A campaign writes down each run that has ended, and goes on where it stopped. It is complete only when every kind of
fault and every crash point has fired: what never happened proves nothing. Points that are seldom passed are aimed at,
in runs of their own.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from renova.simulation.fault_kinds import KINDS
from renova.simulation.run import Outcome, Plan, run

QUEUED = 2  # runs that wait for each process

Heard: TypeAlias = "Callable[[Figures, Outcome], None]"


class Failed(msgspec.Struct):
    """A run that failed; its history is told by running the seed again."""

    seed: int
    invariant: str
    error: str
    digest: str
    aims: list[str] = []


class Met(msgspec.Struct, frozen=True):
    """The run that passed a crash point first: told again, it comes there again."""

    seed: int
    aims: tuple[str, ...]


class Figures(msgspec.Struct):
    """What a campaign has come to; this is kept between its parts."""

    shape: dict[str, Any] = {}  # of the plans, which every part must have in common
    seeds: list[list[int]] = []  # done, as ranges: first and last
    runs: int = 0
    events: int = 0
    commits: int = 0
    virtual_s: float = 0.0
    seconds: float = 0.0  # of this machine's clock
    cpu_s: float = 0.0
    checks: int = 0
    promises: int = 0
    longest_calm_s: float = 0.0
    assumptions: int = 0  # broken on purpose, and said so
    fired: dict[str, int] = {}
    points: dict[str, int] = {}
    passed: dict[str, int] = {}
    met: dict[str, Met] = {}  # by crash point
    asked: dict[str, int] = {}
    proofs: dict[str, int] = {}  # of hosts' deaths, by kind
    failed: list[Failed] = []

    def add(self, outcome: Outcome, cpu_s: float) -> None:
        """Count a run."""
        self._note(outcome.plan.seed)
        self.runs += 1
        self.cpu_s += cpu_s
        self.events += outcome.events
        self.virtual_s += outcome.virtual_s
        self.checks += outcome.checks
        self.promises += outcome.promises
        self.longest_calm_s = max(self.longest_calm_s, outcome.calm_s)
        self.assumptions += len(outcome.assumptions)
        for mine, more in (
            (self.fired, outcome.fired),
            (self.points, outcome.points),
            (self.passed, outcome.passed),
            (self.asked, outcome.asked),
            (self.proofs, outcome.proofs),
        ):
            for name, count in more.items():
                mine[name] = mine.get(name, 0) + count
        for point in outcome.passed:
            self.met.setdefault(point, Met(outcome.plan.seed, outcome.plan.aims))
        if outcome.error is not None:
            seed, aims = outcome.plan.seed, list(outcome.plan.aims)
            self.failed.append(Failed(seed, outcome.invariant or "", outcome.error, outcome.digest, aims))

    def has(self, seed: int) -> bool:
        return any(first <= seed <= last for first, last in self.seeds)

    def _note(self, seed: int) -> None:
        seeds = sorted([*self.seeds, [seed, seed]])
        joined = [seeds[0]]
        for first, last in seeds[1:]:
            if first <= joined[-1][1] + 1:
                joined[-1][1] = max(joined[-1][1], last)
            else:
                joined.append([first, last])
        self.seeds = joined

    @property
    def an_hour(self) -> float:
        """Fault events an hour, on the processes that it had."""
        return self.events * 3600 / self.seconds if self.seconds else 0.0

    def silent_faults(self, plan: Plan) -> list[str]:
        """Name the kinds of faults that never fired."""
        return [kind.name for kind in plan.kinds() if not self.fired.get(kind.name)]

    def silent_points(self) -> list[str]:
        """Name the crash points at which nobody ever died."""
        return sorted(point for point in self.passed if not self.points.get(point))


@dataclass(frozen=True)
class Part:
    """One part of a campaign: which seeds, made into plans how, by how many processes."""

    seeds: Iterable[int]
    plan: Callable[[int], Plan]
    jobs: int
    file: Path | None = None
    events: int | None = None  # it has enough when so many fault events have fired
    again: bool = False  # whether seeds are told that have been: by other plans

    def aim(self, figures: Figures, most: int, heard: Heard, until: float | None = None) -> Figures:
        """Run on after `figures`, aiming at the crash points that never fired.

        First in the runs that passed them, which go as they went until somebody dies there: of all the points that one
        has passed this is sure of the first only, so it is told again for the others. Where that is done, in runs that
        follow, `most` at most; what these pass anew is aimed at likewise.
        """
        told: set[tuple[int, tuple[str, ...]]] = set()  # told again with these aims: it would go the same way
        left, each = most, self.jobs * QUEUED  # what is in hand at a time has the same aims
        while (aims := figures.silent_points()) and not (until is not None and time.monotonic() > until):
            plans = [plan for plan in self._once_more(figures, aims) if (plan.seed, plan.aims) not in told]
            if plans:
                told.update((plan.seed, plan.aims) for plan in plans)
                again = Part(range(len(plans)), plans.__getitem__, self.jobs, self.file, again=True)
                figures = again.tell(heard, until, figures)
            elif left > 0:
                following = figures.seeds[-1][1] + 1
                plan = partial(_aimed, self.plan, tuple(aims))
                part = Part(range(following, following + each), plan, self.jobs, self.file)
                figures, left = part.tell(heard, until, figures), left - each
            else:
                break
        return figures

    def _once_more(self, figures: Figures, aims: Iterable[str]) -> list[Plan]:
        """Return the plans of the runs that passed these points, which they aim at now."""
        passed: dict[Met, list[str]] = {}
        for point in aims:
            passed.setdefault(figures.met[point], []).append(point)
        return [_aimed(self.plan, (*met.aims, *points), met.seed) for met, points in passed.items()]

    def tell(self, heard: Heard, until: float | None = None, after: Figures | None = None) -> Figures:
        """Run them, and return the figures of the whole campaign, which those `after` which it comes are a part of.

        `heard` is told of each run; `until` is by `time.monotonic`.
        """
        shape = {name: value for name, value in vars(self.plan(0)).items() if name not in ("seed", "aims")}
        figures = after or (read(self.file) if self.file is not None and self.file.exists() else Figures(shape=shape))
        # As it would stand in the file, which knows no tuples.
        if msgspec.json.encode(shape) != msgspec.json.encode(figures.shape):
            raise SystemExit(
                f"{self.file} is of another campaign, of {figures.shape}: go on with that, or name another"
            )
        before, began = figures.seconds, time.monotonic()
        if self._has_enough(figures):
            return figures
        seeds = (seed for seed in self.seeds if self.again or not figures.has(seed))
        for outcome, cpu_s in self._outcomes(seeds, until):
            figures.add(outcome, cpu_s)
            figures.seconds = before + time.monotonic() - began
            if self.file is not None:
                _write(self.file, figures)
            heard(figures, outcome)
            if self._has_enough(figures):
                break
        return figures

    def _has_enough(self, figures: Figures) -> bool:
        return self.events is not None and figures.events >= self.events

    def _outcomes(self, seeds: Iterator[int], until: float | None) -> Iterator[tuple[Outcome, float]]:
        if self.jobs == 1:
            for seed in seeds:
                yield _timed(self.plan(seed))
                if until is not None and time.monotonic() > until:
                    return
            return
        waiting: set[Future[tuple[Outcome, float]]] = set()
        with ProcessPoolExecutor(self.jobs, mp_context=multiprocessing.get_context("fork")) as pool:
            while True:
                while len(waiting) < self.jobs * QUEUED and (until is None or time.monotonic() < until):
                    following = list(islice(seeds, 1))
                    if not following:
                        break
                    waiting.add(pool.submit(_timed, self.plan(following[0])))
                if not waiting:
                    return
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for each in done:
                    yield each.result()


def _aimed(plan: Callable[[int], Plan], aims: tuple[str, ...], seed: int) -> Plan:
    return replace(plan(seed), aims=aims)


def _timed(plan: Plan) -> tuple[Outcome, float]:
    began = time.process_time()
    outcome = run(plan)
    return outcome, time.process_time() - began


def read(file: Path) -> Figures:
    return msgspec.json.decode(file.read_bytes(), type=Figures)


def _write(file: Path, figures: Figures) -> None:
    new = file.with_name(f"{file.name}.new")
    new.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
    new.replace(file)


def table(figures: Figures, plan: Plan) -> str:
    """Tell the figures as tables of Markdown."""
    lines = [
        "| | |",
        "|---|---|",
        f"| runs, of {plan.minutes:g} minutes with {plan.controllers} controllers, {plan.hosts} hosts, "
        f"{plan.servers} servers | {figures.runs:,} |",
        f"| virtual hours | {figures.virtual_s / 3600:,.1f} |",
        f"| fault events | {figures.events:,} |",
        f"| fault events an hour | {figures.an_hour:,.0f} |",
        f"| kinds of faults that fired | {sum(1 for kind in KINDS if figures.fired.get(kind.name))} of {len(KINDS)} |",
        f"| crash points that fired | {len(figures.passed) - len(figures.silent_points())} of {len(figures.passed)} |",
        f"| requests accepted, and followed to their end | {figures.promises:,} |",
        f"| checks | {figures.checks:,} |",
        f"| longest time until all was final, in seconds | {figures.longest_calm_s:.0f} |",
        f"| assumptions broken on purpose, and reported | {figures.assumptions:,} |",
        f"| runs in which an invariant broke | {len(figures.failed):,} |",
    ]
    for title, counts in (
        ("fault", figures.fired),
        ("crash point", figures.points),
        ("accepted", figures.asked),
        ("proof of a host's death", figures.proofs),
    ):
        lines += ["", f"| {title} | times |", "|---|---|"]
        lines += [f"| {name} | {count:,} |" for name, count in sorted(counts.items(), key=lambda each: -each[1])]
    return "\n".join(lines)
