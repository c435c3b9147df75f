"""A cloud of real hosts, of which one dies with five servers; or nothing controls them for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree

from renova.lab.blueprint import plan
from renova.lab.cloud import LabCloud
from renova.lab.home import Home
from renova.lab.ports import free_ports
from renova.lab.recovery.campaign import ready
from renova.lab.recovery.deaths import KINDS, Deaths
from renova.lab.recovery.lives import Lives
from renova.lab.recovery.outages import Outage, outage
from renova.lab.recovery.servers import Servers
from tests.live.lab import TELLER

AWAY_S = 30.0  # several times as long as the lab's leases


@dataclass(frozen=True)
class Scene:
    """The cloud, up; its servers, up; and who looks on."""

    cloud: LabCloud
    servers: Servers
    lives: Lives

    def dies(self, kind: str, host: str) -> None:
        """Have a host die; all come up elsewhere, without anybody's command, once, and soon enough."""
        death = Deaths(self.cloud, self.servers, self.lives, TELLER).one(KINDS[kind], host)
        assert not death.wrong, death
        assert death.begun_in_time, death
        assert death.gap_s > 0, death

    def uncontrolled(self) -> Outage:
        """Have controllers and database away for a while; what must hold of such hosts' guests does."""
        found = outage(self.cloud, self.servers, self.lives, TELLER, AWAY_S)
        assert not found.wrong, found
        return found


@contextmanager
def scene(home: Path, guest_image: Path, *, armed: bool = False, witness: bool = False) -> Iterator[Scene]:
    """Have it, and down again."""
    lab_home = Home(home)
    copytree(guest_image.parent, lab_home.guest_image, dirs_exist_ok=True)
    [port] = free_ports(1)
    made = plan(None, simulated=False, hosts=3, api_port=port, recovery=True, armed=armed, witness=witness)
    cloud = LabCloud(lab_home, made)
    try:
        with ready(cloud, TELLER) as (servers, lives):
            yield Scene(cloud, servers, lives)
    finally:
        cloud.down(TELLER)
