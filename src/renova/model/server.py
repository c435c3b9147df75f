"""A server: what the user owns, its states, and the record that the database keeps of it."""

from enum import StrEnum
from typing import Any

import msgspec

from renova.model.flavor import Flavor
from renova.model.guest import PowerState
from renova.model.ids import GroupId, HostId, ImageId, NetworkId, PortId, ProjectId, ServerId, UserId, VolumeId


class VmState(StrEnum):
    """Stable states (Nova, nova/compute/vm_states)."""

    BUILDING = "building"
    ACTIVE = "active"
    STOPPED = "stopped"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    RESCUED = "rescued"
    RESIZED = "resized"
    SHELVED = "shelved"
    SHELVED_OFFLOADED = "shelved_offloaded"
    SOFT_DELETED = "soft-delete"
    DELETED = "deleted"
    ERROR = "error"


class TaskState(StrEnum):
    """What is being done to a server; None when nothing is (Nova, nova/compute/task_states)."""

    SCHEDULING = "scheduling"
    BLOCK_DEVICE_MAPPING = "block_device_mapping"
    NETWORKING = "networking"
    SPAWNING = "spawning"
    REBOOTING = "rebooting"
    REBOOT_PENDING = "reboot_pending"
    REBOOT_STARTED = "reboot_started"
    REBOOTING_HARD = "rebooting_hard"
    REBOOT_PENDING_HARD = "reboot_pending_hard"
    REBOOT_STARTED_HARD = "reboot_started_hard"
    PAUSING = "pausing"
    UNPAUSING = "unpausing"
    SUSPENDING = "suspending"
    RESUMING = "resuming"
    IMAGE_SNAPSHOT_PENDING = "image_snapshot_pending"
    IMAGE_SNAPSHOT = "image_snapshot"
    IMAGE_BACKUP = "image_backup"
    IMAGE_PENDING_UPLOAD = "image_pending_upload"
    IMAGE_UPLOADING = "image_uploading"
    POWERING_OFF = "powering-off"
    POWERING_ON = "powering-on"
    REBUILDING = "rebuilding"
    REBUILD_BLOCK_DEVICE_MAPPING = "rebuild_block_device_mapping"
    REBUILD_SPAWNING = "rebuild_spawning"
    RESIZE_PREP = "resize_prep"
    RESIZE_MIGRATING = "resize_migrating"
    RESIZE_FINISH = "resize_finish"
    MIGRATING = "migrating"
    DELETING = "deleting"


class Fault(msgspec.Struct, frozen=True):
    """Why the last operation failed, for the user; `details` and `whole` are for administrators."""

    code: int
    message: str
    created: str
    details: str = ""  # the traceback, where there is one
    whole: str = ""  # the message with hosts' names and what programs said

    @property
    def in_full(self) -> str:
        """The reason as operators read it."""
        return self.whole or self.message


class AttachedAddress(msgspec.Struct, frozen=True):
    """An address of a server, as its `addresses` show it."""

    ip: str
    mac: str
    port: PortId


class AttachedNetwork(msgspec.Struct, frozen=True):
    """A network of a server with its addresses; kept with the server so that a list needs no other table."""

    network: NetworkId
    name: str
    addresses: tuple[AttachedAddress, ...]


class AttachedVolume(msgspec.Struct, frozen=True):
    """A volume of a server, as lists show it; kept with the server like its networks."""

    volume: VolumeId
    delete_on_termination: bool


class KeyPair(msgspec.Struct, frozen=True):
    """A user's public key, as a server keeps it from its creation on."""

    name: str
    public_key: str
    type: str = "ssh"


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server's row. `host` is what users see; who may run it is the business of `rights` (store.rights)."""

    id: ServerId
    serial: int  # numbers the domain name, as Nova's integer id does
    project: ProjectId
    user: UserId
    name: str
    description: str | None = None
    hostname: str
    vm_state: VmState
    task_state: TaskState | None
    power_state: PowerState
    progress: int = 0
    host: HostId | None = None
    host_name: str | None = None
    availability_zone: str | None = None
    pinned_zone: str | None = None
    flavor: Flavor
    image: ImageId | None  # None: it boots from a volume
    image_properties: dict[str, str] = {}
    image_format: str = "qcow2"
    image_bytes: int = 0
    image_sha256: str = ""
    root_generation: int = 1
    burnt_generation: int = 0  # the highest that was given up: no rebuild makes its disks under a number up to it
    key: KeyPair | None = None
    user_data: str | None = None
    metadata: dict[str, str] = {}
    tags: tuple[str, ...] = ()
    networks: tuple[AttachedNetwork, ...] = ()
    volumes: tuple[AttachedVolume, ...] = ()
    security_groups: tuple[str, ...] = ("default",)
    scheduler_hints: dict[str, Any] = {}  # as they were given: texts, lists of texts, objects
    group: GroupId | None = None  # its server group, while that exists
    config_drive: str = ""
    disk_config: str = "MANUAL"
    access_ipv4: str | None = None
    access_ipv6: str | None = None
    trusted_certs: tuple[str, ...] | None = None  # ids of certificates that the image's signature may rest on
    locked_by: str | None = None  # "admin" or "owner"
    locked_reason: str | None = None
    reservation: str = ""
    fault: Fault | None = None
    last_number: int = 0  # of the newest operation; commands carry it
    created_at: str
    updated_at: str
    launched_at: str | None = None
    terminated_at: str | None = None
    deleted: bool = False

    @property
    def domain(self) -> str:
        """The hypervisor's name of the guest (Nova's instance_name_template)."""
        return f"instance-{self.serial:08x}"
