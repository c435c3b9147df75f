"""Guests of this host's libvirtd that leave with their memory, and that are expected; used by `libvirt`."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import structlog

from renova.drivers.hypervisor import libvirt_migration as migration
from renova.drivers.hypervisor.libvirt_connection import Connection
from renova.drivers.hypervisor.libvirt_migration import Whereabouts
from renova.drivers.hypervisor.passage import Passage
from renova.model.clock import Clock
from renova.model.errors import NotNow, Refused, whole
from renova.model.guest import Departure, Way
from renova.model.ids import HostId, ServerId

log = structlog.get_logger()

LOOK_AGAIN_S = 0.2


@dataclass
class _Leaving:
    """A guest on its way. The call that copies its memory says why it failed; that it has left, only libvirt says."""

    to: Way
    call: "asyncio.Task[None]"


class Travel:
    """The guests of the libvirtd at `uri` that come and go; `eyes` asks no QEMU."""

    def __init__(self, uri: str, clock: Clock, passage: Passage | None, connection: Connection, eyes: Connection):
        self._uri = uri
        self._clock = clock
        self._passage = passage
        self._connection = connection
        self._eyes = eyes
        self._leaving: dict[ServerId, _Leaving] = {}

    @property
    def is_possible(self) -> bool:
        return self._passage is not None

    async def open(self) -> None:
        if self._passage is not None:
            await self._passage.open()

    async def close(self) -> None:
        for server in list(self._leaving):
            with suppress(NotNow, Refused):
                await self.stay(server)
        if self._passage is not None:
            await self._passage.close()

    async def expect(self, server: ServerId, source: HostId) -> Way:
        passage = self._passed()
        await passage.forget(server)
        await self._connection.call(migration.expect, server)
        return passage.expect(server, source)

    async def expect_no_more(self, server: ServerId) -> None:
        """Close the way to the host from which the guest was to come: it is this one's own now, or has arrived."""
        if self._passage is not None:
            await self._passage.forget(server)

    async def turn_away(self, server: ServerId) -> None:
        if self._passage is not None:
            await self.expect_no_more(server)
            await self._connection.call(migration.turn_away, server)

    async def depart(self, server: ServerId, to: Way, *, hurry: bool, wait_s: float) -> Departure:
        self._passed()
        leaving = self._leaving.get(server)
        if leaving is None or leaving.to != to:
            await self.stay(server)
            where = await self._eyes.call(migration.whereabouts, server)
            if where is not Whereabouts.HERE:
                return _departure(server, where, "it does not run")
            call = asyncio.get_running_loop().create_task(self._leave(server, to), name=f"leave-{server}")
            call.add_done_callback(lambda call: call.cancelled() or call.exception())  # logged, even if nobody asks
            leaving = self._leaving[server] = _Leaving(to, call)
        try:
            if hurry:
                await self._connection.call(migration.stand_still, server)
            await asyncio.wait([leaving.call], timeout=wait_s)
        except asyncio.CancelledError:
            await asyncio.shield(self.stay(server))
            raise
        if not leaving.call.done():
            return await self._progress(server)
        self._leaving.pop(server, None)
        error = None if leaving.call.cancelled() else leaving.call.exception()
        return _departure(
            server, await self._eyes.call(migration.whereabouts, server), whole(error) if error else "it was ended"
        )

    async def stay(self, server: ServerId) -> bool:
        """Have it not be on its way, and go on; says whether it has left."""
        leaving = self._leaving.pop(server, None)
        # The call may not have come to copying yet: so it is stopped until both are over.
        while not await self._connection.call(migration.stop_copying, server) or _goes_on(leaving):
            await self._clock.sleep(LOOK_AGAIN_S)
        return await self._connection.call(migration.stay, server) is Whereabouts.LEFT

    async def _leave(self, server: ServerId, to: Way) -> None:
        # A connection of its own: the call takes as long as the guest has memory, and what ends it must not wait.
        own = Connection(self._uri, self._clock)
        async with self._passed().towards(to) as socket:
            await own.open(lambda _server: None, lambda: None)
            try:
                await own.call(migration.leave, server, f"qemu+unix:///system?socket={socket}")
            except (NotNow, Refused) as error:
                log.warning("guest not moved", server=server, reason=whole(error))
                raise
            finally:
                await own.close()

    async def _progress(self, server: ServerId) -> Departure:
        total, processed, remaining = await self._eyes.call(migration.progress, server)
        return Departure(under_way=True, total=total, processed=processed, remaining=remaining)

    def _passed(self) -> Passage:
        if self._passage is None:
            raise Refused("guests do not leave this host with their memory, nor come to it: it has no migration_port")
        return self._passage


def _goes_on(leaving: _Leaving | None) -> bool:
    return leaving is not None and not leaving.call.done()


def _departure(server: ServerId, where: Whereabouts, reason: str) -> Departure:
    if where is Whereabouts.LEFT:
        return Departure(left=True)
    return Departure(reason=f"the guest of {server} has not left: {reason}")
