"""What strikes a cloud of the lab: processes killed with -9 or frozen, hosts without power, cables cut, fail-overs.

The host that holds the volumes is struck by kinds of its own, so that it has its turn however many others there are.

A fault begins, lasts and is repaired; while it lasts nothing else strikes the same part. Kinds are dealt like cards, so
that each has its turn; which part is struck, when and for how long, chance says.
"""

import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from renova.lab import processes
from renova.lab.blueprint import STORAGE_HOST
from renova.lab.cloud import LabCloud
from renova.lab.controller import LabController
from renova.lab.postgresql import DATABASE as OURS
from renova.lab.real_machines import RealMachines
from renova.model.errors import CloudError, NotNow

_AT_ONCE = 3  # faults that last at the same time
_BETWEEN_S = (1.0, 9.0)
_REPAIR_S = 180.0
_NOTED_S = 10.0
_RETRY_S = 1.0

DATABASE = "database"


@dataclass(frozen=True)
class Fault:
    """One fault: `begin` has it strike, `end` repairs it and may be repeated; it lasts so many seconds."""

    parts: tuple[str, ...]
    lasts: tuple[float, float]
    begin: Callable[[], None]
    end: Callable[[], None]


# How often a kind lies in the pack, and what makes a fault of it.
Card: TypeAlias = tuple[int, Callable[[Random], Fault]]


@dataclass(frozen=True)
class Struck:
    """A fault that fired, with its times on the monotonic clock."""

    kind: str
    parts: tuple[str, ...]
    began: float
    ended: float

    def told(self, since: float) -> str:
        """Say what it was and when, in seconds after `since`."""
        return f"{self.kind} ({', '.join(self.parts)}) from {self.began - since:.1f} to {self.ended - since:.1f}"


