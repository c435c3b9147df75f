"""A request for servers is right in everything, or nothing is written; then all of them are."""

import base64
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from renova.api.app import build
from renova.api.compute import service as compute
from renova.api.dispatch import Dispatcher
from renova.api.everything import rules
from renova.model.ids import NetworkId, ServerId
from renova.model.server import Server, TaskState, VmState
from renova.operations.create import CreateServer
from renova.store import servers

from .compute_cloud import IMAGE, NETWORK, ComputeApi, a_network
from .test_keypairs import ED25519

OTHER_NETWORK = NetworkId("0d7c1e5c-94a5-4d4a-9d5c-0bd4c1a1a9a1")
NEW: dict[str, Any] = {"name": "vm", "imageRef": IMAGE, "flavorRef": "small"}
FROM_IMAGE = {"source_type": "image", "uuid": IMAGE, "destination_type": "local", "boot_index": 0}


@pytest.fixture(autouse=True)
async def flavor(api: ComputeApi) -> None:
    await api.have_flavor()


async def create(api: ComputeApi, version: str = "2.1", who: str = "demo", **change: Any) -> Server:
    """Create one server and return its row."""
    made = (await api.got(who, "POST /servers", {"server": {**NEW, **change}}, version, 202))["server"]
    found = await api.cloud.database.read(lambda tx: servers.get(tx, ServerId(made["id"])))
    assert found is not None
    return found


async def refuse(api: ComputeApi, status: int, version: str = "2.1", who: str = "demo", **change: Any) -> str:
    """Have a request refused; nothing may be written then."""
    body = {"server": {**NEW, **change}}
    message = await api.refused(who, "POST /servers", status, body, version)
    assert await api.cloud.database.read(servers.find) == []
    assert api.operations.started == []
    return message


def want(api: ComputeApi, place: int = 0) -> CreateServer:
    return msgspec.json.decode(api.operations.started[place].want, type=CreateServer)


async def test_the_answer_names_the_server_and_its_password(api: ComputeApi) -> None:
    answer = await api.compute("demo", "POST /servers", {"server": NEW})
    assert answer.status_code == 202
    made = answer.json()["server"]
    assert set(made) == {"id", "links", "adminPass", "OS-DCF:diskConfig", "security_groups"}
    assert len(made["adminPass"]) == 12
    assert made["security_groups"] == [{"name": "default"}]
    assert answer.headers["location"] == f"http://cloud.example/compute/v2.1/servers/{made['id']}"
    (held,) = api.operations.started
    assert (held.server, held.story) == (made["id"], "create")
    assert want(api).admin_pass == made["adminPass"]
    shown = (await api.got("demo", f"GET /servers/{made['id']}"))["server"]
    assert (shown["status"], shown["OS-EXT-STS:task_state"]) == ("BUILD", TaskState.SCHEDULING)
    described = (await api.got("demo", f"GET /servers/{made['id']}", version="2.19"))["server"]["description"]
    assert described == NEW["name"]  # before 2.19 a server is described by its name


async def test_what_is_asked_for_is_kept(api: ComputeApi) -> None:
    await api.got("demo", "POST /os-keypairs", {"keypair": {"name": "mine", "public_key": ED25519}})
    server = await create(
        api,
        "2.94",
        name="Web server.1",
        metadata={"role": "web"},
        key_name="mine",
        user_data=base64.b64encode(b"#!/bin/sh").decode(),
        description="ours",
        tags=["blue", "green"],
        hostname="web.example.org",
        adminPass="secret",
        accessIPv4="192.0.2.7",
        accessIPv6="2001:db8:0::7",
        availability_zone="nova",
        config_drive="true",
        networks="auto",
        security_groups=[{"name": "default"}],
        **{"OS-DCF:diskConfig": "AUTO"},
    )
    assert server.vm_state is VmState.BUILDING
    assert (server.name, server.hostname, server.description) == ("Web server.1", "web.example.org", "ours")
    assert server.key is not None
    assert server.key.public_key == ED25519
    assert (server.metadata, server.tags) == ({"role": "web"}, ("blue", "green"))
    assert (server.access_ipv4, server.access_ipv6) == ("192.0.2.7", "2001:db8::7")
    assert (server.availability_zone, server.config_drive, server.disk_config) == ("nova", "True", "AUTO")
    assert server.flavor.memory_mb == 512
    assert server.reservation.startswith("r-")
    assert want(api).admin_pass == "secret"


