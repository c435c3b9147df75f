"""What a server has of the built-in network service: groups of its project's, ports of its project's."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from renova.api.app import build
from renova.api.compute import service as compute
from renova.api.dispatch import Dispatcher
from renova.api.everything import rules
from renova.api.network import service as network
from renova.model.errors import Refused
from renova.model.ids import NetworkId, ServerId
from renova.operations.create import CreateServer
from renova.partners.network import PortWish
from renova.partners.network.builtin import BuiltinNetworks
from renova.store import operations

from .compute_cloud import IMAGE, ComputeApi

NEW: dict[str, Any] = {"name": "vm", "imageRef": IMAGE, "flavorRef": "small"}


@pytest.fixture
async def whole(api: ComputeApi) -> AsyncIterator[ComputeApi]:
    """The Compute API beside the Network API, on one database."""
    networks = BuiltinNetworks(api.cloud.database, api.clock, api.cloud.chance)
    api.cloud = dataclasses.replace(api.cloud, networks=networks)
    app = build([*compute.services(api.cloud), network.service(api.cloud)], Dispatcher(api.cloud, rules()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloud.example") as client:
        api.client = client
        await api.have_flavor()
        yield api


async def neutron(api: ComputeApi, who: str, what: str, **values: Any) -> str:
    """Have a network, a subnet, a port made; return its id."""
    answer = await api.ask(who, f"POST /network/v2.0/{what}s", {what: values})
    assert answer.status_code == 201, answer.text
    return str(answer.json()[what]["id"])


async def a_network(api: ComputeApi, who: str) -> str:
    made = await neutron(api, who, "network", name="private")
    await neutron(api, who, "subnet", network_id=made, cidr="10.1.0.0/24", ip_version=4)
    return made


async def test_ports_of_a_new_server_have_the_groups_that_were_asked_for_by_name_or_id(whole: ComputeApi) -> None:
    made, project = await a_network(whole, "demo"), await whole.project("demo")
    group = await whole.ask("demo", "POST /network/v2.0/security-groups", {"security_group": {"name": "web"}})
    web = group.json()["security_group"]["id"]
    for asked in (["web"], [web], ["default", web, "web"]):
        body = {**NEW, "networks": [{"uuid": made}], "security_groups": [{"name": name} for name in asked]}
        answer = await whole.got("demo", "POST /servers", {"server": body}, "2.37", 202)
        server = ServerId(answer["server"]["id"])
        (wish,) = (await want(whole, server)).wishes
        port = await whole.cloud.networks.give_port(server, project, 0, wish, "nova")
        shown = (await whole.got("demo", f"GET /servers/{server}/os-security-groups"))["security_groups"]
        names = {each["name"] for each in shown}
        assert ({each["id"] for each in shown}, names) == (set(port.security_groups), {*asked} - {web} | {"web"})
        assert names == {each["name"] for each in answer["server"]["security_groups"]}


async def want(api: ComputeApi, server: ServerId) -> CreateServer:
    (held,) = await api.cloud.database.read(lambda tx: operations.under_way(tx, server))
    return msgspec.json.decode(held.want, type=CreateServer)


async def test_a_group_of_another_project_is_not_found_and_a_name_of_two_is_not_guessed(whole: ComputeApi) -> None:
    for who in ("admin", "demo", "demo"):
        body = {"security_group": {"name": "theirs" if who == "admin" else "twice"}}
        assert (await whole.ask(who, "POST /network/v2.0/security-groups", body)).status_code == 201
    for name, status in (("theirs", 400), ("twice", 409), ("gone", 400)):
        asked = {"server": {**NEW, "networks": "none", "security_groups": [{"name": name}]}}
        assert name in await whole.refused("demo", "POST /servers", status, asked, "2.37")


async def test_a_group_that_is_gone_when_the_port_is_made_is_named(whole: ComputeApi) -> None:
    made = NetworkId(await a_network(whole, "demo"))
    server = await whole.have_server(networks=())
    with pytest.raises(Refused, match="Security group gone"):
        await whole.cloud.networks.give_port(
            server.id, server.project, 0, PortWish(made, security_groups=("gone",)), "nova"
        )
    assert await whole.cloud.networks.ports(server.id) == []


async def test_an_administrator_attaches_what_the_servers_project_may_use_and_nothing_of_his_own(
    whole: ComputeApi,
) -> None:
    server = await whole.have_server(host=await whole.have_host("one"), host_name="one", networks=())
    theirs, own = await a_network(whole, "demo"), await a_network(whole, "admin")
    ports = {who: await neutron(whole, who, "port", network_id=net) for who, net in (("demo", theirs), ("admin", own))}
    path = f"POST /servers/{server.id}/os-interface"
    for refused in ({"port_id": ports["admin"]}, {"net_id": own}):
        await whole.refused("admin", path, 404, {"interfaceAttachment": refused})
    assert await whole.cloud.database.read(lambda tx: operations.under_way(tx, server.id)) == []
    asking = asyncio.create_task(whole.compute("admin", path, {"interfaceAttachment": {"port_id": ports["demo"]}}))
    await asyncio.wait([asking])
    (held,) = await whole.cloud.database.read(lambda tx: operations.under_way(tx, server.id))
    assert ports["demo"].encode() in held.want


async def test_only_who_may_choose_an_address_on_a_network_chooses_one_through_a_server(whole: ComputeApi) -> None:
    shared, own = await neutron(whole, "admin", "network", name="all", shared=True), await a_network(whole, "demo")
    await neutron(whole, "admin", "subnet", network_id=shared, cidr="10.1.0.0/24", ip_version=4)
    server = await whole.have_server(host=await whole.have_host("one"), host_name="one", networks=())
    attach = f"POST /servers/{server.id}/os-interface"

    def new(net: str) -> dict[str, Any]:
        return {"server": {**NEW, "networks": [{"uuid": net, "fixed_ip": "10.1.0.9"}]}}

    def nic(net: str) -> dict[str, Any]:
        return {"interfaceAttachment": {"net_id": net, "fixed_ips": [{"ip_address": "10.1.0.9"}]}}

    for request, body in (("POST /servers", new(shared)), (attach, nic(shared))):
        assert "create_port:fixed_ips:ip_address" in await whole.refused("demo", request, 403, body)
    assert whole.operations.started == []
    for who, net in (("admin", shared), ("demo", own)):
        await whole.got(who, "POST /servers", new(net), status=202)
        asking = asyncio.create_task(whole.compute(who, attach, nic(net)))
        await asyncio.wait([asking])
    attached = await whole.cloud.database.read(lambda tx: operations.under_way(tx, server.id))
    wants = {held.id: held.want for held in (*whole.operations.started, *attached)}
    assert [b"10.1.0.9" in want for want in wants.values()] == [True] * 4


async def test_an_address_that_a_port_has_is_refused_before_anything_begins(whole: ComputeApi) -> None:
    own = await a_network(whole, "demo")
    await neutron(whole, "demo", "port", network_id=own, fixed_ips=[{"ip_address": "10.1.0.9"}])
    server = await whole.have_server(host=await whole.have_host("one"), host_name="one", networks=())
    body = {"interfaceAttachment": {"net_id": own, "fixed_ips": [{"ip_address": "10.1.0.9"}]}}
    assert "in use" in await whole.refused("demo", f"POST /servers/{server.id}/os-interface", 409, body)
    assert await whole.cloud.database.read(lambda tx: operations.under_way(tx, server.id)) == []
