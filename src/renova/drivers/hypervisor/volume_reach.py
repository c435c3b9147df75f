"""Whether the storage hosts of a guest's volumes answer, found out before QEMU is told to connect to them.

QEMU waits for a silent host for as long as TCP does, for minutes; a guest that gets a volume stands still meanwhile,
and so does whoever asks libvirt for anything. Only `hypervisor.libvirt` calls this.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from renova.model.errors import Refused
from renova.model.guest import VolumeDisk
from renova.model.volume import NbdExport

ANSWER_S = 10.0  # a storage host whose daemon or agent has just ended serves again within some seconds
TRY_AGAIN_S = 0.5

Reach: TypeAlias = Callable[[Iterable[VolumeDisk]], Awaitable[None]]


async def storage_answers(volumes: Iterable[VolumeDisk]) -> None:
    """Return once each volume's storage host has answered. `Refused` with the one that does not, after `ANSWER_S`."""
    ways = [disk.connection for disk in volumes if isinstance(disk.connection, NbdExport)]
    for address, port in sorted({(way.address, way.port) for way in ways}):
        try:
            async with asyncio.timeout(ANSWER_S):
                while not await _answers(address, port):  # noqa: ASYNC110  (no event)
                    await asyncio.sleep(TRY_AGAIN_S)
        except TimeoutError as error:
            raise Refused(f"the storage host of a volume, {address}, does not answer") from error


async def _answers(address: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(address, port)
    except OSError:
        return False
    writer.close()
    return True
