"""The storage of a real storage host: raw files, served over NBD by a qemu-storage-daemon for each compute host.

Which exports exist is asked of the daemons each time, never remembered: what they list is what can be reached. A
volume is open in one of them at a time: in that of the host it is served to, else in the one that serves nobody. QEMU's
locks of the file are the second line of defence.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from renova.drivers.blocking import to_its_end
from renova.drivers.hypervisor import ImageSource
from renova.drivers.storage_mark import StorageMark
from renova.drivers.volume import serves_one_host
from renova.drivers.volume.daemon import Door
from renova.drivers.volume.daemons import Daemons, Holder
from renova.drivers.volume.files import GIB, VolumeFiles
from renova.model.clock import Clock
from renova.model.errors import NotNow, Refused
from renova.model.ids import SnapshotId, VolumeId
from renova.model.storage import Blank, Export, OfImage, OfSnapshot, StorageFacts, WantedVolume

log = structlog.get_logger()

PAUSE_S = 1.0  # from the end of a daemon until it is told: one that ends again and again must not busy everybody


@dataclass(eq=False)
class _Node:
    """A volume that a daemon has open, for its exports or for a copy."""

    name: str
    path: Path
    holder: Holder
    users: int = 0  # copies, and changes that are under way
    copies: set[asyncio.Task[None]] = field(default_factory=set)
    leaving: bool = False  # another daemon is to have the volume
    unused: asyncio.Event = field(default_factory=asyncio.Event)


class NbdStorage:
    """Volumes in `directory`, served on address and `ports`; `tls` as in `Door`, `mark` as in `VolumeFiles`."""

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        *,
        address: str,
        ports: range,
        tls: Path | None,
        mark: StorageMark | None = None,
    ) -> None:
        self._files = VolumeFiles(directory, mark)
        self._clock = clock
        self._address, self._ports, self._tls = address, ports, tls
        self._daemons = Daemons(self._files.run, self._exports_lost)
        self._nodes: dict[VolumeId, _Node] = {}
        self._locks: dict[VolumeId, asyncio.Lock] = {}  # held while a volume is opened or closed
        self._lost: Callable[[], None] = lambda: None
        self._telling: asyncio.Task[None] | None = None

    async def open(self, lost: Callable[[], None]) -> None:
        self._lost = lost
        await self._files.open()
        await self._daemons.open()

    async def close(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait([self._telling])
        await self._daemons.close()

    def _exports_lost(self) -> None:
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell_loss(), name="tell-loss")

    async def _tell_loss(self) -> None:
        await self._clock.sleep(PAUSE_S)
        self._telling = None  # what is lost from now on is told anew
        self._lost()

    async def facts(self) -> StorageFacts:
        total, free = await self._files.space()
        return StorageFacts(total // GIB, free // GIB, self._ports.start, len(self._ports), self._tls is not None)

    async def exports(self, volume: VolumeId) -> tuple[Export, ...]:
        return tuple(sorted(await self._served(volume)))

    async def _served(self, volume: VolumeId) -> list[Export]:
        return [export for holder in self._daemons for export in (await holder.served(volume)).values()]

    async def _cut(self, volume: VolumeId, *, but: Collection[Export] = ()) -> None:
        for holder in self._daemons:
            for export_id, export in (await holder.served(volume)).items():
                if export not in but:
                    await holder.cut(export_id)

    def _door(self, exports: Collection[Export]) -> Door | None:
        for export in exports:
            return Door(self._address, export.port, export.host, self._tls)
        return None

    async def have(self, want: WantedVolume, images: ImageSource) -> tuple[Export, ...]:
        serves_one_host(want)
        await self._cut(want.volume, but=want.exports)
        newest = await self._files.newest(want.volume)
        # A newer one than is wanted is what a database has lost: the only copy, and what the volume holds.
        generation = max(newest or 0, want.generation)
        path = self._files.volume(want.volume, generation)
        if newest is None or newest < want.generation:
            if want.made and not want.exports:
                await self._close(want.volume, if_idle=True)
                return ()
            await self._replace(want, path, images)
        await self._files.drop_older(want.volume, generation)
        async with self._opened(want.volume, path, self._door(want.exports)) as node:
            if await self._files.size(path) < want.size_bytes:
                await node.holder.daemon.execute("block_resize", node_name=node.name, size=want.size_bytes)
            served = await self._served(want.volume)
            for export in [export for export in want.exports if export not in served]:
                await node.holder.serve(want.volume, node.name, export)
        return await self.exports(want.volume)

    async def drop(self, volume: VolumeId) -> None:
        await self._cut(volume)
        await self._close(volume)
        await self._files.remove_volume(volume)

    async def have_snapshot(self, snapshot: SnapshotId, volume: VolumeId) -> None:
        path = self._files.snapshot(snapshot)
        if not path.exists():
            await self._whole(path, lambda partial: self._copy(volume, partial))

    async def drop_snapshot(self, snapshot: SnapshotId) -> None:
        await self._files.remove_snapshot(snapshot)

    async def _replace(self, want: WantedVolume, path: Path, images: ImageSource) -> None:
        if want.made:
            raise Refused(f"the content of volume {want.volume} is not on this host any more")
        if await self._served(want.volume):
            raise Refused(f"volume {want.volume} is served: its content cannot be replaced")
        await self._close(want.volume)

        async def make(partial: Path) -> None:
            await self._files.make_blank(partial, want.size_bytes if isinstance(want.source, Blank) else 0)
            match want.source:
                case Blank():
                    pass
                case OfImage():
                    await self._files.make_of_image(partial, want.source, images)
                case OfSnapshot():
                    await self._files.make_of_file(partial, await self._snapshot_file(want.source.snapshot))
                case _:
                    await self._copy(want.source.volume, partial)
            size = await self._files.size(partial)
            if size > want.size_bytes:
                raise Refused(f"the content has {size} bytes, volume {want.volume} has {want.size_bytes}")
            await self._files.grow(partial, want.size_bytes)

        await self._whole(path, make)

    async def _snapshot_file(self, snapshot: SnapshotId) -> Path:
        path = self._files.snapshot(snapshot)
        if not path.exists():
            raise Refused(f"snapshot {snapshot} is not here")
        return path

    async def _whole(self, path: Path, make: Callable[[Path], Coroutine[Any, Any, None]]) -> None:
        """Have the file made under another name, and give it its own once it is whole."""
        partial = path.with_name(f"{path.name}.part")
        try:
            await make(partial)
            await self._files.publish(partial, path)
        finally:
            await self._files.remove(partial)

    async def _copy(self, volume: VolumeId, target: Path) -> None:
        """Copy the volume as it is at one moment, while whoever is connected goes on writing."""
        generation = await self._files.newest(volume)
        if generation is None:
            raise Refused(f"volume {volume} is not here")
        path = self._files.volume(volume, generation)
        async with self._opened(volume, path) as node:
            await self._files.make_blank(target, await self._files.size(path))
            copy = node.holder.name("copy")
            await self._add_node(node.holder, copy, target)
            try:
                await self._run_copy(node, copy)
            finally:
                with suppress(NotNow):
                    await node.holder.daemon.execute("blockdev-del", node_name=copy)

    async def _run_copy(self, node: _Node, target: str) -> None:
        """Copy the node; `NotNow` when the volume has to leave the daemon before that has ended."""
        if node.leaving:
            raise NotNow("another host is to have the volume first")
        daemon, job = node.holder.daemon, node.holder.name("job")
        running = asyncio.get_running_loop().create_task(daemon.copy(job, node.name, target), name=f"copy-{job}")
        node.copies.add(running)
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError:
            running.cancel()
            await asyncio.wait([running])
            raise
        finally:
            node.copies.discard(running)
        if running.cancelled():
            raise NotNow("the copy was broken off: another host is to have the volume first")
        running.result()

    # --- what the daemons have open ---

    @asynccontextmanager
    async def _opened(self, volume: VolumeId, path: Path, door: Door | None = None) -> AsyncIterator[_Node]:
        """Have the volume open, with a door in the daemon behind it; closed again unless it is served or used."""
        async with self._lock(volume):
            node = self._node(volume)
            if node is not None and door not in (None, node.holder.door):
                await self._vacate(node)
                await self._shut(volume, node)
                node = None
            if node is None:
                node = await to_its_end(self._add_volume(volume, path, door))
            elif node.path != path:
                raise NotNow(f"volume {volume} is being copied")
            node.users += 1
            node.unused.clear()
        try:
            yield node
        finally:
            node.users -= 1
            if not node.users:
                node.unused.set()
            with suppress(NotNow):  # a daemon that ended has nothing open
                await self._close(volume, if_idle=True)

    async def _vacate(self, node: _Node) -> None:
        """Break off the copies of a volume that another host is to have: it must not wait for as long as they take."""
        node.leaving = True
        try:
            for copy in node.copies:
                copy.cancel()
            if node.users:
                await node.unused.wait()
        finally:
            node.leaving = False

    async def _close(self, volume: VolumeId, *, if_idle: bool = False) -> None:
        """Have the volume not open. `NotNow` while it is used; with `if_idle` it then stays open."""
        async with self._lock(volume):
            node = self._node(volume)
            if node is None:
                return
            if node.users or await self._served(volume):
                if if_idle:
                    return
                raise NotNow(f"volume {volume} is being copied")
            await self._shut(volume, node)

    def _lock(self, volume: VolumeId) -> asyncio.Lock:
        return self._locks.setdefault(volume, asyncio.Lock())

    def _node(self, volume: VolumeId) -> _Node | None:
        node = self._nodes.get(volume)
        if node is not None and node.holder not in self._daemons:
            del self._nodes[volume]  # gone with its daemon
            return None
        return node

    async def _add_volume(self, volume: VolumeId, path: Path, door: Door | None) -> _Node:
        holder = await self._daemons.take(door)
        try:
            node = _Node(holder.name("volume"), path, holder)
            await self._add_node(holder, node.name, path)
        except BaseException:
            await self._daemons.give_back(holder)
            raise
        self._nodes[volume] = node
        return node

    async def _shut(self, volume: VolumeId, node: _Node) -> None:
        async def shut() -> None:
            await node.holder.daemon.execute("blockdev-del", node_name=node.name)
            del self._nodes[volume]
            await self._daemons.give_back(node.holder)

        await to_its_end(shut())

    async def _add_node(self, holder: Holder, name: str, path: Path) -> None:
        # Never probed for a format: a guest writes what it likes, a qcow2 header that names other files, too.
        file = {"driver": "file", "filename": str(path), "locking": "on", "discard": "unmap"}
        await holder.daemon.execute(
            "blockdev-add", driver="raw", node_name=name, discard="unmap", read_only=False, file=file
        )
