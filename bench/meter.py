"""What processes spend: CPU time from their own clocks in the kernel, memory from /proc."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Spent:
    """What was spent while something was measured."""

    wall: float = 0.0  # seconds
    cpu: dict[str, float] = field(default_factory=dict)  # seconds of all cores, by process


@dataclass(frozen=True)
class Memory:
    """What a process has in memory, in MB of 10^6 bytes."""

    rss: float  # all of it
    pss: float  # with its share only of what others have in memory too


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, with all its threads and without its children, to the nanosecond.

    It is the time that utime and stime of /proc/PID/stat give in steps of 10 ms. `ProcessLookupError` if it is gone.
    """
    try:
        return time.clock_gettime(~pid << 3 | 2)  # the kernel's CPUCLOCK_SCHED of this pid, as clock_getcpuclockid(3)
    except OSError as error:
        raise ProcessLookupError(f"there is no process {pid}") from error


@dataclass(frozen=True)
class Meter:
    """Reads what these processes spend; none for a cloud whose processes are not ours."""

    pids: Mapping[str, int]

    @contextmanager
    def spent(self) -> Iterator[Spent]:
        """Give what is spent in the block; it is known at its end."""
        spent = Spent()
        before = {name: cpu_seconds(pid) for name, pid in self.pids.items()}
        began = time.perf_counter()
        yield spent
        spent.wall = time.perf_counter() - began
        spent.cpu = {name: cpu_seconds(pid) - before[name] for name, pid in self.pids.items()}


def memory(pid: int) -> Memory:
    """Return what the process has in memory now."""
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, amount, _ = line.split()
        fields[name] = int(amount) * 1024 / 1e6
    return Memory(rss=fields["Rss:"], pss=fields["Pss:"])
