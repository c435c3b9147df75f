"""The other hosts that run guests, of which this host's network must know to reach theirs."""

import asyncio

import structlog

from renova.drivers.network import Network
from renova.model.errors import NotNow, whole
from renova.uplink.pauses import Pauses

log = structlog.get_logger()


class Neighbours:
    """Tells the network of all but the host itself, whose address is `address`."""

    def __init__(self, network: Network, address: str, pauses: Pauses) -> None:
        self._network = network
        self._address = address
        self._pauses = pauses
        self._others: tuple[str, ...] = ()
        self._changed = asyncio.Event()

    def take(self, addresses: tuple[str, ...]) -> None:
        """Have the network told of these, as soon as it can be."""
        others = tuple(address for address in addresses if address != self._address)
        if others != self._others:
            self._others = others
            self._changed.set()

    async def serve(self) -> None:
        """Tell the network of every change, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._network.peers(self._others)
                self._pauses.reset()
            except Exception as error:  # guests without other hosts in their network are better than none
                log.error("network not told its peers", reason=whole(error), exc_info=not isinstance(error, NotNow))
                self._changed.set()
                await self._pauses.pause()
