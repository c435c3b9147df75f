"""The agent of a lab host, and its guard: the programs of any host, run inside this one's namespaces."""

import os
from dataclasses import dataclass
from pathlib import Path

from renova.lab import processes
from renova.lab.home import HostHome
from renova.lab.hosts import Host
from renova.lab.namespaces import apart
from renova.lab.programs import environment, renova_argv, write_settings
from renova.lab.system_uuid import system_uuid
from renova.model.errors import NotNow

_START_S = 20.0


def invite(directories: HostHome, token: str) -> None:
    """Leave a join token where a host's agent looks for it."""
    directories.path.mkdir(parents=True, exist_ok=True)
    directories.join_token.touch(mode=0o600)
    directories.join_token.write_text(token)


@dataclass(frozen=True)
class LabAgent:
    """The agent of one lab host, its guard, and who reads the witness for that; a new object means the same ones."""

    host: Host
    controllers: tuple[str, ...] = ()  # where they are; without, where the join token says
    armed: bool = False
    witness: bool = False

    @property
    def pid_file(self) -> Path:
        return self._pid_file("agent")

    @property
    def log(self) -> Path:
        return self.host.home.log_file(f"agent-{self.host.name}")

    def running(self) -> bool:
        return processes.running(self.pid_file) is not None

    def up(self) -> None:
        """Have all running; their host is on. Whether they reached the controller, the controller knows."""
        settings = self.host.directories.agent_settings
        if any(processes.running(self._pid_file(name)) is None for name in self._programs):
            write_settings(settings, self._settings())
        for name in self._programs:
            pid_file = self._pid_file(name)
            process = processes.running(pid_file)
            if process is None:
                # In a session of its own: its group can then be told to end, which that of nsenter would not pass on.
                argv = self.host.exec_argv(["setsid", *renova_argv(name, "--config", settings)])
                process = processes.start(
                    pid_file, argv, self.host.home.log_file(f"{name}-{self.host.name}"), environment()
                )
            self._record_inner(process, pid_file, name)

    def down(self) -> None:
        for name in reversed(self._programs):
            processes.stop(self._pid_file(name))

    @property
    def _programs(self) -> tuple[str, ...]:
        return ("guard", "witness", "agent") if self.witness else ("guard", "agent")

    def _pid_file(self, name: str) -> Path:
        return self.host.home.pid_file(f"{name}-{self.host.name}")

    def _settings(self) -> dict[str, object]:
        settings: dict[str, object] = {
            "name": self.host.name,
            "state_dir": str(self.host.directories.agent),
            "instances_dir": str(self.host.instances),
            "join_token_file": str(self.host.directories.join_token),
            "underlay_device": "eth0",
            "role": "storage" if self.host.storage else "compute",
            "volumes_dir": str(self.host.directories.volumes),
            "nbd_tls_dir": str(self.host.directories.nbd_tls),
            "system_uuid": system_uuid(self.host.directories),
            "guard_armed": self.armed,
        }
        if self.witness:
            settings["witness"] = str(self.host.home.witness)
        if self.controllers:
            settings["controllers"] = list(self.controllers)
        return settings

    def _record_inner(self, process: processes.Process, pid_file: Path, name: str) -> None:
        """Have the pid file name the process itself, not the `nsenter` that waits for it: so kills reach it."""
        if apart(process.pid, "pid"):
            return
        what = f"the {name} of {self.host.name} did not start"
        processes.wait_until(lambda: not process.alive() or _leads(processes.first_child(process)), _START_S, what)
        inner = processes.first_child(process)
        if inner is None:
            log = self.host.home.log_file(f"{name}-{self.host.name}")
            raise NotNow(f"{what}: {processes.last_lines(log)}")
        processes.record(pid_file, inner)


def _leads(process: processes.Process | None) -> bool:
    """Say whether a process leads its group already."""
    try:
        return process is not None and os.getpgid(process.pid) == process.pid
    except ProcessLookupError:
        return False
