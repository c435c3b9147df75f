"""Whether the storage hosts of a guest's volumes answer, found out before QEMU is told to connect to them.

QEMU waits for a silent host for as long as TCP does, for minutes; a guest that gets a volume stands still meanwhile,
and so does whoever asks libvirt for anything. Only `hypervisor.libvirt` calls this.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from renova.model.errors import StorageAway
from renova.model.guest import VolumeDisk
from renova.model.volume import NbdExport

GREETING = b"NBDMAGIC"
ANSWER_S = 3.0  # more than a storage host on the same network takes; who asked tries again

Reach: TypeAlias = Callable[[Iterable[VolumeDisk]], Awaitable[None]]


async def storage_answers(volumes: Iterable[VolumeDisk]) -> None:
    """Return once each volume's storage host has answered; `StorageAway` with the one that does not in `ANSWER_S`."""
    found = [(disk.volume, disk.connection) for disk in volumes]
    ways = {(way.address, way.port): volume for volume, way in found if isinstance(way, NbdExport)}
    for (address, port), volume in sorted(ways.items()):
        try:
            async with asyncio.timeout(ANSWER_S):
                await _greeted(address, port)
        except (OSError, EOFError) as error:  # that it took too long is one, too
            where = f"{address}, port {port}"
            raise StorageAway(f"the storage host of volume {volume} does not answer", details=where) from error


async def _greeted(address: str, port: int) -> None:
    """Wait for what an NBD server says first, with TLS or without: connections are taken by the kernel already."""
    reader, writer = await asyncio.open_connection(address, port)
    try:
        if await reader.readexactly(len(GREETING)) != GREETING:
            raise ConnectionError("something else than an NBD server listens there")
    finally:
        writer.close()
