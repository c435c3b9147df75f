"""An enclosure for hosts where no cgroup can be had: a list of processes that are stopped by signal alone.

Weaker than a cgroup, and said so with the guard's class: a child that a listed process makes is not in it, and whoever
may send signals can let a stopped process go on. That nobody comes in running rests on both sides writing before they
look: who comes in is listed and then looks whether all are to stand still; the guard orders that and then looks at the
list.
"""

import contextlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from renova.drivers.guard.enclosure import WORK, guest_of
from renova.drivers.guard.process import has_ended, signal_to, started_at, stat_of

STILL = "all-stand-still"  # exists while that is ordered
ENTER_AND_BECOME = """read -r stat </proc/$$/stat && echo "$stat" >"$0/$$" || exit 1
[ ! -e "$0/../all-stand-still" ] || kill -STOP $$
exec "$@"
"""


class Listed:
    """A directory in memory (tmpfs), gone with a boot: `<group>/<pid>` holds that process's /proc/<pid>/stat as it
    was, so that nobody is taken for one whose pid he got."""

    holds_by: ClassVar = "signals only, no cgroup"
    weakness: ClassVar = (
        "guests are held by signals alone: who may send one can let them go on, and children are missed"
    )

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        return self._path

    def make(self) -> None:
        (self._path / WORK).mkdir(mode=0o700, parents=True, exist_ok=True)

    def exists(self) -> bool:
        return (self._path / WORK).is_dir()

    def admit(self, group: str, pid: int) -> None:
        (self._path / group).mkdir(mode=0o700, exist_ok=True)
        (self._path / group / str(pid)).write_text(stat_of(pid))
        if self.is_frozen():
            signal_to(pid, signal.SIGSTOP)

    def argv_inside(self, argv: Sequence[str]) -> list[str]:
        return ["sh", "-c", ENTER_AND_BECOME, str(self._path / WORK), *argv]

    def groups(self) -> Mapping[str, Sequence[int]]:
        return {group.name: self._members(Path(group)) for group in os.scandir(self._path) if group.is_dir()}

    def freeze(self) -> None:
        (self._path / STILL).touch()

    def thaw(self) -> None:
        (self._path / STILL).unlink(missing_ok=True)

    def is_frozen(self) -> bool:
        return (self._path / STILL).exists()

    def kernel_confirms(self) -> bool:
        return False  # it was never asked

    def kill(self, group: str) -> None:
        for pid in self._members(self._path / group):
            signal_to(pid, signal.SIGKILL)

    def sweep(self) -> None:
        for group in os.scandir(self._path):
            if group.is_dir():
                alive = self._members(Path(group))
                for entry in os.scandir(group):
                    if int(entry.name) not in alive:
                        Path(entry).unlink(missing_ok=True)
                if guest_of(group.name):
                    with contextlib.suppress(OSError):  # somebody is in it, or has swept it away
                        Path(group).rmdir()

    def remove(self) -> None:
        shutil.rmtree(self._path)

    def _members(self, group: Path) -> list[int]:
        try:
            return [int(entry.name) for entry in os.scandir(group) if _is_the_same(Path(entry))]
        except FileNotFoundError:
            return []


def _is_the_same(entry: Path) -> bool:
    try:
        now = stat_of(int(entry.name))
        return not has_ended(now) and started_at(now) == started_at(entry.read_text())
    except (FileNotFoundError, ProcessLookupError):
        return False  # it has ended, and was maybe swept away
    except (ValueError, IndexError):
        return False  # it is being written: who is coming in has yet to look whether all stand still
