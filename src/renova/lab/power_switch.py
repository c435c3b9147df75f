"""The power switch of a cloud's hosts, as the controller reads it: `python -m renova.lab.power_switch HOME HOST`.

Prints "on" or "off". It stands for a BMC: it speaks of the host's power alone, and is asked even when everything else
is silent. A program of its own, which loads little, since many hosts may be asked about at once.
"""

import sys
from pathlib import Path

from renova.lab import processes, switches
from renova.lab.home import Home
from renova.model.errors import CloudError, NotNow


def powered(home: Home, host: str) -> bool:
    """Say whether a host has power. Raises NotNow when that cannot be known."""
    if processes.recorded(home.pid_file("simulated")) is not None:
        # Without their process there are no simulated hosts: all are off.
        if processes.running(home.pid_file("simulated")) is None:
            return False
        return switches.ask(home.simulated_socket, "power", host) == "on"
    process = processes.recorded(home.pid_file(f"host-{host}"))
    if process is None:
        raise NotNow(f"nothing is known of a host {host}")
    return process.alive()


def main(argv: list[str]) -> int:
    """Answer; exit status 1 with a sentence when there is no answer."""
    try:
        home, host = argv
        answer = powered(Home(Path(home)), host)
    except (CloudError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("on\n" if answer else "off\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
