"""Tell cases with every fault at every point: `script/campaign crashes`, or `python -m tests.points.campaign`.

Prints each case's points and faults, and what failed; with --point only that, and its log. Ends with 1 when anything
failed, or did not fire.
"""

import argparse
import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import MutableMapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import structlog

from renova.simulation.processes import current
from tests.points.cases import CASES
from tests.points.faults import EVERY
from tests.points.telling import Prepared, Scope, Told, forked, silent, tell_case


def one(case: str, at: str, fault: str, controllers: int) -> bool:
    def tell() -> bool:
        silent()
        prepared = Prepared(CASES[case], controllers)
        for point in prepared.points:
            if str(point) == at:
                structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(0), processors=[_line])
                outcome = prepared.tell(point, EVERY[fault])
                print(outcome.error or "as it must be")
                return not outcome.error
        print("There is no such point. There are:", *prepared.points, sep="\n  ")
        return False

    return forked(tell)


def _line(_logger: Any, level: str, event: MutableMapping[str, Any]) -> str:
    """Show a line of the log: when in virtual time, who, what."""
    told, error = event.pop("event"), event.pop("exc_info", None)
    shown = structlog.contextvars.merge_contextvars(None, level, event)
    process = current()
    fields = " ".join(f"{name}={value}" for name, value in shown.items())
    reason = f" ({sys.exc_info()[1]!r})" if error else ""
    return f"{asyncio.get_running_loop().time():8.3f} {process.name if process else '':<14} {told}{reason} {fields}"


def every(cases: list[str], faults: list[str], controllers: int, nth: int) -> bool:
    scope = Scope(faults=tuple(EVERY[name] for name in faults), controllers=controllers, nth=nth)
    began, points, planned, failed = time.monotonic(), 0, 0, 0
    fired: Counter[str] = Counter()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for case, told in zip(cases, pool.map(partial(_tell, scope), cases), strict=True):
            print(f"{case}: {told.points} points, {told.planned} faults, {len(told.failed)} failed", flush=True)
            for each in told.failed:
                print(each, flush=True)
            points, planned, failed = points + told.points, planned + told.planned, failed + len(told.failed)
            fired += told.fired
    print(", ".join(f"{fired[name]} {name}" for name in faults))
    share, seconds = 100 * fired.total() / planned, time.monotonic() - began
    print(
        f"{len(cases)} cases, {points} points, {planned} faults, {share:.1f} % fired, {failed} failed, {seconds:.0f} s"
    )
    never = [name for name in faults if not fired[name]]
    if never:
        print("Never fired:", ", ".join(never))
    return not failed and not never and fired.total() == planned


def _tell(scope: Scope, case: str) -> Told:
    return tell_case(case, scope)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", default=list(CASES), help="the cases to tell; all if none is named")
    parser.add_argument("--fault", action="append", choices=list(EVERY), help="only this one; may be repeated")
    parser.add_argument("--point", help="only at this point of the one case, with the one fault")
    parser.add_argument("--nth", type=int, default=1, help="not with all, but with each n-th fault of a case")
    parser.add_argument("--controllers", type=int, default=1, help="how many; with more, only their points")
    wanted = parser.parse_args()
    if unknown := [case for case in wanted.case if case not in CASES]:
        parser.error(f"there is no case {unknown[0]!r}; there are: {', '.join(CASES)}")
    if wanted.point:
        sys.exit(not one(wanted.case[0], wanted.point, wanted.fault[0], wanted.controllers))
    sys.exit(not every(wanted.case, wanted.fault or list(EVERY), wanted.controllers, wanted.nth))


if __name__ == "__main__":
    main()
