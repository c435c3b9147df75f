"""Brings storage hosts to what is wanted of their volumes and snapshots, and notes what they confirm.

What is wanted stands in the database before anybody is told; a host is told again for as long as it has not confirmed
it. So a controller, an agent or a storage host may die at any point: whoever comes next goes on from the rows. Several
controllers may bring the same volume to the same: what is wanted is numbered, and a host joins what it is told twice. A
status that Cinder calls transitional (creating, deleting, extending, ...) ends here, in the transaction that notes
the confirmation, or in an error status with the reason.
"""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

import structlog

from renova.model.clock import Clock
from renova.model.errors import Broken, CloudError, NotNow, Refused, Stale, whole
from renova.model.ids import HostId, SnapshotId, VolumeId
from renova.model.storage import Export, OfImage, WantedVolume
from renova.partners.volume import StorageAgents, StorageHosts
from renova.partners.volume.statuses import ERRORS, RESTING, of_attachments
from renova.store import cluster, volume_attachments, volume_snapshots, volumes
from renova.store.database import Database, Tx
from renova.store.volumes import StoredVolume
from renova.wire.storage import DropVolume, DropVolumeSnapshot, HaveVolume, HaveVolumeSnapshot, StorageAct

log = structlog.get_logger()
T = TypeVar("T")

GIB = 1 << 30
LOOK_S = 5.0  # seconds between looks for what was left behind, as by a controller that died
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0


