"""Starts a process: the only place that chooses real parts over simulated ones.

`run` is the console script. Each process has a module of its own, imported only when it is asked for: an agent must
not carry what only a controller needs.
"""

import sys

from renova.model.errors import BadSetup


def run() -> None:
    """Run the command line; a `BadSetup` becomes one sentence on standard error and exit status 2."""
    from renova.main.commands import app

    try:
        app()
    except BadSetup as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
