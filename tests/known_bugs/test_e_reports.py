"""Known failure modes E3 and F2: what is told late, or asked too early, powers no guest off."""

import pytest

from renova.model.guest import GuestChanged, PowerState
from renova.model.ids import ServerId
from renova.model.server import VmState
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.reboot import accept_reboot
from renova.store import rights
from tests.operations.story import Told, told_story


async def tell(told: Told, server: ServerId, power: PowerState) -> None:
    """Have the server's host tell the controller of its guest, and give the controller time to follow."""
    row = await told.get(server)
    right = await told.cloud.database.read(lambda tx: rights.right(tx, server))
    assert row.host is not None
    assert right is not None
    await told.cloud.cloud.hosts.on_report(row.host, (GuestChanged(server, right.incarnation, power),))
    await told.cloud.clock.sleep(1)


@pytest.mark.parametrize("hard", [True, False])
def test_e3_a_stop_that_is_told_after_the_reboot_stops_nothing(hard: bool) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.ask(accept_reboot, server, hard=hard)
        await told.idle(server)
        for power in (PowerState.SHUTDOWN, PowerState.CRASHED):
            await tell(told, server, power)
            found = await told.get(server)
            assert (found.vm_state, found.power_state) == (VmState.ACTIVE, PowerState.RUNNING)
        assert told.cloud.running(server) == [found.host_name]

    told_story(story)


@pytest.mark.parametrize("latency", [0.001, 0.3])
def test_e3_reboots_in_a_row_end_active_however_slow_the_reports(latency: float) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        for hard in (True, False, True, True):
            await told.ask(accept_reboot, server, hard=hard)
            assert (await told.idle(server)).vm_state is VmState.ACTIVE
        await told.cloud.clock.sleep(10)
        assert (await told.get(server)).vm_state is VmState.ACTIVE

    told_story(story, latency_s=latency)


def test_e3_a_guest_that_is_really_off_is_noticed_all_the_same() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        host = (await told.get(server)).host_name or ""
        told.cloud.hosts[host].hypervisor.power_off_inside(server)
        await told.cloud.clock.sleep(5)
        assert (await told.get(server)).vm_state is VmState.STOPPED

    told_story(story)


def test_f2_what_the_old_host_tells_of_a_server_that_moves_stops_nothing() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        before = await told.get(server)
        source, host = before.host, before.host_name or ""
        assert source is not None
        await told.cloud.cut_power(host)
        await told.cloud.until(lambda: not told.cloud.cloud.hosts.up(source))
        assert await told.cloud.cloud.hosts.seek_proof(source)
        await told.ask(accept_evacuate, server, Evacuation())
        await told.cloud.cloud.hosts.on_report(source, (GuestChanged(server, 1, PowerState.SHUTDOWN),))
        after = await told.idle(server)
        assert after.vm_state is VmState.ACTIVE
        await told.cloud.cloud.hosts.on_report(source, (GuestChanged(server, 1, PowerState.SHUTDOWN),))
        await told.cloud.clock.sleep(1)
        assert (await told.get(server)).vm_state is VmState.ACTIVE
        assert told.cloud.running(server) == [after.host_name]

    told_story(story)
