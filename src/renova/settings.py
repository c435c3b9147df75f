"""Settings: one frozen record a process, read and checked once when it starts, then passed on.

Values come from a TOML file (`--config`, or RENOVA_CONFIG) and are overridden by environment variables
RENOVA_<NAME>. An unknown name, a wrong type or an unsafe combination is refused (`BadSetup`) with what to do.
"""

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from renova.model.errors import BadSetup
from renova.model.host import SHORTEST_RENEWAL_S

# Upper limits, too: they keep out what is no number or has no end.
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
StageSeconds = Annotated[float, Meta(gt=0, le=86_400)]
Multiplier = Annotated[float, Meta(ge=-1_000_000, le=1_000_000)]
Port = Annotated[int, Meta(ge=1, le=65_535)]
ProofName = Literal["power_off", "lease_revoked", "operator", "storage_cut", "heartbeat_age"]
LogLevel = Annotated[str, Meta(pattern="(?i)^(debug|info|warning|error|critical)$")]


# Seconds that a guard may need to look at its clock, to freeze all guests, and to see those killed that do not freeze.
STOP_S = 0.25 + 1.0 + 3.0


def outlasts(ttl: float, margin: float, stops_in: float, drift: float) -> bool:
    """Say whether who waits for ttl + margin finds the guests stopped, of a host that takes so long from its deadline.

    All in seconds, by clocks of which each is wrong by `drift` at most.
    """
    return (ttl + margin) * (1 - drift) >= (ttl + stops_in) * (1 + drift)


class LeaseTimes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Times of the host lease, in seconds. The inequalities keep a revoked host's guests from running on.

    A lower `ttl` finds dead hosts sooner; `margin` must outlast what a host needs to stop, at `drift`.
    """

    renew: Annotated[float, Meta(ge=SHORTEST_RENEWAL_S, le=3600)] = 2.0
    ttl: Seconds = 20.0
    margin: Seconds = 12.0
    stop_budget: Seconds = 11.0
    drift: Annotated[float, Meta(ge=0, lt=0.5)] = 0.01
    failover: Seconds = 13.0  # longest time that the database may be away while it fails over; 0 with SQLite

    @property
    def suspect_after(self) -> float:
        """Seconds without a renewal after which a host is no longer taken for up."""
        return 2 * self.renew + 1

    def check(self) -> None:
        if self.ttl < 3 * self.renew + 1 + self.failover:
            raise BadSetup(
                f"Setting lease.ttl = {self.ttl:g} is too short: it must be at least 3 x renew + 1 + failover "
                f"= {3 * self.renew + 1 + self.failover:g} seconds."
            )
        if self.stop_budget < STOP_S:
            raise BadSetup(
                f"Setting lease.stop_budget = {self.stop_budget:g} is too short: a guard needs up to {STOP_S:g} "
                "seconds to see its deadline, freeze the guests and kill them."
            )
        if not outlasts(self.ttl, self.margin, self.stop_budget, self.drift):
            raise BadSetup(
                f"Setting lease.margin = {self.margin:g} is unsafe: (ttl + margin)(1 - drift) must be at least "
                f"(ttl + stop_budget)(1 + drift). Raise lease.margin."
            )


class BrakeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many hosts may be taken for dead at once, without anybody's word; more, and an operator is waited for."""

    share: Annotated[float, Meta(gt=0, le=1)] = 0.3  # of all hosts; 1: all of them, there is no brake
    hosts: Annotated[int, Meta(ge=1, le=100_000)] = 2  # that may be in small clouds, though not more than half of them
    window: Annotated[float, Meta(gt=0, le=86_400)] = 600.0  # seconds that are "at once", and for which a release holds


class DutyTimes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often a controller looks over what may have drifted apart, in seconds; 0: only when somebody asks."""

    power_states: Seconds = 600.0
    allocations: Seconds = 600.0
    port_bindings: Seconds = 600.0
    attachments: Seconds = 3600.0
    evacuations: Seconds = 300.0
    orphans: Seconds = 600.0
    images: Seconds = 2400.0
    image_grace: Annotated[float, Meta(ge=60, le=31_536_000)] = 86_400.0  # how long unused images stay cached


class SchedulerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How hosts are chosen; names and meanings are Nova's (its section filter_scheduler).

    A multiplier says how much a wish counts; a negative one turns it around. Metadata of an aggregate overrides the
    multipliers and `max_instances_per_host` for its hosts.
    """

    ram_weight_multiplier: Multiplier = 1.0
    cpu_weight_multiplier: Multiplier = 1.0
    disk_weight_multiplier: Multiplier = 1.0
    soft_affinity_weight_multiplier: Multiplier = 1.0
    soft_anti_affinity_weight_multiplier: Multiplier = 1.0
    max_instances_per_host: Annotated[int, Meta(ge=0)] = 0  # 0: as many as fit
    isolated_hosts: tuple[str, ...] = ()  # names of hosts for the isolated images
    isolated_images: tuple[str, ...] = ()  # ids of images whose servers run on the isolated hosts only
    restrict_isolated_hosts_to_isolated_images: bool = True


class RecoverySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether and how servers of dead hosts come back, and how long each stage is expected to take, in seconds."""

    automatic: bool = True  # whether servers of hosts that are proven dead are evacuated without anybody's command
    forced_down: bool = False  # also those of hosts that are forced down: who does that usually evacuates them
    again: Annotated[float, Meta(gt=0, le=86_400)] = 30.0  # until what could not be recovered is tried again
    restarts: Annotated[int, Meta(ge=0, le=1000)] = 3  # how often a guest that crashes is started again; 0: never
    restart_pause: Seconds = 10.0  # before the second time; doubling
    restart_window: Seconds = 3600.0  # without a crash, after which they are counted anew
    hang_after: Seconds = 0.0  # without an answer of a guest's agent, after which the guest counts as hung; 0: never
    default: Literal["recover", "leave", "stop"] = "recover"  # what becomes of servers of which nobody says it
    at_once: Annotated[int, Meta(ge=1, le=100_000)] = 2000  # servers that are brought back at the same time
    at_once_per_host: Annotated[int, Meta(ge=1, le=10_000)] = 4  # of these, on one destination
    detect: Seconds = 5.0  # until a host that died is suspected
    prove: Seconds = 30.0  # until its death is proven
    plan: Seconds = 2.0
    start: StageSeconds = 5.0  # until a guest is started on the disks it has
    start_anew: StageSeconds = 15.0  # the same where its disks are made anew
    up: Seconds = 30.0  # from there until it is up


class MaintenanceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How hosts are emptied at which somebody is to work."""

    at_once: Annotated[int, Meta(ge=1, le=1000)] = 2  # servers that leave a host at the same time
    # How a guest that runs leaves: with its memory, and where that cannot be, or has failed, cold; or only one of them.
    leave: Literal["live, else cold", "live", "cold"] = "live, else cold"
    again: Annotated[float, Meta(gt=0, le=86_400)] = 30.0  # seconds until one that could not leave is tried again


class ControllerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a controller needs to know."""

    name: str = ""  # of this controller, for people; "" is the machine's host name
    state_dir: str = "/var/lib/renova"
    shared_dir: str = ""  # what all controllers of a cloud have in common: images, authority; "" is state_dir
    drain_wait: Seconds = 5.0  # for which one that is told to end serves on, while its health check says so
    database: str = ""  # postgresql://user:password@host/name, or a SQLite file; "" is renova.db in state_dir
    api_address: str = "127.0.0.1"
    api_port: Port = 8774
    public_url: str = ""  # how clients reach the API; "" is http://api_address:api_port
    agents_address: str = "127.0.0.1"
    agents_port: Port = 8775
    agents_names: tuple[str, ...] = ()  # further names and addresses by which agents reach this controller
    extra_peers: tuple[str, ...] = ()  # further ends of the hosts' tunnels, such as a gateway's
    region: str = "RegionOne"
    lease: LeaseTimes = LeaseTimes()
    scheduler: SchedulerSettings = SchedulerSettings()
    duties: DutyTimes = DutyTimes()
    recovery: RecoverySettings = RecoverySettings()
    brake: BrakeSettings = BrakeSettings()
    maintenance: MaintenanceSettings = MaintenanceSettings()
    accepted_proofs: tuple[ProofName, ...] = ("power_off", "lease_revoked", "operator")  # of a host's death
    accept_weak_guard: bool = False  # whether a revoked lease proves death, too, where the guard is of class B or C
    accept_virtual_guard: bool = False  # likewise class V, where clocks can be stopped from outside: for labs only
    masakari_notifications_vouch: bool = False  # whether Masakari's notifications count as an operator's word
    heartbeat_age: Seconds = 60.0  # of silence that counts as death, only where accepted_proofs has "heartbeat_age"
    fencing: bool = True  # whether silent hosts that have a power controller are switched off, to prove them dead
    fence_after: Seconds = 20.0  # of silence, before that
    fence_isolated: bool = False  # also those that others see alive, whose guests nothing has stopped
    witness: str = ""  # a directory on storage that the armed hosts share, where revoked leases are shown; "": none
    power: str = ""  # how to read and switch hosts' power: "" (not at all) or "command:<command>"
    policy_file: str = ""
    soft_reboot_wait: Seconds = 120.0  # seconds a guest is given to restart by itself
    live_migration_wait: Seconds = 800.0  # for a guest's memory to be copied, for each GiB of it (Nova's)
    shutdown_wait: Seconds = 60.0  # seconds a guest is given to power off before it is forced
    orphan_guests: Literal["report", "destroy"] = "report"  # what becomes of guests of no known server
    start_wait: Annotated[float, Meta(gt=0, le=86_400)] = 600.0  # seconds a host is given to have a guest running
    storage_wait: Seconds = 300.0  # for which what needs a volume waits for its storage host, before it gives up
    evacuate_keeping_disks_only: bool = False  # refuse to evacuate servers whose local disks would be lost
    detach_wait: Seconds = 20.0  # seconds a guest is given to let go of a device, each time it is asked
    detach_attempts: Annotated[int, Meta(ge=1, le=100)] = 8
    create_attempts: Annotated[int, Meta(ge=1, le=100)] = 3
    resume_guests_on_boot: bool = True  # whether servers that were active start again when their host has booted
    token_hours: Annotated[float, Meta(gt=0, le=100_000)] = 24.0
    notifications: Annotated[str, Meta(pattern="^(none|log|https?://.+)$")] = "none"  # where events are told
    notification_format: Literal["versioned", "legacy", "both"] = "versioned"
    notification_token: str = ""  # sent as "Authorization: Bearer"
    notification_timeout: Annotated[float, Meta(gt=0, le=300)] = 10.0  # seconds for a receiver to answer
    notification_hours: Annotated[float, Meta(gt=0, le=1_000)] = 24.0  # for which events wait for a receiver
    notification_count: Annotated[int, Meta(ge=1, le=100_000_000)] = 100_000  # of events that wait, at most
    admin_password: str = ""  # only for the first start; "" generates one into admin-password in state_dir
    log_level: LogLevel = "info"

    def check(self) -> None:
        _check_witness(self.witness)
        if "://" in self.database and not self.several:
            raise BadSetup("Setting database names neither a file nor a postgresql:// address.")
        for name in ("api_address", "agents_address", "agents_names"):
            given: str | tuple[str, ...] = getattr(self, name)
            for address in given if isinstance(given, tuple) else (given,):
                if not _may_be_host(address):
                    raise BadSetup(f"Setting {name} = {address!r} can be no host's name or address.")
        self._check_reach()
        if not self.notification_token.isascii():
            raise BadSetup("Setting notification_token has letters that no HTTP header can have.")
        for name, url in (("public_url", self.public_url), ("notifications", self.notifications)):
            if url and url not in ("none", "log") and not _is_web_address(url):
                raise BadSetup(f"Setting {name} is no address. It looks like https://cloud.example:8774.")

    def _check_reach(self) -> None:
        """See that what clients and hosts are told leads here; they would find out only later that it does not."""
        for name, port in (("api_address", "api_port"), ("agents_address", "agents_port")):
            address: str = getattr(self, name)
            if ":" in address and _ip_address(address) is None:
                raise BadSetup(f"Setting {name} = {address!r} is no address alone. Its port is set by {port}.")
        for address in self.agents_names:
            if ":" in address or not _can_be_dialled(address):
                raise BadSetup(
                    f"Setting agents_names has {address!r}, which hosts cannot dial. Give names or IPv4 addresses of "
                    f"this controller, without a port: that is set by agents_port ({self.agents_port})."
                )
        if not self.public_url and not _can_be_dialled(self.api_address):
            raise BadSetup(
                f"Setting api_address = {self.api_address!r} is where the API listens, and nowhere that clients could "
                f"go. Set public_url to where they find it, such as http://cloud.example:{self.api_port}."
            )
        if not self.agents_names and not _can_be_dialled(self.agents_address):
            raise BadSetup(
                f"Setting agents_address = {self.agents_address!r} is where this controller listens, and nothing that "
                "hosts could dial. Set agents_names to the names or addresses by which they reach it, such as "
                '["10.1.0.1"].'
            )

    @property
    def url(self) -> str:
        return self.public_url or f"http://{self.api_address}:{self.api_port}"

    @property
    def several(self) -> bool:
        """Whether the database is one that several controllers may have at once."""
        return self.database.startswith(("postgresql://", "postgres://"))

    @property
    def shared(self) -> str:
        """The directory that all controllers of the cloud have in common."""
        return self.shared_dir or self.state_dir

    @property
    def agents_reach(self) -> tuple[str, ...]:
        """Where agents reach this controller, each host:port."""
        return tuple(f"{name}:{self.agents_port}" for name in self.agents_names or (self.agents_address,))

    @property
    def controller_name(self) -> str:
        """How controllers call themselves where Nova names the host of its api or conductor."""
        return urlsplit(self.url).hostname or self.api_address


class AgentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a host's agent needs to know."""

    name: str = ""  # "" is the machine's host name
    state_dir: str = "/var/lib/renova-agent"
    instances_dir: str = "/var/lib/renova/instances"
    controllers: tuple[str, ...] = ()  # host:port of each controller's agent port; taken from the join token at first
    join_token_file: str = ""
    system_uuid: Annotated[str, Meta(max_length=64)] = ""  # of the machine, as its BMC knows it; "": asked of firmware
    underlay_device: str = ""  # "" is the device that reaches the controllers
    libvirt_uri: str = "qemu:///system"
    role: Literal["compute", "storage"] = "compute"  # a storage host holds volumes, and no guest ever
    volumes_dir: str = "/var/lib/renova/volumes"  # of a storage host
    nbd_port: Port = 10809  # the first on which a storage host serves volumes
    nbd_ports: Annotated[int, Meta(ge=1, le=65_535)] = 1000  # how many: each compute host has one of its own
    nbd_tls: bool = True  # whether volumes are served only to hosts of this cloud, encrypted
    nbd_tls_dir: str = ""  # the host's certificates for QEMU; "" is nbd-tls in state_dir
    guard_armed: bool = False  # whether the guests are stopped where the lease ends, so that others may have them then
    watchdog: str = "/dev/watchdog"  # what resets an armed host whose guard stands still
    watchdog_timeout: Annotated[int, Meta(ge=1, le=600)] = 5  # seconds; twice that and 1 s must fit lease.stop_budget
    witness: str = ""  # the directory where controllers show which leases they have revoked; "": the host has none
    # To which guests come with their memory; 0: they neither come nor leave so.
    migration_port: Annotated[int, Meta(ge=0, le=65_535)] = 8777
    guard_port: Port = 8776  # on which guards tell one another whether they have a lease
    gate: str = ""  # the cgroup that guests are started in, for the guard to freeze; "" is the usual place
    builds_at_once: Annotated[int, Meta(ge=1, le=1000)] = 10  # guests that are made or started at a time
    aside_days: Annotated[float, Meta(ge=0, le=3650)] = 7.0  # days for which disks that were set aside are kept
    log_level: LogLevel = "info"

    def check(self) -> None:
        _check_witness(self.witness)


