"""The volumes and snapshots of a storage host, each obeying one command at a time, and never an older one.

`requests` brings the commands. What is wanted of a thing is numbered (`wire.StorageOrder`): the number is on disk
before anything is done, and a lower one is refused from then on. A newer command ends the running one of the same
thing, and begins when that has really ended. A command that is repeated joins the one that runs.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from renova.agent.journal import Journal, ThingPage
from renova.drivers.hypervisor import ImageSource
from renova.drivers.volume import Storage
from renova.model.errors import CloudError, NotNow, Stale, whole
from renova.model.ids import SnapshotId, VolumeId
from renova.wire.results import Stored
from renova.wire.storage import DropVolume, DropVolumeSnapshot, HaveVolume, HaveVolumeSnapshot, StorageAct, StorageOrder

log = structlog.get_logger()


class Stores:
    """All volumes and snapshots of the host that are being changed."""

    def __init__(self, journal: Journal, storage: Storage, images: ImageSource) -> None:
        self._journal = journal
        self._storage = storage
        self._images = images
        self._things: dict[str, _Thing] = {}  # with which something goes on

    async def obey(self, order: StorageOrder, act: StorageAct, check: Callable[[ThingPage], None]) -> Stored:
        """Have the thing as the act says. `check` raises if the order may not be obeyed, given what is known of it."""
        thing = self._enter(order.thing)
        try:
            async with thing.door:
                page = await self._journal.thing(order.thing)
                check(page)
                running = thing.running
                if running is None or running.task.done() or (running.version, running.act) != (order.version, act):
                    if order.version > page.version:
                        await self._journal.write_thing(order.thing, ThingPage(order.version))
                    await thing.end(Stale("a newer command took the place of this one"))
                    running = thing.running = self._begin(order, act)
            return await running.result()
        finally:
            self._leave(order.thing)

    async def halt(self, reason: str) -> None:
        """End all that runs, to be tried again; return when it has ended."""
        await asyncio.gather(*[thing.end(NotNow(reason)) for thing in self._things.values()])

    def _enter(self, name: str) -> "_Thing":
        """Return what goes on with the thing, which is kept until all have left it."""
        thing = self._things.setdefault(name, _Thing())
        thing.users += 1
        return thing

    def _leave(self, name: str) -> None:
        self._things[name].users -= 1
        if not self._things[name].users:
            del self._things[name]

    def _begin(self, order: StorageOrder, act: StorageAct) -> "_Running":
        running = _Running(order, act, self._perform(order, act))
        self._enter(order.thing)  # it goes on though nobody wait for it any more
        running.task.add_done_callback(lambda _: self._leave(order.thing))
        return running

    async def _perform(self, order: StorageOrder, act: StorageAct) -> Stored:
        where = log.bind(thing=order.thing, version=order.version, act=type(act).__name__)
        try:
            stored = await self._act(order, act)
        except CloudError as error:
            where.warning("storage command not done", reason=whole(error))
            raise
        where.info("storage command done", exports=len(stored.exports))
        return stored

    async def _act(self, order: StorageOrder, act: StorageAct) -> Stored:
        match act:
            case HaveVolume():
                return Stored(await self._storage.have(act.want, self._images))
            case DropVolume():
                await self._storage.drop(VolumeId(order.thing))
            case HaveVolumeSnapshot():
                await self._storage.have_snapshot(SnapshotId(order.thing), act.volume)
            case DropVolumeSnapshot():
                await self._storage.drop_snapshot(SnapshotId(order.thing))
        return Stored()


class _Thing:
    """What goes on with a volume or snapshot."""

    def __init__(self) -> None:
        self.door = asyncio.Lock()  # held while it is decided what runs next
        self.running: _Running | None = None
        self.users = 0  # commands that wait, and the one that runs

    async def end(self, reason: CloudError) -> None:
        running, self.running = self.running, None
        if running is not None and not running.task.done():
            running.ended_because = reason
            running.task.cancel()
            await asyncio.wait([running.task])


class _Running:
    """A command that was begun."""

    def __init__(self, order: StorageOrder, act: StorageAct, work: Coroutine[Any, Any, Stored]) -> None:
        self.version = order.version
        self.act = act
        self.ended_because: CloudError | None = None
        self.task = asyncio.get_running_loop().create_task(work, name=f"{type(act).__name__}-{order.thing}")
        self.task.add_done_callback(lambda task: task.cancelled() or task.exception())  # logged, even if nobody waits

    async def result(self) -> Stored:
        await asyncio.wait([self.task])
        if self.task.cancelled():
            raise self.ended_because or NotNow("the agent stops")
        return self.task.result()
