"""Tells scenarios, and renews what is expected of them: see the package."""

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.scenarios.telling import HERE, expected, folders, renew, tell


def main(arguments: Sequence[str] | None = None, root: Path = HERE) -> int:
    """Tell the scenarios that are named, or all; say how many are not as expected."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--renew", action="store_true", help="expect from now on what is so")
    parser.add_argument("--whole", action="store_true", help="print all that the parts have logged, too")
    wanted = parser.parse_args(arguments)
    other = 0
    for folder in [root / name for name in wanted.names] or folders(root):
        log, history = tell(folder)
        known = expected(folder)
        if wanted.whole:
            sys.stdout.writelines(f"{line}\n" for line in history)
        if log != known:
            other += 1
            lines = difflib.unified_diff(
                known.splitlines(True), log.splitlines(True), f"{folder.name}, expected", "as it is"
            )
            sys.stdout.writelines(lines)
            if wanted.renew:
                renew(folder, log)
    sys.stdout.write(f"{other} {'renewed' if wanted.renew else 'not as expected'}\n")
    return 1 if other and not wanted.renew else 0


if __name__ == "__main__":
    sys.exit(main())
