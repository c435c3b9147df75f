"""Rebuilds that lose, leak or start what they must not (rows D1 to D13): all or nothing, and nothing of the guest's."""

from typing import Any

import msgspec
import pytest

from renova.model.errors import Invalid, Refused
from renova.model.guest import Guest, PersonalFile, PowerState
from renova.model.ids import ServerId
from renova.model.server import KeyPair, Server, TaskState, VmState
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.rebuild import Rebuild, accept_rebuild
from renova.operations.stop import accept_stop
from renova.store import actions, hosts, personal_files, ports, servers
from renova.store.placement import allocations
from tests.operations.failing_hosts import dead_host_of
from tests.operations.story import CONTENT, FLAVOR, Told, an_image, told_story

NEW = Rebuild(image=an_image("two"), admin_pass="secret")


async def on_its_host(told: Told, **changes: Any) -> tuple[Server, Any]:
    server = await told.get(await told.created(**changes))
    return server, told.cloud.hosts[server.host_name or ""].hypervisor


async def events(told: Told, server: ServerId) -> list[tuple[str, str | None]]:
    """Return the newest action's events with their results, the oldest first."""

    def work(tx: Any) -> list[tuple[str, str | None]]:
        action = actions.of_server(tx, server)[0]
        return [(event.event, event.result) for event in reversed(actions.events_of(tx, action.id))]

    return await told.cloud.database.read(work)


def started(hypervisor: Any) -> list[Guest]:
    """Note every guest that is started from now on."""
    found: list[Guest] = []
    really = hypervisor.start

    async def start(guest: Guest) -> object:
        found.append(guest)
        return await really(guest)

    hypervisor.start = start
    return found


def prepared(hypervisor: Any) -> list[Guest]:
    """Note every guest whose disks are made from now on."""
    found: list[Guest] = []
    really = hypervisor.prepare

    async def prepare(guest: Guest, images: object) -> object:
        found.append(guest)
        return await really(guest, images)

    hypervisor.prepare = prepare
    return found


def test_d1_an_image_that_the_host_may_not_run_is_refused_before_anything_is_touched() -> None:
    async def story(told: Told) -> None:
        server, _ = await on_its_host(told)
        foreign = an_image("two", properties={"hw_architecture": "aarch64"})
        with pytest.raises(Invalid, match="No valid host was found"):
            await told.ask(accept_rebuild, server.id, Rebuild(image=foreign, admin_pass="x"))
        assert await told.get(server.id) == server

    told_story(story)


def test_d2_a_full_and_disabled_host_keeps_its_servers_through_a_rebuild() -> None:
    async def story(told: Told) -> None:
        whole = msgspec.structs.replace(FLAVOR, memory_mb=65_000)
        server, _ = await on_its_host(told, flavor=whole)
        home = server.host
        assert home is not None
        await told.cloud.database.transact(lambda tx: hosts.change(tx, home, disabled=True))
        await told.ask(accept_rebuild, server.id, NEW)
        assert (await told.idle(server.id)).vm_state is VmState.ACTIVE

    told_story(story)


REBUILT = Rebuild(
    image=an_image("two"),
    admin_pass="x",
    name="new",
    metadata={"new": "1"},
    description="new",
    key=KeyPair("new", "ssh-rsa BBBB"),
    user_data="bmV3",
    hostname="new",
    access_ipv4="192.0.2.9",
    trusted_certs=("new",),
    disk_config="AUTO",
    files=(PersonalFile("/new", "bmV3"),),
)
ROW = ("name", "metadata", "description", "key", "user_data", "hostname", "access_ipv4", "trusted_certs")
IMAGE = ("image", "image_properties", "image_sha256", "image_bytes", "root_generation", "disk_config")


