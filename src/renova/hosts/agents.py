"""The agents that are connected to this controller: what it commands, asks and tells them.

A command's answer is awaited over the connection that carried it; when that ends, the command may or may not have
been obeyed, and the caller (a step, which may run twice) tries again.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import structlog

from renova.engine.executor import Executor
from renova.engine.journal import Elsewhere, Lost
from renova.hosts.guards import Guards
from renova.hosts.link import Link
from renova.hosts.peers import PeerList
from renova.hosts.registration import duties_of
from renova.hosts.registry import Hosts
from renova.hosts.uploads import Uploads
from renova.model.clock import Clock
from renova.model.errors import Broken, NotNow, OnHold, Refused, Stale, StorageAway, whole
from renova.model.guest import Aside, CachedImage, FoundDevices, FoundGuest
from renova.model.host import Host, HostState
from renova.model.ids import ExecutorId, HostId, ServerId, SnapshotId, VolumeId
from renova.model.sighting import Heart
from renova.store.cluster import Cluster
from renova.store.database import Database
from renova.wire.acts import AnyAct, Stop
from renova.wire.commands import RESULTS, Answer, Command, Order
from renova.wire.duties import Clean
from renova.wire.images import Tidy
from renova.wire.leases import Fenced
from renova.wire.questions import (
    ListenFor,
    ListGuests,
    LookFor,
    Question,
    Read,
    ReadAsides,
    ReadConsole,
    ReadDevices,
    ReadGuest,
)
from renova.wire.results import Asides, ConsoleText, Devices, Guests, Heard, Result, Sighted, State, Stored, Tidied
from renova.wire.sessions import Controllers, Standing
from renova.wire.storage import HaveVolume, StorageAct, StorageCommand, StorageOrder

log = structlog.get_logger()

R = TypeVar("R")

ARRIVING_S = 4.0  # an agent that has lost a controller dials it again after 2 s at most
LONGEST_REASON = 1000  # characters of what a host says of its troubles


class Agents:
    """Commands go over this controller's own connections only, whichever of them its host calls home."""

    def __init__(
        self, hosts: Hosts, database: Database, clock: Clock, me: Executor, extra_peers: tuple[str, ...] = ()
    ) -> None:
        self._hosts = hosts
        self._database = database
        self._me = me
        self._links: dict[HostId, Link] = {}
        self._arrived = asyncio.Event()
        self._saying: set[asyncio.Task[None]] = set()
        self._held: str | None = None  # why the cluster is on hold, as last read
        self.era = 0  # the newest that this controller has heard of
        self.controllers: tuple[str, ...] = ()  # where agents reach those that there are, host:port, as last read
        self.guards = Guards(hosts.leases, database, me)
        self.peers = PeerList(database, clock, self._links.values, self.guards, extra_peers)
        self.uploads = Uploads()  # images that operations are asking hosts for
        self.join_token: Callable[[str], str] = _no_agents_port  # set by who opens the agents' port

    def connected(self, host: HostId) -> bool:
        return host in self._links

    # --- commands and questions ---

    async def command(
        self, host: HostId, *, server: ServerId, incarnation: int, number: int, epoch: int, era: int, act: AnyAct
    ) -> Result:
        """Have the host do the act; returns its result.

        `era` is the one in which the operation was last known to be ours. `Lost`: the host is in another, whose
        database may never have heard of the operation.

        `NotNow`: the host is away or asks to try again; `Elsewhere`: another controller has it; `StorageAway`: the host
        of a volume does not answer it. `Stale`: a newer order is known there. `Refused`: it can never work. `Broken`:
        the host failed in a way nobody planned.
        """
        # Before it is asked whether the host is here: whoever waits has to know that there was a hold.
        if not isinstance(act, Stop):
            _must_not_be_held(self._held)
        link = self._here(host)
        if not isinstance(act, Stop):
            _must_not_be_held(link.place.hold)
        if link.place.era != era:
            raise Lost(f"the operation was begun in era {era}, and this is era {link.place.era}: it is to be told anew")
        order = Order(
            era=era,
            host_epoch=link.place.lease.epoch,
            session=link.session,
            server=server,
            incarnation=incarnation,
            number=number,
            epoch=epoch,
        )
        answer = await link.ask(lambda number: Command(id=number, order=order, act=act))
        return _result(answer, link, RESULTS[type(act)])

    async def store(self, host: HostId, thing: VolumeId | SnapshotId, version: int, act: StorageAct) -> None:
        """Have the storage host hold the volume or snapshot as the act says; raises as `command` does.

        One that is away, or asks to try again, is `StorageAway`.
        """
        try:
            await self._store(host, thing, version, act)
        except Elsewhere:
            raise
        except NotNow as error:
            raise StorageAway(f"the storage host of {thing}: {error}") from error

    async def _store(self, host: HostId, thing: VolumeId | SnapshotId, version: int, act: StorageAct) -> None:
        link = self._here(host)
        place = link.place
        order = StorageOrder(
            era=place.era, host_epoch=place.lease.epoch, session=link.session, thing=thing, version=version
        )
        answer = await link.ask(lambda number: StorageCommand(id=number, order=order, act=act))
        result = _result(answer, link, Stored)
        if isinstance(act, HaveVolume) and set(result.exports) != set(act.want.exports):
            details = f"host {place.host.name}"
            raise Broken(f"volume {thing} is served under other names than its host was told", details=details)

    async def console(self, host: HostId, server: ServerId, limit: int = 102400) -> bytes:
        """Return the end of the server's console log; `NotNow` when its host is away."""
        return (await self._read(host, ReadConsole(server=server, limit=limit), ConsoleText)).text

    async def guests(self, host: HostId) -> tuple[FoundGuest, ...]:
        """Return the guests that the host has now, whoever started them; `NotNow` when it is away."""
        return (await self._read(host, ListGuests(), Guests)).guests

    async def asides(self, host: HostId) -> tuple[Aside, ...]:
        """Return the disks that the host has set aside; `NotNow` when it is away."""
        return (await self._read(host, ReadAsides(), Asides)).asides

    async def look_for(self, host: HostId, addresses: Sequence[str]) -> tuple[str, ...]:
        """Return at which of these addresses a machine answers the host; `NotNow` when that is away."""
        return (await self._read(host, LookFor(addresses=tuple(addresses)), Sighted)).addresses

    async def listen_for(self, host: HostId, sharers: Sequence[HostId]) -> tuple[Heart, ...]:
        """Return what the host reads of the heartbeats of those that share its storage.

        `NotNow` when it is away, or the storage.
        """
        return (await self._read(host, ListenFor(hosts=tuple(sharers)), Heard)).hearts

    async def guest(self, host: HostId, server: ServerId) -> FoundGuest | None:
        """Return the server's guest as it is on the host; `NotNow` when the host is away."""
        return (await self._read(host, ReadGuest(server=server), State)).guest

    async def devices(self, host: HostId, server: ServerId) -> FoundDevices:
        """Return the devices that the server's guest has on the host; `NotNow` when the host is away."""
        return (await self._read(host, ReadDevices(server=server), Devices)).devices

    async def drop_images(self, host: HostId, in_use: Collection[CachedImage], grace_s: float) -> tuple[str, ...]:
        """Have the host delete cached images that are not in use, and return their names; `NotNow` when it is away."""
        link = self._here(host)
        answer = await link.ask(lambda number: Tidy(id=number, in_use=tuple(in_use), grace_s=grace_s))
        return _result(answer, link, Tidied).dropped

    async def _read(self, host: HostId, what: Question, kind: type[R]) -> R:
        link = await self._arriving(host)
        return _result(await link.ask(lambda number: Read(id=number, what=what)), link, kind)

    def _here(self, host: HostId) -> Link:
        link = self._links.get(host)
        if link is not None:
            return link
        home = self._elsewhere(host)
        if home is not None:
            raise Elsewhere(
                "the host is connected to another controller and not to this one: ask again, and mend the network "
                "between this controller and the host if that goes on",
                home,
            )
        raise NotNow("the host is not connected: switch it on, mend its network, or evacuate its servers")

    def _elsewhere(self, host: HostId) -> ExecutorId | None:
        """Return another controller's run that has the host connected."""
        home = self._hosts.leases.home(host)
        return ExecutorId(home) if home is not None and home != self._me.id else None

    async def _arriving(self, host: HostId) -> Link:
        """Return the host's connection; one that only another controller has by now is waited for a moment."""
        with suppress(TimeoutError):
            async with asyncio.timeout(ARRIVING_S):
                while host not in self._links and self._elsewhere(host) is not None:
                    self._arrived.clear()
                    await self._arrived.wait()
        return self._here(host)

    # --- what they are told ---

    def stand(self, host: Host) -> None:
        """Tell a host that is connected whether it is forced down, if that has changed since it heard last."""
        link = self._links.get(host.id)
        if link is not None and link.told_forced_down is not host.forced_down:
            link.told_forced_down = host.forced_down
            self._soon(link.mention(Standing(forced_down=host.forced_down)))

    def call_in_debts(self, host: HostId) -> None:
        """Have the host, if it is connected, told what it owes; one that is away hears it when it says hello."""
        link = self._links.get(host)
        if link is None or link.reminding or self._held is not None or link.place.hold is not None:
            return
        link.reminding = True
        self._soon(self._remind(link))

    async def _remind(self, link: Link) -> None:
        try:
            for owed in await self._database.read(lambda tx: duties_of(tx, link.place.host.id)):
                await link.tell(Clean(duty=owed))
        except NotNow as error:
            log.info("host not told what it owes", host=link.place.host.name, reason=whole(error))
        finally:
            link.reminding = False

    def fence(self, host: HostId) -> None:
        """Have a host told that its lease was revoked, should it be there to hear it."""
        link = self._links.get(host)
        if link is not None:
            self._soon(link.mention(Fenced(epoch=link.place.lease.epoch)))

    async def drop(self, host: HostId) -> None:
        """End the host's connection: it was removed from the cloud."""
        link = self._links.get(host)
        if link is not None:
            await link.channel.close()

    # --- connections come, go, and must agree with the database ---

    def admit(self, link: Link) -> None:
        """Have the host, which was welcomed over this connection, commanded over it; a former one of it ends."""
        host = link.place.host.id
        self.era = max(self.era, link.place.era)
        self._arrived.set()
        former, self._links[host] = self._links.get(host), link
        if former is not None:
            former.end()
            self._soon(former.channel.close())

    def dismiss(self, link: Link) -> bool:
        """Let the connection go, which has ended; say whether the host is without one now."""
        link.end()
        host = link.place.host.id
        if self._links.get(host) is not link:
            return False
        del self._links[host]
        return True

    def follow(self, standing: Cluster) -> None:
        """Go by the cluster's era and hold; a host that is connected under another era has to say hello again.

        So it does when a hold has ended, even one of which this controller heard only when it welcomed the host: only
        then is it told what to clean up.
        """
        self.era = max(self.era, standing.era)
        released = self._held is not None and standing.hold is None
        self._held = standing.hold
        for link in self._links.values():
            welcomed_on_hold = link.place.hold is not None and standing.hold is None
            if released or welcomed_on_hold or link.place.era != standing.era:
                self._soon(link.channel.close())

    def learn(self, rows: Sequence[Host], controllers: Sequence[str], read_at: float) -> None:
        """Go by what the database says of all hosts and controllers: others write it, too.

        It was read after the moment `read_at` (monotonic); what a connection brought since is newer.
        """
        known = {row.id: row for row in rows}
        for host, link in list(self._links.items()):
            if link.as_of < read_at:
                self._check(link, known.get(host))
        for row in self._hosts.learn(rows, read_at):
            if row.id in self._links:
                self._hosts.tell_up(row)  # whoever welcomed it or had it clean up may have died before it could
        for row in rows:
            self.stand(row)
        self.peers.learn(rows)
        if controllers and tuple(controllers) != self.controllers:
            self.controllers = tuple(controllers)
            for link in self._links.values():
                self._soon(link.mention(Controllers(addresses=self.controllers)))
            self._soon(self.guards.tell(self.controllers))

    def _check(self, link: Link, row: Host | None) -> None:
        """End a connection with which the database does not agree any more."""
        if row is None or row.certificate != link.certificate:
            self._soon(link.channel.close())  # it was removed
            return
        silence = self._hosts.leases.silence(row.id)
        if silence is None or silence.lease.epoch != link.place.lease.epoch or row.state is HostState.DEAD:
            # Another controller proved it dead, or welcomed it anew: by a hello this one learns of its new lease.
            self._soon(link.part(Fenced(epoch=link.place.lease.epoch)))

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what must not wait for a host that does not read, nor for a connection that is long dead."""
        task = asyncio.get_running_loop().create_task(work)
        self._saying.add(task)
        task.add_done_callback(self._saying.discard)


def _no_agents_port(_secret: str) -> str:
    raise NotNow("this controller has no agents' port open yet")


def _must_not_be_held(hold: str | None) -> None:
    if hold is not None:
        raise OnHold(f"the cluster is on hold: {hold}")


def _result(answer: Answer, link: Link, kind: type[R]) -> R:
    """Return the answer's result, which is to be of this kind; raise what it says instead."""
    host = link.place.host.name
    if answer.result is not None:
        if not isinstance(answer.result, kind):
            given = type(answer.result).__name__
            raise Broken(f"a host answered with {given} instead of {kind.__name__}", details=f"host {host}")
        return answer.result
    message = (answer.error or "the host gave no reason")[:LONGEST_REASON]
    details = f"host {host}: {answer.details[:LONGEST_REASON]}" if answer.details else f"host {host}"
    match answer.why:
        case "refused":
            raise Refused(message, details=details)
        case "stale":
            raise Stale(message, details=details)
        case "storage_away":
            raise StorageAway(message, details=details)
        case "not_now":
            raise NotNow(message, details=details)
        case _:
            raise Broken(message, details=details)
