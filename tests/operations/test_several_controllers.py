"""Two controllers, one cloud: an operation ends whichever of them has its host connected, and wherever it was begun."""

from typing import Any

from renova.engine.tries import HAND_OVER
from renova.model.errors import Stale
from renova.model.ids import ServerId
from renova.model.server import VmState
from renova.operations.delete import accept_delete
from renova.operations.reboot import accept_reboot
from renova.operations.stop import accept_stop
from renova.simulation.loop import run_virtual
from renova.store import operations
from tests.operations.story import Told, asked

ONE, OTHER = "controller1", "controller2"


async def begun() -> Told:
    return await Told(count=2, controller_count=2).begin()


async def ask_at(told: Told, controller: str, accept: Any, *arguments: Any, **options: Any) -> Any:
    """Submit at this controller."""
    cloud = told.cloud.controllers[controller].cloud
    who = asked(told.cloud)
    return await cloud.database.transact(lambda tx: accept(cloud, tx, who, *arguments, **options))


async def part(told: Told, host: str, controller: str) -> None:
    """Cut the cable between host and controller, and wait until both have noticed."""
    one = told.cloud.any_host(host)
    one.lines[controller].cut()
    await told.cloud.until(lambda: not told.cloud.controllers[controller].cloud.agents.connected(one.id))


async def holder(told: Told, server: ServerId) -> str:
    """Name the controller that runs the server's operation."""
    held = await told.cloud.database.read(lambda tx: operations.active(tx, server))
    assert held is not None
    names = {one.controller.runner.executor: name for name, one in told.cloud.controllers.items() if one.controller}
    return names[held.executor]


async def end(told: Told) -> None:
    for host in told.cloud.every_host():
        for line in host.lines.values():
            line.heal()
    await told.check()
    await told.cloud.down()


def test_an_operation_is_given_to_the_controller_that_has_its_host() -> None:
    async def main() -> None:
        told = await begun()
        server = await told.created()
        host = (await told.get(server)).host_name or ""
        await part(told, host, ONE)
        for accept, wanted in ((accept_stop, VmState.STOPPED), (accept_reboot, VmState.ACTIVE)):
            began = told.cloud.clock.monotonic()
            await ask_at(told, ONE, accept, server, **({"hard": True} if accept is accept_reboot else {}))
            assert await holder(told, server) == ONE
            ended = await told.idle(server)
            assert ended.vm_state is wanted, ended.fault
            assert told.cloud.clock.monotonic() - began < HAND_OVER + 12
        await end(told)

    run_virtual(main())


def test_an_operation_whose_host_nobody_has_stays_where_it_is_and_ends_when_the_host_is_back() -> None:
    async def main() -> None:
        told = await begun()
        server = await told.created()
        host = (await told.get(server)).host_name or ""
        for controller in (ONE, OTHER):
            await part(told, host, controller)
        await ask_at(told, ONE, accept_stop, server)
        await told.cloud.clock.sleep(60)
        assert await holder(told, server) == ONE
        told.cloud.any_host(host).lines[OTHER].heal()
        assert (await told.idle(server)).vm_state is VmState.STOPPED
        await end(told)

    run_virtual(main())


def test_an_operation_follows_its_host_from_one_controller_to_the_other_and_back() -> None:
    async def main() -> None:
        told = await begun()
        server = await told.created()
        host = told.cloud.any_host((await told.get(server)).host_name or "")
        await part(told, host.name, ONE)
        # Whoever has it hears no answer, and then has it no more.
        host.lines[OTHER].to_host.drop = lambda frame: b"command" in frame
        await ask_at(told, ONE, accept_reboot, server, hard=True)
        for had, has in ((ONE, OTHER), (OTHER, ONE), (ONE, OTHER)):
            deadline = told.cloud.clock.monotonic() + 60
            while await holder(told, server) != has:
                assert told.cloud.clock.monotonic() < deadline, f"{had} keeps it"
                await told.cloud.clock.sleep(0.1)
            host.lines[had].heal()
            host.lines[had].to_host.drop = lambda frame: b"command" in frame
            await part(told, host.name, has)
        for line in host.lines.values():
            line.to_host.drop = lambda _frame: False
            line.heal()
        assert (await told.idle(server)).vm_state is VmState.ACTIVE
        await end(told)

    run_virtual(main())


