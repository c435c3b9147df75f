"""What has drifted apart is found and mended; nothing that somebody works on is touched."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from renova.engine.executor import Executor
from renova.model.clock import stamp
from renova.model.errors import NotFound, OnHold
from renova.model.guest import FoundGuest, PowerState
from renova.model.ids import ExecutorId, HostId, ImageId, ServerId
from renova.model.server import Server, VmState
from renova.operations.create_image import CARRIED, describe
from renova.operations.duties.mending import mend
from renova.operations.pause import accept_pause
from renova.operations.reboot import accept_reboot
from renova.operations.rounds import Duty, Finding, Round, Rounds, Tally
from renova.settings import ControllerSettings
from renova.simulation.cloud import BY_HAND, NO_BRAKE, QUICK_LEASE
from renova.simulation.loop import VirtualClock, run_virtual
from renova.store import actions, cluster, rights, servers
from renova.store.database import Tx
from renova.store.everything import open_database
from tests.operations.story import PROJECT, Told, told_story

QUIET = ControllerSettings(lease=QUICK_LEASE, recovery=BY_HAND, brake=NO_BRAKE, soft_reboot_wait=10, shutdown_wait=10)


async def do(told: Told, duty: str) -> Round:
    done: Round = await told.cloud.cloud.rounds.do(duty)
    assert done.error is None, done.error
    return done


async def change(told: Told, work: Callable[[Tx], Any]) -> Any:
    return await told.cloud.database.transact(work)


async def set_row(told: Told, server: ServerId, **values: Any) -> None:
    await change(told, lambda tx: servers.change(tx, server, **values))


def hypervisor_of(told: Told, server: Server) -> Any:
    return told.cloud.hosts[server.host_name or ""].hypervisor


async def unreported(told: Told, server: Server, act: Callable[[Any], None]) -> None:
    """Change a guest without its host's agent seeing it."""
    hypervisor = hypervisor_of(told, server)
    changed, hypervisor._changed = hypervisor._changed, None
    act(hypervisor)
    hypervisor._changed = changed


# Power states.


def test_a_guest_that_is_found_off_has_its_server_stopped() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await unreported(told, server, lambda hypervisor: hypervisor.power_off_inside(server.id))
        done = await do(told, "power_states")
        assert (done.looked, done.mended, done.failed) == (1, 1, 0)
        after = await told.idle(server.id)
        assert (after.vm_state, after.power_state) == (VmState.STOPPED, PowerState.SHUTDOWN)
        newest = await told.cloud.database.read(lambda tx: actions.newest(tx, server.id))
        assert newest is not None
        assert newest.action == "stop"
        assert (await do(told, "power_states")).mended == 0

    told_story(story)


def test_a_guest_of_a_stopped_server_that_is_found_running_is_stopped_by_force() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        hypervisor_of(told, server).ignoring_acpi.add(server.id)
        await set_row(told, server.id, vm_state=VmState.STOPPED, power_state=PowerState.SHUTDOWN)
        assert (await do(told, "power_states")).mended == 1
        began = told.cloud.clock.monotonic()
        after = await told.idle(server.id)
        assert told.cloud.clock.monotonic() - began < 1.0, "it was asked first"
        assert (after.vm_state, after.power_state) == (VmState.STOPPED, PowerState.SHUTDOWN)
        assert told.cloud.running(server.id) == []

    told_story(story)


@pytest.mark.parametrize("vm_state", [VmState.STOPPED, VmState.SUSPENDED])
def test_a_server_that_is_off_and_was_found_running_shows_no_power_once_its_guest_is_gone(vm_state: VmState) -> None:
    async def whole() -> None:
        told = await Told().begin()
        server = await told.get(await told.created())
        # As after a loss of commits: it was turned off, on, and deleted, and only the first is still known.
        await set_row(told, server.id, vm_state=vm_state)
        await unreported(told, server, lambda hypervisor: hypervisor._domains.pop(server.id))
        await do(told, "power_states")
        after = await told.get(server.id)
        assert (after.vm_state, after.power_state) == (vm_state, PowerState.NOSTATE)
        assert (after.last_number, after.task_state) == (server.last_number, None)
        assert (await do(told, "power_states")).mended == 0
        await told.cloud.down()

    run_virtual(whole())


def test_a_paused_server_whose_guest_is_gone_is_stopped() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await told.ask(accept_pause, server.id)
        await told.idle(server.id)
        domain = hypervisor_of(told, server)._domains[server.id]
        await unreported(told, server, lambda hypervisor: hypervisor._stop(domain, PowerState.CRASHED))
        assert (await do(told, "power_states")).mended == 1
        assert (await told.idle(server.id)).vm_state is VmState.STOPPED

    told_story(story)


