"""An enclosure that the kernel keeps: a cgroup with the freezer, and in it a cgroup for each group.

It is made by hand and not by libvirt or a service manager, for three reasons: it is the same with either version of
cgroups and with any service manager; who is in which group is decided by the one who knows the incarnation; and it
outlives everybody. Guests that libvirt has put into cgroups of its own are moved.
"""

import contextlib
import errno
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from renova.drivers.guard.enclosure import WORK, guest_of
from renova.drivers.guard.process import signal_to
from renova.model.errors import NotNow

MEMBERS = "cgroup.procs"
ENTER_AND_BECOME = 'echo $$ >"$0" && exec "$@"'
STRAYS = "strays"
TRIES = 3  # somebody may sweep an empty group away before its first process is in


class _Cgroup:
    """What both versions have in common: groups are directories."""

    weakness: ClassVar = ""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        return self._path

    def make(self) -> None:
        (self._path / WORK).mkdir(parents=True, exist_ok=True)

    def exists(self) -> bool:
        return (self._path / WORK / MEMBERS).exists()

    def admit(self, group: str, pid: int) -> None:
        directory = self._path / group
        for _ in range(TRIES):
            with contextlib.suppress(FileNotFoundError):
                directory.mkdir(exist_ok=True)
                (directory / MEMBERS).write_text(f"{pid}\n")
                return
        raise NotNow(f"the gate's group {directory} cannot be made")

    def argv_inside(self, argv: Sequence[str]) -> list[str]:
        return ["sh", "-c", ENTER_AND_BECOME, str(self._path / WORK / MEMBERS), *argv]

    def groups(self) -> Mapping[str, Sequence[int]]:
        found = {name: _members(self._path / name, deep=True) for name in _below(self._path)}
        strays = _members(self._path, deep=False)
        return {**found, "": strays} if strays else found

    def sweep(self) -> None:
        for name in _below(self._path):
            if guest_of(name):
                with contextlib.suppress(OSError):  # somebody is in it, or has swept it away
                    (self._path / name).rmdir()

    def remove(self) -> None:
        _remove(self._path)


class CgroupV2(_Cgroup):
    """In the unified hierarchy. What is frozen dies of a signal, and what comes in is frozen before it goes on."""

    holds_by: ClassVar = "cgroup v2 freezer"

    def freeze(self) -> None:
        (self._path / "cgroup.freeze").write_text("1\n")

    def thaw(self) -> None:
        (self._path / "cgroup.freeze").write_text("0\n")

    def is_frozen(self) -> bool:
        return (self._path / "cgroup.freeze").read_text().strip() == "1"

    def kernel_confirms(self) -> bool:
        return "frozen 1" in (self._path / "cgroup.events").read_text().splitlines()

    def kill(self, group: str) -> None:
        if not (self._path / group).exists():
            return
        everyone = self._path / group / "cgroup.kill"  # Linux 5.14 or newer
        if group and everyone.exists():
            everyone.write_text("1\n")
            return
        for pid in self.groups().get(group, ()):
            signal_to(pid, signal.SIGKILL)


class CgroupV1(_Cgroup):
    """In the freezer's own hierarchy. What is frozen does not even die: so the killed are moved out, to die."""

    holds_by: ClassVar = "cgroup v1 freezer"

    @property
    def _dying(self) -> Path:
        return self._path.with_name(f"{self._path.name}-dying")

    def groups(self) -> Mapping[str, Sequence[int]]:
        found = dict(super().groups())
        for name in _below(self._dying) if self._dying.exists() else ():
            found[name] = [*found.get(name, ()), *_members(self._dying / name, deep=True)]
        return found

    def freeze(self) -> None:
        (self._path / "freezer.state").write_text("FROZEN\n")

    def thaw(self) -> None:
        (self._path / "freezer.state").write_text("THAWED\n")

    def is_frozen(self) -> bool:
        return (self._path / "freezer.state").read_text().strip() in ("FREEZING", "FROZEN")

    def kernel_confirms(self) -> bool:
        return (self._path / "freezer.state").read_text().strip() == "FROZEN"

    def kill(self, group: str) -> None:
        outside = self._dying / (group or STRAYS)
        outside.mkdir(parents=True, exist_ok=True)
        for pid in self.groups().get(group, ()):
            signal_to(pid, signal.SIGKILL)
            # Only now: what leaves the frozen group goes on, and finds the signal before anything else.
            try:
                (outside / MEMBERS).write_text(f"{pid}\n")
            except OSError as error:
                if error.errno not in (errno.ESRCH, errno.EINVAL):  # it has ended; it is a thread of the kernel
                    raise

    def sweep(self) -> None:
        super().sweep()
        for name in _below(self._dying) if self._dying.exists() else ():
            with contextlib.suppress(OSError):
                (self._dying / name).rmdir()

    def remove(self) -> None:
        super().remove()
        if self._dying.exists():
            _remove(self._dying)


def _below(path: Path) -> list[str]:
    return [entry.name for entry in os.scandir(path) if entry.is_dir()]


def _members(path: Path, *, deep: bool) -> list[int]:
    """Return who is in a cgroup, and with `deep` in those below it. One that has gone has nobody."""
    try:
        here = [int(pid) for pid in (path / MEMBERS).read_text().split()]
        return here + [pid for name in _below(path) for pid in _members(path / name, deep=True)] if deep else here
    except FileNotFoundError:
        return []
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.EOPNOTSUPP):  # removed meanwhile; threads, whose process is above
            return []
        raise


def _remove(path: Path) -> None:
    for directory in sorted(path.glob("**/"), reverse=True):
        directory.rmdir()
