"""Known failure modes C1 to C15: allocations, ports and volumes after moves and crashes (docs/known-bugs.md)."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from renova.model.block_device import BlockDevice
from renova.model.errors import NotNow, Refused
from renova.model.ids import AttachmentId, HostId, ProjectId, ServerId, UserId
from renova.model.server import Server, VmState
from renova.operations.delete import accept_delete
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.reboot import accept_reboot
from renova.operations.rounds import Round
from renova.simulation.loop import run_virtual
from renova.store import block_devices, migrations, rights
from renova.store.database import Tx
from renova.store.placement import allocations, claims, inventories
from tests.operations.failing_hosts import break_start, dead_host_of
from tests.operations.story import Told, told_story
from tests.operations.volumes import attached

T = TypeVar("T")


async def do(told: Told, duty: str) -> Round:
    done: Round = await told.cloud.cloud.rounds.do(duty)
    assert (done.error, done.failed) == (None, 0), done
    return done


async def change(told: Told, work: Callable[[Tx], Any]) -> Any:
    return await told.cloud.database.transact(work)


async def held(told: Told, server: str) -> dict[HostId, dict[str, int]]:
    """Return what the consumer holds, by host."""
    found: dict[HostId, dict[str, int]] = {}
    for each in await told.cloud.database.read(lambda tx: allocations.held(tx, ServerId(server))):
        found.setdefault(each.provider, {})[each.resource_class] = each.amount
    return found


def other_host(told: Told, server: Server) -> HostId:
    return next(host.id for host in told.cloud.hosts.values() if host.id != server.host)


async def claim(told: Told, consumer: str, host: HostId, amounts: dict[str, int]) -> None:
    def work(tx: Tx) -> None:
        claims.claim(tx, ServerId(consumer), ProjectId("project-1"), UserId("user-1"), host, amounts)

    await change(told, work)


NEEDS = {"VCPU": 1, "MEMORY_MB": 128, "DISK_GB": 1}


def test_c1_what_was_held_of_a_host_that_will_not_come_back_is_given_back() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await dead_host_of(told, server.id)
        await told.ask(accept_evacuate, server.id, Evacuation())
        moved = await told.idle(server.id)
        assert set(await held(told, server.id)) == {server.host, moved.host}
        assert (await do(told, "allocations")).mended == 0, "its source has not cleaned up yet"
        assert (await do(told, "evacuations")).mended == 0
        # It never will: an operator removes it, and what it owed is forgiven.
        source = server.host
        assert source is not None
        await change(told, lambda tx: rights.forgive(tx, source))
        assert (await do(told, "evacuations")).mended == 1
        assert set(await held(told, server.id)) == {moved.host}
        (record,) = await told.cloud.database.read(migrations.find)
        assert record.status == "completed"

    told_story(story)


def test_c3_what_does_not_fit_is_reported_and_never_taken() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        home = server.host
        assert home is not None
        await change(told, lambda tx: claims.release(tx, server.id, home))
        room = await told.cloud.database.read(lambda tx: inventories.inventory(tx, home))
        memory = next(item for item in room if item.resource_class == "MEMORY_MB")
        await claim(told, "by-hand", home, {"MEMORY_MB": memory.total - memory.reserved})
        done = await do(told, "allocations")
        assert (done.mended, len(done.findings)) == (0, 1)
        assert "cannot have more" in done.findings[0].what
        assert await held(told, server.id) == {}
        await change(told, lambda tx: claims.release(tx, ServerId("by-hand")))
        assert (await do(told, "allocations")).mended == 1
        assert await held(told, server.id) == {home: NEEDS}

    told_story(story)


def test_c4_what_is_held_for_nothing_is_given_back() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await claim(told, server.id, other_host(told, server), NEEDS)
        deleted = await told.created()
        await told.ask(accept_delete, deleted)
        await told.idle(deleted)
        await claim(told, deleted, other_host(told, server), NEEDS)
        assert (await do(told, "allocations")).mended == 2
        assert await held(told, server.id) == {server.host: NEEDS}
        assert await held(told, deleted) == {}
        assert (await do(told, "allocations")).mended == 0

    told_story(story)


def test_c4_what_others_allocated_by_hand_is_left_alone() -> None:
    async def whole(told: Told) -> None:
        server = await told.get(await told.created())
        home = server.host
        assert home is not None
        await claim(told, "by-hand", home, {"VCPU": 2})
        assert (await do(told, "allocations")).mended == 0
        assert await held(told, "by-hand") == {home: {"VCPU": 2}}
        await change(told, lambda tx: claims.release(tx, ServerId("by-hand")))

    told_story(whole)


def test_c4_a_wrong_amount_is_set_right_and_other_classes_stay() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        home = server.host
        assert home is not None
        await claim(told, server.id, home, {"VCPU": 3, "MEMORY_MB": 128})
        assert (await do(told, "allocations")).mended == 1
        assert await held(told, server.id) == {home: NEEDS}

    told_story(story)


def test_c8_an_audit_at_any_moment_of_an_evacuation_takes_nothing_from_it() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await dead_host_of(told, server.id)
        await told.ask(accept_evacuate, server.id, Evacuation())
        while (await told.get(server.id)).task_state is not None:
            for duty in ("allocations", "evacuations", "port_bindings", "orphans"):
                assert (await do(told, duty)).mended == 0
            await told.cloud.clock.sleep(0.005)
        moved = await told.idle(server.id)
        assert set(await held(told, server.id)) == {server.host, moved.host}
        await told.cloud.power_on(server.host_name or "")
        while (await told.cloud.database.read(migrations.find))[0].status != "completed":
            for duty in ("allocations", "evacuations", "port_bindings"):
                await do(told, duty)
            await told.cloud.clock.sleep(0.05)
        assert set(await held(told, server.id)) == {moved.host}
        await told.host_up(server.host_name or "")

    told_story(story)


def test_c9_ports_that_are_bound_elsewhere_are_bound_to_their_servers_host() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        (port,) = await told.cloud.networks.ports(server.id)
        await told.cloud.networks.bind(port.id, "a-host-of-old", "nova")
        assert (await do(told, "port_bindings")).mended == 1
        await told.idle(server.id)
        (port,) = await told.cloud.networks.ports(server.id)
        assert port.host == server.host_name
        assert (await do(told, "port_bindings")).mended == 0

    told_story(story)


def test_c10_a_port_that_is_bound_nowhere_is_bound_again_and_its_server_stays_as_it_is() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        (port,) = await told.cloud.networks.ports(server.id)
        await told.cloud.networks.bind(port.id, "", "nova")
        assert (await do(told, "port_bindings")).mended == 1
        after = await told.idle(server.id)
        assert (after.vm_state, after.power_state) == (server.vm_state, server.power_state)
        (port,) = await told.cloud.networks.ports(server.id)
        assert port.host == server.host_name

    told_story(story)


def test_c9_a_failed_evacuation_leaves_its_ports_where_the_server_is() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        source = await dead_host_of(told, server.id)
        for name in told.cloud.hosts:
            break_start(told.cloud, name, Refused("no such machine type"))
        await told.ask(accept_evacuate, server.id, Evacuation())
        await told.idle(server.id)
        (port,) = await told.cloud.networks.ports(server.id)
        assert port.host == source
        assert (await do(told, "port_bindings")).mended == 0

    async def whole() -> None:
        told = await Told().begin()
        await story(told)
        await told.cloud.down()

    run_virtual(whole())


def test_c9_an_evacuation_that_begins_meanwhile_has_the_last_word() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        source = await dead_host_of(told, server.id)
        (port,) = await told.cloud.networks.ports(server.id)
        await told.cloud.networks.bind(port.id, "a-host-of-old", "nova")
        assert (await do(told, "port_bindings")).mended == 1
        await told.ask(accept_evacuate, server.id, Evacuation())
        moved = await told.idle(server.id)
        assert moved.vm_state is VmState.ACTIVE
        assert moved.host_name != source
        (port,) = await told.cloud.networks.ports(server.id)
        assert port.host == moved.host_name
        await told.back(source)

    told_story(story)


async def with_volume(told: Told) -> tuple[Server, BlockDevice]:
    """Return a server and a volume that its host reaches, and that it has."""
    server = await told.get(await told.created())
    await attached(told, server.id)
    return server, await device_of(told, server)


async def patiently(told: Told, call: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await call()
        except NotNow:
            await told.cloud.clock.sleep(0.1)


async def attachments_of(told: Told, server: Server) -> list[AttachmentId]:
    return [each.id for each in await told.cloud.cloud.volumes.attachments(server.id)]


async def device_of(told: Told, server: Server) -> BlockDevice:
    (device,) = await told.cloud.database.read(lambda tx: block_devices.volumes_of(tx, server.id))
    return device


def test_c11_a_second_attachment_that_no_volume_has_goes() -> None:
    async def story(told: Told) -> None:
        server, device = await with_volume(told)
        assert device.volume is not None
        await told.cloud.cloud.volumes.reserve(AttachmentId("left-behind"), device.volume, server.id)
        assert (await do(told, "attachments")).mended == 1
        await told.idle(server.id)
        assert await attachments_of(told, server) == [device.attachment]
        assert (await do(told, "attachments")).findings == ()

    told_story(story)


def test_c11_an_attachment_that_was_begun_goes_while_the_old_one_is_there() -> None:
    async def story(told: Told) -> None:
        server, device = await with_volume(told)
        begun = AttachmentId("begun")
        assert device.volume is not None
        await change(told, lambda tx: block_devices.change(tx, device, next_attachment=begun))
        await told.cloud.cloud.volumes.reserve(begun, device.volume, server.id)
        assert (await do(told, "attachments")).mended == 1
        await told.idle(server.id)
        assert await attachments_of(told, server) == [device.attachment]
        after = await device_of(told, server)
        assert (after.attachment, after.next_attachment) == (device.attachment, None)
        assert after.connection == device.connection, "its guest goes on with it"

    told_story(story)


def test_c11_an_attachment_that_was_begun_is_taken_where_the_old_one_is_gone() -> None:
    async def story(told: Told) -> None:
        server, device = await with_volume(told)
        begun = AttachmentId("begun")
        assert device.volume is not None
        assert device.attachment is not None
        await change(told, lambda tx: block_devices.change(tx, device, next_attachment=begun))
        await told.cloud.cloud.volumes.reserve(begun, device.volume, server.id)
        await patiently(told, lambda: told.cloud.cloud.volumes.detach(device.attachment))
        assert (await do(told, "attachments")).mended == 1
        await told.idle(server.id)
        assert await attachments_of(told, server) == [begun]
        after = await device_of(told, server)
        assert (after.attachment, after.next_attachment, after.host) == (begun, None, None)
        (finding,) = (await do(told, "attachments")).findings
        assert (finding.mended, "reboot the server hard" in finding.what) == (False, True)
        await told.ask(accept_reboot, server.id, hard=True)  # it reaches the volume again
        assert (await told.idle(server.id)).vm_state is VmState.ACTIVE

    told_story(story)


def test_c11_an_attachment_that_is_lost_is_reported_and_its_volume_kept() -> None:
    async def story(told: Told) -> None:
        server, device = await with_volume(told)
        assert device.attachment is not None
        await patiently(told, lambda: told.cloud.cloud.volumes.detach(device.attachment))
        done = await do(told, "attachments")
        assert (done.mended, len(done.findings)) == (0, 1)
        assert (await device_of(told, server)).attachment == device.attachment
        await told.ask(accept_reboot, server.id, hard=True)  # which drops it
        assert (await told.idle(server.id)).vm_state is VmState.ACTIVE

    told_story(story)
