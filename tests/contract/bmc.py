"""A BMC for tests to switch machines by: `emulated_bmc` in a process of its own, and its machines."""

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from renova.aside import Aside
from renova.lab.bmc import USER, Files
from renova.power.fence_agents import PATH, FenceAgentSwitch
from renova.power.redfish import RedfishSwitch

PASSWORD = "s3cret of the BMC"


@dataclass(frozen=True)
class Bmc:
    """A running BMC, which has one machine from the outset."""

    directory: Path
    port: int
    authority: Path
    system: str

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def add(self) -> str:
        """Have one more machine, switched on; return its system UUID."""
        return _machine(self.directory)

    def process(self, system: str) -> int | None:
        """Return the process that is the machine, while it runs."""
        text = (self.directory / "systems" / system).read_text()
        return int(text) if text and _lives(int(text)) else None

    def lag(self, seconds: float) -> None:
        """Have machines take so long to go off."""
        (self.directory / "lag").write_text(str(seconds))


@contextmanager
def bmc(directory: Path) -> Iterator[Bmc]:
    """Have a BMC that serves until the end of the block."""
    (directory / "systems").mkdir(parents=True)
    system = _machine(directory)
    files = Files(directory / "bmc")
    files.make()
    files.password_file.write_text(PASSWORD)
    argv = [sys.executable, "-m", "tests.contract.emulated_bmc", str(directory)]
    errors = directory / "errors"
    with errors.open("wb") as told, subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=told) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, errors.read_text()
            yield Bmc(directory, int(line), files.authority, system)
        finally:
            process.kill()
            for file in (directory / "systems").iterdir():
                if text := file.read_text():
                    with suppress(ProcessLookupError):
                        os.kill(int(text), signal.SIGKILL)


def _machine(directory: Path) -> str:
    system = str(uuid.uuid4())
    machine = subprocess.Popen(["sleep", "600"])
    (directory / "systems" / system).write_text(str(machine.pid))
    _machines.append(machine)
    return system


_machines: list[subprocess.Popen[bytes]] = []  # so that nobody finds fault with their being left


def _lives(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return False
    return state != "Z"


needs_fence_agents = pytest.mark.skipif(
    shutil.which("fence_redfish", path=PATH) is None,
    reason="fence-agents are not installed: script/bootstrap --dev, as root, installs them",
)


def redfish_switch(bmc: Bmc, **options: str) -> RedfishSwitch:
    """Return a switch of the BMC's first machine."""
    given = {"verify": str(bmc.authority), "system": f"/redfish/v1/Systems/{bmc.system}"} | options
    return RedfishSwitch(bmc.url, USER, given, {"password": PASSWORD}, Aside())


def fence_redfish(bmc: Bmc, secrets: dict[str, str] | None = None, **options: str) -> FenceAgentSwitch:
    """Return a switch of the same machine by fence_redfish."""
    given = {"agent": "fence_redfish", "ipport": str(bmc.port), "ssl_insecure": "1"}
    given |= {"systems_uri": f"/redfish/v1/Systems/{bmc.system}"} | options
    return FenceAgentSwitch("127.0.0.1", USER, given, secrets or {"password": PASSWORD}, Aside())
