"""The rack: the network that joins the lab hosts, in a network namespace of its own.

A bridge with a cable (veth pair) to each host; the rack itself is 172.31.77.254. A process that only sleeps holds
the namespace. The controller, outside, is reached through a socket made inside (`Rack.listen`) that it inherits.
"""

import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from renova.lab import links, processes
from renova.lab.home import Home
from renova.lab.namespaces import apart, in_net_argv, inside_net, require_root
from renova.model.errors import NotFound, NotNow

RACK_ADDRESS = "172.31.77.254"
_PREFIX = 24
_BRIDGE = "rack0"
_T = TypeVar("_T")


def host_address(number: int) -> str:
    """Return the address of host `number` (1 to 253) on the rack's network."""
    return f"172.31.77.{number}"


@dataclass(frozen=True)
class Rack:
    """The rack of one cloud; a new object means the same rack."""

    home: Home

    def up(self) -> None:
        """Have the rack running. Hosts joined to one that died must be brought up again."""
        require_root()
        pid_file = self.home.pid_file("rack")
        process = processes.running(pid_file)
        if process is None:
            log = self.home.log_file("rack")
            process = processes.start(pid_file, ["unshare", "--net", "sleep", "infinity"], log)
        pid = process.pid
        processes.wait_until(lambda: apart(pid, "net"), 10, "the rack's namespace was not made")
        inside_net(pid, lambda: links.lay_bridge(_BRIDGE, RACK_ADDRESS, _PREFIX))

    def down(self) -> None:
        """Take the rack away, with all cables. Fine if it is not there."""
        processes.stop(self.home.pid_file("rack"))

    def running(self) -> bool:
        return processes.running(self.home.pid_file("rack")) is not None

    def listen(self, port: int) -> socket.socket:
        """Return a TCP socket that listens on the rack's address, fit to be inherited by a child process.

        Whoever has it accepts connections from the hosts, though itself outside the rack.
        """
        return self._inside(lambda: _listen(port))

    def exec_argv(self, argv: Sequence[str]) -> list[str]:
        """Say how to run a program with the rack's network, and everything else as here."""
        return in_net_argv(self._pid(), argv)

    def exec(self, argv: Sequence[str], limit: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a program with the rack's network, such as `ping`; its exit status is for the caller to judge.

        Raises subprocess.TimeoutExpired after `limit` seconds.
        """
        return subprocess.run(self.exec_argv(argv), capture_output=True, text=True, timeout=limit, check=False)

    def join(self, host_pid: int, name: str, number: int) -> None:
        """Run a new cable to the host whose first process is `host_pid`: its eth0, with its address.

        A cable that was cut stays cut.
        """
        self._inside(lambda: links.run_cable(_port(name), _BRIDGE, host_pid))
        inside_net(host_pid, lambda: links.address_host(host_address(number), _PREFIX))
        if not self.home.host(name).unplugged.exists():
            self._set_port(name, "up")

    def leave(self, name: str) -> None:
        """Take the host's cable away. Fine if it has none."""
        if self.running():
            self._inside(lambda: links.remove_link(_port(name)))

    def cut(self, name: str) -> None:
        """Unplug the host's cable: a partition. It stays cut over a restart of the host, until healed."""
        self._marker(name).touch()
        self._set_port(name, "down")

    def heal(self, name: str) -> None:
        """Plug the host's cable in again."""
        self._marker(name).unlink(missing_ok=True)
        self._set_port(name, "up")

    def deafen(self, number: int) -> None:
        """Have a host hear nothing of what the controllers send, while they hear it; until `hears`."""
        self._inside(lambda: links.lose_all_to(host_address(number)))

    def hears(self, number: int) -> None:
        """Have a host hear the controllers again."""
        self._inside(lambda: links.lose_nothing_to(host_address(number)))

    def tenant(self, vni: int, gateway_cidr: str, peers: Sequence[str]) -> None:
        """Have the rack's own end of a tenant network, with the gateway's address (such as 10.0.0.1/24).

        So whoever runs in the rack reaches the guests. `peers` are the underlay addresses of all hosts, and
        replace those told before; hosts must have the rack's address among theirs.
        """
        self._inside(lambda: links.lay_tenant(vni, RACK_ADDRESS, _BRIDGE, gateway_cidr, set(peers)))

    def _marker(self, name: str) -> Path:
        directories = self.home.host(name)
        if not directories.path.exists():
            raise NotFound(f"there is no lab host {name}")
        return directories.unplugged

    def _set_port(self, name: str, state: str) -> None:
        # A host that is off has no cable to set; `join` looks at the marker.
        self._inside(lambda: links.set_link(_port(name), state) if links.has_link(_port(name)) else None)

    def _pid(self) -> int:
        process = processes.running(self.home.pid_file("rack"))
        if process is None:
            raise NotNow("the rack is not up")
        return process.pid

    def _inside(self, act: Callable[[], _T]) -> _T:
        return inside_net(self._pid(), act)


def _port(host: str) -> str:
    """Name the rack's end of a host's cable; an interface name has at most 15 characters."""
    return f"to-{host}"


def _listen(port: int) -> socket.socket:
    listener = socket.create_server((RACK_ADDRESS, port), backlog=128)
    listener.set_inheritable(True)
    return listener
