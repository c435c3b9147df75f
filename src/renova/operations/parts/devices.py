"""Which name a server's next disk gets: vdb, vdc and so on; what is taken by others is left out.

Guests see disks in the order of their buses, not by these names; they know a volume by its serial, which is its id.
"""

from collections.abc import Sequence
from string import ascii_lowercase
from typing import Final

import msgspec

from renova.model.block_device import BlockDevice
from renova.model.errors import Forbidden, Invalid
from renova.model.guest import CONFIG_DRIVE, ROOT, local_devices
from renova.model.ids import ServerId
from renova.model.local_disks import disks_of
from renova.model.server import Server
from renova.operations.parts.state import get_server
from renova.store import block_devices
from renova.store.database import Tx

NAMES: Final = tuple(f"vd{letter}" for letter in ascii_lowercase)


def next_device(server: Server, devices: Sequence[BlockDevice], wish: str | None = None) -> str:
    """Return the name wished for if it is free, else the first that is. `Forbidden` when none is left."""
    taken = {ROOT, CONFIG_DRIVE, *(device.device for device in devices)}
    taken |= {name for name, _ in local_devices(disks_of(server, devices))}
    free = [name for name in NAMES if name not in taken]
    if not free:
        raise Forbidden(
            f"The maximum allowed number of disk devices ({len(NAMES)}) to attach to a single instance has been "
            "exceeded."
        )
    wished = (wish or "").removeprefix("/dev/")
    return wished if wished in free else free[0]


def add_device(tx: Tx, server_id: ServerId, device: BlockDevice) -> None:
    """Add a device to a server that has just been written down, under a name of its own."""
    holder = block_devices.by_volume(tx, device.volume) if device.volume is not None else None
    if holder is not None:
        raise Invalid(f"Invalid volume: volume {device.volume} is attached to server {holder.server}.")
    server = get_server(tx, server_id)
    devices = block_devices.of_server(tx, server_id)
    name = ROOT if device.boots else "" if not device.is_volume else next_device(server, devices, device.device)
    block_devices.add(tx, msgspec.structs.replace(device, server=server_id, device=name))