@pytest.mark.parametrize("state", [VmState.ACTIVE, VmState.STOPPED, VmState.ERROR])
@pytest.mark.parametrize("broken", ["prepare", "shut_down", "start", "define"])
def test_d6_whatever_fails_all_that_the_request_changed_is_put_back(broken: str, state: VmState) -> None:
    async def story(told: Told) -> None:
        files = (PersonalFile("/old", "b2xk"),)
        server, hypervisor = await on_its_host(told, files=files)
        if state is VmState.STOPPED:
            await told.ask(accept_stop, server.id)
            await told.idle(server.id)
        elif state is VmState.ERROR:
            await told.cloud.database.transact(lambda tx: servers.change(tx, server.id, vm_state=state))
        before = await told.get(server.id)
        really = getattr(hypervisor, broken)

        async def fail_the_new(*arguments: Any) -> Any:
            guest = arguments[0]
            if not isinstance(guest, Guest) or guest.disks.generation == 2:
                raise Refused(f"{broken} does not work")
            return await really(*arguments)

        setattr(hypervisor, broken, fail_the_new)
        await told.ask(accept_rebuild, server.id, REBUILT)
        after = await told.idle(server.id)
        reached = broken in ("prepare", "shut_down") or (broken == "define") is (state is VmState.STOPPED)
        assert reached is (after.fault is not None)
        if reached:
            assert [getattr(after, name) for name in (*ROW, *IMAGE)] == [
                getattr(before, name) for name in (*ROW, *IMAGE)
            ]
            assert (after.vm_state, after.task_state) == (state, None)
            assert await told.cloud.database.read(lambda tx: personal_files.of_server(tx, server.id)) == files
            assert (await events(told, server.id))[-1] == ("compute_rebuild_instance", "Error")
            disks = told.cloud.hosts[server.host_name or ""].storage.disks
            assert [at for at in disks if at[0] == server.id] == [(server.id, 1)]
        if state is VmState.STOPPED:
            assert told.cloud.running(server.id) == []

    told_story(story)


