"""`openstack` around servers: catalog, images, networks, flavors, key pairs, limits, quotas, usage, users."""

from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

from renova.lab import furniture
from tests.clients.commands import OpenStack
from tests.clients.whole_cloud import HOSTS, WholeCloud

pytestmark = pytest.mark.slow


def test_the_catalog_leads_to_every_service(cloud: WholeCloud, demo: OpenStack) -> None:
    found = demo.show("catalog list")
    assert [service["Type"] for service in found] == [
        "identity",
        "image",
        "network",
        "compute",
        "placement",
        "block-storage",
        "volumev3",
        "instance-ha",
    ]
    assert all(service["Endpoints"] for service in found)
    versions = {row["Service Type"]: row for row in demo.show("versions show") if row["Status"] == "CURRENT"}
    assert versions["compute"]["Min Microversion"] == "2.1"
    assert versions["compute"]["Max Microversion"] == "2.104"


def test_a_token_opens_what_its_user_may_do(cloud: WholeCloud, demo: OpenStack) -> None:
    issued = demo.show("token issue")
    assert issued["project_id"] == cloud.demo.current_project_id
    headers = {"x-auth-token": issued["id"]}
    assert httpx.get(f"{cloud.url}/compute/v2.1/servers", headers=headers).json() == {"servers": []}
    demo(f"token revoke {issued['id']}")
    assert httpx.get(f"{cloud.url}/compute/v2.1/servers", headers=headers).status_code == 401


def test_clouds_yaml_serves_as_well_as_openrc(cloud: WholeCloud) -> None:
    plain = {name: text for name, text in cloud.environments["demo"].items() if not name.startswith("OS_")}
    plain["OS_CLIENT_CONFIG_FILE"] = str(cloud.lab.home.clouds_yaml)
    for name, project in (("renova", cloud.admin), ("renova-demo", cloud.demo)):
        issued = OpenStack(plain, "--os-cloud", name).show("token issue")
        assert issued["project_id"] == project.current_project_id


def test_images_networks_and_zones_are_found(cloud: WholeCloud, admin: OpenStack, demo: OpenStack) -> None:
    assert sorted(demo.column("image list", "Name")) == sorted(furniture.IMAGES)
    for name in furniture.IMAGES:
        shown = demo.show(f"image show {name}")
        assert (shown["id"], shown["status"], shown["visibility"]) == (cloud.images[name], "active", "public")
    assert demo.column("network list", "ID") == [cloud.network]
    (subnet,) = demo.show("subnet list")
    assert (subnet["Subnet"], subnet["Network"]) == (furniture.CIDR, cloud.network)
    assert demo.show("port list") == []
    assert demo.show("availability zone list --compute") == [{"Zone Name": "nova", "Zone Status": "available"}]
    shown = admin.show("availability zone list --compute --long")
    assert {row["Host Name"]: row["Service Name"] for row in shown} == dict.fromkeys(HOSTS, "nova-compute")


def test_flavors_come_and_go(cloud: WholeCloud, admin: OpenStack, demo: OpenStack) -> None:
    made = admin.show("flavor create --ram 512 --vcpus 2 --disk 3 --swap 1 --property hw:mem_page_size=small big")
    known = cloud.admin.compute.get_flavor(made["id"], get_extra_specs=True)
    assert (known.name, known.ram, known.vcpus, known.disk, known.swap) == ("big", 512, 2, 3, 1)
    assert known.extra_specs == {"hw:mem_page_size": "small"}
    assert sorted(demo.column("flavor list", "Name")) == ["big", "m1.small", "m1.tiny"]
    assert demo.show("flavor show big")["id"] == made["id"]
    admin("flavor set --property a=b --description tall big")
    assert admin.show("flavor show big")["properties"] == {"a": "b", "hw:mem_page_size": "small"}
    assert cloud.get(f"/flavors/{made['id']}")["flavor"]["description"] == "tall"

    assert "403" in demo.refused("flavor delete big")
    assert "409" in admin.refused("flavor create --ram 1 --vcpus 1 big")
    assert "403" in demo.refused("flavor create --ram 1 --vcpus 1 small")
    assert sorted(flavor.name for flavor in cloud.admin.compute.flavors()) == ["big", "m1.small", "m1.tiny"]
    admin("flavor delete big")
    assert sorted(flavor.name for flavor in cloud.admin.compute.flavors()) == ["m1.small", "m1.tiny"]


