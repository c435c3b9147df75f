"""A guest: what a host is told to run for a server, in full. A host needs nothing else to run it.

The controller derives it anew from the database for every operation (`operations.parts.guest`); it travels in
commands (`wire`), and the hypervisor and network drivers obey it.
"""

from enum import Enum, IntEnum, auto
from typing import Annotated

import msgspec
from msgspec import Meta

from renova.model.ids import AttachmentId, ImageId, NetworkId, PortId, ProjectId, ServerId, UserId, VolumeId
from renova.model.network import Route
from renova.model.volume import Connection

# What a host may say: no host is believed to be larger, nor to have counted further, than any can.
Count = Annotated[int, Meta(ge=0, le=2**53)]
Amount = Annotated[int, Meta(ge=0, le=2**40)]
Name = Annotated[str, Meta(max_length=255)]

ROOT, CONFIG_DRIVE = "vda", "vdz"  # the devices that every guest has under these names


class PowerState(IntEnum):
    """Nova's numbers (API reference, "Power state"); 2 and 5 are unused."""

    NOSTATE = 0
    RUNNING = 1
    PAUSED = 3
    SHUTDOWN = 4
    CRASHED = 6
    SUSPENDED = 7


LIVES = (PowerState.RUNNING, PowerState.PAUSED)  # one whose volume is away stands still, until it is back


class CachedImage(msgspec.Struct, frozen=True):
    """An image as hosts keep it: another content is another one."""

    image: ImageId
    image_format: str
    image_sha256: str


class RootDisk(msgspec.Struct, frozen=True):
    """A root disk of its host's: an overlay on a cached image."""

    image: ImageId
    image_format: str  # "qcow2" or "raw"
    image_bytes: int
    image_sha256: str
    size_gb: int  # 0: as large as the image

    @property
    def cached(self) -> CachedImage:
        return CachedImage(self.image, self.image_format, self.image_sha256)


class LocalDisks(msgspec.Struct, frozen=True):
    """The disks of a server that are files in its host's instances directory: made together, dropped together.

    Each rebuild makes a new generation, with files of its own: the old disks stay whole until the new guest is
    defined, and no file is ever overwritten.
    """

    generation: int
    root: RootDisk | None  # None: the server boots from a volume
    ephemerals_gb: tuple[int, ...] = ()  # blank disks, formatted once when they are made
    swap_mb: int = 0


def local_devices(disks: LocalDisks) -> list[tuple[str, str]]:
    """Return device and serial of each ephemeral disk and of the swap, in the order of Nova's: after the root disk."""
    names = [f"ephemeral{number}" for number in range(len(disks.ephemerals_gb))] + ["swap"] * bool(disks.swap_mb)
    return [(f"vd{chr(ord('b') + place)}", name) for place, name in enumerate(names)]


class VolumeDisk(msgspec.Struct, frozen=True):
    """An attached volume as its guest has it; guests find it by its id, which is the disk's serial."""

    volume: VolumeId
    attachment: AttachmentId
    device: str  # "vdb"
    connection: Connection
    boot: bool = False
    tag: str | None = None


class Address(msgspec.Struct, frozen=True):
    """A fixed address of a nic, with its subnet's mask, gateway, name servers and routes."""

    ip: str
    prefix: int  # bits of the network mask
    gateway: str | None
    dns: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    subnet: str = ""


class Nic(msgspec.Struct, frozen=True):
    """A port as its guest has it; `vni` numbers the VXLAN segment of its network."""

    port: PortId
    mac: str
    network: NetworkId
    vni: int
    mtu: int
    addresses: tuple[Address, ...]
    network_name: str = ""
    vif_type: str = "bridge"
    vnic_type: str = "normal"
    profile: dict[str, str] = {}
    tag: str | None = None


class PersonalFile(msgspec.Struct, frozen=True):
    """A file that the user has put into the guest (personality, below 2.57)."""

    path: str
    contents: str  # base64, as the client sent it


class Personal(msgspec.Struct, frozen=True):
    """What the guest reads about itself from its config drive."""

    hostname: str
    name: str
    public_keys: dict[str, str] = {}
    metadata: dict[str, str] = {}
    user_data: str | None = None  # base64, as the client sent it
    admin_pass: str | None = None  # a secret: never logged; lives in the operation only until it ends
    availability_zone: str = "nova"
    files: tuple[PersonalFile, ...] = ()