class Kinds:
    """Every kind of fault there is, and how often it lies in the pack."""

    def __init__(self, cloud: LabCloud) -> None:
        assert isinstance(cloud.machines, RealMachines)
        self._machines = cloud.machines
        self._home = cloud.home
        self._control = cloud.control
        hosts, storage = cloud.plan.names, [STORAGE_HOST]
        self.pack: dict[str, Card] = {
            "controller killed": (3, self._controller_killed),
            "controller frozen": (1, self._controller_frozen),
            "all controllers killed": (1, self._controllers_killed),
            "agent killed": (2, _at(hosts, self._agent_killed)),
            "agent frozen": (1, _at(hosts, self._agent_frozen)),
            "libvirtd killed": (2, _at(hosts, self._libvirtd_killed)),
            "database killed": (2, self._database_killed),
            "database frozen": (1, self._database_frozen),
            "database failed over": (2, self._database_failed_over),
            "standby killed": (1, self._standby_killed),
            "host without power": (2, _at(hosts, self._host_without_power)),
            "cable cut": (1, _at(hosts, self._cable_cut)),
            "host not heard": (1, _at(hosts, self._host_not_heard)),
            "host hears nothing": (1, _at(hosts, self._host_hears_nothing)),
            "storage host without power": (1, _at(storage, self._storage_without_power)),
            "storage agent killed": (1, _at(storage, self._agent_killed)),
            "storage agent frozen": (1, _at(storage, self._agent_frozen)),
            "storage daemons killed": (1, _at(storage, self._daemons_killed)),
            "storage cable cut": (2, _at(storage, self._cable_cut)),
        }

    def _controller_killed(self, chance: Random) -> Fault:
        controller = chance.choice(self._control.controllers)
        return Fault((controller.name,), (0.5, 8), lambda: _process(controller).kill(), lambda: self._start(controller))

    def _controllers_killed(self, _chance: Random) -> Fault:
        every = self._control.controllers

        def begin() -> None:
            for controller in every:
                _process(controller).kill()

        def end() -> None:
            for controller in every:
                self._start(controller)

        return Fault(tuple(each.name for each in every), (0.5, 4), begin, end)

    def _controller_frozen(self, chance: Random) -> Fault:
        controller = chance.choice(self._control.controllers)
        frozen: list[processes.Process] = []

        def begin() -> None:
            frozen.append(_process(controller))
            frozen[0].send(signal.SIGSTOP)

        def end() -> None:
            for process in frozen:
                process.send(signal.SIGCONT)

        return Fault((controller.name,), (1, 15), begin, end)

    def _start(self, controller: LabController) -> None:
        controller.up(self._control.database.url())

    def _agent_killed(self, host: str) -> Fault:
        return Fault((host,), (0.5, 8), lambda: self._agent(host).kill(), lambda: self._power_on(host))

    def _agent_frozen(self, host: str) -> Fault:
        agent: list[processes.Process] = []

        def begin() -> None:
            agent.append(self._agent(host))
            agent[0].send(signal.SIGSTOP)

        def end() -> None:
            for process in agent:
                process.send(signal.SIGCONT)
                # The nsenter that waits for it stops with it, but does not go on with it.
                waits = processes.parent(process)
                if waits is not None:
                    waits.send(signal.SIGCONT)

        return Fault((host,), (1, 15), begin, end)

    def _agent(self, host: str) -> processes.Process:
        return _living(processes.running(self._home.pid_file(f"agent-{host}")), f"agent of {host}")

    def _libvirtd_killed(self, host: str) -> Fault:

        def begin() -> None:
            if not self._killed_inside(host, "/run/libvirt/libvirtd.pid"):
                raise NotNow(f"libvirtd of {host} does not run")

        return Fault((host,), (0, 6), begin, lambda: self._power_on(host))

    def _daemons_killed(self, host: str) -> Fault:
        """Kill what serves volumes; the agent begins it anew, and whatever is written meanwhile waits."""
        daemons = self._home.host(host).storage_daemons

        def begin() -> None:
            if not self._killed_inside(host, f"{daemons}/*.pid"):
                raise NotNow(f"no storage daemon of {host} runs")

        return Fault((host,), (0, 6), begin, lambda: self._power_on(host))

    def _killed_inside(self, host: str, pid_files: str) -> bool:
        """Kill the processes of a host that these files name, by their pids inside; say whether there were any."""
        each = f"for pid in $(cat {pid_files}); do kill -9 $pid && killed=1; done; [ $killed ]"
        argv = self._machines.exec_argv(host, ["sh", "-c", each])
        return subprocess.run(argv, capture_output=True, timeout=_REPAIR_S, check=False).returncode == 0

    def _storage_without_power(self, host: str) -> Fault:
        return Fault((host,), (3, 25), lambda: self._machines.kill(host), lambda: self._power_on(host))

    def _host_without_power(self, host: str) -> Fault:
        # Long enough for its servers to be evacuated; never two at a time, or there is nowhere to go.
        parts = (host, "power")
        return Fault(parts, (15, 45), lambda: self._machines.kill(host), lambda: self._power_on(host))

    def _power_on(self, host: str) -> None:
        self._machines.up([host], [], lambda _count: [])

    def _cable_cut(self, host: str) -> Fault:
        return Fault((host,), (1, 25), lambda: self._machines.cut(host), lambda: self._machines.heal(host))

    def _host_not_heard(self, host: str) -> Fault:
        return Fault((host,), (1, 25), lambda: self._machines.mute(host), lambda: self._machines.heal(host))

    def _host_hears_nothing(self, host: str) -> Fault:
        return Fault((host,), (1, 25), lambda: self._machines.deafen(host), lambda: self._machines.heal(host))

    def _database_killed(self, _chance: Random) -> Fault:
        pair = self._control.database
        return Fault((DATABASE,), (0, 3), pair.kill_primary, pair.up)

    def _database_frozen(self, _chance: Random) -> Fault:
        server = self._control.database.primary
        return Fault((DATABASE,), (1, 10), server.freeze, server.thaw)

    def _database_failed_over(self, _chance: Random) -> Fault:
        pair = self._control.database

        def rejoin() -> None:
            """Have two again, and a controller know it: until then another fail-over counts as a loss of commits."""
            pair.up()
            question = "SELECT synchronous FROM cluster"
            what = "no controller has noted that the database is replicated synchronously again"
            processes.wait_until(lambda: pair.primary.ask(question, OURS) == "t", _NOTED_S, what, pause=0.2)

        return Fault((DATABASE,), (1, 5), pair.fail_over, rejoin)

    def _standby_killed(self, _chance: Random) -> Fault:
        pair = self._control.database
        return Fault((DATABASE,), (0, 3), pair.kill_standby, pair.up)


