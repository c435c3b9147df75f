"""What a storage host obeys: nothing older than it knows, one command of a thing at a time."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from renova.agent import orders
from renova.agent.journal import FileJournal, HostPage, MemoryJournal, ThingPage
from renova.agent.stores import Stores
from renova.drivers.volume.simulated import SimulatedVolumes
from renova.model.chance import SeededChance
from renova.model.errors import NotNow, Stale
from renova.model.ids import HostId, ImageId, SnapshotId, VolumeId
from renova.model.storage import Blank, Export, OfImage, WantedVolume
from renova.simulation.loop import VirtualClock, run_virtual
from renova.wire.storage import DropVolume, HaveVolume, HaveVolumeSnapshot, StorageAct, StorageOrder

COMPUTE = HostId("00000000-0000-4000-8000-000000000001")
VOLUME = VolumeId("00000000-0000-4000-8000-0000000000a1")
HOST = HostPage("journal", era=1, epoch=3)


class SlowImages:
    """Images that never come to an end."""

    def __init__(self) -> None:
        self.reading = asyncio.Event()

    async def read(self, image: ImageId) -> AsyncIterator[bytes]:
        self.reading.set()
        await asyncio.Event().wait()
        yield b""


def order(version: int, thing: VolumeId | SnapshotId = VOLUME, **given: Any) -> StorageOrder:
    return StorageOrder(**{"era": 1, "host_epoch": 3, "session": "s", "thing": thing, "version": version, **given})


def have(*names: str, source: Any = None) -> HaveVolume:
    exports = tuple(Export(name, COMPUTE, 10809) for name in names)
    return HaveVolume(
        WantedVolume(volume=VOLUME, size_bytes=1 << 30, generation=1, source=source or Blank(), exports=exports)
    )


async def obey(stores: Stores, given: StorageOrder, act: StorageAct) -> None:
    await stores.obey(given, act, lambda page: orders.check_storage(given, "s", HOST, page))


class Bench:
    def __init__(self) -> None:
        self.storage = SimulatedVolumes(VirtualClock())
        self.journal = MemoryJournal(SeededChance(1))
        self.images = SlowImages()
        self.stores = Stores(self.journal, self.storage, self.images)

    async def restart(self) -> None:
        await self.storage.open(lambda: None)
        self.stores = Stores(self.journal, self.storage, self.images)

    def served(self) -> list[str]:
        return list(self.storage.served.get(VOLUME, {}))


def test_a_late_command_serves_nothing_that_was_cut_off_since_not_even_after_a_restart() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.restart()
        await obey(bench.stores, order(1), have("old"))
        await obey(bench.stores, order(2), have("new"))
        for _ in range(2):
            with pytest.raises(Stale):
                await obey(bench.stores, order(1), have("old"))
            assert "old" not in bench.served()
            await bench.restart()
        await obey(bench.stores, order(2), have("new"))
        assert bench.served() == ["new"]

    run_virtual(main())


def test_a_volume_that_was_dropped_is_not_brought_back() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.restart()
        await obey(bench.stores, order(1), have("old"))
        await obey(bench.stores, order(2), DropVolume())
        with pytest.raises(Stale):
            await obey(bench.stores, order(1), have("old"))
        assert bench.storage.volumes == {}

    run_virtual(main())


def test_a_newer_command_ends_the_one_that_runs_and_is_noted_before_it_begins() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.restart()
        endless = have(source=OfImage(ImageId("i"), "raw", 1, ""))
        running = asyncio.ensure_future(obey(bench.stores, order(1), endless))
        await bench.images.reading.wait()
        await obey(bench.stores, order(2), DropVolume())
        with pytest.raises(Stale):
            await running
        assert await bench.journal.thing(VOLUME) == ThingPage(2)
        assert bench.storage.volumes == {}

    run_virtual(main())


def test_a_repeated_command_joins_the_one_that_runs() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.restart()
        await obey(bench.stores, order(1), have())
        snapshot = SnapshotId("00000000-0000-4000-8000-0000000000b1")
        taking = [obey(bench.stores, order(1, snapshot), HaveVolumeSnapshot(VOLUME)) for _ in range(3)]
        await asyncio.gather(*taking)
        assert list(bench.storage.snapshots) == [snapshot]

    run_virtual(main())


def test_nothing_is_kept_of_commands_that_are_done() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.restart()
        await asyncio.gather(*[obey(bench.stores, order(1), have()) for _ in range(3)])
        with pytest.raises(Stale):
            await obey(bench.stores, order(0), have())
        assert bench.stores._things == {}

    run_virtual(main())


def test_a_command_that_nobody_waits_for_any_more_is_ended_by_a_newer_one() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.restart()
        waiting = asyncio.ensure_future(obey(bench.stores, order(1), have(source=OfImage(ImageId("i"), "raw", 1, ""))))
        await bench.images.reading.wait()
        waiting.cancel()
        await asyncio.wait([waiting])
        await obey(bench.stores, order(2), have("new"))
        assert bench.served() == ["new"]
        assert bench.stores._things == {}

    run_virtual(main())


def test_what_is_halted_may_be_asked_for_again() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.restart()
        endless = have(source=OfImage(ImageId("i"), "raw", 1, ""))
        running = asyncio.ensure_future(obey(bench.stores, order(1), endless))
        await bench.images.reading.wait()
        await bench.stores.halt("the agent stops")
        with pytest.raises(NotNow, match="the agent stops"):
            await running
        await obey(bench.stores, order(1), have())

    run_virtual(main())


@pytest.mark.parametrize("given", [{"session": "t"}, {"era": 0}, {"host_epoch": 2}])
def test_a_command_of_a_former_connection_era_or_lease_is_stale(given: dict[str, Any]) -> None:
    with pytest.raises(Stale):
        orders.check_storage(order(9, **given), "s", HOST, ThingPage())


async def test_the_journal_remembers_what_was_wanted_on_disk(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, SeededChance(1))
    page = await journal.open()
    await journal.write_thing(VOLUME, ThingPage(7))
    await journal.close()
    again = FileJournal(tmp_path, SeededChance(2))
    assert (await again.open()).journal == page.journal
    assert await again.thing(VOLUME) == ThingPage(7)
    assert await again.thing(VolumeId("00000000-0000-4000-8000-0000000000a2")) == ThingPage()
    await again.close()
