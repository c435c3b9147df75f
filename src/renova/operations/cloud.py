"""What the steps of an operation work with: every part of the controller that touches the world, passed in."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from renova.hosts.agents import Agents
from renova.hosts.registry import Hosts
from renova.model.chance import Chance
from renova.model.clock import Clock
from renova.operations.health import Health
from renova.operations.measures import Measures
from renova.operations.parts.fleet import Fleet
from renova.operations.rounds import Rounds
from renova.operations.submission import Operations
from renova.partners.identity import Identity
from renova.partners.image import Images
from renova.partners.network import Networks
from renova.partners.notifications.outbox import Outbox
from renova.partners.volume import Volumes
from renova.power import NoPower, Power
from renova.settings import ControllerSettings
from renova.store.database import Database
from renova.witness import Witness


@dataclass(frozen=True, slots=True)
class Cloud:
    """The controller's parts. Steps, routes and the monitor get it; nobody keeps a global."""

    settings: ControllerSettings
    clock: Clock
    chance: Chance
    database: Database
    hosts: Hosts
    agents: Agents
    identity: Identity
    images: Images
    networks: Networks
    volumes: Volumes
    operations: Operations
    fleet: Fleet
    rounds: Rounds | None = None  # None: no duties are done
    notices: Outbox | None = None  # None: nobody is told
    health: Health | None = None  # None: nobody asks for it
    power: Power = field(default_factory=NoPower)
    witness: Witness | None = None  # where revoked leases are shown to guards; None: nowhere
    measures: Measures = field(default_factory=Measures)
    # Where it is worked out what would be if hosts died: for minutes, which nobody else is to wait for.
    rehearsing: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "rehearsal"))
