"""`openstack` decides where servers go: server groups, host aggregates, availability zones."""

from collections.abc import Iterator

import pytest

from tests.clients.commands import OpenStack
from tests.clients.whole_cloud import HOSTS, WholeCloud

pytestmark = pytest.mark.slow

CREATE = "server create --flavor m1.tiny --image renova-guest --network private"


@pytest.fixture(autouse=True)
def tidy(cloud: WholeCloud) -> Iterator[None]:
    """Leave no group and no aggregate."""
    yield
    cloud.clear()  # first, for a host with servers does not leave its zone
    for group in cloud.get("/os-server-groups?all_projects=1")["server_groups"]:
        cloud.admin.compute.delete(f"/os-server-groups/{group['id']}")
    for aggregate in cloud.get("/os-aggregates")["aggregates"]:
        for host in aggregate["hosts"]:
            body = {"remove_host": {"host": host}}
            assert cloud.admin.compute.post(f"/os-aggregates/{aggregate['id']}/action", json=body).status_code == 200
        assert cloud.admin.compute.delete(f"/os-aggregates/{aggregate['id']}").status_code == 204


def host_of(cloud: WholeCloud, name: str) -> str:
    return str(cloud.settled(name)["OS-EXT-SRV-ATTR:host"])


def test_server_groups_come_and_go(cloud: WholeCloud, admin: OpenStack, demo: OpenStack) -> None:
    made = demo.show("server group create --policy anti-affinity --rule max_server_per_host=2 apart")
    group = cloud.get(f"/os-server-groups/{made['id']}")["server_group"]
    assert (group["policy"], group["rules"]) == ("anti-affinity", {"max_server_per_host": 2})
    assert (group["name"], group["project_id"]) == ("apart", cloud.demo.current_project_id)
    old = demo.at("2.15").show("server group create --policy soft-affinity old")
    assert cloud.get(f"/os-server-groups/{old['id']}")["server_group"]["policy"] == "soft-affinity"
    assert sorted(demo.column("server group list", "Name")) == ["apart", "old"]
    assert admin.column("server group list", "Name") == []
    assert sorted(admin.column("server group list --all-projects", "Name")) == ["apart", "old"]
    assert "400" in demo.refused("server group create --policy affinity --rule max_server_per_host=2 wrong")
    demo("server group delete apart old")
    assert cloud.get("/os-server-groups?all_projects=1")["server_groups"] == []


def test_anti_affinity_puts_every_server_on_a_host_of_its_own(cloud: WholeCloud, demo: OpenStack) -> None:
    group = demo.show("server group create --policy anti-affinity apart")["id"]
    demo(f"{CREATE} --hint group={group} --min 3 --max 3 --wait one")
    names = [f"one-{number}" for number in (1, 2, 3)]
    assert sorted(host_of(cloud, name) for name in names) == list(HOSTS)
    members = cloud.get(f"/os-server-groups/{group}")["server_group"]["members"]
    assert members == [cloud.server(name)["id"] for name in names]
    assert cloud.get(f"/servers/{members[0]}")["server"]["server_groups"] == [group]
    demo(f"{CREATE} --server-group {group} fourth")
    fourth = cloud.settled("fourth", "ERROR")
    assert "3 hosts: has 1 of its server group already (anti-affinity)" in fourth["fault"]["message"]
    demo("server group delete apart")
    demo(f"{CREATE} --wait fifth")
    assert cloud.settled("one-1")["id"] == members[0], "its members live on"


def test_affinity_keeps_servers_together(cloud: WholeCloud, demo: OpenStack) -> None:
    group = demo.show("server group create --policy affinity together")["id"]
    demo(f"{CREATE} --hint group={group} --min 3 --max 3 --wait one")
    assert len({host_of(cloud, f"one-{number}") for number in (1, 2, 3)}) == 1


def test_an_evacuated_group_stays_together(cloud: WholeCloud, admin: OpenStack, demo: OpenStack) -> None:
    group = demo.show("server group create --policy affinity together")["id"]
    demo(f"{CREATE} --hint group={group} --min 2 --max 2 --wait one")
    source = host_of(cloud, "one-1")
    ids = [cloud.server(name)["id"] for name in ("one-1", "one-2")]
    cloud.kill(source)
    try:
        for server in ids:
            admin.at("2.94")(f"server evacuate {server}")
        moved = {cloud.settled(name)["OS-EXT-SRV-ATTR:host"] for name in ("one-1", "one-2")}
        assert len(moved) == 1
        assert source not in moved
    finally:
        cloud.revive()


