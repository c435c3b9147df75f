"""A controller of the lab: one process, with its settings below the home."""

import shlex
import socket
import sys
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from urllib.error import URLError

from renova.lab import processes
from renova.lab.blueprint import Blueprint
from renova.lab.home import Home
from renova.lab.machines import Machines
from renova.lab.programs import environment, renova_argv, settings_text, write_settings
from renova.model.errors import BadSetup, NotNow

_START_S = 60.0
_ANSWER_S = 5.0


@dataclass(frozen=True)
class LabController:
    """The controller called `name` of the cloud in `home`; a new object means the same one."""

    home: Home
    blueprint: Blueprint
    machines: Machines
    name: str

    @property
    def url(self) -> str:
        """Where this very controller serves the API."""
        return f"http://127.0.0.1:{self.blueprint.controller_port(self.name)}"

    @property
    def process(self) -> processes.Process | None:
        """The process that runs; None if none does."""
        return processes.running(self.home.pid_file(self.name))

    def answers(self) -> bool:
        """Say whether it serves the API."""
        return answers(self.url)

    def up(self, database: str) -> bool:
        """Have a controller that answers, with the settings it should have; say whether one was started.

        `database` is the address of its database; "" is a file of its own.
        """
        state = self.home.controller_state(self.name)
        file, settings = state / "controller.toml", self._settings(database)
        if self.process is not None:
            if file.exists() and file.read_text() == settings_text(settings) and self.answers():
                return False
            self.down()
        require_port(self.blueprint.controller_port(self.name))
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_settings(file, settings)
        argv = renova_argv("controller", "--config", file)
        port = self.blueprint.controller_agents_port(self.name)
        descriptor = self.machines.agents_socket(port)
        if descriptor is None:
            require_port(port)
        try:
            inherited = () if descriptor is None else (descriptor,)
            argv += [] if descriptor is None else ["--agents-fd", str(descriptor)]
            log = self.home.log_file(self.name)
            process = processes.start(self.home.pid_file(self.name), argv, log, environment(), inherited)
        finally:
            if descriptor is not None:
                socket.close(descriptor)
        what = f"the API at {self.url} does not answer"
        processes.wait_until(lambda: self.answers() or not process.alive(), _START_S, what)
        if not process.alive():
            raise NotNow(f"the controller ended: {processes.last_lines(log)}")
        return True

    def down(self) -> None:
        processes.stop(self.home.pid_file(self.name))

    def _settings(self, database: str) -> dict[str, object]:
        address = self.machines.agents_address
        settings: dict[str, object] = {
            "name": self.name,
            "state_dir": str(self.home.controller_state(self.name)),
            "api_port": self.blueprint.controller_port(self.name),
            "agents_address": address,
            "agents_port": self.blueprint.controller_agents_port(self.name),
            "agents_names": [address],
            "extra_peers": list(self.machines.extra_peers),
            "recovery": {"automatic": self.blueprint.recovery, "hang_after": self.blueprint.hang_after},
            "brake": {"share": 1.0},
        }
        if self.blueprint.armed:
            # Hosts of the lab have no watchdog, and the machine that they are on is often a virtual one.
            settings |= {"accept_weak_guard": True, "accept_virtual_guard": True}
            if self.blueprint.witness:
                settings["witness"] = str(self.home.witness)
        else:
            # By this very program; what it says counts, so that a host's death can be proven.
            switch = [sys.executable, "-m", "renova.lab.power_switch", str(self.home.path)]
            settings["power"] = f"command:{shlex.join(switch)}"
        if not self.blueprint.usual_lease:
            settings["lease"] = lease_times(self.blueprint.hosts, failover=5.0 if database else 0.0)
        if database:
            settings["database"] = database
            settings["shared_dir"] = str(self.home.controller)
            settings["drain_wait"] = 1.5  # the load balancer asks twice a second
            settings["public_url"] = self.blueprint.api_url
        return settings


def answers(url: str) -> bool:
    """Say whether an API answers."""
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_S) as answer:  # noqa: S310  (http)
            return bool(answer.status == HTTPStatus.OK)
    except (URLError, TimeoutError, ConnectionError):
        return False


def require_port(port: int) -> None:
    """Raise BadSetup unless a port can be opened."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise BadSetup(
            f"Port {port} of 127.0.0.1 cannot be opened ({error.strerror}): free it, or choose another with --api-port."
        ) from error


def lease_times(hosts: int, failover: float = 0.0) -> dict[str, float]:
    """Return times of the lease (settings.LeaseTimes) with which a host is soon seen down.

    Many hosts renew less often: on one machine their renewals would leave no time for anything else. `failover` is
    how long the database may be away, in seconds; a file never is.
    """
    renew = max(1.0, hosts / 250)
    ttl = 3 * renew + 2 + failover
    return {"renew": renew, "ttl": ttl, "margin": 11.5 + ttl / 40, "failover": failover}
