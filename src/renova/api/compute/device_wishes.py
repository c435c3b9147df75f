"""The block devices that a new server is asked to have: checked, and told apart into its root disk and its volumes.

Both of Nova's forms are read: `block_device_mapping_v2`, and the older `block_device_mapping`, in which the device
called vda is what the server boots from. What is wrong in form, or names what is not there, is refused before
anything is made.
"""

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from renova.api.compute.bootable import demand_volume_room
from renova.api.compute.fields import Body, Count, Tag, Truth, canonical, count, given, is_true, is_uuid
from renova.api.http import Call, Version
from renova.model.block_device import BlockDevice
from renova.model.errors import Invalid
from renova.model.flavor import Flavor
from renova.model.guest import ROOT
from renova.model.ids import ImageId, ServerId, VolumeId
from renova.model.volume import Volume

MOST_LOCAL = 3  # local disks of a server, its root disk among them (Nova's max_local_block_devices)
_DEVICE = Meta(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9._\-/]*\Z")
# What a volume service notes of the image beside its properties.
_OF_FILE = {"checksum", "container_format", "disk_format", "size"}
_NOT_PROPERTIES = {"image_id", "image_name", "min_disk", "min_ram", *_OF_FILE}


class WantedDevice(Body):
    """An entry of `block_device_mapping_v2`."""

    SINCE: ClassVar[dict[str, Version]] = {"tag": (2, 42), "volume_type": (2, 67)}

    source: Literal["volume", "snapshot", "image", "blank"] = msgspec.field(name="source_type")
    destination: Literal["volume", "local"] | UnsetType | None = msgspec.field(default=UNSET, name="destination_type")
    uuid: str | UnsetType | None = UNSET
    boot_index: int | Annotated[str, Meta(pattern=r"^-?[0-9]{1,9}\Z")] | UnsetType | None = UNSET
    size: Count | Literal[""] | UnsetType | None = msgspec.field(default=UNSET, name="volume_size")
    delete_on_termination: Truth | UnsetType = UNSET
    device: Annotated[str, _DEVICE] | UnsetType | None = msgspec.field(default=UNSET, name="device_name")
    guest_format: Annotated[str, Meta(max_length=255)] | UnsetType | None = UNSET
    device_type: str | UnsetType | None = UNSET
    disk_bus: str | UnsetType | None = UNSET
    no_device: bool | str | UnsetType | None = UNSET
    tag: Tag | UnsetType | None = UNSET
    volume_type: Annotated[str, Meta(min_length=1, max_length=255)] | UnsetType | None = UNSET

    @property
    def to(self) -> str:
        usual = "volume" if self.source in ("volume", "snapshot") else "local"
        return given(self.destination, None) or usual

    @property
    def place(self) -> int | None:
        """Return the place in the boot order; None or below zero for none."""
        index = given(self.boot_index, None)
        return None if index is None or int(index) < 0 else int(index)


class FormerDevice(Body):
    """An entry of `block_device_mapping`."""

    device: Annotated[str, _DEVICE] | UnsetType | None = msgspec.field(default=UNSET, name="device_name")
    volume: str | UnsetType | None = msgspec.field(default=UNSET, name="volume_id")
    snapshot: str | UnsetType | None = msgspec.field(default=UNSET, name="snapshot_id")
    size: Count | Literal[""] | UnsetType | None = msgspec.field(default=UNSET, name="volume_size")
    delete_on_termination: Truth | UnsetType = UNSET
    virtual_name: str | UnsetType | None = UNSET
    no_device: bool | str | UnsetType | None = UNSET
    connection_info: Any = UNSET


class Wishes(msgspec.Struct, frozen=True):
    """What the server is to have: a root disk from `image`, unless it boots from a volume; and devices beside."""

    image: str | None
    devices: tuple[BlockDevice, ...] = ()
    properties: dict[str, str] = {}  # of the volume that it boots from


