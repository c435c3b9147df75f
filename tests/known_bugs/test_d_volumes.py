"""Rebuilds of servers that boot from a volume (rows D4, D5); row D3 is in tests/api/compute/test_volumes.py."""

import pytest

from renova.drivers.hypervisor import ImageSource
from renova.model.server import VmState
from renova.model.storage import Export, WantedVolume
from renova.operations.rebuild import Rebuild, accept_rebuild
from renova.store import hosts
from tests.operations.story import Told, an_image, told_story
from tests.operations.volumes import booted_from_volume, content, has, write


def test_d4_rebuilt_with_the_image_of_its_volume_a_server_asks_no_scheduling_rule() -> None:
    """The row has no image; what the volume was made of is what the request is compared with."""

    async def story(told: Told) -> None:
        server, root = await booted_from_volume(told)
        row = await told.get(server)
        assert row.host is not None
        assert root.volume is not None
        write(told, has(told, server)[row.host_name or ""][0], "kept")
        home = row.host
        await told.cloud.database.transact(lambda tx: hosts.change(tx, home, disabled=True))
        await told.ask(accept_rebuild, server, Rebuild(image=an_image("one"), admin_pass="x"))
        after = await told.idle(server)
        assert (after.vm_state, after.image, after.host) == (VmState.ACTIVE, None, home)
        assert content(told, root.volume) == ["kept"]

    told_story(story)


@pytest.mark.slow
def test_d5_filling_a_volume_anew_may_take_long_whatever_size_its_image_has() -> None:
    async def story(told: Told) -> None:
        server, root = await booted_from_volume(told)
        assert root.volume is not None
        write(told, has(told, server)["host1"][0], "old")
        storage = told.cloud.storage_hosts["storage1"].volumes
        really = storage.have

        async def slowly(want: WantedVolume, images: ImageSource) -> tuple[Export, ...]:
            await told.cloud.clock.sleep(600)
            return await really(want, images)

        storage.have = slowly  # type: ignore[method-assign]
        tiny = an_image("two")  # of a few kB: a wait reckoned from its size would be over at once
        await told.ask(accept_rebuild, server, Rebuild(image=tiny, admin_pass="x", reimage=True))
        after = await told.idle(server, limit_s=20_000)
        assert (after.vm_state, after.fault) == (VmState.ACTIVE, None)
        assert content(told, root.volume) == []

    told_story(story)
