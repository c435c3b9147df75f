"""A whole cloud on this machine: brought up, mended, looked at, hurt and taken down. What it keeps lies in its home.

`up` starts only what is down and loses nothing, so it is also how a half-dead cloud is mended.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from keystoneauth1 import exceptions as keystone
from openstack import exceptions as sdk

from renova.cli.hosts import HostsClient
from renova.lab import access, blueprint, furniture, processes
from renova.lab.blueprint import STORAGE_HOST, Blueprint
from renova.lab.bmc import LabBmc
from renova.lab.control_plane import ControlPlane
from renova.lab.home import Home
from renova.lab.machines import Machine, Machines
from renova.lab.ports import free_ports
from renova.lab.progress import Teller
from renova.lab.real_machines import RealMachines
from renova.lab.simulated_machines import SimulatedMachines
from renova.model.errors import BadSetup, CloudError, NotNow

_UP_S = 60.0
_UP_PER_HOST_S = 0.1


class ProcessView(msgspec.Struct, frozen=True):
    """One of the cloud's own processes."""

    name: str
    pid: int | None
    running: bool


class HostView(msgspec.Struct, frozen=True):
    """One host, as its owner sees it and as the controller does."""

    name: str
    power: str  # on, off
    cable: str  # plugged, unplugged
    agent: bool
    state: str | None  # with the controller: enrolled, up, returning, dead; None when it does not answer
    up: bool | None


class Status(msgspec.Struct, frozen=True):
    """How a cloud stands."""

    home: str
    simulated: bool
    api: str
    answers: bool
    processes: list[ProcessView]
    hosts: list[HostView]


def known_in(home: Home) -> Blueprint | None:
    """Return what the cloud in `home` is; None where none was made. Raises BadSetup when one runs that nobody knows."""
    known = blueprint.read(home)
    if known is None:
        found = {file.stem: processes.running(file) for file in sorted(home.run.glob("*.pid"))}
        running = [f"{name} (pid {process.pid})" for name, process in found.items() if process is not None]
        if running:
            raise BadSetup(
                f"{home.cloud_json} is gone, but processes of this cloud run: {', '.join(running)}. Put the file "
                "back; or end them by their pids, and begin a new cloud in another home (RENOVA_HOME)."
            )
    return known


