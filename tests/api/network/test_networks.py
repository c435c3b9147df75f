"""Networks, subnets, quotas and extensions (Network API v2.0)."""

import pytest

from tests.api.service_cloud import Api, Keep, Like

NOT_FOUND = {"NeutronError": {"type": "NotFound", "message": Like(".*could not be found.*"), "detail": ""}}
FORBIDDEN = {"NeutronError": {"type": "PolicyNotAuthorized"}}
INVALID = {"NeutronError": {"type": "InvalidInput"}}
CONFLICT = {"NeutronError": {"type": "Conflict"}}

NET = {"network": {"name": "blue"}}


def subnet(network: str, cidr: str, **more: object) -> dict[str, object]:
    return {"subnet": {"network_id": network, "ip_version": 4, "cidr": cidr, **more}}


async def test_networks(api: Api) -> None:
    await api.sign_in("admin")
    blue = {
        "name": "blue",
        "status": "ACTIVE",
        "admin_state_up": True,
        "mtu": 1450,
        "shared": False,
        "router:external": False,
        "subnets": [],
        "project_id": "{demo_project}",
        "tenant_id": "{demo_project}",
        "created_at": "2026-01-02T03:04:05Z",
    }
    await api.sign_in("demo")
    await api.play(
        "/network/v2.0",
        [
            ("demo", "POST /networks", NET, 201, {"network": {**blue, "id": Keep("blue")}}),
            ("demo", "GET /networks/{blue}", None, 200, {"network": blue}),
            ("demo", "GET /networks/{blue}?fields=id&fields=name", None, 200, {"network": {"name": "blue"}}),
            ("demo", "GET /networks/blue", None, 404, NOT_FOUND),
            ("demo", "POST /networks", {"network": {"shared": True}}, 403, FORBIDDEN),
            ("demo", "POST /networks", {"network": {"project_id": "{admin_project}"}}, 403, FORBIDDEN),
            ("demo", "POST /networks", {"network": {"mtu": 9000}}, 400, INVALID),
            ("demo", "POST /networks", {"network": {"qos_policy_id": "x"}}, 400, INVALID),
            ("admin", "POST /networks", {"network": {"router:external": True}}, 400, INVALID),
            ("admin", "POST /networks", {"network": {"name": "hidden"}}, 201, {"network": {"id": Keep("hidden")}}),
            (
                "admin",
                "POST /networks",
                {"network": {"name": "all", "shared": True}},
                201,
                {"network": {"id": Keep("all"), "provider:network_type": "vxlan", "provider:segmentation_id": 1002}},
            ),
            ("demo", "GET /networks/{hidden}", None, 404, NOT_FOUND),
            ("demo", "GET /networks", None, 200, {"networks": [{"name": "blue"}, {"name": "all"}]}),
            (
                "admin",
                "GET /networks",
                None,
                200,
                {"networks": [{"name": "blue"}, {"name": "hidden"}, {"name": "all"}]},
            ),
            ("demo", "GET /networks?name=blue", None, 200, {"networks": [{"name": "blue"}]}),
            ("demo", "GET /networks?shared=True", None, 200, {"networks": [{"name": "all"}]}),
            ("demo", "GET /networks?router:external=True", None, 200, {"networks": []}),
            ("demo", "GET /networks?id={blue}&id={all}", None, 200, {"networks": [{}, {}]}),
            ("admin", "GET /networks?project_id={demo_project}", None, 200, {"networks": [{"name": "blue"}]}),
            ("admin", "GET /networks?tenant_id={demo_project}", None, 200, {"networks": [{"name": "blue"}]}),
            ("demo", "PUT /networks/{all}", {"network": {"name": "mine"}}, 403, FORBIDDEN),
            ("demo", "PUT /networks/{blue}", {"network": {"shared": True}}, 403, FORBIDDEN),
            ("demo", "PUT /networks/{blue}", {"network": {"name": "navy"}}, 200, {"network": {"name": "navy"}}),
            ("demo", "DELETE /networks/{all}", None, 403, FORBIDDEN),
            ("demo", "DELETE /networks/{blue}", None, 204, None),
            ("demo", "DELETE /networks/{blue}", None, 404, NOT_FOUND),
            ("admin", "POST /networks", {"network": {}}, 201, {"network": {"provider:segmentation_id": 1000}}),
        ],
    )
    shown = (await api.ask("demo", "GET /network/v2.0/networks/{all}?fields=id&fields=mtu")).json()["network"]
    assert set(shown) == {"id", "mtu"}
    assert "provider:segmentation_id" not in (await api.ask("demo", "GET /network/v2.0/networks/{all}")).text