async def test_a_host_name_is_made_of_the_name(api: ComputeApi) -> None:
    assert (await create(api, name="Web server_1.example!")).hostname == "web-server-1-example"
    nameless = await create(api, name="サーバー")
    assert nameless.hostname == f"server-{nameless.id}"


@pytest.mark.parametrize(
    ("version", "change", "names"),
    [
        ("2.1", {"name": None}, "name"),
        ("2.1", {"name": ""}, "name"),
        ("2.1", {"name": "x "}, "name"),
        ("2.1", {"name": "x" * 256}, "name"),
        ("2.1", {"flavorRef": "none"}, "Flavor none could not be found."),
        ("2.1", {"imageRef": "x"}, "imageRef"),
        ("2.1", {"imageRef": ""}, "imageRef"),
        ("2.1", {"imageRef": OTHER_NETWORK}, "Can not find requested image"),
        ("2.1", {"key_name": "none"}, "Invalid key_name provided."),
        ("2.1", {"metadata": {"a": 1}}, "metadata"),
        ("2.1", {"metadata": {"a!": "1"}}, "metadata"),
        ("2.1", {"metadata": {"a": "1" * 256}}, "metadata"),
        ("2.1", {"user_data": "no base64!"}, "user_data"),
        ("2.1", {"user_data": "a" * 65536}, "user_data"),
        ("2.1", {"accessIPv4": "::1"}, "accessIPv4"),
        ("2.1", {"accessIPv6": "1.2.3.4"}, "accessIPv6"),
        ("2.1", {"OS-DCF:diskConfig": "MAYBE"}, "diskConfig"),
        ("2.1", {"min_count": 2, "max_count": 1}, "min_count must be <= max_count"),
        ("2.1", {"min_count": 0}, "min_count"),
        ("2.1", {"security_groups": [{"name": "other"}]}, "Security group other not found"),
        ("2.1", {"availability_zone": "mars"}, "The requested availability zone is not available"),
        ("2.1", {"colour": "red"}, "colour"),
        ("2.36", {"networks": "auto"}, "networks"),
        ("2.18", {"description": "x"}, "description"),
        ("2.31", {"networks": [{"uuid": NETWORK, "tag": "x"}]}, "tag"),
        ("2.51", {"tags": ["x"]}, "tags"),
        ("2.52", {"tags": ["a,b"], "networks": "auto"}, "tags"),
        ("2.52", {"tags": [str(number) for number in range(51)], "networks": "auto"}, "tags"),
        ("2.57", {"personality": [], "networks": "auto"}, "personality"),
        ("2.56", {"personality": [{"path": "/a", "contents": "!"}], "networks": "auto"}, "personality of /a"),
        ("2.37", {}, "networks"),
        ("2.73", {"host": "compute1", "networks": "auto"}, "host"),
        ("2.89", {"hostname": "x1", "networks": "auto"}, "hostname"),
        ("2.90", {"hostname": "a.b", "networks": "auto"}, "hostname"),
        ("2.90", {"hostname": "-ab", "networks": "auto"}, "hostname"),
        ("2.94", {"hostname": "a b", "networks": "auto"}, "hostname"),
        ("2.94", {"hostname": "ab", "networks": "auto", "max_count": 2}, "hostname"),
        ("2.1", {"block_device_mapping_v2": [{"source_type": "blank", "boot_index": -1}]}, "Boot sequence"),
        ("2.1", {"block_device_mapping": [{"volume_id": OTHER_NETWORK}]}, "failed to get volume"),
    ],
)
async def test_a_wrong_field_is_named(api: ComputeApi, version: str, change: dict[str, Any], names: str) -> None:
    assert names in await refuse(api, 400, version, **change)


