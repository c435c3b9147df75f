"""Starts a process: the only place that chooses real parts over simulated ones.

`run` is the console script. Each process has a module of its own, imported only when it is asked for: an agent must
not carry what only a controller needs.
"""

import sys

from renova.main.troubles import in_a_sentence
from renova.model.errors import BadSetup, CloudError, whole


def run() -> None:
    """Run the command line. An error of ours becomes one sentence; exit status 2 means that something has to be set
    up first, 1 that what was asked for did not happen."""
    from renova.main.commands import app

    try:
        app()
    except BadSetup as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        told = in_a_sentence(error)
        if told is None:
            raise
        sentence, status = told
        print(sentence, file=sys.stderr)
        raise SystemExit(status) from None
    except CloudError as error:
        print(whole(error), file=sys.stderr)
        raise SystemExit(1) from None