def test_a_create_and_a_delete_are_given_over_too_and_leave_nothing_behind() -> None:
    async def main() -> None:
        told = await begun()
        for host in told.cloud.hosts:
            await part(told, host, ONE)
        server = await told.create()
        created = await told.idle(server)
        assert created.vm_state is VmState.ACTIVE, created.fault
        await ask_at(told, ONE, accept_delete, server)
        await told.idle(server)
        assert told.cloud.running(server) == []
        await end(told)

    run_virtual(main())


def test_a_controller_that_is_killed_leaves_its_home_and_its_operations_to_the_other() -> None:
    async def main() -> None:
        told = await begun()
        servers = [await told.created(f"server{number}") for number in range(4)]
        for server in servers:
            await ask_at(told, ONE, accept_reboot, server, hard=True)
        await told.cloud.clock.sleep(0.02)
        await told.cloud.kill_controller(ONE)
        killed = told.cloud.clock.monotonic()
        other = told.cloud.controllers[OTHER].cloud
        me = told.cloud.controllers[OTHER].controller
        assert me is not None
        while not all(other.hosts.leases.home(host.id) == me.runner.executor for host in told.cloud.every_host()):
            await told.cloud.clock.sleep(0.01)
        assert told.cloud.clock.monotonic() - killed < 2.0
        for server in servers:
            assert (await told.idle(server)).vm_state is VmState.ACTIVE
        assert told.cloud.clock.monotonic() - killed < 12.0
        await told.cloud.start_controller(ONE)
        await told.cloud.until(
            lambda: all(told.cloud.controllers[ONE].cloud.hosts.up(host.id) for host in told.cloud.every_host())
        )
        await end(told)

    run_virtual(main())


def test_what_guests_do_while_a_controller_dies_is_not_lost() -> None:
    async def main() -> None:
        told = await begun()
        servers = [await told.created(f"server{number}") for number in range(3)]
        await told.cloud.clock.sleep(5)
        for name, server in zip((ONE, OTHER, ONE), servers, strict=True):
            host = told.cloud.hosts[(await told.get(server)).host_name or ""]
            host.hypervisor.power_off_inside(server)
            await told.cloud.clock.sleep(0.0005)  # it is on its way to whoever is home
            await told.cloud.kill_controller(name)
            deadline = told.cloud.clock.monotonic() + 10
            while (await told.get(server)).vm_state is not VmState.STOPPED:
                assert told.cloud.clock.monotonic() < deadline
                await told.cloud.clock.sleep(0.05)
            await told.cloud.start_controller(name)
            await told.cloud.clock.sleep(10)
        await end(told)

    run_virtual(main())


def test_whoever_is_no_longer_in_charge_of_a_guest_leaves_its_ports_to_who_is() -> None:
    """As a controller that stood still, whose reboot another has taken over, has told on, and is about to end."""

    async def main() -> None:
        told = await begun()
        server = await told.created()
        hypervisor = told.cloud.hosts[(await told.get(server)).host_name or ""].hypervisor
        really = hypervisor.kill

        async def stop_for_another(server: ServerId) -> None:
            await really(server)
            raise Stale("a newer order took the place of this one")

        hypervisor.kill = stop_for_another  # type: ignore[method-assign]
        await ask_at(told, ONE, accept_reboot, server, hard=True)
        await told.idle(server)
        assert [port.status for port in await told.cloud.networks.ports(server)] == ["ACTIVE"]
        hypervisor.kill = really  # type: ignore[method-assign]
        await ask_at(told, ONE, accept_reboot, server, hard=True)
        assert (await told.idle(server)).vm_state is VmState.ACTIVE
        await end(told)

    run_virtual(main())
