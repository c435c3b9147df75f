"""Putting guests behind this host's gate before they execute anything; used by the driver of libvirt.

A guest is started paused, put in, seen to be in, and only then let go on. From then on the guard holds it: whenever the
gate closes, and even if it closed a moment ago. Guests stay in until they end; who is in does not change with a restart
of the agent or of libvirtd.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from renova.drivers.guard.enclosure import WORK, Enclosure, guest_group, guest_of
from renova.model.clock import Clock
from renova.model.errors import NotNow
from renova.model.ids import ServerId

log = structlog.get_logger()

LOOK_AGAIN_S = 0.1
LIBVIRT_PIDS = Path("/run/libvirt/qemu")


class GateClosed(NotNow):
    """No guest can start here now: the host has no lease."""


def qemu_of(domain: str, server: ServerId, pids: Path = LIBVIRT_PIDS) -> int:
    """Return the process of a running domain; `NotNow` when it has ended."""
    try:
        pid = int((pids / f"{domain}.pid").read_text())
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, ValueError) as error:
        raise NotNow(f"the QEMU of {server} has ended") from error
    if server.encode() not in arguments:
        raise NotNow(f"the QEMU of {server} has ended, and its pid {pid} is somebody else's")
    return pid


class BehindGate:
    """The agent's side of a gate. Errors of the kernel become `NotNow`: then the guest must not go on."""

    def __init__(self, enclosure: Enclosure, qemu: Callable[[str, ServerId], int] = qemu_of) -> None:
        self._enclosure = enclosure
        self._qemu = qemu

    def make(self) -> None:
        """Have the gate, as it is; one that nobody has made yet is open."""
        with _kernel_errors():
            self._enclosure.make()

    def is_closed(self) -> bool:
        with _kernel_errors():
            return self._enclosure.is_frozen()

    def must_be_open(self) -> None:
        """Raise `GateClosed` if it is not. It may close a moment later; who is in stands still then."""
        if self.is_closed():
            raise GateClosed("this host's gate is closed: it has no lease")

    def admit(self, domain: str, server: ServerId, incarnation: int) -> None:
        """Have the QEMU of this domain in, with all its threads, and see that it is."""
        group, pid = guest_group(server, incarnation), self._qemu(domain, server)
        with _kernel_errors():
            self._enclosure.sweep()
            self._enclosure.admit(group, pid)
            if pid not in self._enclosure.groups().get(group, ()):
                raise NotNow(f"the guest of {server} is not behind this host's gate")

    def kill(self, server: ServerId) -> None:
        """Kill the server's guests, though they stand still: libvirt would wait for long that they end in order."""
        with _kernel_errors():
            for group in self._enclosure.groups():
                if (guest := guest_of(group)) and guest[0] == server:
                    self._enclosure.kill(group)

    async def end_work(self, clock: Clock) -> None:
        """Have nothing left of the programs of an agent that ended before they did: nobody waits for what they make."""
        with _kernel_errors():
            while left := self._enclosure.groups().get(WORK):
                log.warning("program of a former agent killed", pids=list(left))
                self._enclosure.kill(WORK)
                await clock.sleep(LOOK_AGAIN_S)


@contextmanager
def _kernel_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotNow("this host's gate cannot be used", details=str(error)) from error
