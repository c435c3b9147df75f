"""What operations rely on: every change of a server's ports may be repeated, and addresses are never shared."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from renova.model.chance import SystemChance
from renova.model.clock import SystemClock
from renova.model.errors import Conflict, NotFound, Refused
from renova.model.guest import Address
from renova.model.ids import NetworkId, PortId, ProjectId, ServerId, SubnetId
from renova.model.network import Route, Subnet
from renova.partners.network import PortWish
from renova.partners.network.builtin import BuiltinNetworks
from renova.store import networks as store
from renova.store import ports
from renova.store.database import Database, Tx
from renova.store.sqlite import open_sqlite

PROJECT = ProjectId("apollo")
NET = NetworkId("net")
ONE, TWO = ServerId("one"), ServerId("two")


def make_network(tx: Tx) -> None:
    store.add_network(tx, NET, PROJECT, "blue", shared=False, up=True, mtu=1450, description="")
    subnet = Subnet(
        id=SubnetId("sub"),
        name="",
        network=NET,
        project=PROJECT,
        cidr="10.0.0.0/26",
        gateway="10.0.0.1",
        dns=("9.9.9.9",),
        first="10.0.0.1",
        last="10.0.0.62",
        enable_dhcp=True,
        created_at=tx.now,
        updated_at=tx.now,
        routes=(Route("10.9.0.0/16", "10.0.0.9"),),
    )
    store.add_subnet(tx, subnet)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    found = open_sqlite(tmp_path / "renova.db", SystemClock())
    await found.transact(make_network)
    yield found
    found.close()


@pytest.fixture
def networks(database: Database) -> BuiltinNetworks:
    return BuiltinNetworks(database, SystemClock(), SystemChance())


async def test_many_servers_at_once_get_addresses_of_their_own(networks: BuiltinNetworks) -> None:
    wish = PortWish(network=NET)
    given = await asyncio.gather(
        *(networks.give_port(ServerId(f"server{number}"), PROJECT, 0, wish, "nova") for number in range(61))
    )
    assert len({port.fixed_ips[0].ip for port in given}) == 61
    assert len({port.mac for port in given}) == 61
    with pytest.raises(Refused, match="No more IP addresses"):
        await networks.give_port(ServerId("one too many"), PROJECT, 0, wish, "nova")
    assert await networks.ports(ServerId("one too many")) == []
    await networks.take_ports(ServerId("server7"))
    freed = await networks.give_port(ServerId("one too many"), PROJECT, 0, wish, "nova")
    assert freed.fixed_ips == given[7].fixed_ips


async def test_the_same_wish_gives_the_same_port(networks: BuiltinNetworks) -> None:
    wish = PortWish(network=NET, fixed_ip="10.0.0.20")
    first = await networks.give_port(ONE, PROJECT, 0, wish, "nova")
    assert await networks.give_port(ONE, PROJECT, 0, wish, "nova") == first
    second = await networks.give_port(ONE, PROJECT, 1, PortWish(network=NET), "nova")
    assert [port.id for port in await networks.ports(ONE)] == [first.id, second.id]
    with pytest.raises(Refused):
        await networks.give_port(TWO, PROJECT, 0, wish, "nova")
    with pytest.raises(NotFound):
        await networks.give_port(TWO, PROJECT, 0, PortWish(network=NetworkId("gone")), "nova")


async def test_a_users_own_port_is_lent_and_given_back(networks: BuiltinNetworks, database: Database) -> None:
    def make(tx: Tx) -> None:
        network = store.network(tx, NET)
        assert network is not None
        ports.add(tx, SystemChance(), network, ports.NewPort(id=PortId("own"), project=PROJECT))

    await database.transact(make)
    wish = PortWish(network=NET, port=PortId("own"))
    lent = await networks.give_port(ONE, PROJECT, 0, wish, "nova")
    assert (lent.id, lent.device_id, lent.device_owner, lent.made_by_compute) == ("own", ONE, "compute:nova", False)
    with pytest.raises(Conflict, match="in use"):
        await networks.give_port(TWO, PROJECT, 0, wish, "nova")
    with pytest.raises(Conflict, match="in use"):
        await networks.give_port(ONE, PROJECT, 1, wish, "nova")
    await networks.bind(PortId("own"), "h1", "zone2")
    await networks.settle(ONE, active=True)
    bound = await networks.port(PortId("own"), PROJECT)
    assert bound is not None
    assert (bound.host, bound.status, bound.device_owner) == ("h1", "ACTIVE", "compute:zone2")
    for _ in range(2):
        await networks.take_ports(ONE)
    back = await networks.port(PortId("own"), PROJECT)
    assert back is not None
    assert (back.device_id, back.device_owner, back.host, back.status) == ("", "", "", "DOWN")
    assert back.fixed_ips == lent.fixed_ips


async def test_a_guests_nics_say_all_it_needs(networks: BuiltinNetworks) -> None:
    port = await networks.give_port(ONE, PROJECT, 0, PortWish(network=NET), "nova")
    (nic,) = await networks.nics(ONE)
    assert (nic.port, nic.mac, nic.network, nic.vni, nic.mtu) == (port.id, port.mac, NET, 1000, 1450)
    assert nic.addresses == (
        Address(
            ip="10.0.0.2",
            prefix=26,
            gateway="10.0.0.1",
            dns=("9.9.9.9",),
            routes=(Route("10.9.0.0/16", "10.0.0.9"),),
            subnet="sub",
        ),
    )
    assert await networks.nics(TWO) == ()


async def test_networks_and_ports_are_hidden_from_other_projects(networks: BuiltinNetworks) -> None:
    other = ProjectId("gemini")
    port = await networks.give_port(ONE, PROJECT, 0, PortWish(network=NET), "nova")
    assert await networks.network(NET, other) is None
    assert await networks.available(other) == []
    assert await networks.port(port.id, other) is None
    assert await networks.network(NET, None) == await networks.network(NET, PROJECT)
    assert [network.id for network in await networks.available(PROJECT)] == [NET]
