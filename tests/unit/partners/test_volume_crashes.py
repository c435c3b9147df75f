"""A volume's whole life while parts die at any point: it ends as if none had, and is never served to two at a time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from renova.model.errors import NotNow
from renova.model.volume import NbdExport
from renova.partners.volume.builtin import BuiltinVolumes
from renova.simulation.cloud import SimulatedCloud
from renova.simulation.loop import run_virtual
from renova.store import volume_attachments, volumes
from tests.unit.partners.test_volume import BYTES, FIRST, IMAGE, SECOND, SERVER, VOLUME, image, new

pytestmark = pytest.mark.slow

Ask = Callable[[BuiltinVolumes], Coroutine[Any, Any, Any]]


class Life:
    """One cloud, on which a volume lives; `watch` looks at what is served all the time."""

    def __init__(self) -> None:
        self.cloud = SimulatedCloud(count=2)
        self.cloud.images.have(image(), BYTES)
        self.used: set[str] = set()
        self.cut: set[str] = set()

    async def watch(self) -> None:
        while True:
            names = list(self.cloud.storage_hosts["storage1"].volumes.served.get(VOLUME, {}))
            assert len(names) <= 1, "served to two"
            assert not self.cut & set(names), "served under a name that was cut off"
            await self.cloud.clock.sleep(0.0005)

    async def patiently(self, ask: Ask) -> Any:
        """Ask whichever controller there is, until it answers: as an operation that outlives its controllers."""
        for _ in range(400):
            if self.cloud.controller is not None:
                try:
                    return await ask(self.cloud.cloud.volumes)
                except NotNow:
                    pass
            await self.cloud.clock.sleep(0.25)
        raise TimeoutError("not now for ever")

    async def live(self) -> None:
        """Make the volume, attach it, move it with its server, fill it anew, attach it once more, delete it."""
        await self.patiently(lambda service: service.create(new(image=IMAGE)))
        await self.patiently(lambda service: service.reserve(FIRST, VOLUME, SERVER))
        first = await self.patiently(lambda service: service.connect(FIRST, "host1", ""))
        await self.patiently(lambda service: service.complete(FIRST, "/dev/vdb"))
        await self.patiently(lambda service: service.reserve(SECOND, VOLUME, SERVER))
        await self.patiently(lambda service: service.detach(FIRST))
        assert isinstance(first, NbdExport)
        self.cut.add(first.name)
        await self.patiently(lambda service: service.reimage(SECOND, IMAGE))
        second = await self.patiently(lambda service: service.connect(SECOND, "host2", ""))
        assert isinstance(second, NbdExport)
        assert second.name != first.name
        await self.patiently(lambda service: service.complete(SECOND, "/dev/vdb"))
        await self.patiently(lambda service: service.detach(SECOND))
        self.cut.add(second.name)
        await self.patiently(lambda service: service.delete(VOLUME))

    async def kill(self, what: str) -> None:
        if what == "controller":
            await self.cloud.kill_controller()
            await self.cloud.clock.sleep(0.3)
            await self.cloud.start_controller()
        elif what == "agent":
            await self.cloud.kill_agent("storage1")
            await self.cloud.clock.sleep(0.3)
            self.cloud.start_agent("storage1")
        else:
            await self.cloud.cut_power("storage1")
            await self.cloud.clock.sleep(0.3)
            await self.cloud.power_on("storage1")

    async def end(self) -> None:
        storage = self.cloud.storage_hosts["storage1"].volumes
        assert (storage.volumes, storage.served.get(VOLUME, {})) == ({}, {})
        left = await self.cloud.database.read(
            lambda tx: (volumes.volume(tx, VOLUME), volume_attachments.of_volume(tx, VOLUME))
        )
        assert left == (None, [])


async def undisturbed() -> float:
    """Return how long a whole life takes, in virtual seconds."""
    life = Life()
    await life.cloud.up()
    began = life.cloud.clock.monotonic()
    await life.live()
    took = life.cloud.clock.monotonic() - began
    await life.cloud.down()
    return took


@pytest.mark.parametrize("what", ["controller", "agent", "power"])
@pytest.mark.parametrize("part", range(16))
def test_whoever_dies_at_whatever_point_the_volume_is_served_to_one_at_a_time_and_ends_well(
    what: str, part: int
) -> None:
    async def main(after_s: float) -> None:
        life = Life()
        await life.cloud.up()
        watching = asyncio.get_running_loop().create_task(life.watch())
        living = asyncio.get_running_loop().create_task(life.live())
        await life.cloud.clock.sleep(after_s)
        await life.kill(what)
        await asyncio.wait([living, watching], return_when=asyncio.FIRST_COMPLETED)
        for task in (watching, living):
            if task.done():
                task.result()
        watching.cancel()
        await life.end()
        await life.cloud.down()
        assert life.cloud.ended == []

    took = run_virtual(undisturbed())
    run_virtual(main(took * (part + 0.5) / 16))
