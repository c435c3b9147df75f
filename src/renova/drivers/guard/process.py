"""What the kernel shows of processes behind a gate, and signals to them; never waits."""

import contextlib
import os
import signal
from pathlib import Path

PROC = Path("/proc")

# Where a thread waits that the kernel has stopped or frozen: it executes nothing of its program until it is let go.
HELD_IN = frozenset({"do_signal_stop", "get_signal", "do_freezer_trap", "__refrigerator", "ptrace_stop"})
HELD = "TtZXx"  # states: stopped, traced, dead
ASLEEP = "SDI"
# Threads of the kernel that work for a process (vhost) execute nothing of it, and cannot be stopped. Those of io_uring
# do what the process asked for before, and can be: they have to stand still like its own.
OF_KERNEL, OF_KERNEL_FOR_PROCESS, OF_IO_URING = 0x00200000, 0x00004000, 0x00000010

# What works on for a guest that stands still, since the hardware does it: passed-through devices.
TIRELESS = ("/dev/vfio/", "/dev/vhost-vdpa")


def stands_still(pid: int, *, confirmed: bool) -> bool:
    """Say whether no thread of the process executes, as far as can be seen now. One that is gone stands still.

    `confirmed`: the kernel says that it froze all. Then a thread may be asleep anywhere; else only where the
    kernel holds it.
    """
    if pid <= 0:
        return False
    try:
        threads = os.listdir(PROC / str(pid) / "task")  # noqa: PTH208  (names are enough, and there are thousands)
        return all(_is_held(f"{PROC}/{pid}/task/{thread}", confirmed=confirmed) for thread in threads)
    except FileNotFoundError:
        return True


def _is_held(thread: str, *, confirmed: bool) -> bool:
    try:
        state, *fields = _fields(_read(f"{thread}/stat"))
        flags = int(fields[5])
        if state in HELD or flags & OF_KERNEL or (flags & OF_KERNEL_FOR_PROCESS and not flags & OF_IO_URING):
            return True
        return state in ASLEEP and (confirmed or _read(f"{thread}/wchan") in HELD_IN)
    except (FileNotFoundError, ProcessLookupError):
        return True  # it has ended


def _read(file: str) -> str:
    with open(file, "rb", buffering=0) as opened:  # noqa: PTH123  (once for each thread of each guest, in a hurry)
        return opened.read(4096).decode(errors="replace")


def is_stopped(pid: int) -> bool:
    """Say whether a signal has stopped the process. One that is gone is not stopped."""
    try:
        return _fields(stat_of(pid))[0] in "Tt"
    except (FileNotFoundError, ProcessLookupError):
        return False


def stat_of(pid: int) -> str:
    """Return /proc/<pid>/stat; FileNotFoundError or ProcessLookupError when it is gone."""
    return _read(f"{PROC}/{pid}/stat")


def started_at(stat: str) -> int:
    """Say when the process of this /proc/<pid>/stat was made: with its pid, it is that one and no other."""
    return int(_fields(stat)[19])


def has_ended(stat: str) -> bool:
    """Say whether it is dead, and only waits to be reaped. What its threads hold is theirs until they end, too."""
    fields = _fields(stat)
    return fields[0] in "ZX" and int(fields[17]) <= 1


def _fields(stat: str) -> list[str]:
    """Return the fields from the third on. The second, the name, may hold anything, even spaces and brackets."""
    return stat[stat.rindex(")") + 2 :].split()


def works_while_held(pid: int, devices: tuple[str, ...] = TIRELESS) -> bool:
    """Say whether hardware may work on for a process that stands still: it has one of these devices open."""
    descriptors = PROC / str(pid) / "fd"
    try:
        with os.scandir(descriptors) as found:
            return any(_target(descriptor).startswith(devices) for descriptor in found)
    except (FileNotFoundError, ProcessLookupError):
        return False


def _target(descriptor: os.DirEntry[str]) -> str:
    try:
        return os.readlink(descriptor)  # noqa: PTH115
    except FileNotFoundError:
        return ""


def signal_to(pid: int, number: signal.Signals) -> None:
    """Send it a signal; fine if it is gone, or cannot be seen from here."""
    if pid > 0:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
