"""A cloud of real hosts, of which one dies with five servers; or nothing controls them for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import Any

from renova.cli.hosts import HostsClient
from renova.lab import access
from renova.lab.blueprint import plan
from renova.lab.cloud import LabCloud
from renova.lab.home import Home
from renova.lab.ports import free_ports
from renova.lab.recovery.campaign import ready
from renova.lab.recovery.deaths import KINDS, Deaths
from renova.lab.recovery.lives import Lives
from renova.lab.recovery.outages import Outage, outage
from renova.lab.recovery.servers import Servers
from renova.model.host import ProofKind
from tests.live.lab import TELLER

AWAY_S = 30.0  # several times as long as the lab's leases


@dataclass(frozen=True)
class Scene:
    """The cloud, up; its servers, up; and who looks on."""

    cloud: LabCloud
    servers: Servers
    lives: Lives

    @property
    def client(self) -> HostsClient:
        return HostsClient(access.connect(self.cloud.home, access.ADMIN))

    def dies(self, kind: str, host: str) -> None:
        """Have a host die with its servers; they come up elsewhere, without anybody's command, once, soon enough."""
        death = Deaths(self.cloud, self.servers, self.lives, TELLER).of(KINDS[kind], host)
        assert not death.wrong, death
        assert death.begun_in_time, death
        assert death.gap_s > 0, death

    def dies_with_all(self, kind: str) -> None:
        """Have the host die that has all servers; of them the same holds."""
        (host,) = self.servers.hosts()  # as they were made
        self.dies(kind, host)

    def wire_by_fence_agent(self, host: str) -> None:
        """Have a program of the fence-agents collection switch the host's power, by way of the same BMC."""
        bmc = self.cloud.bmc.wiring(host)
        options = {"agent": "fence_redfish", "ipport": str(self.cloud.plan.bmc_port), "ssl_insecure": "1"}
        options["systems_uri"] = bmc["options"]["system"]
        wiring = {**bmc, "kind": "fence_agent", "address": "127.0.0.1", "options": options}
        self.client.wire_power(host, wiring)

    def proof_of_power(self, host: str) -> dict[str, Any]:
        """Return the newest proof that the host's power was off: its return has written another."""
        return next(each for each in self.client.host(host)["proofs"] if each["kind"] == ProofKind.POWER_OFF)

    def fullest(self) -> str:
        """Name the host with the most servers."""
        return max(sorted(self.servers.hosts()), key=lambda host: len(self.servers.on(host)))

    def uncontrolled(self) -> Outage:
        """Have controllers and database away for a while; what must hold of such hosts' guests does."""
        found = outage(self.cloud, self.servers, self.lives, TELLER, AWAY_S)
        assert not found.wrong, found
        return found


@contextmanager
def scene(home: Path, guest_image: Path, *, armed: bool = False, witness: bool = False) -> Iterator[Scene]:
    """Have it, with all servers on one host, and down again."""
    lab_home = Home(home)
    copytree(guest_image.parent, lab_home.guest_image, dirs_exist_ok=True)
    [port] = free_ports(1)
    made = plan(None, simulated=False, hosts=3, api_port=port, recovery=True, armed=armed, witness=witness)
    cloud = LabCloud(lab_home, made)
    try:
        with ready(cloud, TELLER, cloud.plan.names[0]) as (servers, lives):
            yield Scene(cloud, servers, lives)
    finally:
        cloud.down(TELLER)