async def wishes(
    call: Call,
    image: str | UnsetType,
    former: list[FormerDevice] | UnsetType,
    wanted: list[WantedDevice] | UnsetType,
    flavor: Flavor,
    servers: int,
) -> Wishes:
    """Return what the request wishes. `Invalid` for what cannot be."""
    named = given(image, "") or ""
    old: list[FormerDevice] = [] if former is UNSET else former
    new: list[WantedDevice] = [] if wanted is UNSET else wanted
    if old and new:
        raise Invalid("Block Device Mapping is Invalid: the two forms of block device mappings cannot be mixed.")
    entries = _as_now(old, named) if old else new
    entries = [entry for entry in entries if not given(entry.no_device, None)]
    if not entries:
        return Wishes(_image_id(named))
    boots = _demand_order(entries)
    _demand_local(entries, flavor)
    if servers > 1 and any(entry.source == "volume" for entry in entries):
        raise Invalid("Cannot attach one or more volumes to multiple instances")
    if boots.to == "local":
        if boots.source != "image" or (named and canonical(_image_id(named)) != canonical(_uuid(boots))):
            raise Invalid("Block Device Mapping is Invalid: Mapping image to local is not supported.")
        root: str | None = _uuid(boots)
    else:
        root = None
    devices, properties = [], {}
    for entry in entries:
        if entry is boots and root is not None:
            continue
        device, found = await _device(call, entry, flavor)
        devices.append(device)
        if entry is boots:
            properties = found
    volumes = [device.volume for device in devices if device.source == "volume"]
    if len(set(volumes)) < len(volumes):
        raise Invalid("Block Device Mapping is Invalid: a volume is named twice.")
    tags = [device.tag for device in devices if device.tag is not None]
    if len(set(tags)) < len(tags):
        raise Invalid("Duplicate tags have been specified for the request: each tag names one device.")
    return Wishes(root, tuple(devices), properties)


def _image_id(named: str) -> str:
    if not is_uuid(named):
        raise Invalid("Invalid imageRef provided.")
    return named


def _as_now(former: list[FormerDevice], image: str) -> list[WantedDevice]:
    """Return the entries in the newer form; an image that is named is the root disk, unless a volume is called vda."""
    entries = []
    for entry in former:
        if entry.virtual_name or not (entry.volume or entry.snapshot or entry.no_device):
            raise Invalid("Block Device Mapping is Invalid: a volume_id or a snapshot_id is expected in each entry.")
        name = (given(entry.device, None) or "").removeprefix("/dev/")
        entries.append(
            WantedDevice(
                source="volume" if entry.volume else "snapshot",
                destination="volume",
                uuid=entry.volume or entry.snapshot,
                boot_index=0 if name == ROOT else None,
                size=entry.size,
                delete_on_termination=entry.delete_on_termination,
                device=entry.device,
                no_device=entry.no_device,
            )
        )
    if not any(entry.boot_index == 0 for entry in entries) and image:
        entries.insert(0, WantedDevice(source="image", destination="local", uuid=image, boot_index=0))
    return entries


def _demand_order(entries: list[WantedDevice]) -> WantedDevice:
    """Return what the server boots from; `Invalid` where the boot order has no first, or a gap."""
    places = sorted(entry.place for entry in entries if entry.place is not None)
    if not places or places != list(range(len(places))):
        raise Invalid(
            "Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping "
            "combination is not valid."
        )
    return next(entry for entry in entries if entry.place == 0)


def _demand_local(entries: list[WantedDevice], flavor: Flavor) -> None:
    local = [entry for entry in entries if entry.to == "local"]
    if len(local) > MOST_LOCAL:
        raise Invalid(
            "Block Device Mapping is Invalid: You specified more local devices than the limit allows "
            f"({MOST_LOCAL} at most)."
        )
    swaps = [entry for entry in local if entry.guest_format == "swap"]
    if len(swaps) > 1:
        raise Invalid("Block Device Mapping is Invalid: More than one swap drive requested.")
    if any((_size(entry) or 0) > flavor.swap_mb for entry in swaps) or (swaps and not flavor.swap_mb):
        raise Invalid("Block Device Mapping is Invalid: Swap drive requested is larger than instance type allows.")
    blank = [entry for entry in local if entry.source == "blank" and entry not in swaps]
    asked = sum(_size(entry) or flavor.ephemeral_gb for entry in blank)
    if asked > flavor.ephemeral_gb or (blank and not flavor.ephemeral_gb):
        raise Invalid(
            "Block Device Mapping is Invalid: Ephemeral disks requested are larger than the instance type allows. If "
            "no size is given in one block device mapping, flavor ephemeral size will be used."
        )


