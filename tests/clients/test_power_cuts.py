"""A host dies, and its servers are evacuated by whatever client, at whatever microversion; then the host returns."""

from collections.abc import Callable, Iterator

import pytest

from renova.lab import furniture
from tests.clients.commands import Failed, Nova, OpenStack
from tests.clients.whole_cloud import WholeCloud

pytestmark = pytest.mark.slow

CREATE = f"server create --flavor m1.tiny --image {furniture.IMAGES[0]} --network private"
TINY = {"VCPU": 1, "MEMORY_MB": 128, "DISK_GB": 1}


@pytest.fixture(autouse=True)
def revived(cloud: WholeCloud) -> Iterator[None]:
    """Begin with everything up, whoever had the cloud before, and leave it so."""
    cloud.revive()
    yield
    cloud.revive()


def test_every_client_evacuates_at_every_microversion(cloud: WholeCloud, admin: OpenStack, admin_nova: Nova) -> None:
    # `evacuate --wait` is not among them: this release of the client compares "active" with "ACTIVE", and never ends.
    ways: list[tuple[str, str, Callable[[str], object]]] = [
        ("host2", "ACTIVE", lambda name: admin.at("2.29")(f"server evacuate --host host2 {name}")),
        ("host3", "ACTIVE", lambda name: admin.at("2.68")(f"server evacuate --host host3 {name}")),
        ("host2", "ACTIVE", lambda name: admin_nova.at("2.29")(f"evacuate --force {name} host2")),
        ("", "ACTIVE", lambda name: admin.at("2.1")(f"server evacuate --shared-storage {name}")),
        ("", "ACTIVE", lambda name: admin.at("2.14")(f"server evacuate {name}")),
        ("", "ACTIVE", lambda name: admin_nova.at("2.1")(f"evacuate --on-shared-storage {name}")),
        ("", "SHUTOFF", lambda name: admin.at("2.95")(f"server evacuate {name}")),
        ("", "SHUTOFF", lambda name: admin_nova(f"evacuate {name}")),
        ("", "SHUTOFF", lambda name: cloud.admin.compute.evacuate_server(cloud.server(name)["id"])),
        ("", "SHUTOFF", lambda name: admin.at("2.94")(f"server evacuate {name}")),  # it was stopped before
    ]
    names = [f"one-{number}" for number in range(1, len(ways) + 1)]
    admin(f"{CREATE} --availability-zone nova:host1 --min {len(ways)} --max {len(ways)} --wait one")
    before = {name: cloud.settled(name) for name in names}
    for server in before.values():
        cloud.booted(server["id"], [1])
    admin(f"server stop {names[-1]}")
    cloud.settled(names[-1], "SHUTOFF")
    cloud.kill("host1")

    for name, (_, _, evacuate) in zip(names, ways, strict=True):
        evacuate(name)
    for name, (target, status, _) in zip(names, ways, strict=True):
        after, server = cloud.settled(name, status), before[name]["id"]
        host = after["OS-EXT-SRV-ATTR:host"]
        assert host in ({target} if target else {"host2", "host3"}), name
        assert after["addresses"] == before[name]["addresses"], name
        if status == "ACTIVE":
            cloud.booted(server, [1, 2])  # from the disk it had
        (migration,) = cloud.migrations(server)
        assert (migration["status"], migration["migration_type"]) == ("done", "evacuation"), name
        assert (migration["source_compute"], migration["dest_compute"]) == ("host1", host), name
        assert cloud.allocations(server) == {"host1": TINY, host: TINY}, name
        assert [(port.binding_host_id, port.status) for port in cloud.ports(server)] == [
            (host, "ACTIVE" if status == "ACTIVE" else "DOWN")
        ], name
    ids = [server["id"] for server in before.values()]
    listed = [row["Status"] for row in admin.show("server migration list") if row["Server UUID"] in ids]
    by_nova = [row["Status"] for row in admin_nova.rows("migration-list") if row["Instance UUID"] in ids]
    assert listed == by_nova == ["done"] * len(ways)

    admin("compute service set --down host1 nova-compute")
    admin.refused("compute service set --up host1 nova-compute")  # its old guests may still be there
    assert cloud.service("host1")["forced_down"]
    cloud.lab.start("host1")
    cloud.wait(lambda: not unfinished(cloud, ids), "the migrations are not completed")
    assert cloud.service("host1")["state"] == "down"
    admin("compute service set --up host1 nova-compute")
    cloud.wait(lambda: cloud.service("host1")["state"] == "up", "host1 does not come up")
    for name in names:
        server = cloud.server(name)
        assert cloud.allocations(server["id"]) == {server["OS-EXT-SRV-ATTR:host"]: TINY}, name
    assert admin.column("server list --all-projects --host host1", "Name") == []
    assert cloud.actions(ids[0]) == ["create", "evacuate"]


