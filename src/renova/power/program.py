"""Programs that are run for a power switch: told what to do, heard, and ended with all they began."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from renova.model.errors import NotNow

MOST = 65_536  # characters of an answer that are looked at


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended, and what it said."""

    status: int
    output: str
    errors: str


def run(argv: Sequence[str], limit_s: float, *, told: str = "", environment: Mapping[str, str] | None = None) -> Ended:
    """Run it without a shell, with `told` on its standard input. `NotNow`: it cannot be run, or is silent. Blocks.

    Arguments and environment are for everybody on this machine to read: a secret goes by standard input only.
    """
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # so that what it began ends with it
        )
    except OSError as error:
        raise NotNow(f"{argv[0]} cannot be run ({error.strerror})") from error
    with process:
        try:
            output, errors = process.communicate(told.encode(), timeout=limit_s)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            raise NotNow(f"{argv[0]} is silent for {limit_s:g} s") from error
    return Ended(process.returncode, *(part[:MOST].decode(errors="replace") for part in (output, errors)))