S = TypeVar("S", ControllerSettings, AgentSettings)


def load(kind: type[S], path: Path | None, environment: Mapping[str, str] = os.environ) -> S:
    """Return the checked settings of a process. Raises `BadSetup` naming the setting and the file."""
    source = path or (Path(environment["RENOVA_CONFIG"]) if environment.get("RENOVA_CONFIG") else None)
    values: dict[str, object] = {}
    if source is not None:
        try:
            values = tomllib.loads(source.read_text())
        except OSError as error:
            raise BadSetup(f"The settings file {source} cannot be read ({error.strerror}).") from error
        except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, a number of too many digits
            raise BadSetup(f"The settings file {source} is not TOML: {error}.") from error
    for name in kind.__struct_fields__:
        if (given := environment.get(f"RENOVA_{name.upper()}")) is not None:
            values[name] = _words(given) if name in _LISTS else given
    try:
        settings = msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        where = f" in {source}" if source else ""
        raise BadSetup(f"Settings{where}: {error}. docs/operate.md lists all there are.") from error
    for name, value in msgspec.structs.asdict(settings).items():
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and not text.isprintable():
                raise BadSetup(f"Setting {name} has a character that cannot be printed. Write it anew.")
    if isinstance(settings, ControllerSettings):
        settings.lease.check()
    settings.check()
    return settings


_LISTS = ("controllers", "agents_names", "extra_peers", "accepted_proofs")


def _check_witness(path: str) -> None:
    if path and not os.path.isabs(path):  # noqa: PTH117  (a text)
        raise BadSetup(f"Setting witness = {path!r} is no absolute path of a directory, such as /mnt/shared/witness.")


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a bracket without its other one, or a port that is none
        return False


def _may_be_host(text: str) -> bool:
    try:
        text.encode("idna")
    except UnicodeError:  # a part of a name is empty, or longer than 63 characters
        return False
    return text.isascii() and " " not in text


def _ip_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _can_be_dialled(text: str) -> bool:
    """Say whether this, with a port after it, leads to one machine; "any of mine" and bare IPv6 addresses do not."""
    address = _ip_address(text)
    return bool(text) if address is None else address.version == 4 and not address.is_unspecified


def _words(given: str) -> list[str]:
    return [word.strip() for word in given.split(",") if word.strip()]
