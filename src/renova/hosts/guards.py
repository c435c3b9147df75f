"""The guards that are connected to this controller: each renews its host's lease here while this is its home."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

import structlog

from renova.engine.executor import Executor
from renova.hosts import eras
from renova.hosts.leases import Leases
from renova.hosts.link import say
from renova.model.channel import Channel, Closed
from renova.model.errors import Broken, Conflict, Refused
from renova.model.ids import HostId
from renova.store import hosts as host_rows
from renova.store.database import Database, Tx
from renova.wire.frames import decode_from_agent
from renova.wire.leases import GuardHello, GuardTimes, GuardWelcome, Renew
from renova.wire.message import Message
from renova.wire.sessions import Controllers, Peers

log = structlog.get_logger()

MOST_SERVED = 16  # renewals of one guard that wait for the database: later ones count more than those before
ASKED = 16  # other hosts whose guards a guard may ask
UNKNOWN = "the certificate is not, or no longer, the one of an enrolled host"


class Guards:
    """Welcomes guards, and answers their renewals."""

    def __init__(self, leases: Leases, database: Database, me: Executor) -> None:
        self._leases = leases
        self._database = database
        self._me = me
        self._channels: dict[Channel, HostId] = {}  # in the order in which they came, in which they are told

    async def serve(
        self,
        channel: Channel,
        frames: AsyncIterator[bytes],
        host: HostId,
        certificate: str,
        hello: GuardHello,
        controllers: tuple[str, ...],
    ) -> None:
        """Serve one guard's connection, whose hello was read, until it ends."""
        peers = await self._admit(host, certificate, hello)
        times = self._leases.times
        welcome = GuardWelcome(
            controller=self._me.id,
            renew=times.renew,
            times=GuardTimes(stop_budget=times.stop_budget, drift=times.drift),
            peers=peers,
            controllers=controllers,
        )
        await say(channel, welcome)
        log.info("guard connected", host=hello.name)
        self._channels[channel] = host
        tasks: set[asyncio.Task[None]] = set()
        try:
            async for frame in frames:
                message = decode_from_agent(frame)
                if not isinstance(message, Renew):
                    raise Broken(f"a guard sent {type(message).__name__}")
                if len(tasks) < MOST_SERVED:
                    task = asyncio.get_running_loop().create_task(self._renew(channel, host, message))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
        finally:
            self._channels.pop(channel, None)
            for task in tasks:
                task.cancel()
            log.info("guard disconnected", host=hello.name)

    async def tell(self, controllers: tuple[str, ...]) -> None:
        """Tell every guard where agents and guards reach the controllers."""
        frame = Controllers(addresses=controllers)
        await asyncio.gather(*(_mention(channel, frame) for channel in list(self._channels)))

    async def introduce(self, addresses: Mapping[HostId, str]) -> None:
        """Tell every guard whom it may ask, of the hosts at these addresses."""
        told = [(channel, Peers(addresses=_next_to(host, addresses))) for channel, host in self._channels.items()]
        await asyncio.gather(*(_mention(channel, peers) for channel, peers in told))

    async def _admit(self, host: HostId, certificate: str, hello: GuardHello) -> tuple[str, ...]:
        """Return the addresses of hosts whose guards this one may ask; raises if it is none of ours."""

        def work(tx: Tx) -> tuple[str, ...] | str | None:
            row = host_rows.get(tx, host)
            if row is None:
                eras.turn_away(tx, host, hello.name)
                return None
            if row.certificate != certificate:
                raise Refused(UNKNOWN)
            if hello.name != row.name:
                raise Conflict(f"this host is enrolled as {row.name}, and its guard calls it {hello.name!r}")
            if (reason := eras.lease_loss(tx, row, hello.era, hello.epoch)) is not None:
                eras.hold(tx, reason, hello.era)
                return reason
            return _next_to(host, host_rows.addresses(tx))

        peers = await self._database.transact(work)
        if peers is None:
            raise Refused(UNKNOWN)
        if isinstance(peers, str):
            raise Conflict(f"{peers}: the database lost commits, and the cluster is on hold")
        return peers

    async def _renew(self, channel: Channel, host: HostId, renewal: Renew) -> None:
        answer = await self._leases.renew(host, renewal)
        if answer is not None:
            await _mention(channel, answer)


def _next_to(host: HostId, addresses: Mapping[HostId, str]) -> tuple[str, ...]:
    """Return some addresses of others: each host's others are different ones, so that nobody is asked by all."""
    hosts = list(addresses)
    at = hosts.index(host) + 1 if host in addresses else 0
    others = [other for other in (*hosts[at:], *hosts[:at]) if other != host]
    return tuple(addresses[other] for other in others[:ASKED])


async def _mention(channel: Channel, message: Message) -> None:
    with suppress(Closed):
        await say(channel, message)
