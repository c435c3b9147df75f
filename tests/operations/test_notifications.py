"""What is told of each operation, in which order; nothing that happened is left out, and nothing else is told."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from renova.model.errors import Refused
from renova.model.ids import HostId, NetworkId, ServerId
from renova.operations.attach_interface import accept_attach_interface
from renova.operations.attach_volume import NewAttachment, accept_attach_volume
from renova.operations.delete import accept_delete
from renova.operations.detach_interface import accept_detach_interface
from renova.operations.detach_volume import accept_detach_volume
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.migrate import accept_migrate
from renova.operations.migrate_live import accept_migrate_live
from renova.operations.pause import accept_pause, accept_unpause
from renova.operations.reboot import accept_reboot
from renova.operations.rebuild import Rebuild, accept_rebuild
from renova.operations.start import accept_start
from renova.operations.stop import accept_stop
from renova.operations.suspend import accept_resume, accept_suspend
from renova.partners.network import PortWish
from renova.simulation.loop import run_virtual
from renova.store import hosts
from renova.store.database import Tx
from renova.store.migrations import Wish
from tests.operations.crashes import Fuse, controller_fuse
from tests.operations.failing_hosts import break_start, dead_host_of
from tests.operations.listening import SETTINGS, Listener, all_told, data, hear, told_event
from tests.operations.story import Told, an_image
from tests.operations.test_live_migrations import until_status, up, wished
from tests.operations.volumes import a_volume

Ready = Callable[[Told, ServerId], Awaitable[None]]


async def nothing(told: Told, server: ServerId) -> None: ...


async def stop(told: Told, server: ServerId) -> None:
    await told.ask(accept_stop, server)
    await told.idle(server)


async def pause(told: Told, server: ServerId) -> None:
    await told.ask(accept_pause, server)
    await told.idle(server)


async def suspend(told: Told, server: ServerId) -> None:
    await told.ask(accept_suspend, server)
    await told.idle(server)


async def break_hosts(told: Told, server: ServerId) -> None:
    for name in told.cloud.hosts:
        break_start(told.cloud, name, Refused("no such machine type"))


async def kill_host(told: Told, server: ServerId) -> None:
    await dead_host_of(told, server)


async def kill_and_break(told: Told, server: ServerId) -> None:
    await kill_host(told, server)
    await break_hosts(told, server)


async def tear_ways(told: Told, server: ServerId) -> None:
    """Have every host lose its connection to where the guest goes, when all of it was copied."""
    for host in told.cloud.hosts.values():
        host.hypervisor.torn.add(server)


async def close_hosts(told: Told, server: ServerId) -> None:
    """Have no host that the server could go to."""
    here = (await told.get(server)).host
    await disable(told, [host.id for host in told.cloud.hosts.values() if host.id != here])


async def disable(told: Told, those: list[HostId]) -> None:
    def close(tx: Tx) -> None:
        for host in those:
            hosts.change(tx, host, disabled=True)

    await told.cloud.database.transact(close)
    told.cloud.cloud.fleet.stale()


async def kill_and_close(told: Told, server: ServerId) -> None:
    """Have no host left to which the server could go."""
    dead = await dead_host_of(told, server)
    await disable(told, [host.id for name, host in told.cloud.hosts.items() if name != dead])


REBUILD = Rebuild(image=an_image("two"), admin_pass="secret")


REBUILDING = ["active rebuilding", "rebuild_scheduled", "exists", "rebuild.start"]


EVACUATING = [
    "active rebuilding",
    "evacuate",
    "rebuild_scheduled",
    "exists",
    "rebuild.start",
    "active rebuild_block_device_mapping",
    "active rebuild_spawning",
]


SEQUENCES: dict[str, tuple[Ready, Callable[..., Any], tuple[Any, ...], dict[str, Any], list[str]]] = {
    "soft reboot": (
        nothing,
        accept_reboot,
        (),
        {"hard": False},
        [
            "active rebooting",
            "reboot.start",
            "active reboot_pending",
            "active reboot_started",
            "active -",
            "reboot.end",
        ],
    ),
    "migrate": (
        nothing,
        accept_migrate,
        (),
        {},
        [
            "active resize_prep",
            "resize_prep.start",
            "resize_prep.end",
            "active resize_migrating",
            "resize.start",
            "resize.end",
            "active resize_finish",
            "resize_finish.start",
            "active -",
            "resize_finish.end",
        ],
    ),
    "migrate live": (
        nothing,
        accept_migrate_live,
        (),
        {},
        [
            "active migrating",
            "live_migration_pre.start",
            "live_migration_pre.end",
            "live_migration_post.start",
            "live_migration_post_dest.start",
            "active -",
            "live_migration_post_dest.end",
            "live_migration_post.end",
        ],
    ),
    "migrate live, and lose the way": (
        tear_ways,
        accept_migrate_live,
        (),
        {},
        [
            "active migrating",
            "live_migration_pre.start",
            "live_migration_pre.end",
            "active -",
            "live_migration_rollback.start",
            "live_migration_rollback.end",
        ],
    ),
    "migrate live to nowhere": (close_hosts, accept_migrate_live, (), {}, ["active migrating", "active -"]),
    "hard reboot": (
        nothing,
        accept_reboot,
        (),
        {"hard": True},
        [
            "active rebooting_hard",
            "reboot.start",
            "active reboot_pending_hard",
            "active reboot_started_hard",
            "active -",
            "reboot.end",
        ],
    ),
    "hard reboot that fails": (
        break_hosts,
        accept_reboot,
        (),
        {"hard": True},
        [
            "active rebooting_hard",
            "reboot.start",
            "active reboot_pending_hard",
            "active reboot_started_hard",
            "error -",
            "reboot.error",
        ],
    ),
    "rebuild": (
        nothing,
        accept_rebuild,
        (REBUILD,),
        {},
        [
            *REBUILDING,
            "active rebuild_block_device_mapping",
            "active rebuild_spawning",
            "active -",
            "rebuild.end",
        ],
    ),
    "rebuild that fails": (
        nothing,
        accept_rebuild,
        (msgspec.structs.replace(REBUILD, image=an_image("none")),),
        {},
        [*REBUILDING, "active -", "rebuild.error"],
    ),
    "evacuate": (kill_host, accept_evacuate, (Evacuation(),), {}, [*EVACUATING, "active -", "rebuild.end"]),
    "evacuate and end stopped": (
        kill_host,
        accept_evacuate,
        (Evacuation(end_stopped=True),),
        {},
        [*EVACUATING, "stopped -", "rebuild.end"],
    ),
    "evacuate to nowhere": (
        kill_and_close,
        accept_evacuate,
        (Evacuation(),),
        {},
        ["active rebuilding", "evacuate", "active -", "compute_task.rebuild_server.error"],
    ),
    "stop": (
        nothing,
        accept_stop,
        (),
        {},
        ["active powering-off", "power_off.start", "stopped -", "power_off.end"],
    ),
    "start": (stop, accept_start, (), {}, ["stopped powering-on", "power_on.start", "active -", "power_on.end"]),
    "pause": (nothing, accept_pause, (), {}, ["active pausing", "pause.start", "paused -", "pause.end"]),
    "unpause": (pause, accept_unpause, (), {}, ["paused unpausing", "unpause.start", "active -", "unpause.end"]),
    "suspend": (
        nothing,
        accept_suspend,
        (),
        {},
        ["active suspending", "suspend.start", "suspended -", "suspend.end"],
    ),
    "resume": (suspend, accept_resume, (), {}, ["suspended resuming", "resume.start", "active -", "resume.end"]),
    "delete": (
        nothing,
        accept_delete,
        (),
        {},
        ["active deleting", "delete.start", "shutdown.start", "shutdown.end", "deleted -", "delete.end"],
    ),
}


@pytest.mark.parametrize("case", SEQUENCES)
def test_an_operation_tells_just_what_nova_tells(case: str) -> None:
    ready, accept, arguments, options, expected = SEQUENCES[case]

    async def story(told: Told, listener: Listener) -> None:
        server = await told.created()
        await ready(told, server)
        await all_told(told)
        before = len(listener.heard)
        await told.ask(accept, server, *arguments, **options)
        await told.idle(server)
        await all_told(told)
        assert listener.of(server, since=before) == expected

    # Where no host takes it, it is left on its dead one.
    hear(story, calm=case != "evacuate to nowhere", boot_s=0.0)


def test_an_image_of_a_server_is_told_by_its_id() -> None:
    async def story(told: Told, listener: Listener) -> None:
        server = await told.created()
        await all_told(told)
        before = len(listener.heard)
        image = await told.make_image(server)
        await told.idle(server)
        await all_told(told)
        pending = ["active image_snapshot_pending", "active image_snapshot", "snapshot.start"]
        uploading = ["active image_pending_upload", "active image_uploading", "active -", "snapshot.end"]
        assert listener.of(server, since=before) == [*pending, *uploading]
        payload = data(listener.heard[-1])["payload"]
        assert payload["nova_object.name"] == "InstanceActionSnapshotPayload"
        assert payload["nova_object.data"]["snapshot_image_id"] == image

    hear(story)


@pytest.mark.parametrize(
    ("wanted", "asked", "comes_of_it"),
    [
        (Wish.ABORT, "abort", ["active -", "live_migration_rollback.start", "live_migration_rollback.end"]),
        (
            Wish.COMPLETE,
            "force_complete",
            [
                "live_migration_post.start",
                "live_migration_post_dest.start",
                "active -",
                "live_migration_post_dest.end",
                "live_migration_post.end",
            ],
        ),
    ],
)
def test_what_is_asked_of_a_live_migration_is_told_and_what_comes_of_it(
    wanted: Wish, asked: str, comes_of_it: list[str]
) -> None:
    async def story(told: Told, listener: Listener) -> None:
        server = await up(told)
        here = await told.get(server)
        told.cloud.hosts[here.host_name or ""].hypervisor.uncopyable.add(server)
        await all_told(told)
        before = len(listener.heard)
        await told.ask(accept_migrate_live, server)
        await wished(told, await until_status(told, server, "running"), wanted)
        await told.idle(server)
        await all_told(told)
        begun = ["active migrating", "live_migration_pre.start", "live_migration_pre.end"]
        asking = [f"live_migration_{asked}.start", f"live_migration_{asked}.end"]
        assert listener.of(server, since=before) == [*begun, *asking, *comes_of_it]

    hear(story)


def test_each_end_of_a_live_migration_tells_its_part() -> None:
    async def story(told: Told, listener: Listener) -> None:
        server = await up(told)
        source = (await told.get(server)).host_name
        await told.ask(accept_migrate_live, server)
        destination = (await told.idle(server)).host_name
        await all_told(told)
        by = {event.type.partition(".")[2]: data(event)["publisher_id"] for event in listener.heard}
        for word, host in (("pre", destination), ("post", source), ("post_dest", destination)):
            for moment in ("start", "end"):
                assert by[f"live_migration_{word}.{moment}"] == f"nova-compute:{host}"

    hear(story)


def test_an_evacuation_tries_each_destination_aloud() -> None:
    async def story(told: Told, listener: Listener) -> None:
        server = await told.created()
        await kill_and_break(told, server)
        await all_told(told)
        before = len(listener.heard)
        await told.ask(accept_evacuate, server, Evacuation())
        await told.idle(server)
        await all_told(told)
        attempt = ["rebuild_scheduled", "exists", "rebuild.start"]
        heard = listener.of(server, since=before)
        assert [event for event in heard if event in attempt] == 2 * attempt
        assert heard[-2:] == ["active -", "rebuild.error"]
        fault = data(listener.heard[-1])["payload"]["nova_object.data"]["fault"]["nova_object.data"]
        assert "no such machine type" in fault["exception_message"]

    hear(story, calm=False)  # its host stays dead


def test_a_create_tells_its_start_and_its_end_in_the_name_of_its_request() -> None:
    async def story(told: Told, listener: Listener) -> None:
        server = await told.created()
        await all_told(told)
        assert listener.of(server) == [
            "building scheduling",
            "building networking",
            "create.start",
            "building spawning",
            "active -",
            "create.end",
        ]
        requests = {data(event)["payload"]["nova_object.data"]["request_id"] for event in listener.heard}
        assert len(requests) == 1
        assert None not in requests

    hear(story)


def tell_crashing(case: str, at: int | None, *, before: bool) -> Fuse:
    """Tell a case with a controller that dies at a transaction; what is heard once is as it always is."""
    ready, accept, arguments, options, expected = SEQUENCES[case]

    async def whole() -> Fuse:
        listener = Listener()
        told = Told(sink=listener, settings=SETTINGS, boot_s=0.0)
        fuse = controller_fuse(told.cloud)
        await told.begin()
        server = await told.created()
        await ready(told, server)
        await all_told(told)
        already = len(listener.heard)
        await told.ask(accept, server, *arguments, **options)
        fuse.arm(at, before=before)
        await told.idle(server)
        await all_told(told)
        fuse.armed = False
        await told.cloud.until(lambda: told.cloud.controller is not None)
        once = {event.id: event for event in listener.heard[already:]}
        assert [told_event(event) for event in once.values()] == expected
        await told.cloud.down()
        return fuse

    return run_virtual(whole())


def tell_every(case: str, every: int) -> None:
    points = tell_crashing(case, None, before=True).passed
    assert points > 0
    for at in range(1, points + 1, every):
        for before in (True, False):
            tell_crashing(case, at, before=before)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["soft reboot", "hard reboot", "rebuild", "evacuate", "stop", "delete"])
def test_all_is_told_in_its_order_whenever_the_controller_dies(case: str) -> None:
    tell_every(case, 1)


def test_all_is_told_in_its_order_though_the_controller_dies() -> None:
    tell_every("hard reboot", 8)


async def attach_volume(told: Told, server: ServerId) -> None:
    await told.ask(accept_attach_volume, server, NewAttachment(volume=told.volume))


async def detach_volume(told: Told, server: ServerId) -> None:
    await told.ask(accept_detach_volume, server, told.volume)


async def attach_interface(told: Told, server: ServerId) -> None:
    await told.ask(accept_attach_interface, server, PortWish(NetworkId("net-1")))


async def detach_interface(told: Told, server: ServerId) -> None:
    (port,) = await told.cloud.networks.ports(server)
    await told.ask(accept_detach_interface, server, port.id, port.mac)


@pytest.mark.parametrize(
    ("ask", "word"),
    [
        (attach_volume, "volume_attach"),
        (detach_volume, "volume_detach"),
        (attach_interface, "interface_attach"),
        (detach_interface, "interface_detach"),
    ],
)
def test_what_an_evacuation_puts_off_is_told_to_begin_once(ask: Ready, word: str) -> None:
    async def story(told: Told, listener: Listener) -> None:
        server = await told.created()
        told.volume = await a_volume(told)
        if ask is detach_volume:
            await attach_volume(told, server)
            await told.idle(server)
        home = (await told.get(server)).host_name or ""
        told.cloud.hosts[home].hypervisor.go_away()
        await ask(told, server)
        await told.cloud.clock.sleep(1)
        told.cloud.hosts[home].hypervisor.come_back()
        await dead_host_of(told, server)
        await told.ask(accept_evacuate, server, Evacuation())
        await told.idle(server)
        await all_told(told)
        its = [each for each in listener.of(server) if each.startswith(word)]
        assert its == [f"{word}.start", f"{word}.end"]
        await told.back(home)

    hear(story)
