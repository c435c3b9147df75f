"""A guest that hangs is started again as one that crashed, but only while it hangs, and where nobody is at it."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from renova.model.errors import NotNow
from renova.model.guest import FoundGuest, PowerState
from renova.model.ids import ServerId
from renova.model.server import VmState
from renova.operations.pause import accept_pause
from renova.operations.rounds import FIRST
from renova.settings import RecoverySettings
from renova.store import actions, restarts
from tests.operations.story import Told, an_image, told_story
from tests.operations.test_recovery import SETTINGS
from tests.operations.test_restarts import RESTARTS

HANGS = replace(RESTARTS, hang_after=15.0)
NOTICED_S = 40.0  # at most, until a hang is known
WATCHED = {"hw_qemu_guest_agent": "yes"}


def tell(story: Callable[[Told], Awaitable[None]], *, recovery: RecoverySettings = HANGS, **options: Any) -> None:
    told_story(story, **{"settings": replace(SETTINGS, recovery=recovery)} | options)


async def watched(told: Told, metadata: dict[str, str] | None = None, **properties: str) -> ServerId:
    """Have a server whose image says how it is watched; its agent has answered."""
    server = await told.created(metadata=metadata or {}, image=an_image("one", properties=WATCHED | properties))
    await told.cloud.clock.sleep(10)
    return server


async def machine(told: Told, server: ServerId) -> Any:
    return told.cloud.hosts[(await told.get(server)).host_name or ""].hypervisor


async def number(told: Told, server: ServerId) -> int:
    return (await told.get(server)).last_number


async def restarted(told: Told, server: ServerId, former: int, within_s: float = NOTICED_S) -> None:
    until = told.cloud.clock.monotonic() + within_s
    while (row := await told.get(server)).last_number == former or row.task_state is not None:
        assert told.cloud.clock.monotonic() < until, row
        await told.cloud.clock.sleep(0.1)
    assert (row.vm_state, row.power_state) == (VmState.ACTIVE, PowerState.RUNNING)


def test_a_guest_that_hangs_is_started_again_and_its_history_says_why() -> None:
    async def story(told: Told) -> None:
        server = await watched(told)
        former = await number(told, server)
        (await machine(told, server)).hang(server)
        await restarted(told, server, former)
        newest = await told.cloud.database.read(lambda tx: actions.newest(tx, server))
        assert newest is not None
        assert newest.action == "reboot"
        (event,) = await told.cloud.database.read(lambda tx: actions.events_of(tx, newest.id))
        assert (event.result, event.details) == ("Success", "its guest hung")

    tell(story)


def test_a_host_that_answers_nonsense_about_a_hung_guest_ends_no_controller() -> None:
    async def story(told: Told) -> None:
        server = await watched(told)
        former = await number(told, server)
        host = await machine(told, server)
        usual = host.guest

        async def broken(_server: ServerId) -> FoundGuest | None:
            raise RuntimeError("nobody has foreseen this")

        host.guest = broken
        host.hang(server)
        await told.cloud.clock.sleep(NOTICED_S)
        assert told.cloud.ended == []
        assert await number(told, server) == former
        host.guest = usual
        await restarted(told, server, former)

    tell(story)


def test_a_guest_that_hangs_again_and_again_is_given_up_and_left_as_it_is() -> None:
    async def story(told: Told) -> None:
        server = await watched(told)
        for wait_s in (0.0, 10.0, 20.0):
            former = await number(told, server)
            (await machine(told, server)).hang(server)
            await restarted(told, server, former, NOTICED_S + wait_s)
            await told.cloud.clock.sleep(10)
        former = await number(told, server)
        (await machine(told, server)).hang(server)
        await told.cloud.clock.sleep(300)
        row = await told.get(server)
        assert row.last_number == former
        assert row.fault is not None
        assert "hung 4 times" in row.fault.message

    tell(story)


@pytest.mark.parametrize("action", ["none", "pause"])
def test_a_guest_whose_watchdog_leaves_it_to_others_is_started_again(action: str) -> None:
    async def story(told: Told) -> None:
        server = await watched(told, hw_watchdog_action=action)
        former = await number(told, server)
        (await machine(told, server)).fire_watchdog(server)
        await restarted(told, server, former, 10)

    tell(story, recovery=RESTARTS)


def test_a_watchdog_that_fires_while_its_server_has_something_done_to_it_is_heeded_soon_after() -> None:
    async def story(told: Told) -> None:
        server = await watched(told, hw_watchdog_action="none")
        await told.cloud.clock.sleep(FIRST)  # the duty that would find it has just been done
        host = await machine(told, server)

        async def fail(_call: str) -> None:
            raise NotNow("the disks do not answer")

        host.on_call = fail
        await told.make_image(server)
        former = await number(told, server)
        host.fire_watchdog(server)
        await told.cloud.clock.sleep(10)
        assert (await told.get(server)).task_state is not None
        host.on_call = None
        await told.idle(server)
        assert await number(told, server) == former
        await restarted(told, server, former)

    tell(story, recovery=RESTARTS)


@pytest.mark.parametrize(("action", "state"), [("reset", VmState.ACTIVE), ("poweroff", VmState.STOPPED)])
def test_what_a_watchdog_does_itself_is_no_failure(action: str, state: VmState) -> None:
    async def story(told: Told) -> None:
        server = await watched(told, hw_watchdog_action=action)
        former = await number(told, server)
        (await machine(told, server)).fire_watchdog(server)
        await told.cloud.clock.sleep(60)
        row = await told.get(server)
        assert row.vm_state is state
        assert await told.cloud.database.read(lambda tx: restarts.get(tx, server)) is None
        assert action == "poweroff" or row.last_number == former

    tell(story)


@pytest.mark.parametrize(
    ("recovery", "metadata"),
    [
        (replace(HANGS, restarts=0), {}),
        (replace(HANGS, automatic=False), {}),
        (replace(HANGS, hang_after=0.0), {}),
        (HANGS, {"renova:recovery": "leave"}),
    ],
)
def test_no_guest_that_hangs_is_touched_where_that_is_not_wished(
    recovery: RecoverySettings, metadata: dict[str, str]
) -> None:
    async def story(told: Told) -> None:
        server = await watched(told, metadata)
        former = await number(told, server)
        (await machine(told, server)).hang(server)
        await told.cloud.clock.sleep(120)
        assert await number(told, server) == former

    tell(story, recovery=recovery)


def test_a_guest_whose_agent_was_ended_is_left_alone() -> None:
    async def story(told: Told) -> None:
        server = await watched(told)
        former = await number(told, server)
        (await machine(told, server)).end_agent_inside(server)
        await told.cloud.clock.sleep(120)
        assert await number(told, server) == former

    tell(story)


def test_a_hang_that_is_over_before_its_turn_does_not_count() -> None:
    async def story(told: Told) -> None:
        server = await watched(told)
        former = await number(told, server)
        (await machine(told, server)).hang(server)
        await restarted(told, server, former)
        await told.cloud.clock.sleep(10)
        former = await number(told, server)
        (await machine(told, server)).hang(server)
        while not await told.cloud.database.read(restarts.pending):
            await told.cloud.clock.sleep(0.5)
        (await machine(told, server)).recover(server)
        await told.cloud.clock.sleep(60)
        known = await told.cloud.database.read(lambda tx: restarts.get(tx, server))
        assert known is not None
        assert (known.crashes, known.pending) == (1, False)
        assert await number(told, server) == former
        (await machine(told, server)).hang(server)
        await restarted(told, server, former, NOTICED_S + 10)

    tell(story)


def test_a_server_that_somebody_paused_is_left_alone() -> None:
    async def story(told: Told) -> None:
        server = await watched(told)
        (await machine(told, server)).hang(server)
        await told.ask(accept_pause, server)
        await told.cloud.clock.sleep(120)
        row = await told.get(server)
        assert (row.vm_state, row.power_state) == (VmState.PAUSED, PowerState.PAUSED)

    tell(story)
