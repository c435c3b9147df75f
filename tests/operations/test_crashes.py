"""Nothing is lost: whatever dies at whatever point of an operation, it ends in a final, true state."""

from collections.abc import Awaitable, Callable

import pytest

from renova.model.ids import NetworkId, ServerId
from renova.model.server import Server, VmState
from renova.operations.attach_interface import accept_attach_interface
from renova.operations.attach_volume import NewAttachment, accept_attach_volume
from renova.operations.create_image import Backup
from renova.operations.delete import accept_delete
from renova.operations.detach_interface import accept_detach_interface
from renova.operations.detach_volume import accept_detach_volume
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.pause import accept_pause, accept_unpause
from renova.operations.reboot import accept_reboot
from renova.operations.rebuild import Rebuild, accept_rebuild
from renova.operations.start import accept_start
from renova.operations.stop import accept_stop
from renova.operations.suspend import accept_resume, accept_suspend
from renova.partners.network import PortWish
from renova.simulation.loop import run_virtual
from tests.operations.crashes import Fuse, agent_fuse, controller_fuse
from tests.operations.story import Told, an_image
from tests.operations.test_failures import dead_host_of
from tests.operations.volumes import a_new_volume, a_volume, attached


async def ready(told: Told) -> ServerId:
    return await told.created()


async def ready_stopped(told: Told) -> ServerId:
    server = await told.created()
    await told.ask(accept_stop, server)
    await told.idle(server)
    return server


async def ready_paused(told: Told) -> ServerId:
    server = await told.created()
    await told.ask(accept_pause, server)
    await told.idle(server)
    return server


async def ready_suspended(told: Told) -> ServerId:
    server = await told.created()
    await told.ask(accept_suspend, server)
    await told.idle(server)
    return server


async def ready_dead(told: Told) -> ServerId:
    """Have a server whose host lost its power, and is proven dead."""
    server = await told.get(await told.created())
    await told.cloud.cut_power(server.host_name or "")
    await told.cloud.until(lambda: not told.cloud.cloud.hosts.up(server.host))
    assert await told.cloud.cloud.hosts.seek_proof(server.host)
    return server.id


async def nothing(_told: Told) -> ServerId | None:
    return None


Ready = Callable[[Told], Awaitable[ServerId | None]]
Ask = Callable[[Told, ServerId], Awaitable[ServerId]]


async def create(told: Told, _server: ServerId) -> ServerId:
    return await told.create()


def asking(accept: Callable[..., object], *arguments: object, **options: object) -> Ask:
    async def ask(told: Told, server: ServerId) -> ServerId:
        await told.ask(accept, server, *arguments, **options)
        return server

    return ask


async def make_image(told: Told, server: ServerId) -> ServerId:
    await told.make_image(server)
    return server


async def make_backup(told: Told, server: ServerId) -> ServerId:
    await told.make_image(server, Backup("daily", 1))
    return server


async def ready_volume(told: Told) -> ServerId:
    told.volume = await a_volume(told)
    return await told.created()


async def ready_volume_stopped(told: Told) -> ServerId:
    told.volume = await a_volume(told)
    return await ready_stopped(told)


async def ready_attached(told: Told) -> ServerId:
    server = await told.created()
    told.volume = await attached(told, server)
    return server


async def ready_dead_with_volume(told: Told) -> ServerId:
    server = await ready_attached(told)
    await dead_host_of(told, server)
    return server


async def attach(told: Told, server: ServerId) -> ServerId:
    await told.ask(accept_attach_volume, server, NewAttachment(volume=told.volume))
    return server


async def detach(told: Told, server: ServerId) -> ServerId:
    await told.ask(accept_detach_volume, server, told.volume)
    return server


async def detach_interface(told: Told, server: ServerId) -> ServerId:
    (port,) = await told.cloud.networks.ports(server)
    await told.ask(accept_detach_interface, server, port.id, port.mac)
    return server


async def create_with_volumes(told: Told, _server: ServerId) -> ServerId:
    return await told.create(devices=(a_new_volume(told), a_new_volume(told, boot_index=0)), image=None)


def runs(server: Server) -> bool:
    return server.vm_state is VmState.ACTIVE


def is_off(server: Server) -> bool:
    return server.vm_state is VmState.STOPPED


def stands_still(server: Server) -> bool:
    return server.vm_state is VmState.PAUSED


def is_suspended(server: Server) -> bool:
    return server.vm_state is VmState.SUSPENDED


def is_idle(server: Server) -> bool:
    return server.vm_state in (VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.SUSPENDED)


def is_gone(server: Server) -> bool:
    return server.vm_state is VmState.DELETED


