"""Interfaces of servers, attached and detached."""

from renova.model.ids import NetworkId
from renova.operations.attach_interface import accept_attach_interface
from renova.operations.detach_interface import accept_detach_interface
from renova.partners.network import PortWish
from tests.operations.story import Told, told_story


def test_a_port_comes_and_goes_with_its_address_shown() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.ask(accept_attach_interface, server, PortWish(NetworkId("net-1"), tag="second"))
        after = await told.idle(server)
        ports = await told.cloud.networks.ports(server)
        assert [nic.port for nic in told.cloud.hosts["host1"].hypervisor.nics(server)] == [port.id for port in ports]
        assert (len(ports), ports[1].tag, ports[1].host) == (2, "second", after.host_name)
        assert len(after.networks[0].addresses) == 2
        await told.ask(accept_detach_interface, server, ports[1].id, ports[1].mac)
        after = await told.idle(server)
        assert [port.id for port in await told.cloud.networks.ports(server)] == [ports[0].id]
        assert len(told.cloud.hosts["host1"].hypervisor.nics(server)) == 1
        assert len(after.networks[0].addresses) == 1
        told.cloud.hosts["host1"].hypervisor.holding_on.add(ports[0].id)
        await told.ask(accept_detach_interface, server, ports[0].id, ports[0].mac)
        await told.idle(server)
        assert len(await told.cloud.networks.ports(server)) == 1

    told_story(story)
