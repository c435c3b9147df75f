"""Reboots that hang, fail halfway or meet each other (rows E1 to E10): bounded, one at a time, and true at the end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from renova.model.errors import Conflict, Refused
from renova.model.guest import PowerState
from renova.model.ids import NetworkId, ServerId
from renova.model.server import Server, TaskState, VmState
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.pause import accept_pause
from renova.operations.reboot import accept_reboot
from renova.operations.stop import accept_stop
from renova.operations.suspend import accept_suspend
from renova.partners.network import PortWish
from renova.settings import ControllerSettings
from renova.simulation.cloud import BY_HAND, NO_BRAKE, QUICK_LEASE
from renova.simulation.loop import run_virtual
from renova.store import actions, ports, servers
from tests.operations.failing_hosts import dead_host_of
from tests.operations.story import Told, told_story

SETTINGS = ControllerSettings(
    lease=QUICK_LEASE, recovery=BY_HAND, brake=NO_BRAKE, soft_reboot_wait=10, shutdown_wait=10, start_wait=60
)


async def last_event(told: Told, server: ServerId) -> tuple[str, str | None, str | None]:
    """Return the newest action's message, and the result and details of its event."""

    def work(tx: Any) -> tuple[str, str | None, str | None]:
        action = actions.of_server(tx, server)[0]
        (event,) = actions.events_of(tx, action.id)
        assert event.event == "compute_reboot_instance"
        return str(action.message), event.result, event.details

    return await told.cloud.database.read(work)


async def on_its_host(told: Told) -> tuple[Server, Any]:
    server = await told.get(await told.created())
    return server, told.cloud.hosts[server.host_name or ""].hypervisor


def test_e1_a_guest_that_ignores_acpi_costs_the_wait_and_no_more() -> None:
    async def story(told: Told) -> None:
        server, hypervisor = await on_its_host(told)
        hypervisor.ignoring_acpi.add(server.id)
        began = told.cloud.clock.monotonic()
        await told.ask(accept_reboot, server.id, hard=False)
        seen = set()
        while (now := await told.get(server.id)).task_state is not None:
            seen.add(now.task_state)
            await told.cloud.clock.sleep(0.005)
        # To the end the states are a soft reboot's, also while it is done the hard way.
        assert seen <= {TaskState.REBOOTING, TaskState.REBOOT_PENDING, TaskState.REBOOT_STARTED}
        assert 10 <= told.cloud.clock.monotonic() - began < 15
        assert now.vm_state is VmState.ACTIVE

    told_story(story)


def test_e1_a_hard_reboot_wins_over_a_soft_one_that_hangs_and_starts_the_guest_once() -> None:
    async def story(told: Told) -> None:
        server, hypervisor = await on_its_host(told)
        hypervisor.ignoring_acpi.add(server.id)
        starts = counted(hypervisor)
        await told.ask(accept_reboot, server.id, hard=False)
        await told.cloud.clock.sleep(3)
        await told.ask(accept_reboot, server.id, hard=True)
        assert (await told.idle(server.id)).vm_state is VmState.ACTIVE
        await told.cloud.clock.sleep(30)  # long after the soft one would have come to its end
        assert len(starts) == 1

    told_story(story)


def counted(hypervisor: Any) -> list[object]:
    """Note every start of a guest from now on."""
    starts: list[object] = []
    really = hypervisor.start

    async def start(guest: object) -> object:
        starts.append(guest)
        return await really(guest)

    hypervisor.start = start
    return starts


# Every durable point is passed in tests/points; these are moments of what the guest goes through.
@pytest.mark.parametrize("who", ["agent", "controller", "host"])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("after_s", [0.0, 0.002, 0.1, 0.21, 0.3, 0.41])
def test_e2_a_reboot_goes_on_whoever_dies_whenever(who: str, hard: bool, after_s: float) -> None:
    async def story(told: Told) -> None:
        server, _ = await on_its_host(told)
        name = server.host_name or ""
        await told.ask(accept_reboot, server.id, hard=hard)
        await told.cloud.clock.sleep(after_s)
        if who == "agent":
            await told.cloud.kill_agent(name)
            await told.cloud.clock.sleep(1)
            told.cloud.start_agent(name)
        elif who == "controller":
            await told.cloud.kill_controller()
            await told.cloud.clock.sleep(1)
            await told.cloud.start_controller()
        else:
            await told.cloud.cut_power(name)
            await told.cloud.clock.sleep(1)
            await told.cloud.power_on(name)
        await told.idle(server.id)
        await told.cloud.until(lambda: told.cloud.running(server.id) == [name], 60)  # a host that died resumes it
        ended = await told.idle(server.id)
        assert (ended.vm_state, ended.task_state, ended.power_state) == (VmState.ACTIVE, None, PowerState.RUNNING)
        assert (ended.networks, ended.root_generation) == (server.networks, server.root_generation)

    told_story(story, start_s=0.2, shut_down_s=0.2)


