"""The hosts' connections, of agents and of guards: each is welcomed, and served until it ends."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any

import structlog

from renova.engine.executor import Executor
from renova.hosts import eras
from renova.hosts.agents import LONGEST_REASON, Agents
from renova.hosts.guards import UNKNOWN
from renova.hosts.link import Link
from renova.hosts.registration import Place, cleaned, left_at, welcome
from renova.hosts.registry import Hosts
from renova.model.chance import Chance
from renova.model.channel import Channel, Closed
from renova.model.clock import Clock
from renova.model.errors import Broken, CloudError, Conflict, NotFound, NotNow, Refused, whole
from renova.model.guest import GuestChanged
from renova.model.host import HostState
from renova.model.ids import HostId, ImageId
from renova.settings import LeaseTimes
from renova.store import hosts as host_rows
from renova.store import rights
from renova.store.database import Database, Tx
from renova.wire.commands import Answer
from renova.wire.duties import Cleaned, NotCleaned
from renova.wire.frames import FromAgent, decode_from_agent
from renova.wire.images import ImageBytes, ImagePiece, WantImage
from renova.wire.leases import GuardHello, Renew
from renova.wire.sessions import Hello, Report, Reported, Welcome

log = structlog.get_logger()

MOST_SERVED, MOST_BYTES_SERVED = 2_000, 64 * 1024 * 1024  # of one connection, at a time: more is no host's need
HELLO_LIMIT = 10.0  # seconds in which a new connection must introduce its host


class Connections:
    """Serves every connection that the agents' port accepts; those of guards by `hosts.guards`."""

    def __init__(
        self,
        hosts: Hosts,
        agents: Agents,
        *,
        database: Database,
        clock: Clock,
        chance: Chance,
        read_image: Callable[[ImageId, int], AsyncIterator[bytes]],
        times: LeaseTimes,
        me: Executor,
        hang_after: float = 0.0,
    ) -> None:
        self._hosts = hosts
        self._agents = agents
        self._database = database
        self._clock = clock
        self._chance = chance
        self._read_image = read_image
        self._times = times
        self._me = me
        self._hang_after = hang_after

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
            if isinstance(first, GuardHello):
                await self._agents.guards.serve(channel, frames, host, certificate, first, self._agents.controllers)
                return
            link = await self._hello(channel, host, certificate, first)
            if isinstance(first, Hello) and not link.place.booted and first.guests:
                # What happened to its guests while nobody listened.
                found = tuple(
                    GuestChanged(guest.server, guest.incarnation, guest.power, guest.hung) for guest in first.guests
                )
                begin(self._take(host, link, Report(changes=found)), 0)
            async for frame in frames:
                begin(self._take(host, link, decode_from_agent(frame)), len(frame))
        except (Closed, StopAsyncIteration, TimeoutError):
            pass
        except CloudError as error:
            log.warning("host turned away", host=host, reason=whole(error))
        except Exception:
            log.error("connection of a host failed", host=host, exc_info=True)
        finally:
            for task in tasks:
                task.cancel()
            if link is not None and self._agents.dismiss(link):
                log.info("host disconnected", host=link.place.host.name)
                self._hosts.on_change(host)
            await channel.close()

    async def _hello(self, channel: Channel, host: HostId, certificate: str, message: FromAgent) -> Link:
        if not isinstance(message, Hello):
            raise Broken("the first message of a host must be hello")

        def work(tx: Tx) -> Place | str | None:
            row = host_rows.get(tx, host)
            if row is None:
                eras.turn_away(tx, host, message.name)
                return None
            if row.certificate != certificate:
                raise Refused(UNKNOWN)
            if (reason := eras.loss(tx, row, message)) is not None:
                eras.hold(tx, reason, message.era)  # kept, although the host is not let in
                return reason
            return welcome(tx, host, message, self._times)

        place = await self._database.transact(work)
        if place is None:
            raise Refused(UNKNOWN)
        if isinstance(place, str):
            raise Conflict(f"{place}: the database lost commits, and the cluster is on hold")
        link = Link(channel, place, self._chance.uuid(), certificate, self._clock.monotonic())
        self._hosts.leases.begin(place.lease)
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
                peers=await self._agents.peers.addresses(),
                forced_down=place.host.forced_down,
                controller=self._me.id,
                controllers=self._agents.controllers,
                hang_after=self._hang_after,
            )
        )
        # Only now: what is said to a host before its welcome, it takes for a fault.
        self._agents.admit(link)
        if place.host.address != message.address:
            self._agents.peers.changed()
        self._hosts.note(host, place.state, link.as_of)
        self._hosts.on_change(host)
        self._hosts.tell_up(place.host)
        return link

    async def _take(self, host: HostId, link: Link, message: FromAgent) -> None:
        try:
            match message:
                case Renew():
                    answer = await self._hosts.leases.renew(host, message)
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
                    await link.tell(await self._agents.uploads.take(host, message))
                case WantImage():
                    await link.give(partial(self._image_piece, message))
                case Hello() | GuardHello():
                    raise Broken("a host says hello once a connection")
        except Closed:
            pass
        except NotNow:
            log.warning("message of a host not served", host=link.place.host.name, exc_info=True)
            if isinstance(message, Cleaned):
                await link.channel.close()  # so that it says hello, and hears of its duty again
        except CloudError as error:
            log.warning("message of a host refused", host=link.place.host.name, reason=whole(error))
            await link.channel.close()
        except Exception:
            log.error("message of a host failed", host=link.place.host.name, exc_info=True)
            await link.channel.close()

    async def _report(self, host: HostId, link: Link, report: Report) -> None:
        try:
            await self._hosts.on_report(host, report.changes)
        except NotNow:
            raise
        except CloudError as error:
            log.warning("report not followed", host=link.place.host.name, reason=whole(error))
            return  # the host tells it again
        except Exception:
            log.error("report not followed", host=link.place.host.name, exc_info=True)
            return  # likewise
        if report.id:
            await link.tell(Reported(id=report.id))

    async def _cleaned(self, host: HostId, link: Link, message: Cleaned) -> None:
        def work(tx: Tx) -> tuple[HostState | None, HostId | None]:
            return cleaned(tx, host, message.duty), left_at(tx, message.duty.server)

        state, home = await self._database.transact(work)
        if state is not None:
            self._hosts.note(host, state, self._clock.monotonic())
        self._hosts.on_change(host)
        self._hosts.tell_up(link.place.host)
        if home is not None and home != host:
            self._hosts.on_up(home)  # its evacuation to this host failed: from now on it may run where it was

    async def _image_piece(self, want: WantImage) -> ImagePiece:
        try:
            async for piece in self._read_image(want.image, want.offset):
                return ImagePiece(id=want.id, data=piece)
        except NotFound as error:
            return ImagePiece(id=want.id, error=str(error), why="refused")
        except NotNow as error:
            return ImagePiece(id=want.id, error=str(error), why="not_now")
        return ImagePiece(id=want.id)
