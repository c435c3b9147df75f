"""The hosts connected to this controller: serves what they send, and sends them commands.

A command's answer is awaited over the connection that carried it; when that ends, the command may or may not have
been obeyed, and the caller (a step, which may run twice) tries again.
"""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import suppress
from typing import TypeVar

import structlog

from renova.hosts import eras
from renova.hosts.leases import Leases
from renova.hosts.registration import Place, cleaned, duty, left_at, welcome
from renova.hosts.uploads import Uploads
from renova.model.chance import Chance
from renova.model.channel import Channel, Closed
from renova.model.clock import Clock
from renova.model.errors import Broken, CloudError, Conflict, NotFound, NotNow, OnHold, Refused, Stale
from renova.model.guest import Aside, CachedImage, FoundGuest, GuestChanged
from renova.model.host import Host, HostState, Role
from renova.model.ids import HostId, ImageId, ServerId, SnapshotId, VolumeId
from renova.settings import LeaseTimes
from renova.store import hosts as host_rows
from renova.store import rights
from renova.store.cluster import Cluster
from renova.store.database import Database, Tx
from renova.wire import (
    Answer,
    AnyAct,
    Asides,
    Clean,
    Cleaned,
    Command,
    ConsoleText,
    Duty,
    Fenced,
    FromAgent,
    Guests,
    HaveVolume,
    Hello,
    ImageBytes,
    ImagePiece,
    ListGuests,
    Message,
    NotCleaned,
    Order,
    Peers,
    Read,
    ReadAsides,
    ReadConsole,
    ReadGuest,
    Renew,
    Report,
    Result,
    Standing,
    State,
    Stop,
    StorageAct,
    StorageCommand,
    StorageOrder,
    Stored,
    Tidied,
    Tidy,
    WantImage,
    Welcome,
    decode_from_agent,
    encode,
)

log = structlog.get_logger()
R = TypeVar("R")

# Seconds for which newcomers are gathered before all are told, as each telling goes to every host: at least, and more
# for each host.
GATHER_PEERS, GATHER_PEERS_PER_HOST = 0.5, 0.01
LONGEST_REASON = 1000  # characters of what a host says of its troubles
HELLO_LIMIT = 10.0  # seconds in which a new connection must introduce its host


class Link:
    """One registered host's connection."""

    def __init__(self, channel: Channel, place: Place, session: str) -> None:
        self.channel = channel
        self.place = place
        self.session = session
        self.told_forced_down = place.host.forced_down
        self._next = 0
        self._waiting: dict[int, asyncio.Future[Answer]] = {}

    async def tell(self, message: Message) -> None:
        await self.channel.send(encode(message))

    async def ask(self, make: Callable[[int], Message]) -> Answer:
        """Send what `make` makes of a fresh id, and return the answer; `Closed` when the connection ends first."""
        self._next += 1
        number = self._next
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            await self.tell(make(number))
            return await future
        finally:
            self._waiting.pop(number, None)

    def answered(self, answer: Answer) -> None:
        future = self._waiting.get(answer.id)
        if future is not None and not future.done():
            future.set_result(answer)

    def end(self) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Closed("the connection to the host ended"))


