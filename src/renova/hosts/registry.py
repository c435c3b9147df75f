"""The hosts connected to this controller: serves what they send, and sends them commands.

A command's answer is awaited over the connection that carried it; when that ends, the command may or may not have
been obeyed, and the caller (a step, which may run twice) tries again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import structlog

from renova.engine.executor import Executor
from renova.engine.journal import Elsewhere
from renova.hosts import eras
from renova.hosts.leases import Leases
from renova.hosts.link import Link
from renova.hosts.registration import Place, cleaned, duty, left_at, welcome
from renova.hosts.uploads import Uploads
from renova.model.chance import Chance
from renova.model.channel import Channel, Closed
from renova.model.clock import Clock
from renova.model.errors import Broken, CloudError, Conflict, NotFound, NotNow, OnHold, Refused, Stale
from renova.model.guest import Aside, CachedImage, FoundGuest, GuestChanged
from renova.model.host import Host, HostState, Role
from renova.model.ids import ExecutorId, HostId, ImageId, ServerId, SnapshotId, VolumeId
from renova.settings import LeaseTimes
from renova.store import hosts as host_rows
from renova.store import rights
from renova.store.cluster import Cluster
from renova.store.database import Database, Tx
from renova.wire import (
    RESULTS,
    Answer,
    AnyAct,
    Asides,
    Clean,
    Cleaned,
    Command,
    ConsoleText,
    Controllers,
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
    Question,
    Read,
    ReadAsides,
    ReadConsole,
    ReadGuest,
    Renew,
    Report,
    Reported,
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
MOST_SERVED, MOST_BYTES_SERVED = 2_000, 64 * 1024 * 1024  # of one connection, at a time: more is no host's need
HELLO_LIMIT = 10.0  # seconds in which a new connection must introduce its host


class _Known(NamedTuple):
    """A host's state as the database had it at a moment (monotonic)."""

    state: HostState
    as_of: float


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
        executor: Executor | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._chance = chance
        self._read_image = read_image
        self._times = times
        self._extra_peers = extra_peers
        self._me = executor or Executor(ExecutorId(chance.uuid()))
        self._links: dict[HostId, Link] = {}
        self._states: dict[HostId, _Known] = {}
        self._addresses: tuple[str, ...] | None = None  # of all hosts that run guests, as last read
        self._controllers: tuple[str, ...] = ()  # where agents reach controllers, as last read
        self._peers_changed = False
        self._saying: set[asyncio.Task[None]] = set()
        self._telling: asyncio.Task[None] | None = None
        self.uploads = Uploads()  # images that operations are asking hosts for
        self._held: str | None = None  # why the cluster is on hold, as last read
        self.leases = Leases(database, clock, times, self._me)
        self.join_token: Callable[[str], str] = _no_agents_port  # set by who opens the agents' port
        self.seek_proof: Callable[[HostId], Awaitable[bool]] = _seek_nothing  # set by who watches the hosts
        self.vouch: Callable[[HostId, str, bool], Awaitable[None]] = _believe_nobody  # set likewise
        self.on_change: Callable[[HostId], None] = lambda _host: None  # a host came, went or changed
        self.on_up: Callable[[HostId], None] = lambda _host: None  # a host is up, or has cleaned something up
        self.on_storage: Callable[[HostId], None] = lambda _host: None  # a storage host is here, and serves nothing
        self.on_report: Callable[[HostId, tuple[GuestChanged, ...]], Awaitable[None]] = _nobody_follows

    # --- what the rest of the controller asks ---

    @property
    def controllers(self) -> tuple[str, ...]:
        """Where agents reach the controllers that there are, each host:port, as last read."""
        return self._controllers

    def connected(self, host: HostId) -> bool:
        return host in self._links

    @property
    def settled(self) -> bool:
        """Say whether this controller has listened long enough to know which hosts are silent."""
        return self.leases.settled

    def up(self, host: HostId) -> bool:
        """Say whether the host is heard, here or by another controller, and in its place.

        The database may know more (`forced_down`).
        """
        known = self._states.get(host)
        return self.leases.alive(host) and (known is None or known.state is HostState.UP)

    async def command(
        self, host: HostId, *, server: ServerId, incarnation: int, number: int, epoch: int, act: AnyAct
    ) -> Result:
        """Have the host do the act; returns its result.

        `NotNow`: the host is away or asks to try again; `Elsewhere`: another controller has it. `Stale`: a newer order
        is known there. `Refused`: it can never work. `Broken`: the host failed in a way nobody planned.
        """
        link = self._links.get(host)
        if link is None:
            home = self.leases.home(host)
            if home is not None and home != self._me.id:
                raise Elsewhere("the server's host is connected to another controller only", ExecutorId(home))
            raise NotNow("the server's host is not connected: switch it on, mend its network, or evacuate its servers")
        if (hold := self._held or link.place.hold) is not None and not isinstance(act, Stop):
            raise OnHold(f"the cluster is on hold: {hold}")
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
        return _result(answer, link, RESULTS[type(act)])

    async def store(self, host: HostId, thing: VolumeId | SnapshotId, version: int, act: StorageAct) -> None:
        """Have the storage host hold the volume or snapshot as the act says; raises as `command` does."""
        link = self._here(host)
        place = link.place
        order = StorageOrder(
            era=place.era, host_epoch=place.lease.epoch, session=link.session, thing=thing, version=version
        )
        answer = await link.ask(lambda number: StorageCommand(id=number, order=order, act=act))
        result = _result(answer, link, Stored)
        if isinstance(act, HaveVolume) and set(result.exports) != set(act.want.exports):
            raise Broken(f"host {place.host.name} serves volume {thing} under other names than it was told")

    async def console(self, host: HostId, server: ServerId, limit: int = 102400) -> bytes:
        """Return the end of the server's console log; `NotNow` when its host is away."""
        return (await self._read(host, ReadConsole(server=server, limit=limit), ConsoleText)).text

    async def guests(self, host: HostId) -> tuple[FoundGuest, ...]:
        """Return the guests that the host has now, whoever started them; `NotNow` when it is away."""
        return (await self._read(host, ListGuests(), Guests)).guests

    async def asides(self, host: HostId) -> tuple[Aside, ...]:
        """Return the disks that the host has set aside; `NotNow` when it is away."""
        return (await self._read(host, ReadAsides(), Asides)).asides

    async def guest(self, host: HostId, server: ServerId) -> FoundGuest | None:
        """Return the server's guest as it is on the host; `NotNow` when the host is away."""
        return (await self._read(host, ReadGuest(server=server), State)).guest

    async def _read(self, host: HostId, what: Question, kind: type[R]) -> R:
        link = self._here(host)
        return _result(await link.ask(lambda number: Read(id=number, what=what)), link, kind)

    def _here(self, host: HostId) -> Link:
        link = self._links.get(host)
        if link is None:
            raise NotNow("The host is not connected.")
        return link

    async def drop_images(self, host: HostId, in_use: Collection[CachedImage], grace_s: float) -> tuple[str, ...]:
        """Have the host delete cached images that are not in use, and return their names; `NotNow` when it is away."""
        link = self._here(host)
        answer = await link.ask(lambda number: Tidy(id=number, in_use=tuple(in_use), grace_s=grace_s))
        return _result(answer, link, Tidied).dropped

    def stand(self, host: Host) -> None:
        """Tell a host that is connected whether it is forced down, if that has changed since it heard last."""
        link = self._links.get(host.id)
        if link is not None and link.told_forced_down is not host.forced_down:
            link.told_forced_down = host.forced_down
            self._soon(_send(link, encode(Standing(forced_down=host.forced_down))))

    def follow(self, standing: Cluster) -> None:
        """Go by the cluster's era and hold; a host that is connected under another era has to say hello again.

        So it does when a hold has ended, even one of which this controller heard only when it welcomed the host: only
        then is it told what to clean up.
        """
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
        self._states = {host: state for host, state in self._states.items() if host in known}
        for row in rows:
            before = self._states.get(row.id)
            if before is not None and before.as_of >= read_at:
                continue
            self._note_state(row.id, row.state, read_at)
            here = self._links.get(row.id)
            if here is not None and (row.resume or (before is not None and before.state is not row.state)):
                self._tell_up(here)  # whoever welcomed it or had it clean up may have died before it could
        addresses = tuple(row.address for row in rows if row.address and row.role is Role.COMPUTE)
        if addresses != self._addresses:
            self._addresses = addresses
            self._gather_peers()
        if controllers and tuple(controllers) != self._controllers:
            self._controllers = tuple(controllers)
            frame = encode(Controllers(addresses=self._controllers))
            for link in self._links.values():
                self._soon(_send(link, frame))

    def _check(self, link: Link, row: Host | None) -> None:
        """End a connection with which the database does not agree any more."""
        if row is None or row.certificate != link.certificate:
            self._soon(link.channel.close())  # it was removed
            return
        silence = self.leases.silence(row.id)
        if silence is None or silence.lease.epoch != link.place.lease.epoch or row.state is HostState.DEAD:
            # Another controller proved it dead, or welcomed it anew: by a hello this one learns of its new lease.
            self._soon(_part(link, Fenced(epoch=link.place.lease.epoch)))

    def _note_state(self, host: HostId, state: HostState, as_of: float) -> None:
        former = self._states.get(host)
        self._states[host] = _Known(state, as_of)
        if former is None or former.state is not state:
            self.on_change(host)

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what must not wait for a host that does not read, nor for a connection that is long dead."""
        task = asyncio.get_running_loop().create_task(work)
        self._saying.add(task)
        task.add_done_callback(self._saying.discard)

    async def call_in_debts(self, host: HostId) -> None:
        """Tell the host, if it is connected, what it owes; a host that is away hears it when it says hello."""
        link = self._links.get(host)
        if link is None or self._held is not None or link.place.hold is not None:
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
        waiting = 0  # bytes that are being served

        def begin(work: Coroutine[Any, Any, None], size: int) -> None:
            nonlocal waiting
            waiting += size
            if len(tasks) >= MOST_SERVED or waiting > MOST_BYTES_SERVED:
                work.close()
                raise Refused("it says more than can be served")
            task = asyncio.get_running_loop().create_task(work)
            tasks.add(task)
            task.add_done_callback(lambda task: served(task, size))

        def served(task: "asyncio.Task[None]", size: int) -> None:
            nonlocal waiting
            waiting -= size
            tasks.discard(task)

        try:
            frames = channel.frames()
            async with asyncio.timeout(HELLO_LIMIT):
                first = decode_from_agent(await anext(frames))
            link = await self._hello(channel, host, certificate, first)
            if isinstance(first, Hello) and not link.place.booted and first.guests:
                # What happened to its guests while nobody listened.
                found = tuple(GuestChanged(guest.server, guest.incarnation, guest.power) for guest in first.guests)
                begin(self._take(host, link, Report(changes=found)), 0)
            async for frame in frames:
                begin(self._take(host, link, decode_from_agent(frame)), len(frame))
        except (Closed, StopAsyncIteration, TimeoutError):
            pass
        except CloudError as error:
            log.warning("host turned away", host=host, reason=str(error))
        except Exception:
            log.error("connection of a host failed", host=host, exc_info=True)
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
        link = Link(channel, place, self._chance.uuid(), certificate, self._clock.monotonic())
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
                controller=self._me.id,
                controllers=self._controllers,
            )
        )
        # Only now: what is said to a host before its welcome, it takes for a fault.
        former, self._links[host] = self._links.get(host), link
        if former is not None:
            former.end()
            await former.channel.close()
        if place.host.address != message.address:
            self._gather_peers()
        self._note_state(host, place.state, link.as_of)
        self.on_change(host)
        self._tell_up(link)
        return link

    def _tell_up(self, link: Link) -> None:
        """Tell that the host is here and up; while it still cleans up, nothing may start there."""
        host = link.place.host
        if self._states[host.id].state is HostState.UP:
            (self.on_up if host.role is Role.COMPUTE else self.on_storage)(host.id)

    async def _peers(self) -> tuple[str, ...]:
        return (*await self._database.read(host_rows.addresses), *self._extra_peers)

    def _gather_peers(self) -> None:
        self._peers_changed = True
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell_peers())

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
                    await self._report(host, link, message)
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
        except CloudError as error:
            log.warning("message of a host refused", host=link.place.host.name, reason=str(error))
            await link.channel.close()
        except Exception:
            log.error("message of a host failed", host=link.place.host.name, exc_info=True)
            await link.channel.close()

    async def _report(self, host: HostId, link: Link, report: Report) -> None:
        try:
            await self.on_report(host, report.changes)
        except NotNow:
            raise
        except CloudError as error:
            log.warning("report not followed", host=link.place.host.name, reason=str(error))
            return  # the host tells it again
        except Exception:
            log.error("report not followed", host=link.place.host.name, exc_info=True)
            return  # likewise
        if report.id:
            await link.tell(Reported(id=report.id))

    async def _cleaned(self, host: HostId, link: Link, message: Cleaned) -> None:
        paid = Duty(message.server, message.below, disks=False)

        def work(tx: Tx) -> tuple[HostState | None, HostId | None]:
            return cleaned(tx, host, paid), left_at(tx, message.server)

        state, home = await self._database.transact(work)
        if state is not None:
            self._note_state(host, state, self._clock.monotonic())
        self.on_change(host)
        self._tell_up(link)
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


async def _part(link: Link, message: Message) -> None:
    """Say the message, and end the connection."""
    await _send(link, encode(message))
    await link.channel.close()


def _no_agents_port(_secret: str) -> str:
    raise NotNow("this controller has no agents' port open yet")


async def _believe_nobody(_host: HostId, _who: str, _at_once: bool) -> None:
    raise NotNow("this controller does not watch the hosts yet")


async def _nobody_follows(_host: HostId, _changes: tuple[GuestChanged, ...]) -> None:
    pass


async def _seek_nothing(_host: HostId) -> bool:
    return False


def _result(answer: Answer, link: Link, kind: type[R]) -> R:
    """Return the answer's result, which is to be of this kind; raise what it says instead."""
    host = link.place.host.name
    if answer.result is not None:
        if not isinstance(answer.result, kind):
            raise Broken(f"host {host} answered with {type(answer.result).__name__} instead of {kind.__name__}")
        return answer.result
    message = f"host {host}: {(answer.error or 'no reason given')[:LONGEST_REASON]}"
    match answer.why:
        case "refused":
            raise Refused(message)
        case "stale":
            raise Stale(message)
        case "not_now":
            raise NotNow(message)
        case _:
            raise Broken(message)
