"""A host, its lease, and what is known of its life."""

from enum import StrEnum

import msgspec

from renova.model.guest import HostFacts
from renova.model.ids import HostId
from renova.model.storage import StorageFacts

SHORTEST_RENEWAL_S = 0.05  # between two renewals of a lease: never at once


class HostState(StrEnum):
    """Where a host stands with the control plane."""

    ENROLLED = "enrolled"  # has a certificate, was never up
    UP = "up"
    RETURNING = "returning"  # alive again under a new epoch, still cleaning up: nothing is given to it
    DEAD = "dead"  # a proof says so; its servers may go elsewhere


class Role(StrEnum):
    """What a host is there for; given with its first hello, and never changed."""

    COMPUTE = "compute"  # runs guests
    STORAGE = "storage"  # holds volumes, and no guest ever


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """A host's row. Whether it is alive now is not stored: that is observed (`ha.monitor`)."""

    id: HostId
    serial: int  # Nova's integer id of the service, before 2.53
    name: str
    address: str  # on the underlay, for tunnels between hosts
    certificate: str  # sha256 of the client certificate that may speak for this host
    state: HostState
    role: Role = Role.COMPUTE
    storage: StorageFacts | None = None  # of a storage host
    forced_down: bool = False
    disabled: bool = False
    disabled_reason: str | None = None
    disabled_by: str | None = None  # who, for people: a tool that disables hosts may forget to enable them again
    disabled_at: str | None = None
    forced_down_by: str | None = None
    forced_down_at: str | None = None
    boot: str = ""
    resume: bool = False  # it has booted, and its servers that were active are still to be started again
    journal: str = ""
    era: int = 0  # in which it registered last, with an inventory of its guests
    system: str = ""  # the machine's UUID, as it says itself
    power_barred: str | None = None  # why readings of its power are not believed
    condemned_at: str | None = None  # when it was last to be taken for dead by itself (`ha.brake`)
    facts: HostFacts | None = None
    last_seen: str | None = None  # for people; no decision reads it
    created_at: str
    updated_at: str


class GuardClass(StrEnum):
    """What stops a host's guests when its lease ends, strongest first; measured, and said with each renewal."""

    A = "A"  # a hardware watchdog that counts while the CPUs stand
    B = "B"  # a watchdog of the kernel: it stands when the whole host does
    C = "C"  # the guard's process only, and the service manager that starts it anew
    V = "V"  # the host is itself a virtual machine: its clocks can be stopped from outside
    NONE = "none"  # nothing does: no guard, or one that is not armed

    @property
    def weakness(self) -> int:
        """Return a number that is the higher the weaker it is."""
        return list(GuardClass).index(self)

    @property
    def resets(self) -> bool:
        """Say whether it relies on a watchdog, which resets the host where nothing else stops its guests."""
        return self in (GuardClass.A, GuardClass.B)


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A host's lease. Every proof of death, every new boot and every lost journal raises `epoch`."""

    host: HostId
    epoch: int
    counter: int
    boot: str
    ttl: float  # seconds, as granted: the same for as long as it has this epoch and is renewed
    margin: float  # seconds; never less while that lasts
    guard: GuardClass = GuardClass.NONE  # as it was said with the last renewal
    home: str = ""  # the executor over whose connection the host's agent can be commanded; "": the agent is away
    returns: bool = False  # the host is not up yet under it: an armed guard keeps its gate closed
    witness: str = ""  # the word of the lease's file in the witness, by which its guard may go; "": it goes by none
    revoked: int = 0  # the epoch that was revoked by this one, which nobody renews any more; 0: none
    cut: bool = False  # and servers whose disks storage cuts off may go elsewhere; else the witness is to show it

    @property
    def to_show(self) -> bool:
        """Say whether the witness has yet to show that the former epoch was revoked: so far that proves nothing."""
        return self.revoked > 0 and not self.cut


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Why a host counts as dead, or as cut off from volumes; valid while its lease's epoch is the one it produced."""

    id: int
    host: HostId
    kind: str  # a `ProofKind`
    epoch: int  # that it produced
    readings: dict[str, str]
    who: str
    withdrawn: str | None  # why, if something contradicted it since
    created_at: str


class ProofKind(StrEnum):
    """How it is known that a host's guests have stopped; each is real only under a condition."""

    LEASE_REVOKED = "lease_revoked"  # it has lapsed, and an armed guard has stopped the guests; as real as that guard
    POWER_OFF = "power_off"  # read twice; real if who reads the power is truthful, and reads this host's
    NEW_BOOT = "new_boot"  # the host says so; proves that what ran before that boot does not
    OPERATOR = "operator"  # somebody's word: as good as he is
    STORAGE_CUT = "storage_cut"  # its lease is revoked; counts for servers that write only what storage cuts off
    HEARTBEAT_AGE = "heartbeat_age"  # Nova's rule: silence. No proof; counts only where it was chosen


class Right(msgspec.Struct, frozen=True):
    """Who may run a server: one host, one incarnation, granted while the host's lease had this epoch."""

    host: HostId
    incarnation: int
    host_epoch: int


class HostView(msgspec.Struct, frozen=True, kw_only=True):
    """A host as scheduling sees it: a frozen picture, maybe a little old; the claim checks again."""

    id: HostId
    name: str
    up: bool
    disabled: bool
    zone: str
    storage: str  # identity of its instances directory
    architecture: str
    evacuates: bool = True  # its hypervisor can make servers of other hosts anew
    receives_live: bool = False  # guests come to it with their memory
    total: dict[str, float]  # by resource class, what may be claimed in all: (total - reserved) x ratio
    used: dict[str, int]
    servers: int  # that hold something of it
    traits: frozenset[str] = frozenset()
    units: dict[str, tuple[int, int, int]] = {}  # by resource class: least, most and step of one claim
    hypervisor_type: str = ""
    hypervisor_version: int = 0
    hypervisor_types: frozenset[str] = frozenset()  # that an image may ask for: "qemu", and "kvm" where that runs
    cpu_info: dict[str, str] = {}
    marks: dict[str, frozenset[str]] = {}  # metadata of its aggregates: every value that a key has, split at commas
