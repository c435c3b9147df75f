"""The lab's BMC over processes as machines: `python -m tests.contract.emulated_bmc DIRECTORY`.

Each file in DIRECTORY/systems, named by a UUID, is a machine; it is on while the process runs whose id is in it. A file
`lag` has machines take so many seconds to go off.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from renova.lab.bmc import Files
from renova.lab.redfish_bmc import serve


class ProcessMachines:
    """Processes as machines."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._going: set[str] = set()  # machines on their way off

    def systems(self) -> list[str]:
        return sorted(path.name for path in (self._directory / "systems").iterdir())

    def state(self, system: str) -> str:
        if system in self._going:
            return "PoweringOff"
        return "On" if self._file(system).read_text() else "Off"

    def switch_on(self, system: str) -> None:
        machine = subprocess.Popen(["sleep", "600"])
        self._children[machine.pid] = machine
        self._file(system).write_text(str(machine.pid))

    def switch_off(self, system: str) -> None:
        self._going.add(system)
        lag = self._directory / "lag"
        time.sleep(float(lag.read_text()) if lag.exists() else 0)
        machine = int(self._file(system).read_text())
        os.kill(machine, signal.SIGKILL)
        if machine in self._children:
            self._children.pop(machine).wait()
        self._file(system).write_text("")
        self._going.discard(system)

    def _file(self, system: str) -> Path:
        return self._directory / "systems" / system


if __name__ == "__main__":
    serve(ProcessMachines(Path(sys.argv[1])), Files(Path(sys.argv[1]) / "bmc"), 0)