def test_aggregates_come_and_go(cloud: WholeCloud, admin: OpenStack) -> None:
    admin("aggregate create --zone attic --property ssd=true rack")
    admin("aggregate add host rack host1")
    (aggregate,) = cloud.get("/os-aggregates")["aggregates"]
    assert (aggregate["name"], aggregate["hosts"]) == ("rack", ["host1"])
    assert aggregate["metadata"] == {"availability_zone": "attic", "ssd": "true"}
    admin.at("2.81")("aggregate cache image rack renova-guest")
    admin("aggregate unset --property ssd rack")
    admin("aggregate set --name shelf --property net=fast rack")
    (aggregate,) = cloud.get("/os-aggregates")["aggregates"]
    assert (aggregate["name"], aggregate["metadata"]) == ("shelf", {"availability_zone": "attic", "net": "fast"})
    assert "already in availability zone(s) attic" in _refused_second_zone(admin)
    assert "is not empty" in admin.refused("aggregate delete shelf")
    admin("aggregate remove host shelf host1")
    admin("aggregate delete shelf cellar")
    assert cloud.get("/os-aggregates")["aggregates"] == []


def _refused_second_zone(admin: OpenStack) -> str:
    admin("aggregate create --zone cellar cellar")
    return admin.refused("aggregate add host cellar host1")


def test_servers_stay_in_the_zone_they_were_created_in(cloud: WholeCloud, admin: OpenStack, demo: OpenStack) -> None:
    admin("aggregate create --zone attic attic")
    admin("aggregate add host attic host1")
    assert demo.show("availability zone list --compute") == [
        {"Zone Name": "attic", "Zone Status": "available"},
        {"Zone Name": "nova", "Zone Status": "available"},
    ]
    shown = admin.show("availability zone list --compute --long")
    assert {row["Host Name"]: row["Zone Name"] for row in shown} == {"host1": "attic", "host2": "nova", "host3": "nova"}
    assert cloud.service("host1")["zone"] == "attic"
    demo(f"{CREATE} --availability-zone attic --wait one")
    server = cloud.settled("one")
    assert (server["OS-EXT-SRV-ATTR:host"], server["OS-EXT-AZ:availability_zone"]) == ("host1", "attic")
    assert "409" in admin.refused("aggregate remove host attic host1")
    cloud.kill("host1")
    try:
        admin.at("2.94")(f"server evacuate {server['id']}")
        cloud.wait(lambda: cloud.migrations(server["id"])[0]["status"] == "error", "the evacuation does not fail")
        assert cloud.settled("one")["OS-EXT-SRV-ATTR:host"] == "host1"
        demo.at("2.104")("server unset --pinned-availability-zone one")
        assert cloud.server("one")["pinned_availability_zone"] is None
        admin.at("2.94")(f"server evacuate {server['id']}")
        cloud.wait(lambda: cloud.server("one")["OS-EXT-SRV-ATTR:host"] != "host1", "it is not evacuated")
        assert cloud.settled("one")["OS-EXT-AZ:availability_zone"] == "nova"
    finally:
        cloud.revive()
    demo.at("2.104")("server set --pinned-availability-zone nova one")
    assert cloud.server("one")["pinned_availability_zone"] == "nova"
    assert "400" in demo.at("2.104").refused("server set --pinned-availability-zone attic one")


def test_a_flavor_goes_to_the_hosts_of_its_aggregate(cloud: WholeCloud, admin: OpenStack) -> None:
    admin("aggregate create --property ssd=true fast")
    admin("aggregate add host fast host3")
    admin("flavor create --ram 64 --vcpus 1 --disk 1 --property aggregate_instance_extra_specs:ssd=true m1.fast")
    try:
        for name in ("one", "two"):
            admin(f"server create --flavor m1.fast --image renova-guest --network private --wait {name}")
            assert host_of(cloud, name) == "host3"
        one = cloud.server("one")["id"]
        admin(f"{CREATE} --hint same_host={one} --wait three")
        assert host_of(cloud, "three") == "host3"
        admin(f"{CREATE} --hint different_host={one} --wait four")
        assert host_of(cloud, "four") != "host3"
    finally:
        admin("flavor delete m1.fast")
