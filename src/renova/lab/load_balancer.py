"""HAProxy before several controllers of the lab: one address, whoever of them lives.

docs/operate.md shows this configuration.
"""

import subprocess
from dataclasses import dataclass
from shutil import which

from renova.lab import processes
from renova.lab.blueprint import Blueprint
from renova.lab.controller import require_port
from renova.lab.home import Home
from renova.model.errors import BadSetup, NotNow

_START_S = 10.0

CONFIGURATION = """\
global
    maxconn 2000

defaults
    mode http
    maxconn 2000
    timeout connect 1s
    timeout client 10m
    timeout server 10m
    timeout http-request 30s
    timeout check 2s
    # Another controller is asked when one does not take the connection; or ends without an answer, if nothing was
    # to be changed. Whether a change was made, only the client can find out.
    retries 3
    retry-on conn-failure empty-response
    option redispatch 1

frontend api
    bind {address}
    http-request disable-l7-retry unless METH_GET or METH_HEAD
    default_backend controllers

backend controllers
    balance roundrobin
    option forwardfor
    option httpchk GET /healthcheck?drain=404
    # One that was told to end gets nothing new, and ends what it has begun.
    http-check disable-on-404
    default-server check inter 500ms fastinter 100ms downinter 100ms fall 2 rise 1 on-marked-down shutdown-sessions
    # What a controller would say: none answers, or none has its database.
    http-error status 503 content-type text/plain string "No controller can answer now." hdr Retry-After 1
{servers}
"""


@dataclass(frozen=True)
class LoadBalancer:
    """What has the API's port where there are several controllers; a new object means the same one."""

    home: Home
    blueprint: Blueprint

    def check(self) -> None:
        """Raise BadSetup where there is no HAProxy."""
        if which("haproxy") is None:
            raise BadSetup("Several controllers need HAProxy before them: run script/bootstrap --dev as root")

    def up(self) -> None:
        """Have it running, whether or not a controller does."""
        text = self._configuration()
        running = processes.running(self.home.pid_file("load-balancer")) is not None
        if running and self.home.load_balancer.read_text() == text:
            return
        self.down()
        require_port(self.blueprint.api_port)
        self.home.load_balancer.write_text(text)
        argv = ["haproxy", "-db", "-f", str(self.home.load_balancer)]
        checked = subprocess.run([*argv, "-c"], capture_output=True, text=True, check=False)
        if checked.returncode != 0:
            raise BadSetup(f"HAProxy does not take its configuration: {checked.stderr.strip()}")
        log = self.home.log_file("load-balancer")
        process = processes.start(self.home.pid_file("load-balancer"), argv, log)
        processes.wait_until(
            lambda: self._listens() or not process.alive(), _START_S, "HAProxy does not open the API's port"
        )
        if not process.alive():
            raise NotNow(f"HAProxy ended: {processes.last_lines(log)}")

    def down(self) -> None:
        processes.stop(self.home.pid_file("load-balancer"))

    def _listens(self) -> bool:
        try:
            require_port(self.blueprint.api_port)
        except BadSetup:
            return True
        return False

    def _configuration(self) -> str:
        names = self.blueprint.controller_names
        servers = [f"    server {name} 127.0.0.1:{self.blueprint.controller_port(name)}" for name in names]
        return CONFIGURATION.format(address=f"127.0.0.1:{self.blueprint.api_port}", servers="\n".join(servers))
