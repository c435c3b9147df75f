"""Trying out what a guard rests on, on a host that serves: on a gate of its own, over a process made to be held.

`renova guard test` runs it, in a process of its own. Nothing of the host's gate, its guests or its watchdog is touched.
"""

import contextlib
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from renova.drivers.blocking import in_thread
from renova.drivers.guard import KILL_S
from renova.drivers.guard.enclosure import Enclosure
from renova.drivers.guard.host_gate import LOOK_AGAIN_S, HostGate
from renova.drivers.guard.place import enclosure_at
from renova.drivers.guard.process import PROC
from renova.model.clock import Clock
from renova.model.errors import NotNow

BUSY = ("sh", "-c", "while :; do :; done")  # executes for as long as it may


@dataclass(frozen=True)
class Stage:
    """One thing that was tried: whether it was seen to be so, and after how many seconds."""

    name: str
    seen: bool
    seconds: float


async def try_gate(beside: Path, clock: Clock) -> list[Stage]:
    """Close a gate that is made beside this one over a busy process, open it, close it again, and kill what is behind.

    `NotNow` when no gate can be made there.
    """
    try:
        enclosure = enclosure_at(beside.with_name(f"{beside.name}-trial"))
        enclosure.make()
        busy = await in_thread(None, lambda: subprocess.Popen(enclosure.argv_inside(BUSY)))
    except OSError as error:
        raise NotNow(f"no gate can be tried beside {beside}: {error}") from error
    try:
        return await _stages(HostGate(enclosure, clock), clock)
    finally:
        busy.kill()
        enclosure.thaw()
        await in_thread(None, busy.wait)
        enclosure.remove()


async def _stages(gate: HostGate, clock: Clock) -> list[Stage]:
    async def is_inside() -> bool:
        return not await gate.is_empty()

    async def is_killed() -> bool:
        await gate.kill_all()
        return await gate.is_empty()

    async def seen(look: Callable[[], Awaitable[bool]]) -> bool:
        until = clock.boottime() + KILL_S
        while not await look():
            if clock.boottime() >= until:
                return False
            await clock.sleep(LOOK_AGAIN_S)
        return True

    stages = []
    for name, look in (
        ("a process is behind it", is_inside),
        ("closed, it stands still", gate.close),
        ("opened, it goes on", gate.open),
        ("closed again, it stands still", gate.close),
        ("killed behind it, it is gone", is_killed),
    ):
        began = clock.boottime()
        stages.append(Stage(name, await seen(look), clock.boottime() - began))
    return stages


def guests_outside(enclosure: Enclosure) -> list[int]:
    """Return the pids of QEMUs on this host that are not behind the gate: it would not hold them."""
    behind = {pid for pids in enclosure.groups().values() for pid in pids} if enclosure.exists() else set()
    return sorted(set(_qemus()) - behind)


def _qemus() -> Iterator[int]:
    for process in PROC.iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError):  # it has ended
                if (process / "exe").readlink().name.startswith("qemu-system-"):
                    yield int(process.name)