class Faults:
    """Faults that strike one after the other, several at a time, until `stop`, which repairs all.

    `between` are the shortest and longest time from one to the next, `retry` that after a repair failed, in seconds.
    """

    def __init__(
        self,
        pack: Mapping[str, Card],
        seed: int,
        say: Callable[[str], None],
        between: tuple[float, float] = _BETWEEN_S,
        retry: float = _RETRY_S,
    ) -> None:
        self._pack = pack
        self._between = between
        self._retry = retry
        self._chance = Random(seed)  # noqa: S311  (no secret)
        self._say = say
        self._cards: list[str] = []
        self._ending = threading.Event()
        self._change = threading.Condition()
        self._taken: set[str] = set()
        self._lasting = 0
        self.struck: list[Struck] = []
        self.unrepaired: list[str] = []
        self._dealer = threading.Thread(target=self._deal, name="faults", daemon=True)
        self._threads: list[threading.Thread] = []

    @property
    def fired(self) -> dict[str, int]:
        """How often each kind fired."""
        fired = Counter(each.kind for each in self.struck)
        return {kind: fired[kind] for kind in self._pack}

    def start(self) -> None:
        self._dealer.start()

    def stop(self) -> None:
        """Have no more faults strike, and wait until those that last are repaired."""
        self._ending.set()
        with self._change:
            self._change.notify_all()
        self._dealer.join()
        for thread in self._threads:
            thread.join()

    def _deal(self) -> None:
        while not self._ending.wait(self._chance.uniform(*self._between)):
            kind = self._next_kind()
            fault = self._pack[kind][1](self._chance)
            lasts = self._chance.uniform(*fault.lasts)
            with self._change:
                self._change.wait_for(lambda fault=fault: self._ending.is_set() or self._may_strike(fault))  # type: ignore[misc]
                if self._ending.is_set():
                    return
                self._taken |= set(fault.parts)
                self._lasting += 1
            thread = threading.Thread(target=self._strike, args=(kind, fault, lasts), name=kind, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _next_kind(self) -> str:
        if not self._cards:
            self._cards = [kind for kind, (count, _) in self._pack.items() for _ in range(count)]
            self._chance.shuffle(self._cards)
        return self._cards.pop()

    def _may_strike(self, fault: Fault) -> bool:
        return self._lasting < _AT_ONCE and not self._taken & set(fault.parts)

    def _strike(self, kind: str, fault: Fault, lasts: float) -> None:
        where = ", ".join(fault.parts)
        began = time.monotonic()
        try:
            fault.begin()
            self._say(f"{kind}: {where}, for {lasts:.1f} s")
            self._ending.wait(lasts)
            fired = True
        except CloudError as error:
            self._say(f"{kind}: {where} did not fire: {error}")
            fired = False
        repaired = self._repair(kind, fault)
        with self._change:
            if fired:
                self.struck.append(Struck(kind, fault.parts, began, time.monotonic()))
            self._lasting -= 1
            if repaired:
                self._taken -= set(fault.parts)
            self._change.notify_all()

    def _repair(self, kind: str, fault: Fault) -> bool:
        deadline = time.monotonic() + _REPAIR_S
        while True:
            try:
                fault.end()
            except CloudError as error:  # what it needs may lie in another fault
                if time.monotonic() > deadline:
                    self.unrepaired.append(f"{kind} at {', '.join(fault.parts)} could not be repaired: {error}")
                    return False
                time.sleep(self._retry)
            else:
                return True


def _at(hosts: Sequence[str], strike: Callable[[str], Fault]) -> Callable[[Random], Fault]:
    return lambda chance: strike(chance.choice(hosts))


def _process(controller: LabController) -> processes.Process:
    return _living(controller.process, controller.name)


def _living(process: processes.Process | None, what: str) -> processes.Process:
    if process is None:
        raise NotNow(f"{what} does not run")
    return process
