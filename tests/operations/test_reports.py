"""A guest that ends by itself: its server is stopped and its ports are down, whatever happens once that is noted."""

import asyncio
from functools import partial
from typing import Any

import pytest

from renova.model.errors import NotNow
from renova.model.guest import GuestChanged, PowerState
from renova.model.ids import ServerId
from renova.model.server import VmState
from renova.operations.parts.state import get_server
from renova.operations.report import take_report
from renova.operations.start import accept_start
from renova.store import hosts
from renova.store.database import Tx
from tests.operations.story import Told, told_story
from tests.operations.test_duties import unreported


async def port_states(told: Told, server: ServerId) -> list[str]:
    return [port.status for port in await told.cloud.networks.ports(server)]


def test_a_guest_that_its_hosts_boot_has_ended_is_not_taken_for_one_that_powered_itself_off() -> None:
    """A host that has yet to clean up after its boot tells of guests that are off before its servers are resumed."""

    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await unreported(told, server, lambda hypervisor: hypervisor.power_off_inside(server.id))
        change = GuestChanged(server.id, 1, PowerState.SHUTDOWN)

        def reported(tx: Tx, *, resume: bool) -> VmState:
            assert server.host is not None
            hosts.change(tx, server.host, resume=resume)
            take_report(told.cloud.cloud, tx, server.host, [change])
            return get_server(tx, server.id).vm_state

        def both(tx: Tx) -> list[VmState]:
            return [reported(tx, resume=resume) for resume in (True, False)]

        assert await told.cloud.database.transact(both) == [VmState.ACTIVE, VmState.STOPPED]
        await told.idle(server.id)

    told_story(story)


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
        assert await port_states(told, server.id) == ["DOWN"]

    told_story(story)


def test_the_ports_of_a_guest_that_ended_are_down_though_its_controller_dies_before_it_tells_the_network_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        telling = asyncio.Event()

        async def hang(*_: object, **_others: object) -> None:
            telling.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(told.cloud.cloud.networks, "settle", hang)
        told.cloud.hosts[server.host_name or ""].hypervisor.crash(server.id)
        await telling.wait()
        await told.cloud.kill_controller()
        await told.cloud.start_controller()
        await told.cloud.clock.sleep(10)
        assert (await told.get(server.id)).vm_state is VmState.STOPPED
        assert await port_states(told, server.id) == ["DOWN"]

    told_story(story)


def test_the_ports_of_a_guest_that_is_started_again_at_once_are_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        networks = told.cloud.cloud.networks
        settle = networks.settle
        told_late = asyncio.Event()

        async def settle_late(*arguments: Any, active: bool) -> None:
            if not active and not told_late.is_set():
                told_late.set()
                raise NotNow("the network service is away")
            await settle(*arguments, active=active)

        monkeypatch.setattr(networks, "settle", settle_late)
        told.cloud.hosts[server.host_name or ""].hypervisor.crash(server.id)
        await told_late.wait()
        await told.ask(accept_start, server.id)
        await told.cloud.clock.sleep(10)
        assert (await told.get(server.id)).vm_state is VmState.ACTIVE
        assert await port_states(told, server.id) == ["ACTIVE"]

    told_story(story)
