"""Reboots and rebuilds that fail, cross each other or lose their host: the guest runs, on disks that are whole."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from renova.model.errors import Conflict, Invalid, Refused
from renova.model.guest import PowerState
from renova.model.server import TaskState, VmState
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.reboot import accept_reboot
from renova.operations.rebuild import Rebuild, accept_rebuild
from renova.operations.start import accept_start
from renova.operations.stop import accept_stop
from renova.settings import ControllerSettings
from renova.simulation.cloud import BY_HAND, NO_BRAKE, QUICK_LEASE
from renova.store import actions, hosts, operations, servers
from renova.store.database import Tx
from tests.operations.story import Told, an_image, told_story


def test_a_hard_reboot_ends_a_soft_one_that_hangs() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        row = await told.get(server)
        told.cloud.hosts[row.host_name or ""].hypervisor.ignoring_acpi.add(server)
        await told.ask(accept_reboot, server, hard=False)
        await told.cloud.clock.sleep(2)
        assert (await told.get(server)).task_state is TaskState.REBOOT_STARTED
        await told.ask(accept_reboot, server, hard=True)
        assert (await told.idle(server)).vm_state is VmState.ACTIVE
        done = await told.cloud.database.read(lambda tx: actions.of_server(tx, server))
        assert [(action.action, action.message) for action in done[:2]] == [("reboot", None), ("reboot", "Error")]

    told_story(story)


def test_a_guest_that_ignores_the_request_is_rebooted_hard_in_the_end() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        row = await told.get(server)
        told.cloud.hosts[row.host_name or ""].hypervisor.ignoring_acpi.add(server)
        began = told.cloud.clock.monotonic()
        await told.ask(accept_reboot, server, hard=False)
        assert (await told.idle(server)).vm_state is VmState.ACTIVE
        assert 10 <= told.cloud.clock.monotonic() - began < 20

    told_story(story)


def test_of_two_requests_at_once_one_is_refused() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.ask(accept_reboot, server, hard=False)
        with pytest.raises(Conflict, match="rebooting"):
            await told.ask(accept_reboot, server, hard=False)
        with pytest.raises(Conflict, match="task_state rebooting"):
            await told.ask(accept_stop, server)
        await told.idle(server)

    told_story(story)


def test_a_rebuild_that_fails_leaves_the_old_guest_running_on_its_old_disk() -> None:
    async def story(told: Told) -> None:
        before = await told.get(await told.created())
        gone = an_image("gone")  # the image service does not have its bytes
        await told.ask(accept_rebuild, before.id, Rebuild(image=gone, name="new", admin_pass="x"))
        after = await told.idle(before.id)
        assert after.fault is not None
        assert (after.vm_state, after.name, after.image, after.root_generation) == (
            VmState.ACTIVE,
            before.name,
            before.image,
            1,
        )

    told_story(story)


def test_what_others_write_while_a_rebuild_is_under_way_outlives_its_failure() -> None:
    async def story(told: Told) -> None:
        before = await told.get(await told.created())

        def has(**values: Any) -> Callable[[Tx], None]:
            return lambda tx: servers.change(tx, before.id, **values)

        await told.cloud.database.transact(has(metadata={"kept": "1", "dropped": "1"}))
        asked = {"kept": "2", "mine": "2", "later": "2"}
        rebuild = Rebuild(image=an_image("gone"), name="new", description="new", metadata=asked, admin_pass="x")
        await told.ask(accept_rebuild, before.id, rebuild)
        await told.cloud.database.transact(has(name="theirs", metadata={**asked, "later": "3", "HA_Enabled": "True"}))
        after = await told.idle(before.id)
        assert after.fault is not None
        assert (after.name, after.description) == ("theirs", before.description)
        assert after.metadata == {"kept": "1", "dropped": "1", "later": "3", "HA_Enabled": "True"}

    told_story(story)


def test_a_rebuild_whose_new_guest_does_not_start_brings_the_old_one_back() -> None:
    async def story(told: Told) -> None:
        before = await told.get(await told.created())
        hypervisor = told.cloud.hosts[before.host_name or ""].hypervisor
        really = hypervisor.start

        async def start(guest: object) -> object:
            if guest.disks.generation == 2:  # type: ignore[attr-defined]
                raise Refused("the new guest does not start")
            return await really(guest)  # type: ignore[arg-type]

        hypervisor.start = start  # type: ignore[assignment,method-assign]
        await told.ask(accept_rebuild, before.id, Rebuild(image=an_image("two"), admin_pass="x"))
        after = await told.idle(before.id)
        assert (after.vm_state, after.image, after.root_generation) == (VmState.ACTIVE, before.image, 1)
        disks = told.cloud.hosts["host1"].storage.disks
        assert [key for key in disks if key[0] == before.id] == [(before.id, 1)]

    told_story(story)


def test_nothing_is_written_by_a_refused_request() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        before = await told.get(server)
        count = await told.cloud.database.read(lambda tx: len(actions.of_server(tx, server)))
        with pytest.raises(Invalid):
            await told.ask(accept_evacuate, server, Evacuation())
        assert await told.get(server) == before
        assert await told.cloud.database.read(lambda tx: len(actions.of_server(tx, server))) == count
        assert await told.cloud.database.read(lambda tx: operations.active(tx, server)) is None

    told_story(story)


def test_a_rebuild_whose_host_boots_before_the_old_disks_are_deleted_leaves_a_guest_that_runs() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        name = server.host_name or ""
        hypervisor, deleting = told.cloud.hosts[name].hypervisor, asyncio.Event()
        delete = hypervisor.drop_disks

        async def hang(*_: object, **_others: object) -> bool:
            deleting.set()
            await asyncio.Event().wait()
            return True

        hypervisor.drop_disks = hang  # type: ignore[method-assign]
        await told.ask(accept_rebuild, server.id, Rebuild(image=an_image("two"), admin_pass="x"))
        await deleting.wait()
        await told.cloud.cut_power(name)
        hypervisor.drop_disks = delete  # type: ignore[method-assign]
        await told.cloud.power_on(name)
        ended = await told.idle(server.id)
        assert (ended.vm_state, ended.power_state) == (VmState.ACTIVE, PowerState.RUNNING), ended.fault
        assert told.cloud.running(server.id) == [name]

    told_story(story)


@pytest.mark.parametrize("resume", [True, False])
def test_a_guest_whose_host_boots_before_its_start_has_ended_follows_the_setting_all_the_same(resume: bool) -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        name = server.host_name or ""
        host = told.cloud.hosts[name].id
        await told.ask(accept_stop, server.id)
        await told.idle(server.id)
        networks = told.cloud.cloud.networks
        settle, settling, go_on = networks.settle, asyncio.Event(), asyncio.Event()

        async def hang(*arguments: Any, **options: Any) -> None:
            settling.set()
            await go_on.wait()
            await settle(*arguments, **options)

        networks.settle = hang
        await told.ask(accept_start, server.id)
        await settling.wait()
        assert told.cloud.running(server.id) == [name], "it is started, and that has yet to be noted"
        await told.cloud.cut_power(name)
        await told.down(host)
        await told.back(name)

        def followed(tx: Tx) -> bool:
            row = hosts.get(tx, host)
            return row is not None and not row.resume

        while not await told.cloud.database.read(followed):
            await told.cloud.clock.sleep(0.05)
        go_on.set()
        ended = await told.idle(server.id)
        wanted = (VmState.ACTIVE, PowerState.RUNNING) if resume else (VmState.STOPPED, PowerState.SHUTDOWN)
        assert (ended.vm_state, ended.power_state) == wanted, ended.fault

    told_story(
        story,
        settings=ControllerSettings(lease=QUICK_LEASE, recovery=BY_HAND, brake=NO_BRAKE, resume_guests_on_boot=resume),
    )
