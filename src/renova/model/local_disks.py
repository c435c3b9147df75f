"""Which disks a server has as files of its host's, or of whoever shares that one's storage. Pure."""

from collections.abc import Sequence

from renova.model.block_device import BlockDevice
from renova.model.guest import LocalDisks, RootDisk
from renova.model.ids import ImageId
from renova.model.server import Server
from renova.model.volume import VolumeFile


def disks_of(server: Server, devices: Sequence[BlockDevice] = ()) -> LocalDisks:
    """Return the disks that the server has as files of its host's; without a word on blank ones, its flavor's."""
    root = None
    if server.image is not None:
        root = RootDisk(
            image=ImageId(server.image),
            image_format=server.image_format,
            image_bytes=server.image_bytes,
            image_sha256=server.image_sha256,
            size_gb=server.flavor.root_gb,
        )
    blank = [device for device in devices if device.destination == "local"]
    ephemerals = tuple(device.size_gb or server.flavor.ephemeral_gb for device in blank if not device.is_swap)
    swaps = [device.size_gb or server.flavor.swap_mb for device in blank if device.is_swap]
    if not ephemerals and server.flavor.ephemeral_gb:
        ephemerals = (server.flavor.ephemeral_gb,)
    return LocalDisks(server.root_generation, root, ephemerals, swaps[0] if swaps else server.flavor.swap_mb)


def has_any(disks: LocalDisks) -> bool:
    """Say whether there are any disks that only the host, or who shares its storage, has."""
    return bool(disks.root or disks.ephemerals_gb or disks.swap_mb)


def storage_cuts_off(server: Server, volumes: Sequence[BlockDevice]) -> bool:
    """Say whether built-in storage can end all that the server's guest may write: its disks are volumes, exported.

    `volumes` are its block devices that are volumes. Each attachment of one is an export of its own, which is cut off
    for certain before the volume is reached from another host (`operations.parts.volumes`). One that hosts reach as a
    file has nothing that could be cut.
    """
    return (
        not has_any(disks_of(server))
        and bool(volumes)
        and not any(isinstance(device.connection, VolumeFile) for device in volumes)
    )