def test_e3_a_guest_that_is_off_for_its_reboot_is_not_taken_for_stopped() -> None:
    async def story(told: Told) -> None:
        server, _ = await on_its_host(told)
        await told.ask(accept_reboot, server.id, hard=False)
        while (now := await told.get(server.id)).task_state is not None:
            assert now.vm_state is VmState.ACTIVE  # although its host reports that the guest is off
            await told.cloud.clock.sleep(0.05)
        await told.cloud.clock.sleep(5)
        assert (await told.get(server.id)).vm_state is VmState.ACTIVE

    told_story(story, start_s=2.0, shut_down_s=2.0)


def test_e5_of_many_reboots_at_once_one_wins_and_the_others_hear_why() -> None:
    async def story(told: Told) -> None:
        server, _ = await on_its_host(told)
        asked = await asyncio.gather(
            *(told.ask(accept_reboot, server.id, hard=False) for _ in range(10)), return_exceptions=True
        )
        lost = [error for error in asked if isinstance(error, Conflict)]
        assert len(lost) == 9
        assert all("task_state rebooting" in str(error) for error in lost)
        await told.idle(server.id)

    told_story(story)


def test_e5_a_second_hard_reboot_is_refused_once_the_first_is_at_work() -> None:
    async def story(told: Told) -> None:
        server, _ = await on_its_host(told)
        await told.ask(accept_reboot, server.id, hard=True)
        await told.cloud.clock.sleep(0.1)
        assert (await told.get(server.id)).task_state is TaskState.REBOOT_STARTED_HARD
        with pytest.raises(Conflict, match="reboot_started_hard"):
            await told.ask(accept_reboot, server.id, hard=True)
        await told.idle(server.id)

    told_story(story, start_s=0.5)


@pytest.mark.parametrize("broken", ["prepare", "kill"])
def test_e6_a_reboot_that_fails_while_the_guest_runs_leaves_it_active_with_the_reason(broken: str) -> None:
    async def story(told: Told) -> None:
        server, hypervisor = await on_its_host(told)
        really = getattr(hypervisor, broken)

        async def fail(*_: object) -> None:
            raise Refused(f"{broken} does not work")

        setattr(hypervisor, broken, fail)
        await told.ask(accept_reboot, server.id, hard=True)
        ended = await told.idle(server.id)
        assert (ended.vm_state, ended.power_state) == (VmState.ACTIVE, PowerState.RUNNING)
        assert ended.fault is not None
        assert f"{broken} does not work" in ended.fault.message
        assert await last_event(told, server.id) == ("None", "Success", None)
        setattr(hypervisor, broken, really)

    told_story(story)


def test_e6_a_reboot_that_fails_with_the_guest_down_ends_in_error_and_a_hard_one_mends_it() -> None:
    async def story(told: Told) -> None:
        server, hypervisor = await on_its_host(told)
        really = hypervisor.start

        async def fail(_: object) -> None:
            raise Refused("no such machine type")

        hypervisor.start = fail
        await told.ask(accept_reboot, server.id, hard=False)
        ended = await told.idle(server.id)
        assert (ended.vm_state, ended.task_state, ended.power_state) == (VmState.ERROR, None, PowerState.SHUTDOWN)
        assert ended.fault is not None
        message, result, details = await last_event(told, server.id)
        assert (message, result) == ("Error", "Error")
        assert "no such machine type" in str(details)
        hypervisor.start = really
        await told.ask(accept_reboot, server.id, hard=True)
        mended = await told.idle(server.id)
        assert (mended.vm_state, mended.fault) == (VmState.ACTIVE, None)

    told_story(story)


def test_e6_a_network_service_that_fails_leaves_guest_and_server_as_they_were() -> None:
    async def story(told: Told) -> None:
        server, hypervisor = await on_its_host(told)
        starts = counted(hypervisor)
        networks = told.cloud.cloud.networks
        really = networks.ports

        async def fail(_: object) -> None:
            raise Refused("the network service is upset")

        networks.ports = fail
        await told.ask(accept_reboot, server.id, hard=True)
        ended = await told.idle(server.id)
        networks.ports = really
        assert (ended.vm_state, ended.task_state) == (VmState.ACTIVE, None)
        assert ended.fault is not None
        assert (await last_event(told, server.id))[1] == "Error"
        assert starts == []

    told_story(story)


def test_e8_an_image_that_is_gone_from_the_image_service_is_no_obstacle() -> None:
    async def story(told: Told) -> None:
        server, _ = await on_its_host(told)
        told.cloud.images.images.clear()
        await told.ask(accept_reboot, server.id, hard=True)
        assert (await told.idle(server.id)).vm_state is VmState.ACTIVE

    told_story(story)


def test_e8_a_cached_image_that_is_lost_is_fetched_again() -> None:
    async def story(told: Told) -> None:
        server, _ = await on_its_host(told)
        storage = told.cloud.hosts[server.host_name or ""].storage
        lost = dict(storage._images)
        storage._images.clear()
        await told.ask(accept_reboot, server.id, hard=True)
        assert (await told.idle(server.id)).vm_state is VmState.ACTIVE
        assert set(storage._images) == set(lost)

    told_story(story)


