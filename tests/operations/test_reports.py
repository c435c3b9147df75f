"""A guest that ends by itself: its server is stopped and its ports are down, whatever was away when it was reported."""

from functools import partial
from typing import Any

import pytest

from renova.model.errors import NotNow
from renova.model.server import VmState
from renova.operations.report import take_report
from renova.store import ports
from tests.operations.story import Told, told_story


@pytest.mark.parametrize("away", ["the answer to the commit", "the network service"])
def test_the_ports_of_a_guest_that_ended_are_down_though_this_was_away(
    away: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        cloud = told.cloud.cloud
        really, settle = cloud.database.transact, cloud.networks.settle
        failed: list[str] = []

        def fail() -> None:
            if not failed:
                failed.append(away)
                raise NotNow(f"{away} is away")

        async def transact(fn: Any) -> Any:
            done = await really(fn)
            if isinstance(fn, partial) and fn.func is take_report:
                fail()
            return done

        async def settle_later(*arguments: Any, **options: Any) -> None:
            fail()
            await settle(*arguments, **options)

        if away == "the network service":
            monkeypatch.setattr(cloud.networks, "settle", settle_later)
        else:
            monkeypatch.setattr(cloud.database, "transact", transact)
        told.cloud.hosts[server.host_name or ""].hypervisor.crash(server.id)
        await told.cloud.clock.sleep(10)
        assert failed == [away]
        assert (await told.get(server.id)).vm_state is VmState.STOPPED
        its = await told.cloud.database.read(lambda tx: ports.of_server(tx, server.id))
        assert [port.status for port in its] == ["DOWN"]

    told_story(story)
