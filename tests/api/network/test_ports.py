"""Ports and security groups (Network API v2.0)."""

from renova.model.ids import NetworkId, ProjectId, ServerId
from renova.partners.network import PortWish
from renova.store import security_groups
from tests.api.network.test_networks import CONFLICT, FORBIDDEN, INVALID, NOT_FOUND, subnet
from tests.api.service_cloud import Api, Keep, Like

MAC = Like("fa:16:3e:([0-9a-f]{2}:){2}[0-9a-f]{2}")


async def with_network(api: Api) -> None:
    await api.sign_in("admin")
    await api.sign_in("demo")
    await api.play(
        "/network/v2.0",
        [
            ("demo", "POST /networks", {"network": {}}, 201, {"network": {"id": Keep("net"), "project_id": Keep("p")}}),
            ("demo", "POST /subnets", subnet("{net}", "10.0.0.0/29"), 201, {"subnet": {"id": Keep("sub")}}),
        ],
    )


def port(**given: object) -> dict[str, object]:
    return {"port": {"network_id": "{net}", **given}}


def at(ip: str) -> dict[str, object]:
    return {"fixed_ips": [{"subnet_id": "{sub}", "ip_address": ip}]}


async def test_ports_get_addresses_that_nobody_else_has(api: Api) -> None:
    await with_network(api)
    await api.play(
        "/network/v2.0",
        [
            (
                "demo",
                "POST /ports",
                port(name="one"),
                201,
                {"port": {**at("10.0.0.2"), "mac_address": MAC, "status": "DOWN", "id": Keep("one"), "name": "one"}},
            ),
            ("demo", "POST /ports", port(**at("10.0.0.2")), 409, CONFLICT),
            ("demo", "POST /ports", port(fixed_ips=[{"ip_address": "10.0.0.1"}]), 409, CONFLICT),
            ("demo", "POST /ports", port(fixed_ips=[{"ip_address": "10.0.0.7"}]), 400, INVALID),
            ("demo", "POST /ports", port(fixed_ips=[{"ip_address": "10.0.1.2"}]), 400, INVALID),
            ("demo", "POST /ports", port(fixed_ips=[{"subnet_id": "gone"}]), 400, INVALID),
            ("demo", "POST /ports", port(fixed_ips=[]), 201, {"port": {"fixed_ips": []}}),
            ("demo", "POST /ports", port(fixed_ips=[{}, {}]), 201, {"port": {"fixed_ips": [{}, {}]}}),
            ("demo", "POST /ports", port(), 201, {"port": at("10.0.0.5")}),
            ("demo", "POST /ports", port(**at("10.0.0.6")), 201, None),
            ("demo", "POST /ports", port(), 409, CONFLICT),
            ("demo", "DELETE /ports/{one}", None, 204, None),
            ("demo", "POST /ports", port(), 201, {"port": at("10.0.0.2")}),
            ("demo", "GET /ports?fixed_ips=ip_address=10.0.0.5", None, 200, {"ports": [at("10.0.0.5")]}),
        ],
    )


async def test_an_address_given_back_rests_before_it_is_given_again(api: Api) -> None:
    await with_network(api)
    for ip in ("10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"):
        made = (await api.ask("demo", "POST /network/v2.0/ports", port())).json()["port"]
        assert made["fixed_ips"][0]["ip_address"] == ip
        await api.ask("demo", f"DELETE /network/v2.0/ports/{made['id']}")