REBUILD = Rebuild(image=an_image("two"), admin_pass="secret")
CASES: dict[str, tuple[Ready, Ask, Callable[[Server], bool]]] = {
    "create": (nothing, create, runs),
    "delete": (ready, asking(accept_delete), is_gone),
    "stop": (ready, asking(accept_stop), is_off),
    "start": (ready_stopped, asking(accept_start), runs),
    "soft reboot": (ready, asking(accept_reboot, hard=False), runs),
    "hard reboot": (ready, asking(accept_reboot, hard=True), runs),
    "hard reboot of a paused server": (ready_paused, asking(accept_reboot, hard=True), runs),
    "hard reboot of a suspended server": (ready_suspended, asking(accept_reboot, hard=True), runs),
    "pause": (ready, asking(accept_pause), stands_still),
    "unpause": (ready_paused, asking(accept_unpause), runs),
    "suspend": (ready, asking(accept_suspend), is_suspended),
    "resume": (ready_suspended, asking(accept_resume), runs),
    "delete of a suspended server": (ready_suspended, asking(accept_delete), is_gone),
    "image of a running server": (ready, make_image, is_idle),
    "image of a suspended server": (ready_suspended, make_image, is_idle),
    "backup of a stopped server": (ready_stopped, make_backup, is_idle),
    "rebuild": (ready, asking(accept_rebuild, REBUILD), runs),
    "rebuild stopped": (ready_stopped, asking(accept_rebuild, REBUILD), is_off),
    "evacuate": (ready_dead, asking(accept_evacuate, Evacuation()), runs),
    "attach volume": (ready_volume, attach, runs),
    "attach volume stopped": (ready_volume_stopped, attach, is_off),
    "detach volume": (ready_attached, detach, runs),
    "create with volumes": (nothing, create_with_volumes, runs),
    "delete with volume": (ready_attached, asking(accept_delete), is_gone),
    "hard reboot with volume": (ready_attached, asking(accept_reboot, hard=True), runs),
    "rebuild with volume": (ready_attached, asking(accept_rebuild, REBUILD), runs),
    "evacuate with volume": (ready_dead_with_volume, asking(accept_evacuate, Evacuation()), runs),
    "attach interface": (ready, asking(accept_attach_interface, PortWish(NetworkId("net-1"))), runs),
    "detach interface": (ready, detach_interface, runs),
    "evacuate stopped": (ready_dead, asking(accept_evacuate, Evacuation(end_stopped=True)), is_off),
}


def tell(case: str, who: str, at: int | None, *, before: bool) -> Fuse:
    """Tell the case once with a fuse in the controller or in the agents' hosts; check what must hold at the end."""
    prepare, ask, ended = CASES[case]

    async def story() -> Fuse:
        told = Told(count=2, start_s=0.01, boot_s=0.0, shut_down_s=0.01)
        controller = controller_fuse(told.cloud)
        await told.begin()
        agents = [agent_fuse(told.cloud, name) for name in told.cloud.hosts]
        for name in told.cloud.hosts:  # so that they run on the fused parts
            await told.cloud.kill_agent(name)
            told.cloud.start_agent(name)
            await told.host_up(name)
        await told.cloud.until(lambda: all(told.cloud.cloud.hosts.connected(h.id) for h in told.cloud.hosts.values()))
        server = await prepare(told)
        home = (await told.get(server)).host_name if server else "host1"
        busy = "host1" if server is None else str(home)
        if case.startswith("evacuate"):
            busy = next(name for name in told.cloud.hosts if name != home)
        fuse = controller if who == "controller" else agents[list(told.cloud.hosts).index(busy)]
        server = await ask(told, server or ServerId(""))
        fuse.arm(at, before=before)
        if server:
            final = await told.idle(server)
            fuse.armed = False
            assert ended(final), f"{final.vm_state}: {final.fault}"
        await told.cloud.until(lambda: told.cloud.controller is not None)
        if case.startswith("evacuate"):
            source = str(home)
            await told.cloud.power_on(source)
            await told.host_up(source)
        for name in told.cloud.hosts:
            await told.host_up(name)
        await told.check()
        await told.cloud.down()
        return fuse

    return run_virtual(story())


def points(case: str, who: str) -> range:
    """Number the points of the case, as the fuse sees them."""
    passed = tell(case, who, None, before=True).passed
    assert passed > 0, "the fuse saw nothing of the operation"
    return range(1, passed + 1)


def crash(case: str, who: str, at: int, *, before: bool) -> None:
    assert tell(case, who, at, before=before).blown, f"point {at} was not reached"


ASK_NO_AGENT = {"attach volume stopped"}  # what the host learns with the next start only
EVERY = [
    (case, who) for case in CASES for who in ("controller", "agent") if who == "controller" or case not in ASK_NO_AGENT
]


@pytest.mark.slow
@pytest.mark.parametrize(("case", "who"), EVERY)
def test_an_operation_survives_a_crash_at_every_point(case: str, who: str) -> None:
    for at in points(case, who):
        crash(case, who, at, before=True)
        crash(case, who, at, before=False)


@pytest.mark.parametrize("case", CASES)
def test_an_operation_survives_crashes_of_its_controller(case: str) -> None:
    for number, at in enumerate(points(case, "controller")[::4]):
        crash(case, "controller", at, before=number % 2 == 1)