class Guest(msgspec.Struct, frozen=True):
    """One incarnation of a server, ready to be run by exactly one host."""

    server: ServerId
    incarnation: int
    domain: str  # the hypervisor's name of it: instance-0000002a
    project: ProjectId
    user: UserId
    flavor_name: str
    vcpus: int
    memory_mb: int
    disks: LocalDisks
    nics: tuple[Nic, ...]
    personal: Personal
    volumes: tuple[VolumeDisk, ...] = ()
    root_device: str = "vda"
    watchdog: str = ""  # what happens when its watchdog fires: none, pause, poweroff, reset; "": it has none
    guest_agent: bool = False  # whether it has a way to an agent inside
    started_as: str = ""  # names the order that has it started: kept with the domain for as long as it runs

    @property
    def boot_volume(self) -> VolumeDisk | None:
        return next((volume for volume in self.volumes if volume.boot), None)


class FoundGuest(msgspec.Struct, frozen=True):
    """A guest that a host really has; incarnation and generation come from the metadata kept with the domain."""

    server: ServerId
    incarnation: Count
    power: PowerState
    generation: Count = 0  # of the local disks that it runs on, or ran on last; 0: its host does not say
    arriving: bool = False  # its memory comes here from another host, or has come: it has not executed here
    hung: Name = ""  # by what its host takes it to hang; "": by nothing


class FoundDevices(msgspec.Struct, frozen=True):
    """The devices that a running guest really has; none when it does not run."""

    serials: tuple[Name, ...] = ()  # of its disks: a volume's is the volume's id
    macs: tuple[Name, ...] = ()  # of its nics


class Way(msgspec.Struct, frozen=True):
    """How a guest's memory reaches the host that expects it."""

    address: Name  # on the underlay
    port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    host: Name = ""  # whom its certificate is made out to
    key: Name = ""  # by which that host knows whom it expects: a secret, good for this one arrival


class Departure(msgspec.Struct, frozen=True):
    """How far a guest is that leaves its host with its memory. Amounts are of that memory, in bytes."""

    left: bool = False  # for certain: it is there, whole, and does not execute here any more
    under_way: bool = False
    reason: str = ""  # why it has neither left nor is under way
    total: Count = 0
    processed: Count = 0
    remaining: Count = 0


class GuestChanged(msgspec.Struct, frozen=True):
    """The hypervisor reports that a guest started, stopped, crashed or was paused; or its host, that it hangs."""

    server: ServerId
    incarnation: Count
    power: PowerState
    hung: Name = ""  # as `FoundGuest` has it


class Reply(Enum):
    """What comes of asking the agent inside a guest for a sign of life."""

    ANSWERED = auto()
    SILENT = auto()  # it is there, for its end of the way is open, and says nothing
    NOBODY = auto()  # none is there, or nobody could be asked: the guest stands still, or boots


class Pulse(msgspec.Struct, frozen=True):
    """A reply, and in which life of the guest: another one since it booted, was paused, or its agent ended."""

    reply: Reply
    life: int


class Aside(msgspec.Struct, frozen=True):
    """Disks of a server that has gone to another host, kept here for some days in case somebody misses them."""

    server: ServerId
    incarnation: int  # that owned them
    at: str  # when they were set aside, UTC
    name: str  # of the directory that holds them, below `_aside` in the instances directory


class Capabilities(msgspec.Struct, frozen=True):
    """What a hypervisor can do that another may not (Nova's names, without `supports_`)."""

    evacuate: bool = True  # servers of other hosts can be made anew here
    rebuild: bool = False  # in a way of its own; without, a guest is stopped, and defined anew on new disks
    preserve_ephemeral: bool = False  # while it rebuilds
    live_migration: bool = False  # guests leave it, and come to it, with their memory


class HostFacts(msgspec.Struct, frozen=True):
    """What a host has to offer, as its hypervisor reports it. Amounts are totals, nothing deducted."""

    hypervisor_type: Name  # as Nova shows it: "QEMU"
    hypervisor_version: Annotated[int, Meta(ge=0, le=999_999_999)]  # 7002000 for 7.2.0
    accelerator: Name  # "kvm", "tcg" or "simulated"
    architecture: Name
    vcpus: Annotated[int, Meta(ge=0, le=1_000_000)]
    memory_mb: Amount
    local_gb: Amount
    cpu_info: Annotated[dict[Name, Annotated[str, Meta(max_length=8192)]], Meta(max_length=64)] = {}
    storage_id: Name = ""  # identity of the instances directory: equal on two hosts when they share it
    capabilities: Capabilities = Capabilities()
