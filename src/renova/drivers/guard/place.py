"""Where on this host an enclosure is kept, and of which kind it can be there."""

import os
from pathlib import Path

from renova.drivers.guard.cgroup import MEMBERS, CgroupV1, CgroupV2
from renova.drivers.guard.enclosure import Enclosure
from renova.drivers.guard.listed import Listed
from renova.model.errors import BadSetup

NAME = "renova"
IN_MEMORY = Path("/run/renova-gate")
MOUNTS = Path("/proc/self/mounts")


def enclosure_at(path: Path) -> Enclosure:
    """Return the enclosure kept at this path, of the kind that its directory allows; it need not be made yet."""
    parent = path.parent
    if not (parent / MEMBERS).exists():
        return Listed(path)
    if (parent / "cgroup.controllers").exists():
        return CgroupV2(path)
    if "freezer" in _v1_controllers(parent):
        return CgroupV1(path)
    raise BadSetup(
        f"{parent} is a cgroup of a hierarchy that cannot freeze. Choose one of version 2, or the freezer's."
    )


def usual_place(mounts: Path = MOUNTS) -> Path:
    """Return where this host best keeps it: a cgroup of version 2, of the freezer, else a directory in memory."""
    found = [line.split(" ") for line in mounts.read_text().splitlines()]
    unified = [at for _, at, kind, *_ in found if kind == "cgroup2"]
    freezers = [at for _, at, kind, options, *_ in found if kind == "cgroup" and "freezer" in options.split(",")]
    for at in (*unified, *freezers):
        if os.access(at, os.W_OK):  # containers often see one that they may not change
            return Path(at) / NAME
    return IN_MEMORY


def _v1_controllers(path: Path) -> set[str]:
    """Return the controllers of the hierarchy of version 1 that this directory belongs to."""
    best, controllers = "", set[str]()
    for line in MOUNTS.read_text().splitlines():
        _, at, kind, options, *_ = line.split(" ")
        if kind == "cgroup" and path.is_relative_to(at) and len(at) > len(best):
            best, controllers = at, set(options.split(","))
    return controllers
