"""What the cloud in a home is to be: how many hosts, real or simulated, on which ports. Kept in cloud.json.

It may grow; it never becomes another cloud, since its database and its hosts' disks stay.
"""

import msgspec

from renova.lab.home import Home
from renova.lab.ports import free_ports
from renova.model.errors import BadSetup

DEFAULT_HOSTS = 3
DEFAULT_API_PORT = 8774
MOST_REAL_HOSTS = 252  # addresses of the rack's network
STORAGE_HOST = "storage1"  # holds the volumes
_STORAGE_NUMBER = 253
MOST_SIMULATED_HOSTS = 10_000


class Blueprint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A cloud as it is to be."""

    simulated: bool
    hosts: int
    api_port: int
    agents_port: int  # of the simulated hosts; real ones have a port of their own in the rack
    local_disks: bool = False  # each host has an instances directory of its own, instead of one for all
    controllers: int = 1  # several have PostgreSQL for their database, and a load balancer has the API's port
    ports: tuple[int, ...] = ()  # with several: those of two database servers, then two for each controller
    recovery: bool = False  # servers of dead hosts come back by themselves, instead of by hand
    hang_after: float = 0.0  # seconds without an answer of its agent, after which a guest hangs; 0: it never does
    armed: bool = False  # guards stop the hosts' guests where a lease ends; that proves them dead, and no power is read
    witness: bool = False  # armed hosts have one: they go on while nothing controls them
    usual_lease: bool = False  # times of the lease are a controller's defaults, instead of ones soon over
    bmc_port: int = 0  # of the BMC that switches the hosts' power; 0: there is none
    furnished: bool = False  # images, flavors, network and key were made; what users delete afterwards stays deleted

    @property
    def names(self) -> list[str]:
        """Name the hosts that run guests."""
        return [f"host{number}" for number in range(1, self.hosts + 1)]

    @property
    def every_name(self) -> list[str]:
        return [*self.names, STORAGE_HOST]

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def controller_names(self) -> list[str]:
        if self.controllers == 1:
            return ["controller"]
        return [f"controller{number}" for number in range(1, self.controllers + 1)]

    @property
    def database_ports(self) -> tuple[int, int]:
        """The ports of the primary and its standby, where there are several controllers."""
        return self.ports[0], self.ports[1]

    def controller_port(self, controller: str) -> int:
        """Return the port at which a controller itself serves the API."""
        return self.api_port if self.controllers == 1 else self.ports[2 + 2 * self.controller_names.index(controller)]

    def controller_agents_port(self, controller: str) -> int:
        """Return the port at which a controller awaits agents."""
        number = self.controller_names.index(controller)
        if self.controllers == 1:
            return self.agents_port
        # In the rack nobody else has ports.
        return self.ports[3 + 2 * number] if self.simulated else self.agents_port + number

    def number(self, host: str) -> int:
        """Return a host's number, from 1 on. Raises BadSetup when there is no such host."""
        if host == STORAGE_HOST:
            return _STORAGE_NUMBER
        try:
            return self.names.index(host) + 1
        except ValueError:
            known = f"{_listed(self.names)} and {STORAGE_HOST}"
            raise BadSetup(f"There is no host {host} here; there are {known}.") from None


def read(home: Home) -> Blueprint | None:
    """Return the blueprint of the home's cloud; None when none was ever made."""
    try:
        return msgspec.json.decode(home.cloud_json.read_bytes(), type=Blueprint)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise BadSetup(f"{home.cloud_json} is damaged ({error}). Remove {home.path} to begin a new cloud.") from error


def write(home: Home, blueprint: Blueprint) -> None:
    new = home.cloud_json.with_suffix(".new")
    new.write_bytes(msgspec.json.format(msgspec.json.encode(blueprint), indent=2) + b"\n")
    new.replace(home.cloud_json)


def plan(
    known: Blueprint | None,
    *,
    simulated: bool | None,
    hosts: int | None,
    api_port: int | None,
    local_disks: bool | None = None,
    controllers: int | None = None,
    recovery: bool | None = None,
    armed: bool | None = None,
    witness: bool | None = None,
) -> Blueprint:
    """Return what is to be, given what is. None stands for: as it is, else the usual.

    Raises BadSetup when the cloud would have to become another one.
    """
    if simulated is None:
        simulated = known is not None and known.simulated
    most = MOST_SIMULATED_HOSTS if simulated else MOST_REAL_HOSTS
    if hosts is not None and not 1 <= hosts <= most:
        raise BadSetup(f"A {_kind(simulated)} cloud has 1 to {most} hosts, not {hosts}.")
    if simulated and armed:
        raise BadSetup("Simulated hosts of the lab have no gate to close: they cannot be armed. Choose real ones.")
    if known is None and witness and not armed:
        raise BadSetup("A witness is for hosts that are armed: choose --armed, too.")
    if known is None:
        port = api_port or DEFAULT_API_PORT
        many = controllers or 1
        return Blueprint(
            simulated=simulated,
            hosts=hosts or DEFAULT_HOSTS,
            api_port=port,
            agents_port=port + 1,
            local_disks=bool(local_disks),
            controllers=many,
            ports=tuple(free_ports(2 + 2 * many)) if many > 1 else (),
            recovery=bool(recovery),
            armed=bool(armed),
            witness=bool(witness),
        )
    if known.simulated != simulated:
        raise BadSetup(
            f"The cloud here is a {_kind(known.simulated)} one. Choose another home for a {_kind(simulated)} cloud "
            "(RENOVA_HOME), or remove this one."
        )
    if local_disks is not None and known.local_disks != local_disks:
        raise BadSetup(
            "Whether the hosts of a cloud share their instances directory is settled when it is made. Choose another "
            "home (RENOVA_HOME), or remove this one."
        )
    if armed not in (None, known.armed) or witness not in (None, known.witness):
        raise BadSetup(
            "Whether the hosts of a cloud are armed, and have a witness, is settled when it is made. Choose another "
            "home (RENOVA_HOME), or remove this one."
        )
    if controllers is not None and known.controllers != controllers:
        raise BadSetup(
            f"How many controllers a cloud has is settled when it is made: {known.controllers} here. Choose another "
            "home (RENOVA_HOME), or remove this one."
        )
    if hosts is not None and hosts < known.hosts:
        raise BadSetup(
            f"The cloud here has {known.hosts} hosts and cannot shrink. Choose another home (RENOVA_HOME), or remove "
            "this one."
        )
    moved = api_port is not None and api_port != known.api_port
    return msgspec.structs.replace(
        known,
        hosts=hosts or known.hosts,
        recovery=known.recovery if recovery is None else recovery,
        api_port=api_port or known.api_port,
        agents_port=(api_port or 0) + 1 if moved else known.agents_port,
    )


def _kind(simulated: bool) -> str:
    return "simulated" if simulated else "real"


def _listed(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 5 else f"{names[0]} to {names[-1]}"
