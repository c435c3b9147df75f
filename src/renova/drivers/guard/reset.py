"""Resetting this host at once, by means that need no disk."""

import ctypes
import os
from pathlib import Path

SYSRQ = Path("/proc/sysrq-trigger")
FIRST_PID_NAMESPACE = 0xEFFFFFFC  # its inode, the same on every Linux
RESTART = 0x01234567  # of reboot(2)


class HostReset:
    """A way to reset this host, laid ready when it is made: when it is wanted, no file may have to be opened.

    In a pid namespace of its own (a host of the lab, a container) it ends that, and leaves the machine below alone.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._sysrq: int | None = None
        if Path("/proc/self/ns/pid").stat().st_ino == FIRST_PID_NAMESPACE:
            self._sysrq = os.open(SYSRQ, os.O_WRONLY | os.O_CLOEXEC)

    def now(self) -> None:
        """Reset the host, without syncing; returns only if that failed. Needs root."""
        if self._sysrq is not None:
            os.write(self._sysrq, b"b")
        # The kernel takes a restart inside a namespace for the end of its first process.
        self._libc.reboot(RESTART)
