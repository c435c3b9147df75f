"""A cloud of the bench's own: in a temporary home, on free ports, and gone when its block ends, whatever ends it."""

import io
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.meter import Meter
from bench.session import Login
from renova.lab import blueprint, processes
from renova.lab.cloud import LabCloud
from renova.lab.home import Home
from renova.lab.progress import Teller
from renova.model.errors import Broken

CONTROLLER = "controller"
HOSTS = "hosts"  # all simulated hosts: they share a process


@dataclass(frozen=True)
class OwnCloud:
    """A lab cloud whose processes are ours to measure, and its hosts' power ours to cut."""

    lab: LabCloud

    def up(self) -> None:
        """Have all of it running."""
        self.lab.up(_silent())

    def down(self) -> None:
        self.lab.down(_silent())

    @property
    def login(self) -> Login:
        home = self.lab.home
        return Login(
            url=f"{self.lab.plan.api_url}/identity/v3",
            user="admin",
            password=home.password("admin").read_text().strip(),
            project="admin",
        )

    @property
    def meter(self) -> Meter:
        """Measure the controller and the simulated hosts, as they run now."""
        return Meter({CONTROLLER: self.pid("controller"), HOSTS: self.pid("simulated")})

    def pid(self, process: str) -> int:
        """Return the pid of `controller`, `simulated` or `agent-HOST`. `Broken` when it does not run."""
        found = processes.running(self.lab.home.pid_file(process))
        if found is None:
            log = processes.last_lines(self.lab.home.log_file(process))
            raise Broken(f"the process {process} of the measured cloud has ended: {log}")
        return found.pid


@contextmanager
def own_cloud(hosts: int, *, simulated: bool = True) -> Iterator[OwnCloud]:
    """Give a new cloud that is still down; its processes are ended and its home is deleted at the end of the block."""
    path = Path(tempfile.mkdtemp(prefix="renova-bench-"))
    plan = blueprint.plan(None, simulated=simulated, hosts=hosts, api_port=_free_ports())
    cloud = OwnCloud(LabCloud(Home(path), plan))
    try:
        yield cloud
    finally:
        if cloud.lab.home.run.exists():
            cloud.down()
        shutil.rmtree(path)


def _silent() -> Teller:
    return Teller(Console(file=io.StringIO()))


def _free_ports() -> int:
    """Return a port that is free, as is the one after it, which the agents' will be."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port: int = first.getsockname()[1]
            try:
                socket.create_server(("127.0.0.1", port + 1)).close()
            except OSError:
                continue
            return port
