"""Peers: every host that runs guests is told where the others are, so that their guests reach one another.

Its guard is told of some of them, whom it may ask.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from renova.hosts.guards import Guards
from renova.hosts.link import Link
from renova.model.clock import Clock
from renova.model.errors import NotNow
from renova.model.host import Host, Role
from renova.model.ids import HostId
from renova.store import hosts as host_rows
from renova.store.database import Database
from renova.wire.sessions import Peers

log = structlog.get_logger()

# Seconds for which newcomers are gathered before all are told, as each telling goes to every host: at least, and more
# for each host.
GATHER_PEERS, GATHER_PEERS_PER_HOST = 0.5, 0.01


class PeerList:
    """Underlay addresses of all hosts that run guests, and `extra` ones.

    When they change they are told over the `links`, and `guards` introduce the hosts' guards to one another.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        links: Callable[[], Collection[Link]],
        guards: Guards,
        extra: tuple[str, ...],
    ) -> None:
        self._database = database
        self._clock = clock
        self._links = links
        self._guards = guards
        self._extra = extra
        self._addresses: tuple[str, ...] | None = None  # as last learnt
        self._changed = False
        self._telling: asyncio.Task[None] | None = None

    async def addresses(self) -> tuple[str, ...]:
        return self._everybody(await self._database.read(host_rows.addresses))

    def learn(self, rows: Sequence[Host]) -> None:
        """Compare with what the database says of all hosts: others write it, too."""
        addresses = tuple(row.address for row in rows if row.address and row.role is Role.COMPUTE)
        if addresses != self._addresses:
            self._addresses = addresses
            self.changed()

    def changed(self) -> None:
        """Have all hosts told before long."""
        self._changed = True
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        """Tell all hosts of the newcomers, until none came meanwhile."""
        while self._changed:
            await self._clock.sleep(GATHER_PEERS + GATHER_PEERS_PER_HOST * len(self._links()))
            self._changed = False  # before they are read: whoever comes later counts again
            try:
                known = await self._database.read(host_rows.addresses)
            except NotNow:
                log.warning("hosts not told their peers yet", exc_info=True)
                self._changed = True
                continue
            # Together: one that does not read must not keep the others waiting.
            peers = Peers(addresses=self._everybody(known))
            await asyncio.gather(*(link.mention(peers) for link in list(self._links())), self._guards.introduce(known))

    def _everybody(self, known: Mapping[HostId, str]) -> tuple[str, ...]:
        return (*known.values(), *self._extra)
