"""An attach that fails, and a host that refuses to take the device back: the server has then what its guest has."""

from collections.abc import Callable
from typing import Any

import pytest

from renova.model.errors import Broken, CloudError, Refused
from renova.model.ids import NetworkId, PortId, ServerId
from renova.operations.attach_interface import accept_attach_interface
from renova.operations.attach_volume import NewAttachment, accept_attach_volume
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.partners.network import PortWish
from renova.store import networks, ports
from renova.store.database import Tx
from tests.operations.failing_hosts import dead_host_of
from tests.operations.story import PROJECT, Told, told_story
from tests.operations.test_standing_still import last_action
from tests.operations.volumes import a_volume, has, rows, status, write

NEVER = Refused("never")


def hypervisor_of(told: Told) -> Any:
    return told.cloud.hosts["host1"].hypervisor


def given_all_the_same(told: Told, method: str) -> None:
    """Have guests get the device, and their host say that they did not."""
    really = getattr(hypervisor_of(told), method)

    async def give(server: ServerId, device: object) -> None:
        await really(server, device)
        raise NEVER

    setattr(hypervisor_of(told), method, give)


def fails_from(told: Told, method: str, first: int, error: CloudError) -> Callable[[], int]:
    """Have calls fail from the `first` on; what is returned counts them."""
    really, calls = getattr(hypervisor_of(told), method), 0

    async def call(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls >= first:
            raise error
        return await really(*arguments)

    setattr(hypervisor_of(told), method, call)
    return lambda: calls


@pytest.mark.parametrize("error", [NEVER, Broken("unheard of")])
@pytest.mark.parametrize("method", ["attach_volume", "attach_nic"])
def test_what_a_guest_has_let_go_of_is_taken_back_though_its_host_refuses_to_ask_it_again(
    method: str, error: CloudError
) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        volume = await a_volume(told)
        given_all_the_same(told, method)
        asked = fails_from(told, method.replace("at", "de", 1), 2, error)
        if method == "attach_volume":
            await told.ask(accept_attach_volume, server, NewAttachment(volume=volume))
        else:
            await told.ask(accept_attach_interface, server, PortWish(NetworkId("net-1")))
        await told.idle(server)
        assert asked() > 1
        assert (await rows(told, server), await status(told, volume)) == ([], "available")
        assert len(await told.cloud.networks.ports(server)) == len(hypervisor_of(told).nics(server)) == 1

    told_story(story)


@pytest.mark.parametrize("read", [True, False])
def test_a_volume_that_its_guest_has_is_not_cut_off_where_the_host_refuses_to_take_it(read: bool) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        volume = await a_volume(told)
        given_all_the_same(told, "attach_volume")
        asked = fails_from(told, "detach_volume", 1, NEVER)
        if not read:
            fails_from(told, "devices", 1, NEVER)
        await told.ask(accept_attach_volume, server, NewAttachment(volume=volume))
        await told.idle(server)
        assert asked() > 1
        assert await status(told, volume) == "in-use"
        (disk,) = has(told, server)["host1"]
        write(told, disk, "still there")

    told_story(story)


def test_an_interface_that_its_guest_has_stays_where_the_host_refuses_to_take_it() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        given_all_the_same(told, "attach_nic")
        fails_from(told, "detach_nic", 1, NEVER)
        await told.ask(accept_attach_interface, server, PortWish(NetworkId("net-1")))
        await told.idle(server)
        its = {port.id for port in await told.cloud.networks.ports(server)}
        assert {nic.port for nic in hypervisor_of(told).nics(server)} == its
        assert len(its) == 2

    told_story(story)


@pytest.mark.parametrize("dies", [False, True], ids=["away", "dead"])
def test_a_port_that_a_guest_may_have_is_not_given_to_others_while_its_host_is_away(dies: bool) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        host, attach = told.cloud.hosts["host1"], hypervisor_of(told).attach_nic

        async def attach_unheard(*arguments: Any) -> None:
            await attach(*arguments)
            host.line.cut()

        hypervisor_of(told).attach_nic = attach_unheard
        await told.ask(accept_attach_interface, server, PortWish(NetworkId("net-1")))
        await told.cloud.until(lambda: len(hypervisor_of(told).nics(server)) == 2)
        hypervisor_of(told).attach_nic = attach
        await told.cloud.clock.sleep(1000)
        its = {port.id for port in await told.cloud.networks.ports(server)}
        assert {nic.port for nic in hypervisor_of(told).nics(server)} == its
        if dies:
            await dead_host_of(told, server)
            await told.ask(accept_evacuate, server, Evacuation())
        else:
            host.line.heal()
        after = await told.idle(server)
        assert {address.port for network in after.networks for address in network.addresses} == its
        machine: Any = told.cloud.hosts[after.host_name or ""].hypervisor
        assert {nic.port for nic in machine.nics(server)} == its

    told_story(story)


def test_an_interface_that_its_guest_has_stays_where_the_host_that_refused_to_take_it_goes_away() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        given_all_the_same(told, "attach_nic")
        refused = fails_from(told, "detach_nic", 1, NEVER)
        networks: Any = told.cloud.cloud.networks
        look = networks.ports

        async def look_as_it_goes(server: ServerId) -> object:
            if refused():
                told.cloud.hosts["host1"].line.cut()
            return await look(server)

        networks.ports = look_as_it_goes
        await told.ask(accept_attach_interface, server, PortWish(NetworkId("net-1")))
        await told.idle(server)
        networks.ports = look
        its = {port.id for port in await told.cloud.networks.ports(server)}
        assert {nic.port for nic in hypervisor_of(told).nics(server)} == its
        told.cloud.hosts["host1"].line.heal()
        await told.host_up("host1")
        await told.cloud.until(lambda: told.cloud.running(server) == ["host1"])

    told_story(story)


async def a_port(told: Told) -> PortId:
    """Have a port that a user has made, with an address."""

    def make(tx: Tx) -> PortId:
        network = networks.network(tx, NetworkId("net-1"))
        assert network is not None
        new = ports.NewPort(id=PortId("own"), project=PROJECT, fixed_ips=((None, None),))
        return ports.add(tx, told.cloud.chance, network, new).id

    return await told.cloud.database.transact(make)


@pytest.mark.parametrize("refused_from", [2, 100])
def test_a_port_that_is_attached_twice_at_once_is_the_nic_that_the_first_request_made_it(refused_from: int) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        wish = PortWish(NetworkId("net-1"), port=await a_port(told))
        fails_from(told, "attach_nic", refused_from, NEVER)
        for _ in range(2):
            await told.ask(accept_attach_interface, server, wish)
        await told.idle(server)
        _, message, _ = await last_action(told, server)
        assert message == "Error"
        its = [port.id for port in await told.cloud.networks.ports(server)]
        assert [nic.port for nic in hypervisor_of(told).nics(server)] == its
        assert its[1:] == ["own"]

    told_story(story)
