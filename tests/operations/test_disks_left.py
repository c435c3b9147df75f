"""Disks that a server leaves on hosts where it lived or was to live: none outlasts it, and none that it needs goes."""

import pytest

from renova.model.errors import Refused
from renova.model.ids import ServerId
from renova.model.server import VmState
from renova.operations.delete import accept_delete
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.stop import accept_stop
from tests.operations.failing_hosts import break_start, dead_host_of, evacuating
from tests.operations.story import Told, told_story
from tests.operations.volumes import a_new_volume


def has_disk(told: Told, server: ServerId, host: str) -> bool:
    return any(of == server for of, _ in told.cloud.hosts[host].storage.disks)


def test_a_server_deleted_on_a_dead_host_is_cleaned_up_when_the_host_returns() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        host = await dead_host_of(told, server)
        await told.ask(accept_delete, server)
        assert (await told.idle(server, 60)).vm_state is VmState.DELETED
        assert any(key[0] == server for key in told.cloud.hosts[host].storage.disks)
        await told.back(host)
        assert not any(key[0] == server for key in told.cloud.hosts[host].storage.disks)

    told_story(story)


def test_a_host_that_returns_while_a_server_is_deleted_keeps_none_of_its_disks() -> None:
    async def story(told: Told) -> None:
        device = a_new_volume(told, boot_index=None)
        server = await told.created(devices=(device,))
        host = await dead_host_of(told, server)
        await told.cloud.cut_power("storage1")  # so that the volume cannot be cut off, and the delete goes on
        await told.ask(accept_delete, server)
        await told.cloud.clock.sleep(15)  # by now its host owes the clean-up
        await told.back(host)
        await told.cloud.power_on("storage1")
        await told.idle(server)
        assert not [at for at in told.cloud.hosts[host].storage.disks if at[0] == server]

    told_story(story, shared=False)


def test_a_source_that_returns_during_its_evacuation_keeps_no_disk_in_use() -> None:
    async def story(told: Told) -> None:
        server, source = await evacuating(told)
        await told.cloud.clock.sleep(0.05)
        await told.back(source)
        disks = told.cloud.hosts[source].storage
        assert (server, 1) in disks.disks, "it may be the only one that the server has"
        await told.idle(server)
        await told.cloud.until(lambda: (server, 1) not in disks.disks)
        assert [aside.server for aside, _ in disks.asides] == [server]

    told_story(story, start_s=6.0, shared=False)


def test_local_disks_are_made_afresh_and_the_old_ones_cleaned_up() -> None:
    async def story(told: Told) -> None:
        server, source = await evacuating(told)
        ended = await told.idle(server)
        assert ended.vm_state is VmState.ACTIVE
        assert any(key[0] == server for key in told.cloud.hosts[ended.host_name or ""].storage.disks)
        await told.back(source)
        assert not any(key[0] == server for key in told.cloud.hosts[source].storage.disks)

    told_story(story, shared=False)


def test_a_create_that_its_hosts_death_cut_off_leaves_no_disk_when_it_is_deleted() -> None:
    async def story(told: Told) -> None:
        server = await told.create()
        await told.cloud.clock.sleep(0.1)
        row = await told.get(server)
        name = row.host_name or ""
        await told.cloud.cut_power(name)
        assert (await told.idle(server)).vm_state is VmState.ERROR
        await told.back(name)
        await told.ask(accept_delete, server)
        assert (await told.idle(server)).vm_state is VmState.DELETED
        assert not any(key[0] == server for key in told.cloud.hosts[name].storage.disks)

    told_story(story, count=1, start_s=2.0)


@pytest.mark.parametrize("shared", [False, True])
def test_a_server_deleted_during_its_evacuation_leaves_no_disk_on_the_source_that_returned(shared: bool) -> None:
    async def story(told: Told) -> None:
        server, source = await evacuating(told)
        await told.cloud.clock.sleep(0.05)
        await told.back(source)
        assert has_disk(told, server, source), "it may be the only one that the server has"
        await told.ask(accept_delete, server)
        assert (await told.idle(server)).vm_state is VmState.DELETED
        await told.cloud.until(lambda: not any(has_disk(told, server, host) for host in told.cloud.hosts), 60.0)

    told_story(story, start_s=6.0, shared=shared)


@pytest.mark.parametrize("back", [True, False])
def test_a_server_deleted_after_its_evacuation_failed_leaves_no_disk_where_it_lived(back: bool) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.ask(accept_stop, server)  # so that it is not resumed
        await told.idle(server)
        source = await dead_host_of(told, server)
        for name in told.cloud.hosts:
            if name != source:
                break_start(told.cloud, name, Refused("no such machine type"))
        await told.ask(accept_evacuate, server, Evacuation())
        assert (await told.idle(server)).host_name == source
        if back:
            await told.back(source)
        assert has_disk(told, server, source)
        await told.ask(accept_delete, server)
        assert (await told.idle(server)).vm_state is VmState.DELETED
        if not back:
            await told.back(source)
        await told.cloud.until(lambda: not any(has_disk(told, server, host) for host in told.cloud.hosts), 60.0)

    told_story(story, shared=False)


@pytest.mark.parametrize("second", ["destination", "source"])
def test_of_an_evacuation_whose_destination_died_a_delete_leaves_no_disk(second: str) -> None:
    async def story(told: Told) -> None:
        server, source = await evacuating(told)
        await told.cloud.clock.sleep(3.0)
        first = next(name for name in told.cloud.hosts if name != source and has_disk(told, server, name))
        await told.cloud.cut_power(first)
        order = (source, first) if second == "destination" else (first, source)
        await told.back(order[0])
        await told.ask(accept_delete, server)
        assert (await told.idle(server)).vm_state is VmState.DELETED
        await told.back(order[1])
        await told.cloud.until(lambda: not any(has_disk(told, server, host) for host in told.cloud.hosts), 60.0)

    told_story(story, start_s=6.0, shared=False)