def test_e9_a_reboot_on_a_dead_host_is_accepted_seen_and_superseded_by_its_evacuation() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        source = await dead_host_of(told, server)
        await told.ask(accept_reboot, server, hard=True)
        await told.cloud.clock.sleep(30)
        assert (await told.get(server)).task_state is not None
        await told.ask(accept_evacuate, server, Evacuation())
        ended = await told.idle(server)
        assert (ended.vm_state, ended.task_state) == (VmState.ACTIVE, None)
        assert ended.host_name != source
        done = await told.cloud.database.read(lambda tx: actions.of_server(tx, server))
        assert [(action.action, action.message) for action in done[:2]] == [("evacuate", None), ("reboot", "Error")]

    told_story(story)


def test_e10_a_start_that_never_ends_is_an_error_after_a_while() -> None:
    async def story(told: Told) -> None:
        server, hypervisor = await on_its_host(told)
        really = hypervisor.start

        async def hang(_: object) -> None:
            await asyncio.Event().wait()

        hypervisor.start = hang
        began = told.cloud.clock.monotonic()
        await told.ask(accept_reboot, server.id, hard=True)
        ended = await told.idle(server.id)
        assert 60 <= told.cloud.clock.monotonic() - began < 90
        assert ended.vm_state is VmState.ERROR
        assert ended.fault is not None
        assert "within 60 seconds" in ended.fault.message
        hypervisor.start = really
        await told.ask(accept_reboot, server.id, hard=True)
        assert (await told.idle(server.id)).vm_state is VmState.ACTIVE

    told_story(story, settings=SETTINGS)


# --- spec: reboot, sections 2 and 5 ---------------------------------------------------------------------------------


async def stopped(told: Told, server: ServerId) -> None:
    await told.ask(accept_stop, server)


async def paused(told: Told, server: ServerId) -> None:
    await told.ask(accept_pause, server)


async def suspended(told: Told, server: ServerId) -> None:
    await told.ask(accept_suspend, server)


async def in_error(told: Told, server: ServerId) -> None:
    await told.cloud.database.transact(lambda tx: servers.change(tx, server, vm_state=VmState.ERROR))


@pytest.mark.parametrize("begin", [stopped, paused, suspended, in_error])
def test_a_hard_reboot_brings_a_server_up_from_every_state_that_allows_it(
    begin: Callable[[Told, ServerId], Awaitable[None]],
) -> None:
    async def story(told: Told) -> None:
        before, _ = await on_its_host(told)
        await begin(told, before.id)
        await told.idle(before.id)
        await told.ask(accept_reboot, before.id, hard=True)
        ended = await told.idle(before.id)
        assert (ended.vm_state, ended.power_state) == (VmState.ACTIVE, PowerState.RUNNING)
        kept = ("networks", "root_generation", "host", "flavor", "key", "metadata", "launched_at")
        assert [getattr(ended, name) for name in kept] == [getattr(before, name) for name in kept]

    told_story(story)


def test_a_hard_reboot_reads_the_ports_anew_and_drops_those_that_are_gone() -> None:
    async def story(told: Told) -> None:
        wishes = (PortWish(NetworkId("net-1")), PortWish(NetworkId("net-1")))
        server = await told.get(await told.created(wishes=wishes))
        first, second = await told.cloud.database.read(lambda tx: ports.of_server(tx, server.id))
        assert len(server.networks[0].addresses) == 2
        await told.cloud.database.transact(lambda tx: ports.remove(tx, second.id))
        await told.cloud.database.transact(lambda tx: ports.change(tx, first.id, host="elsewhere"))
        seen = counted(told.cloud.hosts[server.host_name or ""].hypervisor)
        await told.ask(accept_reboot, server.id, hard=True)
        ended = await told.idle(server.id)
        assert [address.port for address in ended.networks[0].addresses] == [first.id]
        (guest,) = seen
        assert [nic.port for nic in guest.nics] == [first.id]  # type: ignore[attr-defined]

    told_story(story)


def test_a_soft_reboot_of_a_guest_that_is_off_starts_it() -> None:
    async def whole() -> None:
        told = await Told().begin()
        server, hypervisor = await on_its_host(told)
        await told.cloud.database.transact(lambda tx: servers.change(tx, server.id, task_state=TaskState.SPAWNING))
        hypervisor.power_off_inside(server.id)  # unnoticed, for a task is under way
        await told.cloud.clock.sleep(1)
        await told.cloud.database.transact(lambda tx: servers.change(tx, server.id, task_state=None))
        await told.ask(accept_reboot, server.id, hard=False)
        assert (await told.idle(server.id)).vm_state is VmState.ACTIVE
        await told.check()
        await told.cloud.down()

    run_virtual(whole())