async def test_lists_come_sorted_and_in_pages(api: Api) -> None:
    for name in ("b", "c", "a"):
        await api.ask("demo", "POST /network/v2.0/networks", {"network": {"name": name}})
    first = (await api.ask("demo", "GET /network/v2.0/networks?sort_key=name&sort_dir=desc&limit=2")).json()
    assert [each["name"] for each in first["networks"]] == ["c", "b"]
    (link,) = first["networks_links"]
    rest = (await api.ask("demo", f"GET {link['href']}")).json()
    assert link["rel"] == "next"
    assert [each["name"] for each in rest["networks"]] == ["a"]
    assert "networks_links" not in rest
    assert (await api.ask("demo", "GET /network/v2.0/networks?marker=gone")).status_code == 400
    assert (await api.ask("demo", "GET /network/v2.0/networks?limit=some")).status_code == 400


async def test_subnets(api: Api) -> None:
    shown = {
        "cidr": "10.0.0.0/24",
        "gateway_ip": "10.0.0.1",
        "allocation_pools": [{"start": "10.0.0.2", "end": "10.0.0.254"}],
        "ip_version": 4,
        "enable_dhcp": True,
        "dns_nameservers": ["9.9.9.9"],
        "host_routes": [],
    }
    await api.sign_in("demo")
    await api.play(
        "/network/v2.0",
        [
            ("demo", "POST /networks", NET, 201, {"network": {"id": Keep("net")}}),
            ("admin", "POST /networks", {"network": {"shared": True}}, 201, {"network": {"id": Keep("all")}}),
            (
                "demo",
                "POST /subnets",
                subnet("{net}", "10.0.0.0/24", dns_nameservers=["9.9.9.9"], name="one"),
                201,
                {"subnet": {**shown, "id": Keep("one"), "network_id": "{net}", "name": "one"}},
            ),
            ("demo", "POST /subnets", subnet("{net}", "10.0.0.128/25"), 400, INVALID),
            ("demo", "POST /subnets", subnet("{all}", "10.0.0.0/24"), 403, FORBIDDEN),
            ("demo", "POST /subnets", subnet("gone", "10.0.1.0/24"), 404, NOT_FOUND),
            (
                "demo",
                "POST /subnets",
                subnet("{net}", "10.0.1.0/24", gateway_ip="10.0.1.100"),
                201,
                {
                    "subnet": {
                        "allocation_pools": [
                            {"start": "10.0.1.1", "end": "10.0.1.99"},
                            {"start": "10.0.1.101", "end": "10.0.1.254"},
                        ]
                    }
                },
            ),
            (
                "demo",
                "POST /subnets",
                subnet("{net}", "10.0.2.0/24", gateway_ip=None, enable_dhcp=False),
                201,
                {"subnet": {"gateway_ip": None, "enable_dhcp": False, "id": Keep("two")}},
            ),
            ("demo", "GET /networks/{net}", None, 200, {"network": {"subnets": [Keep("_")] * 3}}),
            ("demo", "GET /subnets?network_id={net}&cidr=10.0.2.0/24", None, 200, {"subnets": [{"id": "{two}"}]}),
            ("demo", "GET /subnets/{one}", None, 200, {"subnet": shown}),
            (
                "demo",
                "PUT /subnets/{two}",
                {"subnet": {"gateway_ip": "10.0.2.254", "dns_nameservers": [], "name": "z"}},
                200,
                {"subnet": {"gateway_ip": "10.0.2.254", "name": "z"}},
            ),
            (
                "demo",
                "PUT /subnets/{two}",
                {"subnet": {"allocation_pools": [{"start": "10.0.2.10", "end": "10.0.2.20"}]}},
                200,
                {"subnet": {"allocation_pools": [{"start": "10.0.2.10", "end": "10.0.2.20"}]}},
            ),
            ("demo", "PUT /subnets/{two}", {"subnet": {"gateway_ip": "10.0.3.1"}}, 400, INVALID),
            ("demo", "DELETE /subnets/{two}", None, 204, None),
            ("demo", "DELETE /subnets/{two}", None, 404, NOT_FOUND),
            (
                "demo",
                "POST /ports",
                {"port": {"network_id": "{net}", "fixed_ips": [{"subnet_id": "{one}"}]}},
                201,
                {"port": {"id": Keep("port"), "fixed_ips": [{"subnet_id": "{one}", "ip_address": "10.0.0.2"}]}},
            ),
            ("demo", "DELETE /subnets/{one}", None, 409, CONFLICT),
            ("demo", "DELETE /networks/{net}", None, 409, CONFLICT),
            ("demo", "DELETE /ports/{port}", None, 204, None),
            ("demo", "DELETE /networks/{net}", None, 204, None),
            ("demo", "GET /subnets/{one}", None, 404, NOT_FOUND),
        ],
    )


