"""The lab's controller: one process, with its settings below the home."""

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
    """The controller of the cloud in `home`; a new object means the same one."""

    home: Home
    blueprint: Blueprint
    machines: Machines

    def running(self) -> bool:
        return processes.running(self.home.pid_file("controller")) is not None

    def answers(self) -> bool:
        """Say whether the API answers."""
        try:
            with urllib.request.urlopen(self.blueprint.api_url, timeout=_ANSWER_S) as answer:  # noqa: S310  (http)
                return bool(answer.status == HTTPStatus.OK)
        except (URLError, TimeoutError, ConnectionError):
            return False

    def up(self) -> bool:
        """Have a controller that answers, with the settings it should have; say whether one was started."""
        file, wanted = self.home.controller_settings, settings_text(self._settings())
        if self.running():
            if file.exists() and file.read_text() == wanted and self.answers():
                return False
            self.down()
        self._require_port(self.blueprint.api_port)
        write_settings(file, self._settings())
        self._start()
        return True

    def down(self) -> None:
        processes.stop(self.home.pid_file("controller"))

    def _start(self) -> None:
        argv = renova_argv("controller", "--config", self.home.controller_settings)
        descriptor = self.machines.agents_socket()
        if descriptor is None:
            self._require_port(self.blueprint.agents_port)
        try:
            inherited = () if descriptor is None else (descriptor,)
            argv += [] if descriptor is None else ["--agents-fd", str(descriptor)]
            log = self.home.log_file("controller")
            process = processes.start(self.home.pid_file("controller"), argv, log, environment(), inherited)
        finally:
            if descriptor is not None:
                socket.close(descriptor)
        what = f"the API at {self.blueprint.api_url} does not answer"
        processes.wait_until(lambda: self.answers() or not process.alive(), _START_S, what)
        if not process.alive():
            raise NotNow(f"the controller ended: {processes.last_lines(log)}")

    def _settings(self) -> dict[str, object]:
        # By this very program; what it says counts, so that a host's death can be proven.
        switch = [sys.executable, "-m", "renova.lab.power_switch", str(self.home.path)]
        address = self.machines.agents_address
        return {
            "state_dir": str(self.home.controller),
            "api_port": self.blueprint.api_port,
            "agents_address": address,
            "agents_port": self.blueprint.agents_port,
            "agents_names": [address],
            "extra_peers": list(self.machines.extra_peers),
            "power": f"command:{shlex.join(switch)}",
            "lease": lease_times(self.blueprint.hosts),
        }

    def _require_port(self, port: int) -> None:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError as error:
            raise BadSetup(
                f"Port {port} of 127.0.0.1 cannot be opened ({error.strerror}): free it, or choose another with "
                "--api-port."
            ) from error


def lease_times(hosts: int) -> dict[str, float]:
    """Return times of the lease (settings.LeaseTimes) with which a host is soon seen down; for a file as database.

    Many hosts renew less often: on one machine their renewals would leave no time for anything else.
    """
    renew = max(1.0, hosts / 250)
    ttl = 3 * renew + 2
    return {"renew": renew, "ttl": ttl, "margin": 11.5 + ttl / 40, "failover": 0.0}
