"""A BMC that speaks Redfish by TLS and really switches machines: sushy-tools' emulator over what is given to it.

`python -m renova.lab.redfish_bmc HOME` is that of a cloud's hosts: it cuts their power and gives it back as `renova lab
kill` and `start` do. Tests have one over processes.
"""

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import bcrypt
from sushy_tools.emulator import main as emulator
from sushy_tools.emulator.resources.systems.base import AbstractSystemsDriver
from sushy_tools.error import FishyError, NotSupportedError
from werkzeug.serving import make_server

from renova.lab import blueprint, power_switch
from renova.lab.bmc import USER, Files
from renova.lab.home import Home
from renova.lab.programs import environment, renova_argv
from renova.lab.system_uuid import system_uuid
from renova.model.errors import NotFound, NotNow


class Machines(Protocol):
    """What a BMC switches, by system UUIDs."""

    def systems(self) -> list[str]: ...

    def state(self, system: str) -> str:
        """Return On, Off, or what is between, as Redfish has it; `NotNow` where it is not known."""
        ...

    def switch_off(self, system: str) -> None: ...

    def switch_on(self, system: str) -> None: ...


class Systems(AbstractSystemsDriver):  # type: ignore[misc]  # the library has no types
    """Shows them to the emulator. What is asked for is done soon, and the answer does not wait for it."""

    driver = "<machines>"

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    @property
    def systems(self) -> list[str]:
        return self._machines.systems()

    def uuid(self, identity: str) -> str:
        return identity

    def name(self, identity: str) -> str:
        return identity

    def get_power_state(self, identity: str) -> str:
        try:
            return self._machines.state(identity)
        except (NotFound, NotNow) as error:
            raise FishyError(str(error)) from error

    def set_power_state(self, identity: str, state: str) -> None:
        running = self.get_power_state(identity) == "On"
        if state == "ForceOff" and running:
            self._soon(self._machines.switch_off, identity)
        elif state in ("On", "ForceOn") and not running:
            self._soon(self._machines.switch_on, identity)

    def get_boot_device(self, identity: str) -> str:
        return "Hdd"

    def set_boot_device(self, identity: str, boot_source: str) -> None:
        raise NotSupportedError("these machines boot from what they have")

    def get_nics(self, identity: str) -> list[Any]:
        return []

    @staticmethod
    def _soon(change: Callable[[str], None], identity: str) -> None:
        threading.Thread(target=change, args=(identity,)).start()


def serve(machines: Machines, files: Files, port: int) -> None:
    """Serve until the process is ended; prints the port when it listens."""
    digest = bcrypt.hashpw(files.password().encode(), bcrypt.gensalt(4)).decode()
    files.users.write_text(f"{USER}:{digest}\n")
    emulator.Application.systems = Systems(machines)
    emulator.app.configure(extra_config={"SUSHY_EMULATOR_AUTH_FILE": str(files.users)})
    tls = (str(files.certificate), str(files.key))
    server = make_server("127.0.0.1", port, emulator.app, threaded=True, ssl_context=tls)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


@dataclass(frozen=True)
class LabMachines:
    """The hosts of the cloud in `home`."""

    home: Home

    def systems(self) -> list[str]:
        return list(self._names())

    def state(self, system: str) -> str:
        return "On" if power_switch.powered(self.home, self._name(system)) else "Off"

    def switch_off(self, system: str) -> None:
        self._lab("kill", system)

    def switch_on(self, system: str) -> None:
        self._lab("start", system)

    def _lab(self, command: str, system: str) -> None:
        # A program of its own: what it starts is not to end with the BMC.
        argv = renova_argv("lab", command, self._name(system), "--home", self.home.path)
        subprocess.run(argv, env=environment(), check=False)

    def _names(self) -> dict[str, str]:
        known = blueprint.read(self.home)
        names = known.every_name if known is not None else []
        return {system_uuid(self.home.host(name)): name for name in names}

    def _name(self, system: str) -> str:
        name = self._names().get(system)
        if name is None:
            raise NotFound(f"there is no system {system}")
        return name


def main() -> None:
    home = Home(Path(sys.argv[1]))
    known = blueprint.read(home)
    assert known is not None, "started by the lab"
    serve(LabMachines(home), Files(home.bmc), known.bmc_port)


if __name__ == "__main__":
    main()