async def _device(call: Call, entry: WantedDevice, flavor: Flavor) -> tuple[BlockDevice, dict[str, str]]:
    """Return the device, and for a volume what is known of the image that it was made of."""
    _demand_form(entry)
    volume: VolumeId | None = None
    properties: dict[str, str] = {}
    size = _size(entry)
    if entry.to == "volume":
        volume = VolumeId(call.cloud.chance.uuid())
        match entry.source:
            case "volume":
                found = await _volume(call, entry)
                volume, size, properties = found.id, found.size_gb, found.image_properties
            case "snapshot":
                size = await _snapshot_gb(call, entry, size)
            case "image":
                properties = await _image_properties(call, entry, flavor, size)
            case _:
                if not size:
                    raise Invalid("Blank volumes (source: 'blank', dest: 'volume') need to have non-zero size")
    elif entry.source != "blank":
        raise Invalid(f"Block Device Mapping is Invalid: Mapping {entry.source} to local is not supported.")
    device = BlockDevice(
        id=call.cloud.chance.uuid(),
        server=ServerId(""),
        source=entry.source,
        destination=entry.to,
        volume=volume,
        made=entry.to == "volume" and entry.source != "volume",
        image=ImageId(_uuid(entry)) if entry.source == "image" else None,
        snapshot=_uuid(entry) if entry.source == "snapshot" else None,
        size_gb=size or None,
        volume_type=given(entry.volume_type, None),
        guest_format=given(entry.guest_format, None),
        boot_index=entry.place,
        delete_on_termination=entry.delete_on_termination is not UNSET and is_true(entry.delete_on_termination),
        tag=given(entry.tag, None),
        device=given(entry.device, None) or "",
    )
    return device, {name: value for name, value in properties.items() if name not in _NOT_PROPERTIES}


def _demand_form(entry: WantedDevice) -> None:
    if entry.source == "blank" and entry.uuid:
        raise Invalid("Block Device Mapping is Invalid: Invalid device UUID.")
    if entry.source == "blank" and entry.place == 0:
        raise Invalid("Block Device Mapping is Invalid: a blank device holds nothing to boot from.")
    if given(entry.volume_type, None) is not None:
        if entry.to == "local":
            raise Invalid("Specifying a volume_type with destination_type=local is not supported.")
        if entry.source == "volume":
            raise Invalid("Specifying volume type to existing volume is not supported.")


def _uuid(entry: WantedDevice) -> str:
    uuid = given(entry.uuid, None)
    if not uuid or not is_uuid(uuid):
        raise Invalid("Block Device Mapping is Invalid: Missing device UUID.")
    return canonical(uuid)


def _size(entry: WantedDevice) -> int | None:
    size = given(entry.size, None)
    return None if size in (None, "") else count(size or 0, "volume_size", least=0)


async def _volume(call: Call, entry: WantedDevice) -> Volume:
    found = await call.cloud.volumes.volume(VolumeId(_uuid(entry)), call.caller.project)
    if found is None:
        raise Invalid(f"Block Device Mapping is Invalid: failed to get volume {entry.uuid}.")
    if found.status != "available":
        raise Invalid(
            f"Invalid volume: volume '{found.id}' status must be 'available'. Currently in '{found.status}' status."
        )
    if entry.place == 0 and not found.bootable:
        raise Invalid(f"Block Device {found.id} is not bootable.")
    return found


async def _snapshot_gb(call: Call, entry: WantedDevice, size: int | None) -> int:
    least = await call.cloud.volumes.snapshot_size_gb(_uuid(entry), call.caller.project)
    if least is None:
        raise Invalid(f"Block Device Mapping is Invalid: failed to get snapshot {entry.uuid}.")
    if size and size < least:
        raise Invalid(f"Volume size {size}GB cannot be smaller than the snapshot size {least}GB.")
    return size or least


async def _image_properties(call: Call, entry: WantedDevice, flavor: Flavor, size: int | None) -> dict[str, str]:
    image = await call.cloud.images.image(ImageId(_uuid(entry)), call.caller)
    if image is None:
        raise Invalid(f"Block Device Mapping is Invalid: failed to get image {entry.uuid}.")
    if image.status != "active":
        raise Invalid(f"Image {image.id} is not active.")
    if not size:
        raise Invalid("Images with destination_type 'volume' need to have a non-zero size specified")
    if entry.place == 0 and flavor.memory_mb < image.min_ram:
        raise Invalid("Flavor's memory is too small for requested image.")
    demand_volume_room(image, size)
    return image.properties
