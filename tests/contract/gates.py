"""Gates for the contract tests, and who is behind them: small programs that count for as long as they execute."""

import asyncio
import mmap
import os
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from renova.drivers.guard import Gate
from renova.drivers.guard.enclosure import Enclosure, guest_group
from renova.drivers.guard.host_gate import HostGate
from renova.drivers.guard.place import enclosure_at
from renova.drivers.guard.simulated import SimulatedGate
from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.drivers.hypervisor.simulated.storage import SimulatedStorage
from renova.lab.processes import wait_until
from renova.model.clock import SystemClock
from renova.model.errors import NotNow
from renova.model.ids import ServerId

from .benches import Images, a_guest, until

LIMIT_S = 10.0
OBSERVED_S = 0.1  # for which who stands still is watched
THREADS = 3

# Counts in a shared file, each thread for itself; the guest of a test. It waits between, to spare the machine.
COUNTS = f"""
import mmap, struct, sys, threading, time
with open(sys.argv[1], "r+b") as file:
    counters = mmap.mmap(file.fileno(), {8 * THREADS})
def count(at):
    while True:
        struct.pack_into("Q", counters, at, struct.unpack_from("Q", counters, at)[0] + 1)
        time.sleep(0.001)
for number in range(1, {THREADS}):
    threading.Thread(target=count, args=(8 * number,), daemon=True).start()
count(0)
"""


class SlowTime(SystemClock):
    """A clock at which twenty seconds pass as one: a gate that has a second is not late because the machine is busy."""

    def boottime(self) -> float:
        return super().boottime() / 20


class Inmate(Protocol):
    """One guest behind a gate, or one that is about to come in."""

    server: ServerId

    def executes(self) -> bool:
        """Say whether any of it executes, by watching for a while."""
        ...

    def alive(self) -> bool: ...


class GateBench(Protocol):
    """A host with a gate."""

    gate: Gate

    async def guest(self) -> Inmate:
        """Have a guest of a new server behind the gate, which is open."""
        ...

    async def newcomer(self) -> Callable[[], Awaitable[Inmate]]:
        """Have a guest that passed the agent's last look at the gate; it comes in when it is called."""
        ...

    def tireless(self, inmate: Inmate) -> None:
        """Have the guest own a device of the host's, which works for it whether it executes or not."""
        ...


@dataclass
class Program:
    """A program that counts."""

    server: ServerId
    process: "subprocess.Popen[bytes]"
    counters: mmap.mmap

    def counts(self) -> tuple[int, ...]:
        return struct.unpack(f"{THREADS}Q", self.counters[:])

    def executes(self) -> bool:
        before, until = self.counts(), time.monotonic() + OBSERVED_S
        while time.monotonic() < until:
            if self.counts() != before:
                return True
            time.sleep(0.005)
        return False

    def has_begun(self) -> bool:
        return all(self.counts())

    def alive(self) -> bool:
        return self.process.poll() is None


@dataclass
class RealGateBench:
    """Real processes behind a gate around `enclosure`."""

    enclosure: Enclosure
    _directory: Path
    _programs: list[Program] = field(default_factory=list)
    _tireless: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.enclosure.make()
        self.gate: Gate = HostGate(self.enclosure, SlowTime(), self._tireless.__contains__)

    async def guest(self) -> Program:
        program = self._program(ServerId(str(uuid.uuid4())), list)
        self.enclosure.admit(guest_group(program.server, 1), program.process.pid)
        return self._begun(program)

    async def newcomer(self) -> Callable[[], Awaitable[Program]]:
        program = self._program(ServerId(str(uuid.uuid4())), list)

        async def come_in() -> Program:
            self.enclosure.admit(guest_group(program.server, 1), program.process.pid)
            return program

        return come_in

    def work(self) -> Program:
        """Have a child of the agent that writes disks."""
        return self._begun(self._program(ServerId(""), self.enclosure.argv_inside))

    def tireless(self, inmate: Inmate) -> None:
        assert isinstance(inmate, Program)
        self._tireless.add(inmate.process.pid)

    def _program(self, server: ServerId, inside: Callable[[list[str]], list[str]]) -> Program:
        file = self._directory / uuid.uuid4().hex
        file.write_bytes(bytes(8 * THREADS))
        with file.open("r+b") as opened:
            counters = mmap.mmap(opened.fileno(), 8 * THREADS)
        argv = inside([sys.executable, "-S", "-c", COUNTS, str(file)])
        program = Program(server, subprocess.Popen(argv), counters)
        self._programs.append(program)
        return program

    def _begun(self, program: Program) -> Program:
        if not self.enclosure.is_frozen():
            wait_until(program.has_begun, LIMIT_S, "the program does not count")
        return program

    def end(self) -> None:
        for program in self._programs:
            program.process.kill()
        for group in self.enclosure.groups():
            self.enclosure.kill(group)
        self.enclosure.thaw()
        for program in self._programs:
            program.process.wait(LIMIT_S)


class HeldBack(SystemClock):
    """A clock by which whoever sleeps is held back until told to go on."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        await self.go_on.wait()


@dataclass
class SimulatedInmate:
    server: ServerId
    incarnation: int
    hypervisor: SimulatedHypervisor

    def executes(self) -> bool:
        return self.hypervisor.executes(self.server) == self.incarnation

    def alive(self) -> bool:
        return self.hypervisor.active().get(self.server) == self.incarnation


class SimulatedGateBench:
    """A pretended host."""

    def __init__(self) -> None:
        self._clock = HeldBack()
        self._hypervisor = SimulatedHypervisor(self._clock, SimulatedStorage("here"), start_s=0.1)
        self._simulated = SimulatedGate(self._hypervisor)
        self.gate: Gate = self._simulated

    async def guest(self) -> SimulatedInmate:
        self._clock.go_on.set()
        guest = a_guest(None)
        await self._hypervisor.prepare(guest, Images())
        await self._hypervisor.start(guest)
        return SimulatedInmate(guest.server, 1, self._hypervisor)

    async def newcomer(self) -> Callable[[], Awaitable[SimulatedInmate]]:
        guest = a_guest(None)
        await self._hypervisor.prepare(guest, Images())
        self._clock.go_on.clear()
        starting = asyncio.ensure_future(self._hypervisor.start(guest))
        inmate = SimulatedInmate(guest.server, 1, self._hypervisor)

        async def begun() -> bool:
            return inmate.alive()

        await until(begun, LIMIT_S)

        async def come_in() -> SimulatedInmate:
            self._clock.go_on.set()
            with suppress(NotNow):  # the agent saw that the gate had closed, and killed it again
                await starting
            return inmate

        return come_in

    def tireless(self, inmate: Inmate) -> None:
        self._simulated.tireless.add(inmate.server)


def cgroup_top(kind: str) -> Path | None:
    """Return where the hierarchy that freezes is mounted (`kind`: cgroup or cgroup2); None if we may not use it."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, at, found, options, *_ = line.split(" ")
        if found == kind and (kind == "cgroup2" or "freezer" in options.split(",")) and os.access(at, os.W_OK):
            return Path(at)
    return None


@contextmanager
def an_enclosure(kind: str, directory: Path) -> Iterator[Enclosure]:
    """Have one of this kind: cgroup2, cgroup, or listed; None of it is left behind."""
    top = directory if kind == "listed" else cgroup_top(kind)
    if top is None:
        pytest.skip(f"this machine has no {kind} in which we may freeze processes")
    enclosure = enclosure_at(top / f"renova-test-{uuid.uuid4().hex[:8]}")
    enclosure.make()
    yield enclosure
    enclosure.remove()
