"""The machines of a simulated cloud: all hosts and their agents in one process, worked by its switches.

Needs neither root nor QEMU. What the guests are lives in that process's memory; what makes a host known to the
controller, its certificate, is kept in its directory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from renova.lab import processes, switches
from renova.lab.agents import invite
from renova.lab.blueprint import Blueprint
from renova.lab.home import Home
from renova.lab.machines import GiveTokens, Machine
from renova.lab.programs import environment, renova_argv
from renova.lab.progress import Teller
from renova.model.errors import BadSetup, NotNow

_START_S = 30.0
_PER_HOST_S = 0.1


@dataclass(frozen=True)
class SimulatedMachines:
    """The simulated hosts of the cloud in `home`."""

    home: Home
    blueprint: Blueprint

    @property
    def agents_address(self) -> str:
        return "127.0.0.1"

    @property
    def extra_peers(self) -> tuple[str, ...]:
        return ()

    def check(self) -> None:
        """Every machine can have them."""

    def ready(self) -> bool:
        return True

    def prepare(self, teller: Teller) -> None:
        """Nothing has to be there first."""

    def agents_socket(self, port: int) -> None:
        """The controller opens the port itself."""

    def up(self, names: Sequence[str], strangers: Sequence[str], give_tokens: GiveTokens) -> None:
        if self._running() and not strangers:
            for name in names:
                switches.ask(self.home.simulated_socket, "start", name)
            return
        # The process learns of its hosts when it begins, so more hosts mean a new one.
        processes.stop(self.home.pid_file("simulated"))
        for name, token in zip(strangers, give_tokens(len(strangers)) if strangers else [], strict=True):
            invite(self.home.host(name), token)
        self._begin()

    def join_network(self, vni: int, gateway_cidr: str) -> None:
        """Simulated networks carry nothing."""

    def down(self) -> None:
        processes.stop(self.home.pid_file("simulated"))

    def look(self, name: str) -> Machine:
        self.blueprint.number(name)
        if not self._running():
            return Machine(name, powered=False, plugged=True, agent=False)
        powered = switches.ask(self.home.simulated_socket, "power", name) == "on"
        plugged = switches.ask(self.home.simulated_socket, "cable", name) == "plugged"
        return Machine(name, powered=powered, plugged=plugged, agent=powered)

    def ping(self, address: str) -> None:
        """Simulated networks carry nothing."""

    def kill(self, name: str) -> None:
        self._switch("kill", name)

    def cut(self, name: str) -> None:
        self._switch("cut", name)

    def heal(self, name: str) -> None:
        self._switch("heal", name)

    def exec_argv(self, name: str, argv: Sequence[str]) -> list[str]:
        raise BadSetup(f"{name} is simulated: no program can run on it.")

    def _switch(self, verb: str, name: str) -> None:
        self.blueprint.number(name)
        switches.ask(self.home.simulated_socket, verb, name)

    def _running(self) -> bool:
        return processes.running(self.home.pid_file("simulated")) is not None

    def _begin(self) -> None:
        self.home.simulated_socket.unlink(missing_ok=True)
        log = self.home.log_file("simulated")
        argv = renova_argv("simulated-hosts", "--home", self.home.path, "--hosts", str(self.blueprint.hosts))
        if self.blueprint.local_disks:
            argv.append("--local-disks")
        process = processes.start(self.home.pid_file("simulated"), argv, log, environment())
        limit = _START_S + _PER_HOST_S * self.blueprint.hosts
        there = self.home.simulated_socket.exists
        processes.wait_until(lambda: there() or not process.alive(), limit, "the simulated hosts did not begin")
        if not there():
            raise NotNow(f"the simulated hosts did not begin: {processes.last_lines(log)}")
