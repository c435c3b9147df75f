"""The BMC of a lab's hosts: a process (`lab.redfish_bmc`) that speaks Redfish, and how each host is wired to it."""

import importlib.util
import secrets
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renova.cli.hosts import HostsClient
from renova.hosts.authority import Authority
from renova.lab import processes
from renova.lab.blueprint import Blueprint
from renova.lab.home import Home
from renova.lab.programs import environment
from renova.lab.system_uuid import system_uuid
from renova.model.clock import SystemClock
from renova.model.errors import BadSetup, NotNow

USER = "fencer"
_START_S = 30.0


@dataclass(frozen=True)
class Files:
    """What a BMC keeps, below a directory of its own."""

    directory: Path

    @property
    def certificate(self) -> Path:
        return self.directory / "certificate.pem"

    @property
    def key(self) -> Path:
        return self.directory / "key.pem"

    @property
    def authority(self) -> Path:
        """Who vouches for its certificate."""
        return self.directory / "ca" / "ca.pem"

    @property
    def users(self) -> Path:
        return self.directory / "users"

    @property
    def password_file(self) -> Path:
        return self.directory / "password"

    def password(self) -> str:
        return self.password_file.read_text()

    def make(self) -> None:
        """Have a certificate, and a password that nobody else reads."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        identity = Authority(self.directory / "ca", SystemClock()).serve_as(["127.0.0.1"])
        shutil.copy(identity.certificate, self.certificate)
        shutil.copy(identity.key, self.key)
        if not self.password_file.exists():
            self.password_file.touch(mode=0o600)
            self.password_file.write_text(secrets.token_urlsafe(24))


@dataclass(frozen=True)
class LabBmc:
    """The BMC of the cloud in `home`; a new object means the same one."""

    home: Home
    blueprint: Blueprint

    def check(self) -> None:
        """Raise BadSetup where what emulates it is not installed."""
        if importlib.util.find_spec("sushy_tools") is None:
            raise BadSetup("A BMC for the lab's hosts needs sushy-tools: run script/bootstrap.")

    def up(self) -> None:
        """Have it running."""
        if processes.running(self.home.pid_file("bmc")) is not None:
            return
        self.check()
        Files(self.home.bmc).make()
        log = self.home.log_file("bmc")
        argv = [sys.executable, "-m", "renova.lab.redfish_bmc", str(self.home.path)]
        process = processes.start(self.home.pid_file("bmc"), argv, log, environment())
        there = f"{self.blueprint.bmc_port}"
        processes.wait_until(
            lambda: there in log.read_text().splitlines() or not process.alive(), _START_S, "the BMC does not begin"
        )
        if not process.alive():
            raise NotNow(f"the BMC ended: {processes.last_lines(log)}")

    def down(self) -> None:
        processes.stop(self.home.pid_file("bmc"))

    def wire(self, client: HostsClient) -> None:
        """Have it switch the power of every host."""
        for name in self.blueprint.every_name:
            client.wire_power(name, self.wiring(name))

    def wiring(self, name: str) -> dict[str, Any]:
        """Return what a host's power is switched by."""
        files = Files(self.home.bmc)
        system = system_uuid(self.home.host(name))
        return {
            "kind": "redfish",
            "address": f"https://127.0.0.1:{self.blueprint.bmc_port}",
            "username": USER,
            "options": {"system": f"/redfish/v1/Systems/{system}", "verify": str(files.authority)},
            "secrets": {"password": files.password()},
        }
