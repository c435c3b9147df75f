"""The storage daemons of a storage host: one for each compute host that is served, one for work that serves nobody.

NBD lists its names to whoever a daemon lets in, and lets in per daemon, not per export: so what two hosts may reach is
never in one daemon. One that serves is started when it is wanted first, and ended when nothing is left in it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from renova.drivers.blocking import in_thread, to_its_end
from renova.drivers.volume.daemon import Daemon, Door, end_all
from renova.model.errors import BadSetup, NotNow
from renova.model.ids import VolumeId
from renova.model.storage import Export


@dataclass(eq=False)
class Holder:
    """A daemon, and what it may serve; gone with it."""

    door: Door | None
    daemon: Daemon
    users: int = 0  # volumes that are open in it, or are being opened
    _exports: dict[str, tuple[VolumeId, Export]] = field(default_factory=dict)  # by id: names are secrets, ids are not
    _names: int = 0

    def name(self, kind: str) -> str:
        self._names += 1
        return f"{kind}{self._names}"  # a node's name has at most 31 characters: no id fits

    @property
    def may_serve(self) -> bool:
        return bool(self._exports)

    async def served(self, volume: VolumeId) -> dict[str, Export]:
        """Return what it really serves of the volume, by the exports' ids."""
        known = {each: export for each, (of, export) in self._exports.items() if of == volume}
        return {each: known[each] for each in await self.daemon.exports() if each in known} if known else {}

    async def serve(self, volume: VolumeId, node: str, export: Export) -> None:
        export_id = self.name("export")
        self._exports[export_id] = volume, export  # first: what was begun has to be found, even by who comes next
        await self.daemon.execute(
            "block-export-add",
            type="nbd",
            id=export_id,
            name=export.name,
            node_name=node,
            writable=export.writable,
            # On the disk before it is confirmed: guests live on when this host's power is cut, connect again, and
            # would never hear that what it had only in its memory is lost.
            writethrough=True,
        )

    async def cut(self, export_id: str) -> None:
        await self.daemon.cut(export_id)
        self._exports.pop(export_id, None)


class Daemons:
    """All of them. `run` is the directory of their pid files and logs; `lost` is called when one that served ended."""

    def __init__(self, run: Path, lost: Callable[[], None]) -> None:
        self._run = run
        self._lost = lost
        self._holders: dict[Door | None, Holder] = {}
        self._gates: defaultdict[Door | None, asyncio.Lock] = defaultdict(asyncio.Lock)  # held to start or end one

    async def open(self) -> None:
        """End what was left, and start the one that serves nobody. `NotNow` and `BadSetup` as in `Daemon.start`."""
        await in_thread(None, end_all, self._run)
        await self._start(None)

    async def close(self) -> None:
        holders = list(self._holders.values())
        self._holders.clear()
        await asyncio.gather(*[holder.daemon.stop() for holder in holders])

    def __iter__(self) -> Iterator[Holder]:
        return iter(list(self._holders.values()))

    def __contains__(self, holder: object) -> bool:
        """Say whether it has not ended."""
        return isinstance(holder, Holder) and self._holders.get(holder.door) is holder

    async def take(self, door: Door | None) -> Holder:
        """Return the daemon behind this door, started if need be, to be given back. `NotNow` if it does not start."""
        async with self._gates[door]:
            holder = self._holders.get(door)
            if holder is None:
                try:
                    holder = await self._start(door)
                except BadSetup as error:
                    raise NotNow("what serves volumes does not start", details=str(error)) from error
            holder.users += 1
            return holder

    async def give_back(self, holder: Holder) -> None:
        """Use it no more; a daemon that serves, and that nobody uses, is ended once this returns."""
        holder.users -= 1
        if not holder.users and holder.door is not None:
            await to_its_end(self._end_unused(holder))

    async def _end_unused(self, holder: Holder) -> None:
        async with self._gates[holder.door]:
            if not holder.users and holder in self:
                await holder.daemon.stop()
                self._holders.pop(holder.door, None)

    async def _start(self, door: Door | None) -> Holder:
        if door is not None:
            for other in self._holders:
                if other is not None and other.port == door.port:
                    raise NotNow("the volume's port still serves another host", details=f"{door.port}: {other.host}")
        name = "copies" if door is None else f"{door.port}"
        holder = Holder(door, Daemon(self._run, name, door, lambda: self._ended(holder)))
        self._holders[door] = holder  # before it listens: nobody else may take the port
        try:
            await holder.daemon.start()
        except BaseException:
            self._holders.pop(door, None)
            raise
        return holder

    def _ended(self, holder: Holder) -> None:
        if holder in self:
            del self._holders[holder.door]
            if holder.may_serve:
                self._lost()
