"""The host's heartbeat on its storage, and a look at those of hosts that share it.

A second way to see that a host lives, for controllers that do not hear it. The numbers of beats are compared as one
host reads them, one look after the other: no clock of the host that writes takes part.
"""

from collections.abc import Sequence

import structlog

from renova.drivers.heartbeat import Heartbeats
from renova.model.clock import Clock
from renova.model.errors import NotNow, whole
from renova.model.ids import HostId
from renova.model.sighting import Heart

log = structlog.get_logger()

BEAT_S = 1.0  # between beats
LOOK_S = 2.5  # between two looks at others': who lives has beaten then


class Heartbeat:
    """This host's, and its eyes for others'."""

    def __init__(self, heartbeats: Heartbeats, clock: Clock) -> None:
        self._heartbeats = heartbeats
        self._clock = clock

    async def serve(self) -> None:
        """Beat until cancelled."""
        stopped = False
        while True:
            try:
                await self._heartbeats.beat()
            except NotNow as error:
                if not stopped:
                    log.warning("heart does not beat", reason=whole(error))
                stopped = True
            else:
                stopped = False
            await self._clock.sleep(BEAT_S)

    async def listen(self, hosts: Sequence[HostId]) -> tuple[Heart, ...]:
        """Look twice; return what was read of each of the hosts that have ever beaten here."""
        first = await self._heartbeats.read(hosts)
        await self._clock.sleep(LOOK_S)
        second = await self._heartbeats.read(hosts)
        return tuple(Heart(host, first[host], number) for host, number in second.items() if host in first)
