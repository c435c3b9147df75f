"""Tell cases with every fault at every point: `python -m tests.points.campaign [CASE [POINT FAULT]]`.

Prints each case's points and faults, and what failed; with a point and a fault only that, and its log. Ends with 1 when
anything failed, or did not fire.
"""

import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.points.cases import CASES
from tests.points.faults import EVERY
from tests.points.telling import Prepared, tell_case


def one(case: str, at: str, fault: str) -> bool:
    prepared = Prepared(CASES[case])
    for point in prepared.points:
        if str(point) == at:
            outcome = prepared.tell(point, EVERY[fault])
            print(outcome.error or "as it must be")
            return not outcome.error
    print("\n".join(str(point) for point in prepared.points))
    return False


def every(cases: list[str], faults: set[str]) -> bool:
    began, points, planned, failed = time.monotonic(), 0, 0, 0
    fired: Counter[str] = Counter(dict.fromkeys(faults, 0))
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for case, told in zip(cases, pool.map(tell_case, cases, [faults] * len(cases)), strict=True):
            print(f"{case}: {told.points} points, {told.planned} faults, {len(told.failed)} failed", flush=True)
            for each in told.failed:
                print(each, flush=True)
            points, planned, failed = points + told.points, planned + told.planned, failed + len(told.failed)
            fired += told.fired
    print("  ".join(f"{name} {count}" for name, count in sorted(fired.items())))
    share = 100 * fired.total() / planned
    print(
        f"{len(cases)} cases, {points} points, {planned} faults, {share:.1f} % fired, {failed} failed, "
        f"{time.monotonic() - began:.0f} s"
    )
    return not failed and fired.total() == planned and all(fired[name] for name in faults)


def main() -> None:
    arguments = sys.argv[1:]
    if len(arguments) == 3:
        sys.exit(not one(*arguments))
    cases = [arguments[0]] if arguments and arguments[0] != "all" else list(CASES)
    faults = set(arguments[1].split(",")) if len(arguments) > 1 else set(EVERY)
    sys.exit(not every(cases, faults))


if __name__ == "__main__":
    main()