async def test_an_image_may_be_named_the_long_way(api: ComputeApi) -> None:
    mapping = {"uuid": IMAGE, "boot_index": 0, "source_type": "image", "destination_type": "local"}
    assert (await create(api, block_device_mapping_v2=[mapping])).image == IMAGE
    assert (await create(api, imageRef="", block_device_mapping_v2=[mapping])).image == IMAGE


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"status": "queued"}, f"Image {IMAGE} is not active."),
        ({"min_ram": 1024}, "Flavor's memory is too small for requested image."),
        ({"min_disk": 2}, "Flavor's disk is smaller than the minimum size"),
        ({"virtual_size": 2**31}, "Flavor's disk is too small for requested image."),
        ({"size": 2**31, "virtual_size": None}, "Flavor's disk is too small for requested image."),
        ({"disk_format": "iso"}, "disk format is iso"),
    ],
)
async def test_the_flavor_must_fit_the_image(api: ComputeApi, image: dict[str, Any], message: str) -> None:
    api.images[IMAGE] = msgspec.structs.replace(api.images[IMAGE], **image)
    assert message in await refuse(api, 400)


async def test_a_flavor_without_a_disk_is_for_administrators(api: ComputeApi) -> None:
    await api.have_flavor("diskless", disk=0)
    message = await refuse(api, 403, flavorRef="diskless")
    assert message == "Only volume-backed servers are allowed for flavors with zero disk."
    assert (await create(api, who="admin", flavorRef="diskless")).flavor.root_gb == 0


async def test_without_networks_the_only_one_is_taken(api: ComputeApi) -> None:
    await create(api)
    assert [wish.network for wish in want(api).wishes] == [NETWORK]


async def test_several_networks_must_be_chosen_from(api: ComputeApi) -> None:
    api.networks[OTHER_NETWORK] = a_network(OTHER_NETWORK, name="other", project=await api.project("demo"))
    expected = "Multiple possible networks found, use a Network ID to be more specific."
    assert await refuse(api, 409) == expected
    assert await refuse(api, 409, "2.37", networks="auto") == expected
    await create(api, networks=[{"uuid": OTHER_NETWORK, "fixed_ip": "10.0.0.9"}])
    (wish,) = want(api).wishes
    assert (wish.network, wish.fixed_ip) == (OTHER_NETWORK, "10.0.0.9")
    await create(api, "2.37", networks="none")
    assert want(api, 1).wishes == ()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"uuid": str(OTHER_NETWORK)}, "could not be found"),
        ({"uuid": str(NETWORK), "fixed_ip": "10.1.0.1"}, "is not a valid ip address for network"),
        ({"uuid": str(NETWORK), "fixed_ip": "x"}, "fixed_ip"),
        ({"port": str(OTHER_NETWORK)}, "could not be found"),
        ({}, "missing 'uuid'"),
        ({"uuid": str(NETWORK), "colour": "red"}, "colour"),
    ],
)
async def test_a_network_must_be_there(api: ComputeApi, network: dict[str, Any], message: str) -> None:
    assert message in await refuse(api, 400, networks=[network])


async def test_a_network_needs_a_subnet(api: ComputeApi) -> None:
    api.networks[NETWORK] = a_network(NETWORK, subnets=())
    assert "requires a subnet" in await refuse(api, 400)


async def test_several_servers_are_created_at_once_and_numbered(api: ComputeApi) -> None:
    made = await api.got("demo", "POST /servers", {"server": {**NEW, "min_count": 2, "max_count": "3"}}, status=202)
    found = await api.cloud.database.read(servers.find)
    assert sorted(server.name for server in found) == ["vm-1", "vm-2", "vm-3"]
    assert sorted(server.hostname for server in found) == ["vm-1", "vm-2", "vm-3"]
    assert len({server.reservation for server in found}) == 1
    assert made["server"]["id"] in {server.id for server in found}
    assert len(api.operations.started) == 3