class LabCloud:
    """The cloud in `home`, as it is to be."""

    def __init__(self, home: Home, plan: Blueprint) -> None:
        self.home = home
        self.plan = plan
        self.machines: Machines = SimulatedMachines(home, plan) if plan.simulated else RealMachines(home, plan)
        self.control = ControlPlane(home, plan, self.machines)
        self.bmc = LabBmc(home, plan)

    @classmethod
    def found(cls, home: Home) -> "LabCloud":
        """Return the cloud that was made in `home`. Raises BadSetup when there is none."""
        known = known_in(home)
        if known is None:
            raise BadSetup(f"There is no cloud in {home.path}: make one with `renova lab up`, or set RENOVA_HOME.")
        return cls(home, known)

    def up(self, teller: Teller) -> None:
        """Have everything running and plugged in, and wait until every host is up."""
        self.machines.check()
        self.control.check()
        self.home.make()
        with self._alone():
            # First of all: whatever is started from here on can be found, and stopped, by its home.
            blueprint.write(self.home, self.plan)
            if not self.machines.ready():
                self.control.down_controllers()
            self.machines.prepare(teller)
            with teller.stage("controllers" if self.control.several else "controller") as stage:
                started = self.control.up()
                access.write_access(self.home, self.plan)
                state = "answers" if started else "is up"
                who = (
                    f"load balancer before {self.plan.controllers} controllers"
                    if self.control.several
                    else "controller"
                )
                stage.done(f"{who} {state} at {self.plan.api_url}")
            if self.plan.bmc_port:
                self.bmc.up()
            with teller.stage(f"{self.plan.hosts} hosts") as stage, _told_errors():
                admin = access.connect(self.home, access.ADMIN)
                self._have_hosts(HostsClient(admin), self.plan.every_name, stage.doing)
                stage.done(f"{_count(self.plan.hosts)} up: {_some(self.plan.names)}, and {STORAGE_HOST} for volumes")
            with teller.stage("images, flavors, network, key") as stage, _told_errors():
                self._furnish(admin)
                stage.done("images, flavors, network and key are there")

    def _have_hosts(self, client: HostsClient, names: Sequence[str], doing: Any) -> None:
        wanted = set(names)
        known = {host["name"]: host for host in client.hosts()}
        # One that was only enrolled may have died before it had its certificate on disk, and can be enrolled again.
        strangers = [name for name in names if name not in known or known[name]["state"] == "enrolled"]
        doing("booting")
        self.machines.up(names, strangers, client.join_tokens)
        for name in names:
            if name in known and not self.machines.look(name).plugged:
                self.machines.heal(name)

        def all_up() -> bool:
            up = {host["name"] for host in client.hosts() if host["up"]} & wanted
            doing(f"{len(up)} of {len(names)} up")
            return len(up) == len(names)

        limit = _UP_S + _UP_PER_HOST_S * len(names)
        try:
            processes.wait_until(all_up, limit, "not all hosts came up", pause=0.05 + 0.001 * self.plan.hosts)
        except NotNow as error:
            down = sorted(wanted - {host["name"] for host in client.hosts() if host["up"]})
            raise NotNow(f"{error}: {_some(down)} did not; their agents' logs are in {self.home.logs}") from None

    def _furnish(self, admin: Any) -> None:
        if not self.plan.furnished:
            demo = access.connect(self.home, access.DEMO)
            furniture.furnish(self.home, admin, demo, simulated=self.plan.simulated)
            self.plan = msgspec.structs.replace(self.plan, furnished=True)
            blueprint.write(self.home, self.plan)
        ends = furniture.tunnel_and_gateway(admin)
        if ends is not None:
            self.machines.join_network(*ends)

    def down(self, teller: Teller) -> None:
        """Stop everything; data stays. For guests it is a power cut."""
        self.machines.check()
        with self._alone():
            with teller.stage("stopping the controller") as stage:
                # First: nobody is left who would see hosts fall silent, and conclude something.
                self.control.down()
                self.bmc.down()
                stage.done("controllers are stopped" if self.control.several else "controller is stopped")
            with teller.stage("stopping the hosts") as stage:
                self.machines.down()
                stage.done("hosts are off")

    def wire_power(self, teller: Teller) -> None:
        """Have a BMC that really switches the hosts' power, and each host wired to it: silent ones are switched off."""
        self.machines.check()
        self.bmc.check()
        with self._alone(), teller.stage("BMC") as stage, _told_errors():
            if not self.plan.bmc_port:
                [port] = free_ports(1)
                self.plan = msgspec.structs.replace(self.plan, bmc_port=port)
                blueprint.write(self.home, self.plan)
                self.bmc = LabBmc(self.home, self.plan)
            self.bmc.up()
            stage.doing("wiring")
            self.bmc.wire(HostsClient(access.connect(self.home, access.ADMIN)))
            stage.done(f"a BMC at https://127.0.0.1:{self.plan.bmc_port} switches the power of every host")

    def start(self, name: str) -> None:
        """Power a host on, with its agent."""
        self._check(name)
        with self._alone(), _told_errors():
            self.machines.up([name], [], lambda _count: [])

    def kill(self, name: str) -> None:
        """Cut a host's power."""
        self._check(name)
        with self._alone():
            self.machines.kill(name)

    def cut(self, name: str) -> None:
        """Unplug a host's network: it runs on, unseen."""
        self._check(name)
        self.machines.cut(name)

    def heal(self, name: str) -> None:
        """Plug a host's network in again."""
        self._check(name)
        self.machines.heal(name)

    def exec_argv(self, name: str, argv: Sequence[str]) -> list[str]:
        """Say how to run a program on a host."""
        self._check(name)
        return self.machines.exec_argv(name, argv)

    def status(self) -> Status:
        """Look at everything, without waiting for anything."""
        answers = self.control.answers()
        known = self._known_hosts() if answers else {}
        return Status(
            home=str(self.home.path),
            simulated=self.plan.simulated,
            api=self.plan.api_url,
            answers=answers,
            processes=[self._process(file.stem) for file in sorted(self.home.run.glob("*.pid"))],
            hosts=[_host_view(self.machines.look(name), known.get(name)) for name in self.plan.every_name],
        )

    def _known_hosts(self) -> dict[str, dict[str, Any]]:
        with _told_errors():
            client = HostsClient(access.connect(self.home, access.ADMIN))
            return {host["name"]: host for host in client.hosts()}

    def _process(self, name: str) -> ProcessView:
        process = processes.recorded(self.home.pid_file(name))
        alive = process is not None and process.alive()
        return ProcessView(name, process.pid if process else None, alive)

    def _check(self, name: str) -> None:
        self.plan.number(name)
        self.machines.check()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one command at a time change what runs."""
        self.home.path.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


@contextmanager
def _told_errors() -> Iterator[None]:
    """Make an error of the client's one of ours."""
    try:
        yield
    except CloudError:
        raise
    except (sdk.SDKException, keystone.ClientException) as error:
        raise NotNow(f"the cloud's API: {error}") from error


def _host_view(machine: Machine, known: dict[str, Any] | None) -> HostView:
    return HostView(
        name=machine.name,
        power="on" if machine.powered else "off",
        cable="plugged" if machine.plugged else "unplugged",
        agent=machine.agent,
        state=known["state"] if known else None,
        up=known["up"] if known else None,
    )


def _count(hosts: int) -> str:
    return "1 host is" if hosts == 1 else f"{hosts} hosts are"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 5 else f"{names[0]} to {names[-1]}"