@pytest.mark.parametrize(
    ("vm_state", "power"),
    [
        (VmState.ACTIVE, PowerState.PAUSED),
        (VmState.ERROR, PowerState.RUNNING),
        (VmState.SUSPENDED, PowerState.RUNNING),
    ],
)
def test_other_differences_are_only_noted(vm_state: VmState, power: PowerState) -> None:
    async def whole() -> None:
        told = await Told().begin()
        server = await told.get(await told.created())
        await set_row(told, server.id, vm_state=vm_state, power_state=PowerState.NOSTATE)
        hypervisor_of(told, server)._domains[server.id].power = power
        assert (await do(told, "power_states")).mended == 1
        after = await told.get(server.id)
        assert (after.vm_state, after.power_state, after.task_state) == (vm_state, power, None)
        assert await told.cloud.database.read(lambda tx: actions.newest(tx, server.id)) is not None
        await told.cloud.down()

    run_virtual(whole())


def test_a_guest_that_is_being_restarted_is_not_stopped() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        answers = iter([PowerState.SHUTDOWN, PowerState.RUNNING])
        right = await told.cloud.database.read(lambda tx: rights.right(tx, server.id))
        assert right is not None

        async def guests(_host: HostId) -> tuple[FoundGuest, ...]:
            return (FoundGuest(server.id, right.incarnation, next(answers)),)

        told.cloud.cloud.agents.guests = guests
        assert (await do(told, "power_states")).mended == 0
        assert (await told.get(server.id)).vm_state is VmState.ACTIVE

    told_story(story, count=1)


def test_f2_a_server_with_a_task_or_on_another_host_is_left_alone() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        right = await told.cloud.database.read(lambda tx: rights.right(tx, server.id))
        assert right is not None
        cloud = told.cloud.cloud

        async def off(meanwhile: Callable[[], Awaitable[object]]) -> None:
            """Have the host say that the guest is off, and something happen to the server just then."""
            asked: list[HostId] = []

            async def guests(host: HostId) -> tuple[FoundGuest, ...]:
                asked.append(host)
                if len(asked) == 2:
                    await meanwhile()
                return (FoundGuest(server.id, right.incarnation, PowerState.SHUTDOWN),)

            cloud.agents.guests = guests
            assert (await do(told, "power_states")).mended == 0

        await off(lambda: told.ask(accept_reboot, server.id, hard=True))
        assert (await told.idle(server.id)).vm_state is VmState.ACTIVE

        async def stop_and_end() -> None:
            await told.ask(accept_reboot, server.id, hard=True)
            await told.idle(server.id)

        await off(stop_and_end)
        assert (await told.get(server.id)).vm_state is VmState.ACTIVE
        await off(lambda: change(told, lambda tx: servers.change(tx, server.id, host="elsewhere")))
        assert (await told.get(server.id)).vm_state is VmState.ACTIVE
        await set_row(told, server.id, host=server.host)

    told_story(story, count=1)


def test_e3_a_reboot_under_way_is_not_taken_for_a_stop() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await told.ask(accept_reboot, server.id, hard=False)
        while (await told.get(server.id)).task_state is not None:
            assert (await do(told, "power_states")).mended == 0
            await told.cloud.clock.sleep(0.02)
        after = await told.idle(server.id)
        assert (after.vm_state, after.power_state) == (VmState.ACTIVE, PowerState.RUNNING)

    told_story(story)


def test_servers_that_are_about_to_resume_after_a_boot_are_not_stopped() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await told.cloud.cut_power(server.host_name or "")
        await told.cloud.power_on(server.host_name or "")
        while told.cloud.running(server.id) == []:
            assert (await do(told, "power_states")).mended == 0
            await told.cloud.clock.sleep(0.02)
        assert (await told.idle(server.id)).vm_state is VmState.ACTIVE

    told_story(story, boot_s=0.0)


def test_a_host_that_does_not_answer_keeps_no_other_from_being_looked_over() -> None:
    async def story(told: Told) -> None:
        one = await told.get(await told.created())
        other = await told.get(await told.created())
        assert one.host_name != other.host_name
        await unreported(told, other, lambda hypervisor: hypervisor.power_off_inside(other.id))
        hypervisor_of(told, one).go_away()
        done = await do(told, "power_states")
        hypervisor_of(told, one).come_back()
        assert (done.mended, done.failed) == (1, 1)
        assert (await told.idle(other.id)).vm_state is VmState.STOPPED

    told_story(story, count=2)


# Orphans.


def test_a_guest_of_no_known_server_is_reported_and_nothing_more() -> None:
    async def whole() -> None:
        told = await Told().begin()
        server = await told.get(await told.created())
        stray = await make_stray(told, server)
        done = await do(told, "orphans")
        assert done.findings == (Finding("guest of no known server, running", False, server.host_name, stray),)
        await told.cloud.clock.sleep(60)
        assert told.cloud.running(stray) == [server.host_name]
        await told.cloud.down()

    run_virtual(whole())


def test_a_guest_of_no_known_server_is_destroyed_where_the_operator_has_said_so() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        stray = await make_stray(told, server)
        assert (await do(told, "orphans")).mended == 1
        await told.cloud.until(lambda: told.cloud.running(stray) == [], 60)
        assert (await do(told, "orphans")).findings == ()
        assert told.cloud.running(server.id) == [server.host_name]

    told_story(story, settings=msgspec.structs.replace(QUIET, orphan_guests="destroy"))


