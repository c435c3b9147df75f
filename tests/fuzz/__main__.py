"""script/fuzz: requests by the thousand against a whole simulated cloud; fails when one breaks a rule that all keep."""

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.fuzz import agents, wire
from tests.fuzz.runs import GROWTH_KB, Case, Run, play, prepare, replay, run
from tests.fuzz.world import STEPS

PLAYS = 25  # requests for each play on the wire: those take longer
ENOUGH = 5_000  # requests in which every route must be hit


def main() -> int:
    asked = _arguments()
    if asked.agents is not None:
        lies = agents.run(asked.seed, asked.agents, asked.jobs)
        print(agents.text(lies))  # noqa: T201
        return 1 if lies.faults else 0
    if asked.episode is not None:
        return _told_again(agents.play(asked.episode)[2].faults)
    if asked.play is not None:
        return _told_again(wire.played_again(asked.play))
    if asked.replay is not None:
        prepare(asked.database)
        case = Case.read(asked.replay)
        return _told_again(replay(case.seed, case.first, case.steps).faults)
    if asked.request is not None:
        prepare(asked.database)
        first = asked.request // STEPS * STEPS
        return _told_again(play(asked.seed, first, asked.request - first + 1)[0].faults)
    # Who plays on the wire mostly waits. A process that is not forked: the episodes' are.
    with ProcessPoolExecutor(1, get_context("spawn")) as beside:
        playing = beside.submit(wire.run, asked.seed, asked.requests // PLAYS, asked.cases)
        found = run(asked.seed, asked.requests, asked.jobs, asked.cases, asked.database)
        wired = playing.result()
    troubles = [*_troubles(found), *wired.faults]
    if asked.json:
        print(json.dumps(_figures(found, wired, asked.seed) | {"faults": troubles}, indent=1))  # noqa: T201
    else:
        print(_text(found, wired, asked))  # noqa: T201
    return 1 if troubles else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=ENOUGH, metavar="N", help="how many (5000)")
    parser.add_argument("--agents", type=int, metavar="N", help="N messages of lying hosts and controllers instead")
    parser.add_argument("--episode", metavar="NAME", help="tell a failing episode of --agents again")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="what all chance follows from (1)")
    parser.add_argument("--jobs", type=int, default=2, metavar="J", help="processes side by side (2)")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite", help="what they are kept in")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--cases", type=Path, default=Path(".renova/fuzz"), help="where failing cases are put")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="play a failing case again")
    parser.add_argument("--play", type=Path, metavar="FILE", help="send the bytes of a failing play again")
    parser.add_argument("--request", type=int, metavar="K", help="play the run of --seed up to this request again")
    return parser.parse_args()


def _told_again(faults: Sequence[object]) -> int:
    for fault in faults:
        print(fault)  # noqa: T201
    print(f"{len(faults)} faults")  # noqa: T201
    return 1 if faults else 0


def _troubles(found: Run) -> list[str]:
    """Return for what the run fails."""
    troubles = [f"{case.says}" for case in found.cases]
    if found.told.requests >= ENOUGH * 0.9 and not found.cases:
        troubles += [f"never hit: {name}" for name in found.never_hit]
    if found.growth_kb > GROWTH_KB:
        troubles.append(f"memory grows by {found.growth_kb:.0f} KiB an episode")
    return troubles


def _figures(found: Run, wired: wire.Wire, seed: int) -> dict[str, object]:
    told = found.told
    return {
        "seed": seed,
        "requests": told.requests,
        "episodes": found.episodes,
        "seconds": round(found.took_s, 1),
        "routes": len(told.names),
        "never_hit": found.never_hit,
        "never_done": found.never_done,
        "statuses": {str(status): count for status, count in sorted(told.statuses.items())},
        "slowest_cpu_s": round(told.slowest_s, 3),
        "slowest": told.slowest,
        "growth_kb_an_episode": round(found.growth_kb),
        "plays_on_the_wire": wired.plays,
        "longest_wait_of_others_s": round(wired.slowest_s, 3),
    }


def _text(found: Run, wired: wire.Wire, asked: argparse.Namespace) -> str:
    told = found.told
    per_s = told.requests / max(found.took_s, 0.001)
    lines = [
        f"{told.requests} requests in {found.episodes} clouds, {found.took_s:.0f} s ({per_s:.0f}/s), seed {asked.seed}",
        f"{len(told.names)} routes, {len(told.names) - len(found.never_hit)} hit, "
        f"{len(told.names) - len(found.never_done)} with success",
        "answers: " + ", ".join(f"{count} x {status or 'none'}" for status, count in sorted(told.statuses.items())),
        f"slowest: {told.slowest_s:.2f} s of CPU, {told.slowest}; memory {found.growth_kb:+.0f} KiB an episode",
    ]
    lines.append(f"on the wire: {wired.plays} plays, others waited {wired.slowest_s:.2f} s at most")
    for case in found.cases:
        file = case.write(asked.cases)
        lines.append(f"\nFAULT {case.says[:1500]}")
        for step in case.steps:
            lines.append(f"  {step.event or step.request.as_curl()}" + (f"  # {step.copies} times" * (step.copies > 1)))
        lines.append(f"  again: script/fuzz --replay {file}")
        lines.append(f"     or: script/fuzz --seed {case.seed} --request {case.steps[-1].number}")
    if told.requests >= ENOUGH * 0.9:
        lines += [f"NEVER HIT {name}" for name in found.never_hit]
    lines += [f"\nFAULT on the wire: {fault}" for fault in wired.faults]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