async def test_a_reservation_may_be_answered(api: ComputeApi) -> None:
    body = {"server": {**NEW, "max_count": 2, "return_reservation_id": "True"}}
    answer = await api.got("demo", "POST /servers", body, status=202)
    found = await api.cloud.database.read(servers.find)
    assert {server.reservation for server in found} == {answer["reservation_id"]}


async def test_the_quota_is_kept(api: ComputeApi) -> None:
    assert await refuse(api, 403, min_count=11) == (
        "Quota exceeded for instances: Requested 11, but already used 0 of 10 instances"
    )
    await create(api, max_count=20)  # as many as there is room for
    assert len(api.operations.started) == 10
    message = await api.refused("demo", "POST /servers", 403, {"server": NEW})
    assert message == "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances"


async def test_the_quota_of_cores_and_memory_is_kept(api: ComputeApi) -> None:
    await api.have_flavor("large", vcpus=21, ram=60000)
    assert await refuse(api, 403, flavorRef="large") == (
        "Quota exceeded for cores, ram: Requested 21, 60000, but already used 0, 0 of 20, 51200 cores, ram"
    )
    metadata = {f"k{number}": "v" for number in range(129)}
    assert "too many metadata items" in await refuse(api, 403, metadata=metadata)


async def test_only_administrators_choose_the_host(api: ComputeApi) -> None:
    await api.have_host("compute1")
    await refuse(api, 403, availability_zone="nova:compute1")
    await refuse(api, 403, "2.74", host="compute1", networks="auto")
    assert "Compute host mars could not be found." in await refuse(api, 400, who="admin", availability_zone="nova:mars")
    server = await create(api, who="admin", availability_zone="nova:compute1")
    assert (want(api).host, server.availability_zone) == ("compute1", "nova")
    await create(api, "2.74", who="admin", hypervisor_hostname="compute1", networks="auto")
    assert want(api, 1).host == "compute1"


async def test_hints_are_kept_and_groups_are_unknown(api: ComputeApi) -> None:
    hints = {"build_near_host_ip": "192.0.2.1", "query": ["=", "$host", "a"]}
    body = {"server": NEW, "os:scheduler_hints": hints}
    made = (await api.got("demo", "POST /servers", body, status=202))["server"]
    shown = (await api.got("demo", f"GET /servers/{made['id']}", version="2.100"))["server"]
    assert shown["scheduler_hints"] == hints
    grouped = {"server": NEW, "OS-SCH-HNT:scheduler_hints": {"group": str(NETWORK)}}
    assert "could not be found" in await api.refused("demo", "POST /servers", 400, grouped)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"server": []}', b"{}", b"\xff"])
async def test_what_is_no_request_is_refused(api: ComputeApi, body: bytes) -> None:
    answer = await api.ask("demo", "POST /compute/v2.1/servers", body)
    assert answer.status_code == 400
    assert "badRequest" in answer.json()


@pytest.mark.parametrize(
    ("rule", "forbidden", "allowed"),
    [
        ("attach_network", ([{"uuid": NETWORK}], "auto"), ("none", [])),
        (
            "attach_volume",
            ([FROM_IMAGE, {"source_type": "blank", "destination_type": "volume", "volume_size": 1}],),
            ([],),
        ),
    ],
)
async def test_an_operator_forbids_to_create_servers_with_networks_or_volumes(
    api: ComputeApi, tmp_path: Path, rule: str, forbidden: tuple[Any, ...], allowed: tuple[Any, ...]
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(f'"os_compute_api:servers:create:{rule}": "rule:admin_api"\n')
    field = {"attach_network": "networks", "attach_volume": "block_device_mapping_v2"}[rule]
    app = build(compute.services(api.cloud), Dispatcher(api.cloud, rules(str(file))))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloud.example") as client:
        api.client = client
        for value in forbidden:
            assert rule in await refuse(api, 403, "2.37", **{"networks": "none", field: value})
        assert api.operations.started == []
        for value in allowed:
            await create(api, "2.37", **{"networks": "none", field: value})
        await create(api, "2.37", who="admin", **{"networks": "none", field: forbidden[0]})