async def make_stray(told: Told, like: Server) -> ServerId:
    """Have a guest on the server's host that the database never knew."""
    hypervisor = hypervisor_of(told, like)
    guest = msgspec.structs.replace(hypervisor._domains[like.id].guest, server=ServerId(told.cloud.chance.uuid()))

    class Source:
        def read(self, image: Any) -> Any:
            return told.cloud.images.read(image)

    await hypervisor.prepare(guest, Source())
    await hypervisor.start(guest)
    stray: ServerId = guest.server
    return stray


# A database that has lost commits.


def test_nothing_is_mended_while_the_cluster_is_on_hold() -> None:
    async def whole() -> None:
        told = await Told(settings=msgspec.structs.replace(QUIET, orphan_guests="destroy")).begin()
        server = await told.get(await told.created())
        stray = await make_stray(told, server)
        await change(told, lambda tx: cluster.begin_hold(tx, "a test"))
        for name in told.cloud.cloud.rounds.duties:
            assert (await do(told, name)).mended == 0
        with pytest.raises(OnHold):
            await mend(told.cloud.cloud, lambda tx: servers.change(tx, server.id, name="mended"))
        await told.cloud.clock.sleep(60)
        assert told.cloud.running(stray) == [server.host_name]
        await told.cloud.down()

    run_virtual(whole())


# Rounds.


# Images of servers.


@pytest.mark.parametrize(("minutes", "is_ours", "left"), [(61, True, False), (59, True, True), (61, False, True)])
def test_an_image_that_was_described_and_never_accepted_is_removed_after_an_hour(
    minutes: int, is_ours: bool, left: bool
) -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        images, at = told.cloud.images, stamp(told.cloud.clock.wall() - timedelta(minutes=minutes))
        row = server if is_ours else replace(server, id=ServerId("of-another-cloud"))
        image = ImageId("unmade")
        described = describe(row, None, image=image, name="n", metadata={}, owner=PROJECT)
        await images.add(replace(described, created_at=at))
        assert (await do(told, "images")).mended == (0 if left else 1)
        assert (image in images.images) is left
        await images.remove(image)

    told_story(story)


def test_a_disk_that_was_carried_and_is_nobodys_is_removed_though_it_is_whole() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        images, at = told.cloud.images, stamp(told.cloud.clock.wall() - timedelta(minutes=61))
        image = ImageId("carried")
        described = describe(server, None, image=image, name="n", metadata={}, owner=PROJECT)
        carried = {**described.properties, "image_type": CARRIED}
        images.images[image] = (replace(described, created_at=at, status="active", properties=carried), b"all of it")
        assert (await do(told, "images")).mended == 1
        assert image not in images.images

    told_story(story)


def test_a_host_that_never_says_what_it_deleted_keeps_no_other_from_being_cleaned() -> None:
    async def story(told: Told) -> None:
        one, other = (host.hypervisor for host in told.cloud.hosts.values())
        asked: list[str] = []

        async def never(*_: object) -> list[str]:
            asked.append("one")
            await asyncio.get_running_loop().create_future()
            raise AssertionError

        async def at_once(*_: object) -> list[str]:
            asked.append("other")
            return ["an-image"]

        one.drop_images, other.drop_images = never, at_once  # type: ignore[method-assign,assignment]
        done = await do(told, "images")
        assert (asked, done.mended, done.failed) == (["one", "other"], 1, 1)

    told_story(story, count=2, shared=False)


def test_an_image_whose_making_waits_for_its_host_is_not_removed() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await told.cloud.cut_power(server.host_name or "")
        await told.down(server.host)
        made = await told.make_image(server.id)
        described, content = told.cloud.images.images[made]
        long_ago = stamp(told.cloud.clock.wall() - timedelta(days=1))
        told.cloud.images.images[made] = (replace(described, created_at=long_ago), content)
        await do(told, "images")
        assert made in told.cloud.images.images
        await told.cloud.power_on(server.host_name or "")
        await told.idle(server.id)

    told_story(story)


def break_down() -> None:
    raise RuntimeError("broken")


def test_every_duty_is_done_at_its_interval_and_tells_how_it_went() -> None:
    async def whole() -> None:
        clock, done = VirtualClock(), []

        async def look(tally: Tally) -> None:
            done.append(clock.monotonic())
            tally.looked = 3
            with tally.apart(host="one"):
                break_down()
            tally.find("something", mended=True, host="two")

        duties = {"often": Duty(look, 100.0), "asked": Duty(look, 0.0)}
        rounds = Rounds(clock, duties, open_database(None, clock), Executor(ExecutorId("me")))
        assert [(each.name, each.began_at) for each in await rounds.last()] == [("often", None), ("asked", None)]
        serving = asyncio.create_task(rounds.serve())
        await clock.sleep(350)
        serving.cancel()
        await asyncio.wait([serving])
        assert [round(second) for second in done] == [30, 130, 230, 330]
        often = (await rounds.last())[0]
        assert (often.rounds, often.looked, often.mended, often.failed, often.error) == (4, 3, 1, 1, None)
        assert (await rounds.do("asked")).rounds == 1
        with pytest.raises(NotFound, match="There are: often, asked"):
            await rounds.do("none")

    run_virtual(whole())
