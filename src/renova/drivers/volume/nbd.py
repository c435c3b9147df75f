"""The storage of a real storage host: raw files, served over NBD by one qemu-storage-daemon.

Which exports exist is asked of the daemon each time, never remembered: what it lists is what can be reached.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from renova.drivers.hypervisor import ImageSource
from renova.drivers.volume.daemon import Daemon
from renova.drivers.volume.files import GIB, VolumeFiles
from renova.model.clock import Clock
from renova.model.errors import BadSetup, NotNow, Refused
from renova.model.ids import SnapshotId, VolumeId
from renova.model.storage import Blank, Export, OfImage, OfSnapshot, StorageFacts, WantedVolume

log = structlog.get_logger()

RESTART_S = 1.0  # before a daemon that ended is started again, and between tries


@dataclass
class _Node:
    """A volume that the daemon has open, for its exports or for a copy."""

    name: str
    path: Path
    users: int = 0  # copies, and changes that are under way


@dataclass
class _Open:
    """What the daemon that runs now has open; gone with it."""

    nodes: dict[VolumeId, _Node] = field(default_factory=dict)
    exports: dict[str, tuple[VolumeId, Export]] = field(default_factory=dict)  # by id: names are secrets, ids are not
    names: int = 0

    def name(self, kind: str) -> str:
        self.names += 1
        return f"{kind}{self.names}"  # a node's name has at most 31 characters: no id fits


class NbdStorage:
    """Volumes in `directory`, served on address and port; `tls` as in `Daemon`."""

    def __init__(self, directory: Path, clock: Clock, *, address: str, port: int, tls: Path | None) -> None:
        self._files = VolumeFiles(directory)
        self._clock = clock
        self._port = port
        self._tls = tls is not None
        self._daemon = Daemon(self._files.run, address, port, tls, self._ended)
        self._open = _Open()
        self._doors: dict[VolumeId, asyncio.Lock] = {}  # held while a volume is opened or closed
        self._lost: Callable[[], None] = lambda: None
        self._restarting: asyncio.Task[None] | None = None

    async def open(self, lost: Callable[[], None]) -> None:
        self._lost = lost
        await self._files.open()
        await self._daemon.start()

    async def close(self) -> None:
        if self._restarting is not None:
            self._restarting.cancel()
            await asyncio.wait([self._restarting])
        await self._daemon.stop()

    def _ended(self) -> None:
        self._open = _Open()
        self._restarting = asyncio.get_running_loop().create_task(self._restart(), name="restart-storage-daemon")

    async def _restart(self) -> None:
        while True:
            await self._clock.sleep(RESTART_S)
            try:
                await self._daemon.start()
                break
            except BadSetup:
                log.error("storage daemon not started", exc_info=True)
        self._lost()

    async def facts(self) -> StorageFacts:
        total, free = await self._files.space()
        return StorageFacts(total // GIB, free // GIB, self._port, self._tls)

    async def exports(self, volume: VolumeId) -> tuple[Export, ...]:
        return tuple(sorted((await self._served(volume)).values()))

    async def _served(self, volume: VolumeId) -> dict[str, Export]:
        """Return what is served of the volume, by the exports' ids."""
        known = self._open.exports
        return {each: known[each][1] for each in await self._daemon.exports() if known[each][0] == volume}

    async def _cut(self, volume: VolumeId, *, but: Collection[Export] = ()) -> None:
        for export_id, export in (await self._served(volume)).items():
            if export not in but:
                await self._daemon.cut(export_id)

    async def have(self, want: WantedVolume, images: ImageSource) -> tuple[Export, ...]:
        await self._cut(want.volume, but=want.exports)
        path = self._files.volume(want.volume, want.generation)
        newest = await self._files.newest(want.volume)
        if newest is None or newest < want.generation:
            if want.made and not want.exports:
                return ()
            await self._replace(want, path, images)
        await self._files.keep_only(want.volume, want.generation)
        async with self._opened(want.volume, path) as node:
            if await self._files.size(path) < want.size_bytes:
                await self._daemon.execute("block_resize", node_name=node, size=want.size_bytes)
            served = set((await self._served(want.volume)).values())
            for export in [export for export in want.exports if export not in served]:
                export_id = self._open.name("export")
                self._open.exports[export_id] = want.volume, export
                await self._daemon.execute(
                    "block-export-add",
                    type="nbd",
                    id=export_id,
                    name=export.name,
                    node_name=node,
                    writable=export.writable,
                    # On the disk before it is confirmed: guests live on when this host's power is cut, connect again,
                    # and would never hear that what it had only in its memory is lost.
                    writethrough=True,
                )
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
        async with self._opened(volume, path) as source:
            await self._files.make_blank(target, await self._files.size(path))
            node = self._open.name("copy")
            await self._add_node(node, target)
            try:
                await self._daemon.copy(self._open.name("job"), source, node)
            finally:
                with suppress(NotNow):
                    await self._daemon.execute("blockdev-del", node_name=node)

    # --- what the daemon has open ---

    @asynccontextmanager
    async def _opened(self, volume: VolumeId, path: Path) -> AsyncIterator[str]:
        """Have the volume open in the daemon, and closed again unless it is served or used otherwise."""
        opened = self._open
        async with self._door(volume):
            node = opened.nodes.get(volume)
            if node is None:
                node = _Node(opened.name("volume"), path)
                await self._add_node(node.name, path)
                opened.nodes[volume] = node
            elif node.path != path:
                raise NotNow(f"volume {volume} is being copied")
            node.users += 1
        try:
            yield node.name
        finally:
            node.users -= 1
            if opened is self._open:
                with suppress(NotNow):  # a daemon that ended has nothing open
                    await self._close(volume, if_idle=True)

    async def _close(self, volume: VolumeId, *, if_idle: bool = False) -> None:
        """Have the volume not open. `NotNow` while it is used; with `if_idle` it then stays open."""
        async with self._door(volume):
            node = self._open.nodes.get(volume)
            if node is None:
                return
            if node.users or await self._served(volume):
                if if_idle:
                    return
                raise NotNow(f"volume {volume} is being copied")
            await self._daemon.execute("blockdev-del", node_name=node.name)
            del self._open.nodes[volume]

    def _door(self, volume: VolumeId) -> asyncio.Lock:
        return self._doors.setdefault(volume, asyncio.Lock())

    async def _add_node(self, name: str, path: Path) -> None:
        # Never probed for a format: a guest writes what it likes, a qcow2 header that names other files, too.
        file = {"driver": "file", "filename": str(path), "locking": "on", "discard": "unmap"}
        await self._daemon.execute(
            "blockdev-add", driver="raw", node_name=name, discard="unmap", read_only=False, file=file
        )