async def test_a_subnet_has_the_routes_that_were_last_given(api: Api) -> None:
    routes = [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}]
    await api.play(
        "/network/v2.0",
        [
            ("demo", "POST /networks", NET, 201, {"network": {"id": Keep("net")}}),
            (
                "demo",
                "POST /subnets",
                subnet("{net}", "10.0.0.0/24", host_routes=routes),
                201,
                {"subnet": {"id": Keep("one"), "host_routes": routes}},
            ),
            ("demo", "PUT /subnets/{one}", {"subnet": {"name": "x"}}, 200, {"subnet": {"host_routes": routes}}),
            ("demo", "PUT /subnets/{one}", {"subnet": {"host_routes": []}}, 200, {"subnet": {"host_routes": []}}),
        ],
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"cidr": "10.0.0.5/24"},
        {"cidr": "10.0.0.0/31"},
        {"cidr": "224.0.0.0/24"},
        {"cidr": "none"},
        {"cidr": "fd00::/64", "ip_version": 6},
        {"gateway_ip": "10.0.1.1"},
        {"gateway_ip": "10.0.0.255"},
        {"dns_nameservers": ["example.org"]},
        {"allocation_pools": [{"start": "10.0.0.9", "end": "10.0.0.8"}]},
        {"allocation_pools": [{"start": "10.0.0.9", "end": "10.0.1.8"}]},
        {"host_routes": [{"destination": "somewhere", "nexthop": "10.0.0.9"}]},
        {"host_routes": [{"destination": "10.9.0.0/16", "nexthop": "someone"}]},
        {"host_routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}] * 2},
    ],
)
async def test_a_subnet_must_be_sound(api: Api, wrong: dict[str, object]) -> None:
    body = {"subnet": {"network_id": "{net}", "ip_version": 4, "cidr": "10.0.0.0/24", **wrong}}
    await api.play(
        "/network/v2.0",
        [
            ("demo", "POST /networks", NET, 201, {"network": {"id": Keep("net")}}),
            ("demo", "POST /subnets", body, 400, INVALID),
            ("demo", "GET /subnets", None, 200, {"subnets": []}),
        ],
    )


async def test_what_the_service_says_of_itself(api: Api) -> None:
    await api.sign_in("demo")
    await api.play(
        "/network/v2.0",
        [
            (None, "GET /", None, 200, {"resources": [{"collection": "networks"}, {}, {}, {}, {}, {}, {}]}),
            ("demo", "GET /extensions/security-group", None, 200, {"extension": {"alias": "security-group"}}),
            ("demo", "GET /extensions/router", None, 404, {"NeutronError": {"type": "NotFound"}}),
            ("demo", "GET /quotas/{demo_project}", None, 200, {"quota": {"network": -1, "port": -1}}),
            ("demo", "GET /quotas/{demo_project}/details", None, 200, {"quota": {"port": {"used": 0, "limit": -1}}}),
            ("demo", "GET /quotas/other", None, 403, FORBIDDEN),
            ("admin", "GET /agents", None, 200, {"agents": []}),
            ("demo", "GET /agents", None, 403, FORBIDDEN),
            ("demo", "GET /availability_zones", None, 200, {"availability_zones": []}),
            ("demo", "GET /floatingips", None, 404, {"NeutronError": {"type": "NotFound"}}),
            ("demo", "GET /routers", None, 404, {"NeutronError": {"type": "NotFound"}}),
            (None, "GET /networks", None, 401, {"error": {"code": 401}}),
        ],
    )