def unfinished(cloud: WholeCloud, servers: list[str]) -> list[str]:
    """List the servers whose newest migration is not completed."""
    return [server for server in servers if cloud.migrations(server)[0]["status"] != "completed"]


def test_a_whole_host_is_evacuated(cloud: WholeCloud, admin: OpenStack, admin_nova: Nova) -> None:
    admin(f"{CREATE} --host host2 --min 2 --max 2 --wait one")
    cloud.kill("host2")
    nova = admin_nova.at("2.68")
    answers = nova.rows("host-evacuate --strict --target_host host3 host2")
    assert [row["Evacuate Accepted"] for row in answers] == ["True", "True"]
    for name in ("one-1", "one-2"):
        assert cloud.settled(name)["OS-EXT-SRV-ATTR:host"] == "host3"


def test_servers_are_told_apart_from_their_dead_host(cloud: WholeCloud, admin: OpenStack, demo: OpenStack) -> None:
    """What users may do about a server on a dead host, and what of it is left when the host returns."""
    demo(f"{CREATE} --min 3 --max 3 --wait one")
    servers = {server["OS-EXT-SRV-ATTR:host"]: server for server in cloud.servers()}
    lost = servers["host3"]
    cloud.kill("host3")
    seen = {row["ID"]: row["Host Status"] for row in admin.show("server list --long --all-projects")}
    assert seen == {server["id"]: "UNKNOWN" if server is lost else "UP" for server in servers.values()}
    assert "403" in demo.refused(f"server evacuate {lost['id']}")
    assert cloud.server(lost["name"])["OS-EXT-STS:task_state"] is None
    demo(f"server delete --wait {lost['id']}")
    assert cloud.allocations(lost["id"]) == {}
    demo(f"{CREATE} --min 2 --max 2 --wait two")
    assert "host3" not in {cloud.settled(f"two-{number}")["OS-EXT-SRV-ATTR:host"] for number in (1, 2)}
    cloud.lab.start("host3")
    cloud.wait(lambda: cloud.service("host3")["state"] == "up", "host3 does not come up")
    admin(f"{CREATE} --host host3 --wait three")
    assert cloud.allocations(cloud.server("three")["id"]) == {"host3": TINY}


def test_a_wrong_word_of_an_operator_runs_no_server_twice(cloud: WholeCloud, admin: OpenStack) -> None:
    """A host is only out of reach: no reading of its power proves it dead, so it takes an operator's word, and time.

    The word is wrong. What the guest has open is the second line: no other host can start it.
    """
    admin(f"{CREATE} --host host1 --wait one")
    server = cloud.server("one")["id"]
    cloud.booted(server, [1])
    cloud.lab.cut("host1")
    cloud.wait(lambda: cloud.service("host1")["state"] == "down", "host1 is not shown down")
    refusal = admin.refused("server evacuate one")
    assert "400" in refusal
    assert "nothing proves that its guests have stopped" in refusal
    admin("compute service set --down host1 nova-compute")
    assert "nothing proves" in admin.refused("server evacuate one")
    assert cloud.migrations(server) == []

    cloud.wait(lambda: evacuated(cloud, server), "the operator's word is not taken")
    after = cloud.settled("one")
    assert (after["OS-EXT-SRV-ATTR:host"], cloud.allocations(server)) == ("host1", {"host1": TINY})
    assert [migration["status"] for migration in cloud.migrations(server)] == ["failed"]
    request = admin.show("server event list one")[0]["Request ID"]
    event = admin.show(f"server event show one {request}")["events"][0]
    assert (event["event"], event["result"]) == ("compute_rebuild_instance", "Error")
    assert "is open elsewhere: the old guest may live" in event["details"]

    cloud.lab.heal("host1")
    cloud.wait(lambda: forced_up(admin, "host1"), "host1 does not clean up, and stays forced down")
    cloud.wait(lambda: cloud.service("host1")["state"] == "up", "host1 does not come up")
    cloud.booted(server, [1, 2])
    assert cloud.settled("one")["OS-EXT-SRV-ATTR:host"] == "host1"


def forced_up(admin: OpenStack, host: str) -> bool:
    """Ask for the host to be forced down no longer; say whether it was accepted: only once it has cleaned up."""
    try:
        admin(f"compute service set --up {host} nova-compute")
    except Failed:
        return False
    return True


def evacuated(cloud: WholeCloud, server: str) -> bool:
    """Ask for an evacuation; say whether it was accepted."""
    path = f"/servers/{server}/action"
    answer = cloud.admin.compute.post(path, json={"evacuate": {}}, microversion="2.94")
    assert answer.status_code in (200, 400), answer.text
    return bool(answer.status_code == 200)
