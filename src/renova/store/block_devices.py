"""The block devices of servers: which volumes a server has, how its host reaches them, and what becomes of them.

A volume is at most one server's. The server's own row keeps what a list shows of its volumes.
"""

from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Index,
    String,
    Table,
    bindparam,
    delete,
    insert,
    select,
    text,
    update,
)

from renova.model.block_device import BlockDevice
from renova.model.ids import ServerId, VolumeId
from renova.model.server import AttachedVolume
from renova.model.volume import Connection
from renova.store import servers
from renova.store.database import Tx
from renova.store.schema import Document, Number, Stamp, metadata, only_where

block_devices = Table(
    "block_devices",
    metadata,
    Column("place", Number, primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("server", String(36), nullable=False, index=True),
    Column("source", String(16), nullable=False),
    Column("destination", String(16), nullable=False),
    Column("volume", String(36)),
    Column("made", Boolean, nullable=False),
    Column("image", String(36)),
    Column("snapshot", String(36)),
    Column("size_gb", Number),
    Column("volume_type", String(255)),
    Column("guest_format", String(255)),
    Column("boot_index", Number),
    Column("delete_on_termination", Boolean, nullable=False),
    Column("tag", String(60)),
    Column("device", String(16), nullable=False),
    Column("attachment", String(36)),
    Column("next_attachment", String(36)),
    Column("connection", Document(Connection)),
    Column("host", String(36)),
    Column("attached", Boolean, nullable=False),
    Column("created_at", Stamp, nullable=False),
    Column("updated_at", Stamp, nullable=False),
    Index("one_server_a_volume", "volume", unique=True, **only_where(text("volume is not null"))),
    Index("one_device_a_name", "server", "device", unique=True, **only_where(text("volume is not null"))),
)

_FIELDS = BlockDevice.__struct_fields__
_OF_SERVER = select(block_devices).where(block_devices.c.server == bindparam("of")).order_by(block_devices.c.place)
_OF_VOLUME = select(block_devices).where(block_devices.c.volume == bindparam("wanted"))
_ADD = insert(block_devices)
_CHANGE = update(block_devices).where(block_devices.c.id == bindparam("wanted"))
_REMOVE = delete(block_devices).where(block_devices.c.id == bindparam("wanted"))


def add(tx: Tx, device: BlockDevice) -> BlockDevice:
    """Add the device, and show it with its server."""
    values: dict[str, Any] = {name: getattr(device, name) for name in _FIELDS}
    tx.execute(_ADD, values | {"created_at": tx.now, "updated_at": tx.now})
    _show(tx, device.server)
    return device


def every(tx: Tx) -> list[BlockDevice]:
    """List the devices of all servers."""
    return [_device(row) for row in tx.execute(select(block_devices).order_by(block_devices.c.place))]


def of_server(tx: Tx, server: ServerId) -> list[BlockDevice]:
    """List the server's devices in the order in which they were added."""
    return [_device(row) for row in tx.execute(_OF_SERVER, {"of": server})]


def volumes_of(tx: Tx, server: ServerId) -> list[BlockDevice]:
    """List the server's volumes."""
    return [device for device in of_server(tx, server) if device.is_volume]


def by_volume(tx: Tx, volume: VolumeId) -> BlockDevice | None:
    row = tx.execute(_OF_VOLUME, {"wanted": volume}).first()
    return _device(row) if row else None


def change(tx: Tx, device: BlockDevice, **values: Any) -> None:
    tx.execute(_CHANGE, {"wanted": device.id, "updated_at": tx.now, **values})
    if "delete_on_termination" in values:
        _show(tx, device.server)


def remove(tx: Tx, device: BlockDevice) -> None:
    tx.execute(_REMOVE, {"wanted": device.id})
    _show(tx, device.server)


def forget(tx: Tx, server: ServerId) -> None:
    """Drop what is left of a server that is deleted: its blank disks went with it."""
    tx.execute(delete(block_devices).where(block_devices.c.server == server))
    _show(tx, server)


def _show(tx: Tx, server: ServerId) -> None:
    """Have the server's row say which volumes it has."""
    shown = tuple(
        AttachedVolume(device.volume, device.delete_on_termination)
        for device in volumes_of(tx, server)
        if device.volume is not None
    )
    servers.change(tx, server, volumes=shown)


def _device(row: Any) -> BlockDevice:
    mapping = row._mapping
    return BlockDevice(**{name: mapping[name] for name in _FIELDS})