class Settling:
    """Keeps one task for each volume and snapshot that is not as wanted."""

    def __init__(self, database: Database, clock: Clock, hosts: StorageHosts, agents: StorageAgents) -> None:
        self._database = database
        self._clock = clock
        self._agents = agents
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._unserved: set[VolumeId] = set()  # whose host has come since it was told: confirmed or not, tell it again
        hosts.on_storage = self._storage_came

    async def serve(self) -> None:
        """Settle whatever is not, until cancelled."""
        try:
            while True:
                try:
                    await self._look()
                except NotNow:
                    log.warning("volumes not looked through", exc_info=True)
                await self._clock.sleep(LOOK_S)
        finally:
            ending = list(self._tasks.values())
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    async def tell(self, volume: VolumeId) -> None:
        """Tell the volume's host what is wanted of it, and return once that is confirmed and noted.

        Raises what the host says: `NotNow`, `Refused`, `Broken`. A volume that is gone is fine.
        """
        while True:
            told = await self._database.read(lambda tx: _unless_held(tx, _wanted(tx, volume)))
            if told is None:
                return
            row, act = told
            try:
                await self._agents.store(row.host, volume, row.version, act)
            except Stale as error:
                if await self._version(volume) == row.version:
                    # Nobody wanted anything newer: the host knows more than a database that lost commits. In the era
                    # that begins then, what is wanted is numbered above all that any host has seen.
                    raise NotNow(str(error)) from error
                continue
            if await self._database.transact(partial(_confirm, told=row)):
                return

    def settle_volume(self, volume: VolumeId) -> "asyncio.Task[None]":
        """Have the volume as wanted, in a task that does not give up."""
        return self._task(volume, self._settle_volume(volume))

    def settle_snapshot(self, snapshot: SnapshotId) -> "asyncio.Task[None]":
        return self._task(snapshot, self._settle_snapshot(snapshot))

    def _task(self, thing: str, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        running = self._tasks.get(thing)
        if running is not None and not running.done():
            work.close()
            return running
        task = self._tasks[thing] = asyncio.get_running_loop().create_task(work, name=f"settle-{thing}")
        task.add_done_callback(lambda done: self._ended(thing, done))
        return task

    def _ended(self, thing: str, done: "asyncio.Task[None]") -> None:
        if self._tasks.get(thing) is done:
            del self._tasks[thing]
        if not done.cancelled() and (error := done.exception()) is not None:
            log.error("volume or snapshot not settled", thing=thing, exc_info=error)

    def _storage_came(self, host: HostId) -> None:
        """A storage host is here, and serves nothing: tell it all that it should serve."""
        if (former := self._tasks.pop(f"host-{host}", None)) is not None:
            former.cancel()  # what it has read may be older than what was confirmed before the host went
        self._task(f"host-{host}", self._serve_again(host))

    async def _serve_again(self, host: HostId) -> None:
        while True:
            try:
                return await self._settle_all_of(host)
            except NotNow as error:
                log.warning("storage host not told yet what to serve", host=host, reason=whole(error))
            await self._clock.sleep(LONGEST_PAUSE_S)

    async def _settle_all_of(self, host: HostId) -> None:
        def read(tx: Tx) -> tuple[list[VolumeId], list[SnapshotId]]:
            served = volume_attachments.served(tx)
            mine = [row.id for row in volumes.on_host(tx, host) if row.id in served or row.version > row.confirmed]
            return mine, volume_snapshots.unconfirmed(tx)

        mine, snapshots = await self._database.read(read)
        for volume in mine:
            self._unserved.add(volume)
            self.settle_volume(volume)
        for snapshot in snapshots:
            self.settle_snapshot(snapshot)

    async def _look(self) -> None:
        def read(tx: Tx) -> tuple[list[VolumeId], list[SnapshotId]]:
            return volumes.unconfirmed(tx), volume_snapshots.unconfirmed(tx)

        unsettled, snapshots = await self._database.read(read)
        for volume in unsettled:
            self.settle_volume(volume)
        for snapshot in snapshots:
            self.settle_snapshot(snapshot)

    async def _settle_volume(self, volume: VolumeId) -> None:
        pause = FIRST_PAUSE_S
        while True:
            status, unserved = "", False
            try:
                row = await self._database.read(lambda tx: volumes.volume(tx, volume))
                # Forgotten before the host is told: one that comes in the meantime is told once more.
                unserved = volume in self._unserved
                self._unserved.discard(volume)
                if row is None or (row.version <= row.confirmed and not unserved):
                    return
                status = row.status
                if await self._settled(row):
                    continue
            except NotNow as error:
                log.info("volume not settled yet", volume=volume, status=status, reason=whole(error))
            if unserved:
                self._unserved.add(volume)
            await self._clock.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _settled(self, row: StoredVolume) -> bool:
        """Tell the volume's host what is wanted; True when that is how it is now, or is known to be impossible."""
        if row.status == "creating" and isinstance(row.source, OfImage):
            await self._database.transact(lambda tx: volumes.swap_status(tx, row.id, ("creating",), "downloading"))
        try:
            await self.tell(row.id)
        except (Refused, Broken) as error:
            if not await self._database.transact(partial(_fail, told=row, error=error)):
                log.info("volume not settled yet", volume=row.id, status=row.status, reason=whole(error))
                return False
        return True

    async def _settle_snapshot(self, snapshot: SnapshotId) -> None:
        pause = FIRST_PAUSE_S
        while True:
            try:
                if await self._snapshot_settled(snapshot):
                    return
                continue
            except NotNow as error:
                log.info("snapshot not settled yet", snapshot=snapshot, reason=whole(error))
            await self._clock.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _snapshot_settled(self, snapshot: SnapshotId) -> bool:
        """Tell the snapshot's host what is wanted, and note how that went; True when nothing is, any more."""
        row = await self._database.read(lambda tx: volume_snapshots.snapshot(tx, snapshot))
        if row is None or row.status not in volume_snapshots.VERSIONS:
            return True
        act: StorageAct = HaveVolumeSnapshot(row.volume) if row.status == "creating" else DropVolumeSnapshot()
        await self._database.read(lambda tx: _unless_held(tx, None))
        try:
            await self._agents.store(row.host, snapshot, volume_snapshots.VERSIONS[row.status], act)
        except (Refused, Broken) as error:
            log.warning("snapshot failed", snapshot=snapshot, status=row.status, reason=whole(error))
            failed = partial(_fail_snapshot, snapshot=snapshot, of=row.status, reason=str(error))
            await self._database.transact(failed)
        else:
            await self._database.transact(partial(_end_snapshot, snapshot=snapshot, of=row.status))
        return False

    async def _version(self, volume: VolumeId) -> int | None:
        row = await self._database.read(lambda tx: volumes.volume(tx, volume))
        return row.version if row else None


def _unless_held(tx: Tx, wanted: T) -> T:
    """Return it, or raise `NotNow`: what a database that lost commits wants may cut off whom it has forgotten."""
    if (reason := cluster.get(tx).hold) is not None:
        raise NotNow(f"Nothing is changed on storage hosts while the cluster is on hold: {reason}")
    return wanted


def _wanted(tx: Tx, volume: VolumeId) -> tuple[StoredVolume, StorageAct] | None:
    """Derive what the volume's host has to be told now."""
    row = volumes.volume(tx, volume)
    if row is None:
        return None
    if row.status == "deleting":
        return row, DropVolume()
    served = [each for each in volume_attachments.of_volume(tx, volume) if each.export is not None and not each.gone]
    want = WantedVolume(
        volume=volume,
        size_bytes=row.size_gb * GIB,
        generation=row.generation,
        source=row.source,
        made=row.made == row.generation,
        exports=tuple(Export(each.export, each.host_id, each.port) for each in served if each.export is not None),
    )
    return row, HaveVolume(want)


def _confirm(tx: Tx, told: StoredVolume) -> bool:
    """Note that the host has the volume as it was told; False when something newer is wanted by now."""
    row = volumes.volume(tx, told.id)
    if row is None:
        return True
    if row.version != told.version:
        return False
    if row.status == "deleting":
        volumes.remove(tx, row.id)
        for each in volume_attachments.of_volume(tx, row.id):
            volume_attachments.remove(tx, each.id)
        log.info("volume deleted", volume=row.id)
        return True
    volume_attachments.remove_gone(tx, row.id)
    left = volume_attachments.of_volume(tx, row.id)
    status = row.status
    if status in ("creating", "extending", *RESTING):
        status = of_attachments(left, row.status)
    elif status == "downloading":
        status = row.former_status or of_attachments(left, row.status)
    if status != row.status:
        log.info("volume changed", volume=row.id, old=row.status, new=status)
    if row.version > row.confirmed:
        values = {"made": row.generation, "status": status, "former_size_gb": None}
        volumes.change(tx, row.id, confirmed=row.version, **values)
    return True


def _fail(tx: Tx, told: StoredVolume, error: CloudError) -> bool:
    """Leave a volume that its host cannot have as wanted in an error status; False where it has to be tried again."""
    row = volumes.volume(tx, told.id)
    if row is None or row.version != told.version or row.status not in ERRORS:
        return False
    status, size_gb = ERRORS[row.status], row.size_gb
    if row.status == "extending" and row.former_size_gb is not None:
        # Were it still wanted, the host would refuse with it whatever else is wanted of the volume.
        size_gb = row.former_size_gb
    log.warning("volume failed", volume=row.id, old=row.status, new=status, reason=whole(error))
    values = {"status": status, "size_gb": size_gb, "former_size_gb": None, "error": str(error)}
    volumes.change(tx, row.id, confirmed=row.version, **values)
    return True


def _end_snapshot(tx: Tx, snapshot: SnapshotId, of: str) -> None:
    row = volume_snapshots.snapshot(tx, snapshot)
    if row is None or row.status != of:
        return
    if of == "deleting":
        volume_snapshots.remove(tx, snapshot)
    else:
        volume_snapshots.change(tx, snapshot, status="available")


def _fail_snapshot(tx: Tx, snapshot: SnapshotId, of: str, reason: str) -> None:
    row = volume_snapshots.snapshot(tx, snapshot)
    if row is not None and row.status == of:
        volume_snapshots.change(tx, snapshot, status=ERRORS[of], error=reason)
