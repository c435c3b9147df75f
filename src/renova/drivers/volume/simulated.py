"""Storage that is pretended: contents are words, and who is connected to an export is a set of names.

It outlives its agent as files outlive a process; exports do not. What a guest would read and write through NBD, tests
do through `read` and `write`.
"""

from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field

from msgspec.structs import replace

from renova.drivers.hypervisor import ImageSource
from renova.drivers.hypervisor.image import verified
from renova.drivers.volume import serves_one_host
from renova.model.clock import Clock
from renova.model.errors import NotNow, Refused
from renova.model.ids import HostId, SnapshotId, VolumeId
from renova.model.storage import Blank, Export, OfImage, OfSnapshot, Source, StorageFacts, WantedVolume

FACTS = StorageFacts(total_gb=1000, free_gb=1000, port=10809, ports=1000, tls=True)


@dataclass
class SimulatedVolume:
    """A volume's file: its size, which generation its content is of, and that content, with what was written since."""

    size_bytes: int
    generation: int
    content: str
    writes: list[str] = field(default_factory=list)


class SimulatedVolumes:
    """The volumes of one pretended storage host. Copying takes `copy_s` seconds."""

    def __init__(self, clock: Clock, facts: StorageFacts = FACTS, *, copy_s: float = 0.2) -> None:
        self._clock = clock
        self._facts = facts
        self.copy_s = copy_s
        self._lost: Callable[[], None] = lambda: None
        self.volumes: dict[VolumeId, SimulatedVolume] = {}
        self.snapshots: dict[SnapshotId, str] = {}
        self.served: dict[VolumeId, dict[str, Export]] = {}
        self.powered = False  # whether it was opened

    async def open(self, lost: Callable[[], None]) -> None:
        context = copy_context()  # whatever it begins belongs to whoever opened
        self._lost = lambda: context.copy().run(lost)
        self.served.clear()
        self.powered = True

    async def close(self) -> None:
        self.cut_power()

    def cut_power(self) -> None:
        self.served.clear()
        self.powered = False

    def lose_exports(self, host: HostId | None = None) -> None:
        """Have all exports for a host (None: for all) vanish, as when the daemon crashes that serves them."""
        for exports in self.served.values():
            for name in [name for name in exports if host in (None, exports[name].host)]:
                del exports[name]
        self._lost()

    async def facts(self) -> StorageFacts:
        used = sum(volume.size_bytes for volume in self.volumes.values()) >> 30
        return replace(self._facts, free_gb=max(0, self._facts.total_gb - used))

    async def have(self, want: WantedVolume, images: ImageSource) -> tuple[Export, ...]:
        self._demand_power()
        serves_one_host(want)
        served = self.served.setdefault(want.volume, {})
        for name in [name for name in served if served[name] not in want.exports]:
            del served[name]
        known = self.volumes.get(want.volume)
        if known is None or known.generation < want.generation:
            if want.made and not want.exports:
                return ()
            if want.made:
                raise Refused(f"the content of volume {want.volume} is not on this host any more")
            if served:
                raise Refused(f"volume {want.volume} is served: its content cannot be replaced")
            content = await self._made(want.source, images)
            self._demand_power()
            known = self.volumes[want.volume] = SimulatedVolume(want.size_bytes, want.generation, content)
        known.size_bytes = max(known.size_bytes, want.size_bytes)
        served.update({export.name: export for export in want.exports})
        return tuple(sorted(served.values()))

    async def drop(self, volume: VolumeId) -> None:
        self._demand_power()
        self.served.pop(volume, None)
        self.volumes.pop(volume, None)

    async def have_snapshot(self, snapshot: SnapshotId, volume: VolumeId) -> None:
        self._demand_power()
        if snapshot not in self.snapshots:
            content = self._content(volume)
            await self._clock.sleep(self.copy_s)
            self._demand_power()
            self.snapshots[snapshot] = content

    async def drop_snapshot(self, snapshot: SnapshotId) -> None:
        self._demand_power()
        self.snapshots.pop(snapshot, None)

    async def exports(self, volume: VolumeId) -> tuple[Export, ...]:
        return tuple(sorted(self.served.get(volume, {}).values()))

    # --- what a guest does ---

    def write(self, name: str, what: str) -> None:
        """Write through the export of this name, as a guest that is connected by it. `NotNow` when it is not served."""
        volume, export = self._served_as(name)
        if not export.writable:
            raise Refused("the export is read-only")
        self.volumes[volume].writes.append(what)

    def read(self, name: str) -> str:
        volume, _ = self._served_as(name)
        return self._content(volume)

    def _served_as(self, name: str) -> tuple[VolumeId, Export]:
        for volume, exports in self.served.items():
            if name in exports:
                return volume, exports[name]
        raise NotNow("nothing is served under this name")

    def _content(self, volume: VolumeId) -> str:
        known = self.volumes.get(volume)
        if known is None:
            raise Refused(f"volume {volume} is not here")
        return "+".join([known.content, *known.writes])

    def _demand_power(self) -> None:
        if not self.powered:
            raise NotNow("the storage is not open")

    async def _made(self, source: Source, images: ImageSource) -> str:
        await self._clock.sleep(0 if isinstance(source, Blank) else self.copy_s)
        match source:
            case Blank():
                return "zeroes"
            case OfImage():
                async for _ in verified(source, images):
                    pass
                return f"image {source.image_sha256}"
            case OfSnapshot():
                if source.snapshot not in self.snapshots:
                    raise Refused(f"snapshot {source.snapshot} is not here")
                return self.snapshots[source.snapshot]
        return self._content(source.volume)