@pytest.mark.parametrize("after_s", [0.0, 0.002, 0.004, 0.05, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("who", ["agent", "controller", "host"])
def test_d8_the_old_disk_is_there_until_the_new_guest_is_whoever_dies(who: str, after_s: float) -> None:
    async def story(told: Told) -> None:
        server, hypervisor = await on_its_host(told)
        name = server.host_name or ""
        await told.cloud.clock.sleep(1.5)  # it boots
        hypervisor.write(server.id, "precious")
        await told.ask(accept_rebuild, server.id, NEW)
        await told.cloud.clock.sleep(after_s)
        if who == "agent":
            await told.cloud.kill_agent(name)
        elif who == "controller":
            await told.cloud.kill_controller()
        else:
            await told.cloud.cut_power(name)
        disks = {at[1]: disk for at, disk in told.cloud.hosts[name].storage.disks.items() if at[0] == server.id}
        old = [write.text for write in disks[1].writes] if 1 in disks else []
        assert "precious" in old or 2 in disks, "neither the old data nor a new disk"
        await told.cloud.clock.sleep(1)
        if who == "agent":
            told.cloud.start_agent(name)
        elif who == "controller":
            await told.cloud.start_controller()
        else:
            await told.cloud.power_on(name)
        await told.idle(server.id)
        await told.cloud.until(lambda: told.cloud.running(server.id) == [name], 60)
        ended = await told.idle(server.id)
        assert (ended.vm_state, ended.image, ended.root_generation) == (VmState.ACTIVE, "image-two", 2)

    told_story(story, start_s=0.2, shut_down_s=0.2)


def test_d9_the_config_drive_is_made_anew_with_key_password_user_data_and_files() -> None:
    async def story(told: Told) -> None:
        server, hypervisor = await on_its_host(told, key=KeyPair("old", "ssh-rsa AAAA"), user_data="b2xk")
        made = prepared(hypervisor)
        await told.ask(accept_rebuild, server.id, REBUILT)
        ended = await told.idle(server.id)
        personal = made[0].personal
        assert (personal.public_keys, personal.user_data) == ({"new": "ssh-rsa BBBB"}, "bmV3")
        assert (personal.admin_pass, personal.files) == ("x", (PersonalFile("/new", "bmV3"),))
        assert (personal.hostname, personal.metadata) == ("new", {"new": "1"})
        assert ended.config_drive == "True"
        await told.ask(
            accept_rebuild, server.id, Rebuild(image=an_image("one"), admin_pass="y", key=None, user_data=None)
        )
        await told.idle(server.id)
        assert (made[-1].personal.public_keys, made[-1].personal.user_data) == ({}, None)
        assert made[-1].personal.files == ()

    told_story(story)


def test_d11_a_stopped_servers_guest_never_runs() -> None:
    async def story(told: Told) -> None:
        server, hypervisor = await on_its_host(told)
        await told.ask(accept_stop, server.id)
        await told.idle(server.id)
        starts = started(hypervisor)
        await told.ask(accept_rebuild, server.id, NEW)
        ended = await told.idle(server.id)
        assert (ended.vm_state, ended.power_state, ended.image) == (VmState.STOPPED, PowerState.SHUTDOWN, "image-two")
        assert starts == []
        assert await events(told, server.id) == [
            ("rebuild_server", "Success"),
            ("compute_rebuild_instance", "Success"),
            ("compute_stop_instance", "Success"),
        ]

    told_story(story)


def test_a_server_in_error_ends_active() -> None:
    async def story(told: Told) -> None:
        server, _ = await on_its_host(told)
        await told.cloud.database.transact(lambda tx: servers.change(tx, server.id, vm_state=VmState.ERROR))
        await told.ask(accept_rebuild, server.id, NEW)
        ended = await told.idle(server.id)
        assert (ended.vm_state, ended.fault) == (VmState.ACTIVE, None)
        assert await events(told, server.id) == [("rebuild_server", "Success"), ("compute_rebuild_instance", "Success")]

    told_story(story)


def test_d13_a_rebuild_of_a_dead_host_is_stale_once_its_server_was_evacuated() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        source = await dead_host_of(told, server)
        await told.ask(accept_rebuild, server, NEW)
        await told.cloud.clock.sleep(5)
        assert (await told.get(server)).task_state is TaskState.REBUILDING
        await told.ask(accept_evacuate, server, Evacuation())
        moved = await told.idle(server)
        assert (moved.vm_state, moved.image) == (VmState.ACTIVE, "image-one")
        await told.back(source)
        await told.cloud.clock.sleep(60)
        assert (await told.get(server)).image == "image-one"
        assert told.cloud.running(server) == [moved.host_name]

    told_story(story)


def test_the_task_states_come_in_novas_order() -> None:
    async def story(told: Told) -> None:
        server, _ = await on_its_host(told)
        seen = told.watch_tasks()
        await told.ask(accept_rebuild, server.id, NEW)
        await told.idle(server.id)
        assert seen == [TaskState.REBUILDING, TaskState.REBUILD_BLOCK_DEVICE_MAPPING, TaskState.REBUILD_SPAWNING, None]

    told_story(story)


def test_ports_addresses_and_claims_are_the_same_before_and_after() -> None:
    async def story(told: Told) -> None:
        server, _ = await on_its_host(told)

        def kept(tx: Any) -> object:
            of_ports = [(port.id, port.mac, port.fixed_ips, port.host) for port in ports.of_server(tx, server.id)]
            return of_ports, allocations.held(tx, server.id)

        before = await told.cloud.database.read(kept)
        for _ in range(3):
            await told.ask(accept_rebuild, server.id, NEW)
            ended = await told.idle(server.id)
        assert await told.cloud.database.read(kept) == before
        assert (ended.networks, ended.host, ended.flavor) == (server.networks, server.host, server.flavor)
        assert ended.launched_at != server.launched_at

    told_story(story)


def test_ephemeral_disks_and_swap_are_fresh_and_the_console_begins_anew() -> None:
    async def story(told: Told) -> None:
        flavor = msgspec.structs.replace(FLAVOR, ephemeral_gb=1, swap_mb=64)
        server, hypervisor = await on_its_host(told, flavor=flavor)
        await told.cloud.clock.sleep(1.5)
        made = prepared(hypervisor)
        await told.ask(accept_rebuild, server.id, NEW)
        await told.idle(server.id)
        disks = made[0].disks
        assert (disks.generation, disks.ephemerals_gb, disks.swap_mb) == (2, (1,), 64)
        await told.cloud.clock.sleep(1.5)
        assert await hypervisor.console(server.id) == b"GUEST-READY server boots=1\n"

    told_story(story)


def test_a_failed_rebuild_may_be_tried_again() -> None:
    async def story(told: Told) -> None:
        server, _ = await on_its_host(told)
        wrong = an_image("wrong", sha256="0" * 64)
        told.cloud.images.have(wrong, CONTENT)
        await told.ask(accept_rebuild, server.id, Rebuild(image=wrong, admin_pass="x"))
        assert (await told.idle(server.id)).fault is not None
        await told.ask(accept_rebuild, server.id, NEW)
        ended = await told.idle(server.id)
        assert (ended.vm_state, ended.image, ended.fault) == (VmState.ACTIVE, "image-two", None)

    told_story(story)
