"""The cgroups (version 2) of lab hosts, seen from the machine they run on."""

import contextlib
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")


def root() -> Path | None:
    """Return where this machine has its root mounted; None where it is not, though hosts may have theirs."""
    found = [line.split(" ")[1] for line in MOUNTS.read_text().splitlines() if line.split(" ")[2] == "cgroup2"]
    return Path(found[0]) if found else None


def remove(cgroup: Path) -> None:
    """Remove an empty one with all below, and those above that nobody else needs. One that is not there is fine."""
    if (top := root()) is None:
        return  # it costs nothing, and the next boot of the host begins with an empty one
    below = sorted((top / cgroup).glob("**/"), reverse=True)
    for each in (*below, *(top / above for above in list(cgroup.parents)[:-1])):
        with contextlib.suppress(OSError):  # another host's is in it, or another process has removed it
            each.rmdir()
