"""What a process asks of the kernel so that it meets its deadline on a host in trouble; each with what came of it.

A host that runs out of memory kills or swaps out whom it likes, and one with too much to do lets everybody wait: just
then a guard must be there. What the kernel refuses is told and does not stop the guard: a weak one is better than none.
"""

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CURRENT_AND_FUTURE = 1 | 2  # of mlockall(2)
PRIORITY = 50  # of real-time ones (1 to 99): before all that is not, behind the kernel's own at 99
NEVER = -1000  # of /proc/self/oom_score_adj
OOM_SCORE = Path("/proc/self/oom_score_adj")


@dataclass(frozen=True)
class Measure:
    """One of them; `refused` says why it could not be taken, "" when it was."""

    name: str
    refused: str = ""


def harden() -> list[Measure]:
    """Have this process's memory locked, its priority real-time, and it never picked when memory runs out."""
    return [
        _taken("memory locked", _lock_memory),
        _taken("real-time priority", _be_before_others),
        _taken("never killed for memory", _never_be_picked),
    ]


def _taken(name: str, take: Callable[[], None]) -> Measure:
    try:
        take()
    except OSError as error:
        return Measure(name, os.strerror(error.errno or 0))
    return Measure(name)


def _lock_memory() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(CURRENT_AND_FUTURE) != 0:
        raise OSError(ctypes.get_errno(), "mlockall")


def _be_before_others() -> None:
    # Its children, if it ever had any, would not be.
    os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))


def _never_be_picked() -> None:
    OOM_SCORE.write_text(f"{NEVER}\n")
