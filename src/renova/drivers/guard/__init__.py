"""What the guard needs of its host: a gate behind which the guests are, and a watchdog behind the gate.

`guard` is the only caller, in a process of its own that must meet a deadline: nothing here may wait for a disk, for
libvirt, for a name, or for a process that is made for it. Both outlive the guard: what it closed stays closed when it
dies, and a watchdog that is no longer petted resets the host. The real and the simulated ones pass the same contract
tests.

Behind the gate is everything of this host that executes for a server or writes what is a server's: every QEMU with all
its threads, every child of the agent that writes disks (image conversion, copies), and any storage daemon whose exports
another host may take over.
"""

from typing import Protocol

from renova.model.host import GuardClass

FREEZE_S = 1.0  # for `Gate.close` to be sure that all stands still
KILL_S = 3.0  # from the first `Gate.kill_all` until nothing may be left


class Gate(Protocol):
    """Holds the guests of this host. Every method may run twice, and says what it found, never what it hoped for.

    A guest that is born while the gate is closed stands still from its first instruction on: the agent starts guests
    paused, sees that they are behind the gate, and only then lets them go. So a start that was checked before the
    deadline executes nothing after it.
    """

    async def close(self) -> bool:
        """Have everything behind the gate stand still; say within `FREEZE_S` whether that is so, by looking.

        By looking: at the state of every thread, for a kernel that counts vhost's threads never reports its cgroup
        frozen. What cannot be seen does not stand still. A guest that works on while it is frozen (one with a
        passed-through device) is killed here, and counts as standing still only when it is gone. Whatever goes wrong
        is False, and is logged; nothing is raised.
        """
        ...

    async def is_closed(self) -> bool:
        """Say whether everything behind the gate stands still now, looked at anew. An open gate is not closed, though
        nothing be behind it; an unreadable one is not either."""
        ...

    async def open(self) -> bool:
        """Have what stands still behind the gate go on; say whether it does. Guests that somebody else has paused stay
        paused."""
        ...

    async def kill_all(self) -> None:
        """Send everything behind the gate the signal that cannot be refused, and return at once. The gate stays as it
        is: what is killed dies though it stands still."""
        ...

    async def is_empty(self) -> bool:
        """Say whether nothing is left behind the gate: no process, not even one that is stuck in the kernel."""
        ...


class Watchdog(Protocol):
    """Resets the host when it is not petted for `timeout_s`.

    It counts from when it is opened; a guard that dies without `disarm` leaves it counting.
    """

    @property
    def timeout_s(self) -> float:
        """Return the timeout as it was read back from the device: not what was asked for."""
        ...

    @property
    def strength(self) -> GuardClass:
        """Return what this watchdog, on this host, makes of the guard, as it was measured: never what was configured.

        A only for one that counts while the CPUs stand, and that has been seen to reset this host since it was
        enrolled; V wherever the host is itself a virtual machine, whatever else is true.
        """
        ...

    @property
    def kind(self) -> str:
        """Name the device for people: "iTCO_wdt", "softdog", "none"."""
        ...

    def pet(self) -> None:
        """Have it count anew. Does not block: nothing may come between the caller's look at the clock and this."""
        ...

    def disarm(self) -> None:
        """Have it count no more, and let go of it. Only for a guard that the operator disarmed, or that ends in order
        with the gate seen to be closed; `NotNow` if the device cannot be stopped (nowayout)."""
        ...

    def reset(self) -> None:
        """Reset the host now, by whatever works without a disk; returns only if nothing does. Then no petting."""
        ...