class Hosts:
    """All hosts as this controller has them."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        chance: Chance,
        read_image: Callable[[ImageId, int], AsyncIterator[bytes]],
        times: LeaseTimes,
        extra_peers: tuple[str, ...] = (),
    ) -> None:
        self._database = database
        self._clock = clock
        self._chance = chance
        self._read_image = read_image
        self._times = times
        self._extra_peers = extra_peers
        self._links: dict[HostId, Link] = {}
        self._peers_changed = False
        self._telling: asyncio.Task[None] | None = None
        self.uploads = Uploads()  # images that operations are asking hosts for
        self._held: str | None = None  # why the cluster is on hold, as last read
        self.leases = Leases(database, clock, times)
        self.join_token: Callable[[str], str] = _no_agents_port  # set by who opens the agents' port
        self.seek_proof: Callable[[HostId], Awaitable[bool]] = _seek_nothing  # set by who watches the hosts
        self.vouch: Callable[[HostId, str, bool], Awaitable[None]] = _believe_nobody  # set likewise
        self.on_change: Callable[[HostId], None] = lambda _host: None  # a host came, went or changed
        self.on_up: Callable[[HostId], None] = lambda _host: None  # a host is up, or has cleaned something up
        self.on_storage: Callable[[HostId], None] = lambda _host: None  # a storage host is here, and serves nothing
        self.on_report: Callable[[HostId, tuple[GuestChanged, ...]], None] = lambda _host, _changes: None

    # --- what the rest of the controller asks ---

    def connected(self, host: HostId) -> bool:
        return host in self._links

    def up(self, host: HostId) -> bool:
        """Say whether the host is heard and in its place; the database may know more (`forced_down`)."""
        link = self._links.get(host)
        return self.leases.alive(host) and (link is None or link.place.state is HostState.UP)

    async def command(
        self, host: HostId, *, server: ServerId, incarnation: int, number: int, epoch: int, act: AnyAct
    ) -> Result:
        """Have the host do the act; returns its result.

        `NotNow`: the host is away or asks to try again. `Stale`: a newer order is known there. `Refused`: it can
        never work. `Broken`: the host failed in a way nobody planned.
        """
        link = self._links.get(host)
        if link is None:
            raise NotNow("the server's host is not connected: switch it on, mend its network, or evacuate its servers")
        if self._held is not None and not isinstance(act, Stop):
            raise OnHold(f"the cluster is on hold: {self._held}")
        order = Order(
            era=link.place.era,
            host_epoch=link.place.lease.epoch,
            session=link.session,
            server=server,
            incarnation=incarnation,
            number=number,
            epoch=epoch,
        )
        answer = await link.ask(lambda number: Command(id=number, order=order, act=act))
        return _result(answer, link.place.host)

    async def store(self, host: HostId, thing: VolumeId | SnapshotId, version: int, act: StorageAct) -> None:
        """Have the storage host hold the volume or snapshot as the act says; raises as `command` does."""
        link = self._links.get(host)
        if link is None:
            raise NotNow("the storage host is not connected")
        place = link.place
        order = StorageOrder(
            era=place.era, host_epoch=place.lease.epoch, session=link.session, thing=thing, version=version
        )
        answer = await link.ask(lambda number: StorageCommand(id=number, order=order, act=act))
        result = _result(answer, place.host)
        assert isinstance(result, Stored)
        if isinstance(act, HaveVolume) and set(result.exports) != set(act.want.exports):
            raise Broken(f"host {place.host.name} serves volume {thing} under other names than it was told")

    async def console(self, host: HostId, server: ServerId, limit: int = 102400) -> bytes:
        """Return the end of the server's console log; `NotNow` when its host is away."""
        link = self._links.get(host)
        if link is None:
            raise NotNow("The server's host is not connected.")
        answer = await link.ask(lambda number: Read(id=number, what=ReadConsole(server=server, limit=limit)))
        result = _result(answer, link.place.host)
        assert isinstance(result, ConsoleText)
        return result.text

    async def guests(self, host: HostId) -> tuple[FoundGuest, ...]:
        """Return the guests that the host has now, whoever started them; `NotNow` when it is away."""
        link = self._links.get(host)
        if link is None:
            raise NotNow("The host is not connected.")
        answer = await link.ask(lambda number: Read(id=number, what=ListGuests()))
        result = _result(answer, link.place.host)
        assert isinstance(result, Guests)
        return result.guests

    async def drop_images(self, host: HostId, in_use: Collection[CachedImage], grace_s: float) -> tuple[str, ...]:
        """Have the host delete cached images that are not in use, and return their names; `NotNow` when it is away."""
        link = self._links.get(host)
        if link is None:
            raise NotNow("The host is not connected.")
        answer = await link.ask(lambda number: Tidy(id=number, in_use=tuple(in_use), grace_s=grace_s))
        result = _result(answer, link.place.host)
        assert isinstance(result, Tidied)
        return result.dropped

    async def asides(self, host: HostId) -> tuple[Aside, ...]:
        """Return the disks that the host has set aside; `NotNow` when it is away."""
        link = self._links.get(host)
        if link is None:
            raise NotNow("The host is not connected.")
        answer = await link.ask(lambda number: Read(id=number, what=ReadAsides()))
        result = _result(answer, link.place.host)
        assert isinstance(result, Asides)
        return result.asides

    async def stand(self, host: Host) -> None:
        """Tell a host that is connected whether it is forced down, if that has changed since it heard last."""
        link = self._links.get(host.id)
        if link is not None and link.told_forced_down is not host.forced_down:
            link.told_forced_down = host.forced_down
            await _send(link, encode(Standing(forced_down=host.forced_down)))

    async def guest(self, host: HostId, server: ServerId) -> FoundGuest | None:
        """Return the server's guest as it is on the host; `NotNow` when the host is away."""
        link = self._links.get(host)
        if link is None:
            raise NotNow("the host is not connected")
        answer = await link.ask(lambda number: Read(id=number, what=ReadGuest(server=server)))
        result = _result(answer, link.place.host)
        assert isinstance(result, State)
        return result.guest

    async def follow(self, standing: Cluster) -> None:
        """Go by the cluster's era and hold; a host that is connected under another era has to say hello again.

        So it does when a hold has ended: only then is it told what to clean up.
        """
        released = self._held is not None and standing.hold is None
        self._held = standing.hold
        for link in list(self._links.values()):
            if released or link.place.era != standing.era:
                await link.channel.close()

    async def call_in_debts(self, host: HostId) -> None:
        """Tell the host, if it is connected, what it owes; a host that is away hears it when it says hello."""
        link = self._links.get(host)
        if link is None or self._held is not None:
            return
        facts = link.place.host.facts
        storage = facts.storage_id if facts else ""
        duties = await self._database.read(lambda tx: [duty(tx, debt, storage) for debt in rights.debts_of(tx, host)])
        for owed in duties:
            await link.tell(Clean(duty=owed))

    async def fence(self, host: HostId) -> None:
        """Tell a host that its lease was revoked, should it be there to hear it."""
        link = self._links.get(host)
        if link is not None:
            await _send(link, encode(Fenced(epoch=link.place.lease.epoch)))

    async def drop(self, host: HostId) -> None:
        """End the host's connection: it was removed from the cloud."""
        link = self._links.get(host)
        if link is not None:
            await link.channel.close()

    # --- what a connection brings ---

    async def serve(self, channel: Channel, host: HostId, certificate: str) -> None:
        """Serve one connection of the host that the certificate names, until it ends."""
        link: Link | None = None
        tasks: set[asyncio.Task[None]] = set()
        try:
            frames = channel.frames()
            async with asyncio.timeout(HELLO_LIMIT):
                first = decode_from_agent(await anext(frames))
            link = await self._hello(channel, host, certificate, first)
            async for frame in frames:
                message = decode_from_agent(frame)
                task = asyncio.get_running_loop().create_task(self._take(host, link, message))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        except (Closed, StopAsyncIteration, TimeoutError):
            pass
        except CloudError as error:
            log.warning("host turned away", host=host, reason=str(error))
        finally:
            for task in tasks:
                task.cancel()
            if link is not None:
                link.end()
                if self._links.get(host) is link:
                    del self._links[host]
                    log.info("host disconnected", host=link.place.host.name)
                    self.on_change(host)
            await channel.close()

    async def _hello(self, channel: Channel, host: HostId, certificate: str, message: FromAgent) -> Link:
        if not isinstance(message, Hello):
            raise Broken("the first message of a host must be hello")

        def work(tx: Tx) -> Place | str:
            row = host_rows.get(tx, host)
            if row is None or row.certificate != certificate:
                raise Refused("the certificate is not, or no longer, the one of an enrolled host")
            if (reason := eras.loss(tx, row, message)) is not None:
                eras.hold(tx, reason, message.era)  # kept, although the host is not let in
                return reason
            return welcome(tx, host, message, self._times)

        place = await self._database.transact(work)
        if isinstance(place, str):
            raise Conflict(f"{place}: the database lost commits, and the cluster is on hold")
        link = Link(channel, place, self._chance.uuid())
        self.leases.begin(place.lease)
        log.info("host connected", host=place.host.name, state=place.state, epoch=place.lease.epoch)
        await link.tell(
            Welcome(
                host=host,
                session=link.session,
                era=place.era,
                epoch=place.lease.epoch,
                ttl=self._times.ttl,
                renew=self._times.renew,
                duties=place.duties,
                peers=await self._peers(),
                forced_down=place.host.forced_down,
            )
        )
        # Only now: what is said to a host before its welcome, it takes for a fault.
        former, self._links[host] = self._links.get(host), link
        if former is not None:
            former.end()
            await former.channel.close()
        if place.host.address != message.address:
            self._peers_changed = True
            if self._telling is None or self._telling.done():
                self._telling = asyncio.get_running_loop().create_task(self._tell_peers())
        self.on_change(host)
        if not place.booted:
            # What happened to its guests while nobody listened.
            self.on_report(host, tuple(GuestChanged(g.server, g.incarnation, g.power) for g in message.guests))
        self._tell_up(host, link)
        return link

    def _tell_up(self, host: HostId, link: Link) -> None:
        """Tell that the host is here and up; while it still cleans up, nothing may start there."""
        if link.place.state is HostState.UP:
            (self.on_up if link.place.host.role is Role.COMPUTE else self.on_storage)(host)

    async def _peers(self) -> tuple[str, ...]:
        return (*await self._database.read(host_rows.addresses), *self._extra_peers)

    async def _tell_peers(self) -> None:
        """Tell all hosts of the newcomers, until none came meanwhile."""
        while self._peers_changed:
            await self._clock.sleep(GATHER_PEERS + GATHER_PEERS_PER_HOST * len(self._links))
            self._peers_changed = False  # before they are read: whoever comes later counts again
            try:
                addresses = await self._peers()
            except NotNow:
                log.warning("hosts not told their peers yet", exc_info=True)
                self._peers_changed = True
                continue
            frame = encode(Peers(addresses=addresses))
            # Together: one that does not read must not keep the others waiting.
            await asyncio.gather(*(_send(link, frame) for link in list(self._links.values())))

    async def _take(self, host: HostId, link: Link, message: FromAgent) -> None:
        try:
            match message:
                case Renew():
                    answer = await self.leases.renew(host, message)
                    if answer is not None:
                        await link.tell(answer)
                case Answer():
                    link.answered(message)
                case Cleaned():
                    await self._cleaned(host, link, message)
                case NotCleaned():
                    await self._database.transact(
                        lambda tx: rights.trouble(tx, host, message.server, message.reason[:LONGEST_REASON])
                    )
                case Report():
                    self.on_report(host, message.changes)
                case ImageBytes():
                    await link.tell(await self.uploads.take(host, message))
                case WantImage():
                    await link.tell(await self._image_piece(message))
                case Hello():
                    raise Broken("a host says hello once a connection")
        except Closed:
            pass
        except NotNow:
            log.warning("message of a host not served", host=link.place.host.name, exc_info=True)
            if isinstance(message, Cleaned):
                await link.channel.close()  # so that it says hello, and hears of its duty again
        except Exception:
            log.error("message of a host failed", host=link.place.host.name, exc_info=True)
            await link.channel.close()

    async def _cleaned(self, host: HostId, link: Link, message: Cleaned) -> None:
        paid = Duty(message.server, message.below, disks=False)

        def work(tx: Tx) -> tuple[HostState | None, HostId | None]:
            return cleaned(tx, host, paid), left_at(tx, message.server)

        state, home = await self._database.transact(work)
        if state is not None and self._links.get(host) is link:
            link.place = dataclasses.replace(link.place, state=state)
        self.on_change(host)
        self._tell_up(host, link)
        if home is not None and home != host:
            self.on_up(home)  # its evacuation to this host failed: from now on it may run where it was

    async def _image_piece(self, want: WantImage) -> ImagePiece:
        try:
            async for piece in self._read_image(want.image, want.offset):
                return ImagePiece(id=want.id, data=piece)
        except NotFound as error:
            return ImagePiece(id=want.id, error=str(error), why="refused")
        except NotNow as error:
            return ImagePiece(id=want.id, error=str(error), why="not_now")
        return ImagePiece(id=want.id)


async def _send(link: Link, frame: bytes) -> None:
    """Send what a host whose connection has just ended learns from its next welcome anyway."""
    with suppress(Closed):
        await link.channel.send(frame)


def _no_agents_port(_secret: str) -> str:
    raise NotNow("this controller has no agents' port open yet")


async def _believe_nobody(_host: HostId, _who: str, _at_once: bool) -> None:
    raise NotNow("this controller does not watch the hosts yet")


async def _seek_nothing(_host: HostId) -> bool:
    return False


def _result(answer: Answer, host: Host) -> Result:
    if answer.result is not None:
        return answer.result
    message = f"host {host.name}: {answer.error}"
    match answer.why:
        case "refused":
            raise Refused(message)
        case "stale":
            raise Stale(message)
        case "not_now":
            raise NotNow(message)
        case _:
            raise Broken(message)
