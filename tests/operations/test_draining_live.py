"""How guests leave a host that is drained: with their memory, cold, or not at all, as the setting says."""

from typing import Literal

from msgspec.structs import replace

from renova.ha.leaving import Progress, Stage
from renova.model.ids import ServerId
from renova.model.server import VmState
from renova.operations.stop import accept_stop
from renova.settings import ControllerSettings, MaintenanceSettings
from renova.store import migrations
from renova.store.database import Tx
from tests.operations.story import Told, told_story
from tests.operations.test_draining import drain, left, places, until_progress
from tests.operations.test_live_migrations import boots
from tests.operations.test_recovery import SETTINGS, on_one_host
from tests.operations.volumes import attached


def leaving(how: Literal["live, else cold", "live", "cold"]) -> ControllerSettings:
    return replace(SETTINGS, maintenance=MaintenanceSettings(again=5.0, leave=how))


async def ways(told: Told, server: ServerId) -> list[tuple[str, str]]:
    """Return the server's moves, the oldest first, each with how it ended."""

    def work(tx: Tx) -> list[tuple[str, str]]:
        found = migrations.find(tx, [migrations.migrations.c.server == server])
        return [(each.type, each.status) for each in reversed(found)]

    return await told.cloud.database.read(work)


def test_guests_leave_with_their_memory_and_those_that_cannot_leave_cold() -> None:
    async def story(told: Told) -> None:
        runs, has_volume, off = await on_one_host(told, 3)
        await attached(told, has_volume)
        await told.ask(accept_stop, off)
        await told.idle(off)
        await told.cloud.clock.sleep(2 * told.cloud.boot_s)
        await drain(told, "host1")
        await until_progress(told, "host1", Progress.DRAINED)
        assert "host1" not in await places(told, [runs, has_volume, off])
        assert await ways(told, runs) == [("live-migration", "completed")]
        assert await ways(told, has_volume) == [("migration", "confirmed")]
        assert await ways(told, off) == [("migration", "confirmed")]
        assert await boots(told, runs) == 1

    told_story(story, settings=leaving("live, else cold"))


def test_a_guest_that_failed_to_leave_with_its_memory_leaves_cold() -> None:
    async def story(told: Told) -> None:
        (server,) = await on_one_host(told, 1)
        told.cloud.hosts["host1"].hypervisor.torn.add(server)
        await drain(told, "host1")
        await until_progress(told, "host1", Progress.DRAINED)
        assert await ways(told, server) == [("live-migration", "error"), ("migration", "confirmed")]
        assert (await told.get(server)).vm_state is VmState.ACTIVE

    told_story(story, settings=leaving("live, else cold"))


def test_what_is_to_leave_only_with_its_memory_stays_where_it_cannot() -> None:
    async def story(told: Told) -> None:
        (server,) = await on_one_host(told, 1)
        await attached(told, server)
        await drain(told, "host1")
        (stays,) = await until_progress(told, "host1", Progress.HELD_UP)
        assert stays.stage is Stage.STAYING
        assert "volumes" in stays.reason
        assert told.cloud.running(server) == ["host1"]
        assert await ways(told, server) == []

    told_story(story, settings=leaving("live"))


def test_how_much_of_its_memory_is_there_is_shown() -> None:
    async def story(told: Told) -> None:
        await on_one_host(told, 1)
        await drain(told, "host1")
        seen: set[float | None] = set()
        while await left(told, "host1"):
            seen |= {each.copied for each in await left(told, "host1") if each.live}
            await told.cloud.clock.sleep(0.5)
        assert len(seen - {None, 0.0}) > 3

    told_story(story, settings=leaving("live, else cold"), copy_s=10.0)
