"""What servers are counted for (rows C2, C5, C6, C7): once, where they are, whatever is tried with them."""

import msgspec
import pytest

from renova.model.errors import Refused
from renova.model.ids import ServerId
from renova.model.server import VmState
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.rebuild import Rebuild, accept_rebuild
from renova.store import servers
from renova.store.placement import allocations
from renova.store.placement.allocations import Allocation, Consumer
from renova.store.placement.holdings import Holding, replace_all
from renova.store.providers import Stale
from tests.operations.failing_hosts import break_start, dead_host_of, evacuating
from tests.operations.story import FLAVOR, PROJECT, Told, an_image, told_story


async def held(told: Told, server: ServerId) -> list[Allocation]:
    return await told.cloud.database.read(lambda tx: allocations.held(tx, server))


async def consumer(told: Told, server: ServerId) -> Consumer:
    found = await told.cloud.database.read(lambda tx: allocations.consumer(tx, server))
    assert found is not None
    return found


async def usage(told: Told) -> tuple[int, int, int]:
    """Return what the project's quota says is used: servers, vCPUs, MiB."""
    return await told.cloud.database.read(lambda tx: servers.usage(tx, PROJECT))


def test_c2_a_server_counts_once_for_its_quota_while_two_hosts_hold_it() -> None:
    async def story(told: Told) -> None:
        server, source = await evacuating(told)
        assert await usage(told) == (1, 1, 128)
        await told.idle(server)
        assert len({each.provider for each in await held(told, server)}) == 2  # the source has not cleaned up yet
        assert await usage(told) == (1, 1, 128)
        await told.back(source)
        assert len({each.provider for each in await held(told, server)}) == 1
        assert await usage(told) == (1, 1, 128)

    told_story(story)


def test_c2_what_a_dead_source_still_holds_takes_no_room_from_the_destination() -> None:
    """A server of the size of a whole host is evacuated, though it is counted on both meanwhile."""

    async def story(told: Told) -> None:
        whole = msgspec.structs.replace(FLAVOR, memory_mb=65_000)
        server = await told.created(flavor=whole)
        source = await dead_host_of(told, server)
        await told.ask(accept_evacuate, server, Evacuation())
        assert (await told.idle(server)).host_name != source
        await told.back(source)

    told_story(story)


@pytest.mark.parametrize("state", [VmState.ACTIVE, VmState.ERROR])
def test_c5_a_rebuild_that_fails_leaves_its_server_what_it_holds(state: VmState) -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        before = await held(told, server.id)
        await told.cloud.database.transact(lambda tx: servers.change(tx, server.id, vm_state=state))
        break_start(told.cloud, server.host_name or "", Refused("no such machine type"))
        await told.ask(accept_rebuild, server.id, Rebuild(image=an_image("two"), admin_pass="x"))
        assert (await told.idle(server.id)).fault is not None
        assert before
        assert await held(told, server.id) == before

    told_story(story)


def test_c6_rebuilds_with_ever_new_images_claim_nothing() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        before, generation = await held(told, server), (await consumer(told, server)).generation
        for name in ("two", "one", "two"):
            await told.ask(accept_rebuild, server, Rebuild(image=an_image(name), admin_pass="x"))
            assert await held(told, server) == before
            assert (await told.idle(server)).vm_state is VmState.ACTIVE
        assert await held(told, server) == before
        assert (await consumer(told, server)).generation == generation

    told_story(story)


def test_c7_who_read_before_an_evacuation_claimed_writes_nothing_over_it() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        seen = await consumer(told, server)
        source = await dead_host_of(told, server)
        await told.ask(accept_evacuate, server, Evacuation())
        await told.idle(server)
        now = await held(told, server)
        late = Holding(consumer=server, amounts={}, project=PROJECT, user=seen.user, generation=seen.generation)
        with pytest.raises(Stale, match="consumer generation conflict"):
            await told.cloud.database.transact(lambda tx: replace_all(tx, [late]))
        assert await held(told, server) == now
        await told.back(source)

    told_story(story)