async def test_ports_are_seen_and_changed_by_their_project(api: Api) -> None:
    await with_network(api)
    await api.play(
        "/network/v2.0",
        [
            ("demo", "POST /ports", port(mac_address="FA:16:3E:00:00:01"), 201, {"port": {"id": Keep("one")}}),
            ("demo", "POST /ports", port(mac_address="fa:16:3e:00:00:01"), 409, CONFLICT),
            ("demo", "POST /ports", port(mac_address="01:00:5e:00:00:01"), 400, INVALID),
            ("demo", "POST /ports", port(**{"binding:host_id": "h1"}), 403, FORBIDDEN),
            ("demo", "POST /ports", port(**{"binding:vnic_type": "direct"}), 400, INVALID),
            ("admin", "POST /ports", port(project_id="{admin_project}"), 201, {"port": {"id": Keep("theirs")}}),
            ("demo", "GET /ports/{theirs}", None, 404, NOT_FOUND),
            ("demo", "GET /ports", None, 200, {"ports": [{"id": "{one}"}]}),
            ("demo", "GET /ports?project_id={admin_project}", None, 200, {"ports": []}),
            ("admin", "GET /ports?project_id={demo_project}", None, 200, {"ports": [{"id": "{one}"}]}),
            ("admin", "GET /ports?network_id={net}&status=DOWN", None, 200, {"ports": [{}, {}]}),
            ("admin", "GET /ports?device_id=none", None, 200, {"ports": []}),
            (
                "demo",
                "PUT /ports/{one}",
                {"port": {"name": "new", "device_id": "d", **at("10.0.0.4")}},
                200,
                {"port": {"name": "new", "device_id": "d", **at("10.0.0.4")}},
            ),
            ("demo", "PUT /ports/{one}", {"port": {"binding:host_id": "h1"}}, 403, FORBIDDEN),
            ("demo", "PUT /ports/{one}", {"port": {"mac_address": "fa:16:3e:00:00:02"}}, 400, INVALID),
            (
                "admin",
                "PUT /ports/{one}",
                {"port": {"binding:host_id": "h1"}},
                200,
                {"port": {"binding:host_id": "h1", "binding:vif_type": "bridge"}},
            ),
            ("admin", "GET /ports?binding:host_id=h1", None, 200, {"ports": [{"id": "{one}"}]}),
            ("demo", "DELETE /ports/{theirs}", None, 404, NOT_FOUND),
        ],
    )
    assert "binding:host_id" not in (await api.ask("demo", "GET /network/v2.0/ports/{one}")).text


async def test_a_servers_nic_is_not_taken_from_it(api: Api) -> None:
    await with_network(api)
    server = ServerId("the-server")
    given = await api.cloud.networks.give_port(
        server, api.kept["p"], 0, PortWish(network=NetworkId(api.kept["net"])), "nova"
    )
    api.kept["nic"] = given.id
    shown = {"device_id": "the-server", "device_owner": "compute:nova"}
    await api.play(
        "/network/v2.0",
        [
            ("demo", "GET /ports/{nic}", None, 200, {"port": {**shown, "security_groups": [Keep("group")]}}),
            ("demo", "PUT /ports/{nic}", {"port": {"device_id": ""}}, 409, CONFLICT),
            ("demo", "PUT /ports/{nic}", {"port": at("10.0.0.6")}, 409, CONFLICT),
            ("demo", "DELETE /ports/{nic}", None, 409, CONFLICT),
            ("demo", "PUT /ports/{nic}", {"port": {"name": "eth0"}}, 200, {"port": {"name": "eth0", **shown}}),
            # Naming a server in one's own port makes it no nic of that server.
            ("demo", "POST /ports", port(**shown), 201, None),
        ],
    )
    assert [nic.port for nic in await api.cloud.networks.nics(server)] == [given.id]


async def test_a_list_of_security_groups_that_is_refused_makes_no_default_group(api: Api) -> None:
    for things in ("security-groups", "security-group-rules"):
        assert (await api.ask("demo", f"GET /network/v2.0/{things}?marker=x")).status_code == 400
        project = ProjectId(api.kept["demo_project"])
        assert not await api.cloud.database.read(lambda tx: security_groups.has_default_group(tx, project))  # noqa: B023
    assert (await api.ask("demo", "GET /network/v2.0/security-group-rules")).json()["security_group_rules"]