def test_a_private_flavor_is_for_those_it_was_given_to(cloud: WholeCloud, admin: OpenStack, demo: OpenStack) -> None:
    admin("flavor create --ram 128 --vcpus 1 --private secret")
    assert "No Flavor found" in demo.refused("flavor show secret")
    admin("flavor set --project demo secret")
    assert "secret" in demo.column("flavor list --all", "Name")
    admin("flavor unset --project demo secret")
    assert "No Flavor found" in demo.refused("flavor show secret")
    admin("flavor delete secret")


def test_key_pairs_come_and_go(cloud: WholeCloud, demo: OpenStack) -> None:
    public = cloud.lab.home.demo_key.with_suffix(".pub")
    demo(f"keypair create --public-key {public} brought")
    assert cloud.demo.compute.get_keypair("brought").public_key.split()[1] == public.read_text().split()[1]
    private = load_ssh_private_key(demo("keypair create made").encode(), password=None)
    known = cloud.demo.compute.get_keypair("made").public_key.split()
    assert private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode().split()[:2] == known[:2]
    assert sorted(demo.column("keypair list", "Name")) == ["brought", furniture.KEY, "made"]
    assert demo.show("keypair show made")["fingerprint"] == cloud.demo.compute.get_keypair("made").fingerprint
    assert demo("keypair show --public-key brought").split() == public.read_text().split()
    assert "409" in demo.refused(f"keypair create --public-key {public} brought")
    assert cloud.admin.compute.find_keypair("brought") is None
    demo("keypair delete brought made")
    assert [key.name for key in cloud.demo.compute.keypairs()] == [furniture.KEY]


def test_a_key_that_is_none_is_refused(cloud: WholeCloud, demo: OpenStack, tmp_path: Path) -> None:
    (tmp_path / "nonsense.pub").write_text("ssh-ed25519 nonsense")
    assert "400" in demo.refused(f"keypair create --public-key {tmp_path}/nonsense.pub bad")
    assert cloud.demo.compute.find_keypair("bad") is None


def test_limits_quotas_and_usage_count_servers(cloud: WholeCloud, admin: OpenStack, demo: OpenStack) -> None:
    demo("server create --flavor m1.tiny --image renova-guest --network private --wait one")
    limits = {row["Name"]: row["Value"] for row in demo.show("limits show --absolute")}
    assert (limits["total_instances_used"], limits["total_cores_used"], limits["total_ram_used"]) == (1, 1, 128)
    assert (limits["max_total_instances"], limits["max_total_cores"], limits["max_total_ram_size"]) == (10, 20, 51200)
    assert limits == {row["Name"]: row["Value"] for row in admin.show("limits show --absolute --project demo")}

    quotas = {row["Resource"]: row for row in demo.show("quota show --compute --usage")}
    assert (quotas["instances"]["Limit"], quotas["instances"]["In Use"]) == (10, 1)
    admin("quota set --instances 1 demo")
    assert "403" in demo.refused("server create --flavor m1.tiny --image renova-guest --network private two")
    assert [server["name"] for server in cloud.servers()] == ["one"]
    admin("quota set --instances 10 demo")
    assert "403" in demo.refused("quota set --instances 99 demo")
    assert cloud.get(f"/os-quota-sets/{cloud.demo.current_project_id}")["quota_set"]["instances"] == 10

    (used,) = [server for server in demo.show("usage show")["Servers"] if server["ended_at"] is None]
    assert (used["instance_id"], used["state"]) == (cloud.server("one")["id"], "active")
    assert cloud.demo.current_project_id in admin.column("usage list", "Project")


def test_projects_and_users_are_listed(cloud: WholeCloud, admin: OpenStack, demo: OpenStack) -> None:
    assert sorted(admin.column("project list", "Name")) == ["admin", "demo"]
    assert sorted(admin.column("user list", "Name")) == ["admin", "demo"]
    assert demo.column("project list", "ID") == [cloud.demo.current_project_id]
    assert "403" in demo.refused("user list")
