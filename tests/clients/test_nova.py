"""`nova`, at the oldest microversion and at the newest that it knows."""

from collections.abc import Iterator

import pytest

from renova.lab import furniture
from tests.clients.commands import Nova
from tests.clients.whole_cloud import HOSTS, WholeCloud

pytestmark = pytest.mark.slow

OLDEST, NEWEST = "2.1", ""
BOOT = "boot --flavor m1.tiny --image renova-guest --nic net-name=private --poll"


@pytest.fixture(params=[OLDEST, NEWEST], ids=["oldest", "newest"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def admin(admin_nova: Nova, version: str) -> Nova:
    return admin_nova.at(version)


@pytest.fixture
def demo(demo_nova: Nova, version: str) -> Nova:
    return demo_nova.at(version)


def test_a_servers_life(cloud: WholeCloud, demo: Nova) -> None:
    made = demo.properties(f"{BOOT} --key-name {furniture.KEY} --meta a=b one")
    server = cloud.settled("one")
    assert made["id"] == server["id"]
    assert (server["metadata"], server["key_name"]) == ({"a": "b"}, furniture.KEY)
    assert [(row["ID"], row["Status"], row["Power State"]) for row in demo.rows("list")] == [
        (server["id"], "ACTIVE", "Running")
    ]
    shown = demo.properties("show one")
    assert shown["private network"] == server["addresses"]["private"][0]["addr"]
    assert shown["image"] == f"renova-guest ({server['image']['id']})"
    assert "OS-EXT-SRV-ATTR:host" not in shown

    cloud.booted(server["id"], [1])
    demo("reboot --poll one")
    cloud.booted(server["id"], [1, 2])
    demo("reboot --hard --poll one")
    cloud.booted(server["id"], [1, 2, 3])
    assert demo("console-log --length 1 one").strip() == "GUEST-READY one boots=3"
    demo("rebuild --poll --name two --rebuild-password geheim one renova-guest-2")
    assert cloud.settled("two")["image"]["id"] == cloud.images["renova-guest-2"]
    demo("stop two")
    cloud.settled("two", "SHUTOFF")
    assert "Unable to stop" in demo.refused("stop two")
    demo("start two")
    cloud.settled("two")

    actions = demo.rows("instance-action-list two")
    assert [action["Action"] for action in actions] == ["create", "reboot", "reboot", "rebuild", "stop", "start"]
    action = demo.properties(f"instance-action two {actions[0]['Request_ID']}")
    assert (action["action"], action["instance_uuid"]) == ("create", server["id"])
    demo("delete two")
    cloud.wait(lambda: cloud.gone(server["id"]), "the server is not deleted")
    assert cloud.allocations(server["id"]) == {}


def test_what_stands_still_goes_on(cloud: WholeCloud, demo: Nova, admin: Nova) -> None:
    demo(f"{BOOT} one")
    server = cloud.server("one")["id"]
    cloud.booted(server, [1])
    for stop, status, go in (("pause", "PAUSED", "unpause"), ("suspend", "SUSPENDED", "resume")):
        demo(f"{stop} one")
        cloud.settled("one", status)
        demo(f"{go} one")
        cloud.settled("one")
    assert cloud.boots(server) == [1]
    demo("lock one")
    assert "locked" in demo.refused("pause one")
    demo("unlock one")
    admin(f"reset-state --active {server}")
    assert cloud.actions(server) == ["create", "pause", "unpause", "suspend", "resume", "lock", "unlock", "resetState"]


def test_an_image_is_made_of_a_server(cloud: WholeCloud, demo: Nova) -> None:
    demo(f"{BOOT} one")
    cloud.booted(cloud.server("one")["id"], [1])
    demo("image-create --poll --metadata colour=red one mine")
    cloud.settled("one")
    image = cloud.admin.image.find_image("mine")
    assert (image.status, image.properties.get("colour")) == ("active", "red")
    demo(BOOT.replace("renova-guest", "mine") + " two")
    cloud.booted(cloud.server("two")["id"], [2])
    demo("backup one nightly daily 1")
    cloud.settled("one")
    assert cloud.admin.image.find_image("nightly").status == "active"
    for name in ("mine", "nightly"):
        cloud.admin.image.delete_image(cloud.admin.image.find_image(name).id)


def test_what_there_is_to_have(cloud: WholeCloud, admin: Nova, demo: Nova) -> None:
    assert sorted(demo.column("flavor-list", "Name")) == ["m1.small", "m1.tiny"]
    assert demo.column("keypair-list", "Name") == [furniture.KEY]
    zones = admin("availability-zone-list")
    assert all(f"|- {host} " in zones for host in HOSTS)
    assert "host1" not in demo("availability-zone-list")
    demo(f"{BOOT} one")
    limits = {row["Name"]: (row["Used"], row["Max"]) for row in demo.rows("limits")}
    assert (limits["Instances"], limits["Cores"], limits["RAM"]) == (("1", "10"), ("1", "20"), ("128", "51200"))
    assert cloud.demo.current_project_id in admin.column("usage-list", "Tenant ID")
    (used,) = demo.rows("usage")
    assert int(used["Servers"]) >= 1


def test_hosts(cloud: WholeCloud, admin: Nova, demo: Nova) -> None:
    assert {row["Host"]: row["State"] for row in admin.rows("service-list")} == dict.fromkeys(HOSTS, "up")
    hypervisors = {row["Hypervisor hostname"]: row["State"] for row in admin.rows("hypervisor-list")}
    assert hypervisors == dict.fromkeys(HOSTS, "up")
    assert "403" in demo.refused("service-list")
    assert "403" in demo.refused("hypervisor-list")
    admin(f"{BOOT} --availability-zone nova:host1 one")
    assert admin.column("hypervisor-servers host1", "ID") == [cloud.server("one")["id"]]
    assert cloud.server("one")["id"] not in {row["Instance UUID"] for row in admin.rows("migration-list")}
    named = "host1" if admin.version == OLDEST else cloud.service("host1")["id"]
    admin(f"service-disable --reason fans {named}")
    assert (cloud.service("host1")["status"], cloud.service("host1")["disabled_reason"]) == ("disabled", "fans")
    admin(f"service-enable {named}")
    assert cloud.service("host1")["status"] == "enabled"


@pytest.fixture
def raised(cloud: WholeCloud) -> Iterator[None]:
    yield
    cloud.revive()


@pytest.mark.parametrize("version", ["2.11", "2.52", ""])
def test_services_are_forced_down(cloud: WholeCloud, admin_nova: Nova, raised: None, version: str) -> None:
    admin = admin_nova.at(version)
    named = cloud.service("host2")["id"] if version == NEWEST else "host2"
    admin(f"service-force-down {named}")
    assert (cloud.service("host2")["forced_down"], cloud.service("host2")["state"]) == (True, "down")
    admin(f"service-force-down --unset {named}")
    assert (cloud.service("host2")["forced_down"], cloud.service("host2")["state"]) == (False, "up")