async def test_security_groups(api: Api) -> None:
    await with_network(api)
    egress = {"direction": "egress", "protocol": None, "remote_ip_prefix": None, "remote_group_id": None}
    ssh = {"direction": "ingress", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22}

    def rule(**given: object) -> dict[str, object]:
        return {"security_group_rule": {"security_group_id": "{web}", "direction": "ingress", **given}}

    await api.play(
        "/network/v2.0",
        [
            ("demo", "GET /security-groups", None, 200, {"security_groups": [{"name": "default", "id": Keep("def")}]}),
            ("demo", "GET /security-group-rules?security_group_id={def}&direction=ingress", None, 200, None),
            (
                "demo",
                "POST /security-groups",
                {"security_group": {"name": "web"}},
                201,
                {"security_group": {"id": Keep("web"), "security_group_rules": [egress, egress]}},
            ),
            ("demo", "POST /security-groups", {"security_group": {"name": "default"}}, 409, CONFLICT),
            ("demo", "POST /security-group-rules", rule(**ssh), 201, {"security_group_rule": {**ssh, "id": Keep("r")}}),
            ("demo", "POST /security-group-rules", rule(**ssh), 409, CONFLICT),
            ("demo", "POST /security-group-rules", rule(protocol="tcp", port_range_min=9), 400, INVALID),
            ("demo", "POST /security-group-rules", rule(protocol="none"), 400, INVALID),
            ("demo", "POST /security-group-rules", rule(remote_ip_prefix="::/0"), 400, INVALID),
            ("demo", "POST /security-group-rules", rule(remote_ip_prefix="10.0.0.9/24", protocol="icmp"), 201, None),
            ("admin", "GET /security-groups/{web}", None, 200, {"security_group": {"project_id": "{demo_project}"}}),
            (
                "admin",
                "GET /security-groups?project_id={demo_project}&name=web",
                None,
                200,
                {"security_groups": [{"id": "{web}"}]},
            ),
            ("demo", "POST /ports", port(security_groups=["{web}"]), 201, {"port": {"security_groups": ["{web}"]}}),
            ("demo", "POST /ports", port(security_groups=["gone"]), 404, None),
            ("demo", "GET /ports?security_groups={web}", None, 200, {"ports": [{"id": Keep("port")}]}),
            ("demo", "DELETE /security-groups/{web}", None, 409, CONFLICT),
            ("demo", "PUT /ports/{port}", {"port": {"security_groups": []}}, 200, {"port": {"security_groups": []}}),
            ("demo", "DELETE /security-group-rules/{r}", None, 204, None),
            ("demo", "GET /security-group-rules/{r}", None, 404, None),
            ("demo", "PUT /security-groups/{def}", {"security_group": {"name": "mine"}}, 409, CONFLICT),
            ("demo", "DELETE /security-groups/{def}", None, 409, CONFLICT),
            ("demo", "DELETE /security-groups/{web}", None, 204, None),
            ("demo", "GET /security-groups/{web}", None, 404, None),
        ],
    )


async def test_a_binding_profile_is_the_operators(api: Api) -> None:
    profile = {"binding:profile": {"rack": "seven"}}
    await with_network(api)
    await api.play(
        "/network/v2.0",
        [
            ("demo", "POST /ports", {"port": {"network_id": "{net}", **profile}}, 403, FORBIDDEN),
            ("demo", "POST /ports", {"port": {"network_id": "{net}"}}, 201, {"port": {"id": Keep("one")}}),
            ("demo", "PUT /ports/{one}", {"port": profile}, 403, FORBIDDEN),
            ("admin", "PUT /ports/{one}", {"port": profile}, 200, {"port": profile}),
            ("admin", "PUT /ports/{one}", {"port": {"name": "x"}}, 200, {"port": profile}),
            ("admin", "PUT /ports/{one}", {"port": {"binding:vnic_type": "direct"}}, 400, INVALID),
        ],
    )
