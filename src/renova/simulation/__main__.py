"""`script/simulate`: runs seeds of the simulation, tells how each failure came about, and how to see it again."""

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from renova.model.errors import Invalid
from renova.simulation.campaign import Figures, Part, table
from renova.simulation.fault_kinds import KINDS
from renova.simulation.run import Outcome, Plan, run, short

SHOWN = 300  # lines of a failure's history
SAY_S = 10.0  # between words of progress
AIMED = 100  # runs at most that aim at crash points at which nobody has died
NAMED = 20  # faults and crash points that never fired, where a campaign need not be complete


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="how many runs")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="the first one's seed")
    parser.add_argument("--events", type=int, metavar="N", help="run on until so many fault events have fired")
    parser.add_argument("--faults", default="", metavar="WORDS", help="only kinds with one of these words, by commas")
    parser.add_argument("--aims", default="", metavar="POINTS", help="crash points to strike first, by commas")
    parser.add_argument("--minutes", type=float, metavar="M", help="virtual minutes of trouble in each run")
    parser.add_argument("--rate", type=float, metavar="R", help="faults in each virtual second, about")
    parser.add_argument("--short", action="store_true", help="small clouds, a fraction of a second each")
    parser.add_argument("--jobs", type=int, default=2, metavar="J", help="processes")
    parser.add_argument("--limit", type=float, metavar="S", help="stop after so many seconds")
    parser.add_argument("--file", type=Path, metavar="F", help="keep the figures here, and go on where it stopped")
    parser.add_argument(
        "--complete", action="store_true", help="aim at crash points that never fired; fail if they, or a fault, do not"
    )
    parser.add_argument("--lines", type=int, default=SHOWN, metavar="N", help="of a failure's history that are shown")
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    parser.add_argument("--kinds", action="store_true", help="list the kinds of faults")
    return parser.parse_args()


def _plan(seed: int, *, small: bool, changes: dict[str, Any]) -> Plan:
    return short(seed, **changes) if small else Plan(seed=seed, **changes)


def _replay(arguments: argparse.Namespace, seed: int, aims: Sequence[str]) -> str:
    """Return the command that tells this run again."""
    words = ["script/simulate", f"--seed {seed}", "--seeds 1"]
    words += [f'--aims "{",".join(aims)}"'] if aims else []
    words += ["--short"] if arguments.short else []
    words += [
        f"--{name} {getattr(arguments, name)}" for name in ("faults", "minutes", "rate") if getattr(arguments, name)
    ]
    return " ".join(words)


def _tell(arguments: argparse.Namespace, outcome: Outcome) -> str:
    plan = outcome.plan
    told = [*outcome.history[-arguments.lines :], "", f"seed {plan.seed}: {outcome.error}"]
    return "\n".join([*told, f"history {outcome.digest}; again: {_replay(arguments, plan.seed, plan.aims)}", ""])


def main() -> int:
    arguments = _arguments()
    if arguments.kinds:
        sys.stdout.write("".join(f"{kind.name}\n" for kind in KINDS))
        return 0
    changes: dict[str, Any] = {
        name: getattr(arguments, name) for name in ("minutes", "rate") if getattr(arguments, name) is not None
    }
    if arguments.faults:
        changes["faults"] = tuple(arguments.faults.split(","))
    if arguments.aims:
        changes["aims"] = tuple(arguments.aims.split(","))
    plan = partial(_plan, small=arguments.short, changes=changes)
    try:
        plan(0).kinds()
    except Invalid as error:
        sys.stderr.write(f"script/simulate: {error}; script/simulate --kinds lists them\n")
        return 2
    if arguments.seeds == 1 and arguments.file is None:
        return _one(arguments, plan(arguments.seed))
    said, began = 0.0, time.monotonic()

    def heard(figures: Figures, outcome: Outcome) -> None:
        nonlocal said
        if outcome.error is not None:
            sys.stderr.write("\n" + _tell(arguments, outcome))
        if time.monotonic() - said > SAY_S:
            said = time.monotonic()
            told = f"{figures.runs} runs, {figures.events} fault events, {figures.an_hour:,.0f} an hour"
            sys.stderr.write(f"{said - began:6.0f} s: {told}, {len(figures.failed)} failed\n")
            sys.stderr.flush()

    many = arguments.seeds if arguments.events is None else 10**9
    seeds = range(arguments.seed, arguments.seed + many)
    until = None if arguments.limit is None else time.monotonic() + arguments.limit
    part = Part(seeds, plan, arguments.jobs, arguments.file, arguments.events)
    figures = part.tell(heard, until)
    if arguments.complete:
        figures = part.aim(figures, AIMED, heard, until)
    return _end(arguments, figures, plan(0))


def _one(arguments: argparse.Namespace, plan: Plan) -> int:
    outcome = run(plan)
    if outcome.error is not None:
        sys.stdout.write(_tell(arguments, outcome))
        return 1
    told = f"{outcome.lines} lines, {outcome.events} fault events, {outcome.promises} promises"
    sys.stdout.write(f"seed {plan.seed}: history {outcome.digest}, {told}; all as it should be\n")
    return 0


def _end(arguments: argparse.Namespace, figures: Figures, plan: Plan) -> int:
    if arguments.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(figures)).decode() + "\n")
    else:
        sys.stdout.write(table(figures, plan) + "\n")
    for failed in figures.failed:
        sys.stdout.write(
            f"\nseed {failed.seed}: {failed.error[:500]}\n  again: {_replay(arguments, failed.seed, failed.aims)}\n"
        )
    silent = [*figures.silent_faults(plan), *figures.silent_points()]
    if silent:
        named = silent if arguments.complete else silent[:NAMED]
        more = f", and {len(silent) - len(named)} more" if len(silent) > len(named) else ""
        sys.stdout.write(f"\nnever fired: {', '.join(named)}{more}\n")
    return 1 if figures.failed or (arguments.complete and silent) else 0


if __name__ == "__main__":
    sys.exit(main())
