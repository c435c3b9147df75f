"""What is behind a host's gate: groups of processes that can be made to stand still, all at once.

Two use it, each in a process of its own. The agent puts in what it starts, before that executes anything for a server:
each guest in a group that is named for its server and incarnation, every program that writes disks in the group `WORK`.
The guard makes them stand still, kills them, and sees what is left; it learns from the groups' names alone whose guest
one is, for it may ask nobody. All methods are short: none waits for a disk, or for a process to end.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

from renova.model.ids import ServerId

WORK = "work"  # the group of the agent's children that write disks


class Enclosure(Protocol):
    """The processes behind one gate. Errors: OSError, as the kernel gives it."""

    holds_by: ClassVar[str]  # what makes its processes stand still, for people
    weakness: ClassVar[str]  # how they may come to execute all the same, for people; "": not at all

    @property
    def path(self) -> Path: ...

    def make(self) -> None:
        """Have it; one that is there already stays as it is, with all that is in it."""
        ...

    def exists(self) -> bool: ...

    def admit(self, group: str, pid: int) -> None:
        """Have a process in, with all its threads; while the gate is closed it stands still on return."""
        ...

    def argv_inside(self, argv: Sequence[str]) -> list[str]:
        """Say how to run a program that is in the group `WORK` from its first instruction on."""
        ...

    def groups(self) -> Mapping[str, Sequence[int]]:
        """Return who is in each group. A pid 0 stands for a process that cannot be seen from here; the group ""
        for who is in none."""
        ...

    def freeze(self) -> None:
        """Order all to stand still, and whoever comes in from now on."""
        ...

    def thaw(self) -> None: ...

    def is_frozen(self) -> bool:
        """Say whether that is ordered; not whether it has happened."""
        ...

    def kernel_confirms(self) -> bool:
        """Say whether the kernel itself says that it has happened to all. False may also mean that it cannot tell."""
        ...

    def kill(self, group: str) -> None:
        """Send all of a group the signal that cannot be refused; they die although they stand still."""
        ...

    def sweep(self) -> None:
        """Forget groups of guests that are empty."""
        ...

    def remove(self) -> None:
        """Have it no more; nobody may be in it."""
        ...


def guest_group(server: ServerId, incarnation: int) -> str:
    """Name the group of a guest."""
    return f"{server}.{incarnation}"


def guest_of(group: str) -> tuple[ServerId, int] | None:
    """Say which server's guest a group is for, and of which incarnation; None when it is not a guest's."""
    server, _, incarnation = group.rpartition(".")
    if not server or not incarnation.isdecimal():
        return None
    return ServerId(server), int(incarnation)
