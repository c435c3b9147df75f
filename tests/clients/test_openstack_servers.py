"""`openstack server`: the life of a server, by the project it belongs to."""

import base64
import re
from pathlib import Path

import pytest

from renova.lab import furniture
from tests.clients.commands import OpenStack
from tests.clients.whole_cloud import WholeCloud

pytestmark = pytest.mark.slow

CREATE = "server create --flavor m1.tiny --image renova-guest"
TINY = {"VCPU": 1, "MEMORY_MB": 128, "DISK_GB": 1}


def test_a_server_is_created_shown_and_deleted(cloud: WholeCloud, demo: OpenStack, tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    shown = demo.show(
        f"{CREATE} --network private --key-name {furniture.KEY} --user-data {tmp_path}/script "
        "--description 'a web one' --property role=web --property tier=1 --tag blue --availability-zone nova "
        "--hostname www --wait one"
    )
    server = cloud.server("one")
    assert shown["id"] == server["id"]
    assert (server["status"], server["OS-EXT-STS:vm_state"], server["OS-EXT-STS:power_state"]) == (
        "ACTIVE",
        "active",
        1,
    )
    assert (server["description"], server["metadata"], server["tags"]) == (
        "a web one",
        {"role": "web", "tier": "1"},
        ["blue"],
    )
    assert (server["key_name"], server["OS-EXT-SRV-ATTR:hostname"]) == (furniture.KEY, "www")
    assert base64.b64decode(server["OS-EXT-SRV-ATTR:user_data"]) == b"#!/bin/sh\n"
    assert (server["tenant_id"], server["pinned_availability_zone"]) == (cloud.demo.current_project_id, "nova")
    assert cloud.allocations(server["id"]) == {server["OS-EXT-SRV-ATTR:host"]: TINY}
    (port,) = cloud.ports(server["id"])
    assert (port.binding_host_id, port.status) == (server["OS-EXT-SRV-ATTR:host"], "ACTIVE")
    assert shown["addresses"] == {"private": [port.fixed_ips[0]["ip_address"]]}
    assert demo.column("port list --server one", "ID") == [port.id]

    found = demo.show("server show one")
    assert (found["id"], found["status"], found["image"].split()[0]) == (server["id"], "ACTIVE", "renova-guest")
    assert (found["flavor"]["ram"], found["properties"]) == (128, {"role": "web", "tier": "1"})
    demo("server delete --wait one")
    assert cloud.gone(server["id"])
    assert (cloud.allocations(server["id"]), cloud.ports(server["id"])) == ({}, [])


def test_nics_are_given_by_network_address_and_port(cloud: WholeCloud, demo: OpenStack) -> None:
    port = demo.show("port create --network private mine")
    demo(f"{CREATE} --nic net-id={cloud.network} --wait net")
    own = demo.show("network create own")["id"]  # on one that all share, only who owns it chooses addresses
    demo("subnet create --network own --subnet-range 10.7.0.0/24 own")
    demo(f"{CREATE} --nic net-id={own},v4-fixed-ip=10.7.0.77 --wait address")
    demo(f"{CREATE} --port mine --wait port")
    demo(f"{CREATE} --nic none --wait none")
    addresses = {
        server["name"]: [nic["addr"] for nics in server["addresses"].values() for nic in nics]
        for server in cloud.servers()
    }
    assert len(addresses.pop("net")) == 1
    assert addresses == {"address": ["10.7.0.77"], "port": [port["fixed_ips"][0]["ip_address"]], "none": []}
    assert [each.id for each in cloud.ports(cloud.server("port")["id"])] == [port["id"]]
    demo("server delete --wait port address net none")
    assert [(each.id, each.device_id, each.status) for each in cloud.demo.network.ports()] == [(port["id"], "", "DOWN")]
    demo("port delete mine")
    demo("network delete own")


def test_several_servers_are_created_at_once(cloud: WholeCloud, demo: OpenStack) -> None:
    demo(f"{CREATE} --network private --min 2 --max 3 --wait web")
    servers = [cloud.settled(name) for name in ("web-1", "web-2", "web-3")]
    assert len({server["OS-EXT-SRV-ATTR:host"] for server in servers}) == 3, "not spread"
    assert len({server["OS-EXT-SRV-ATTR:reservation_id"] for server in servers}) == 1
    refusal = demo.refused(f"{CREATE} --network private --min 20 --max 20 more")
    assert "403" in refusal
    assert "Quota exceeded for cores, instances: Requested 20, 20, but already used 3, 3 of 20, 10" in refusal
    assert len(cloud.servers()) == 3


def test_servers_are_found_by_what_they_are(cloud: WholeCloud, admin: OpenStack, demo: OpenStack) -> None:
    demo(f"{CREATE} --network private --tag red --wait web-1")
    demo("server create --flavor m1.small --image renova-guest-2 --network private --wait web-2")
    admin(f"{CREATE} --network private --wait db")
    demo("server stop web-2")
    cloud.settled("web-2", "SHUTOFF")

    def names(line: str, who: OpenStack = demo) -> list[str]:
        return sorted(who.column(f"server list {line}", "Name"))

    assert names("") == ["web-1", "web-2"]
    assert names("", admin) == ["db"]
    assert names("--all-projects", admin) == ["db", "web-1", "web-2"]
    assert names("--project demo", admin) == ["web-1", "web-2"]
    assert names("--all-projects --user demo", admin) == ["web-1", "web-2"]
    assert names("--name ^web-.$") == ["web-1", "web-2"]
    assert names("--name 1") == ["web-1"]
    assert names("--status SHUTOFF") == ["web-2"]
    assert names("--status ERROR") == []
    assert names("--flavor m1.small") == ["web-2"]
    assert names("--image renova-guest") == ["web-1"]
    assert names("--tags red") == ["web-1"]
    assert names("--ip 10.0.0") == ["web-1", "web-2"]
    assert names("--limit 1") == ["web-2"], "not the newest"
    host = cloud.server("web-1")["OS-EXT-SRV-ATTR:host"]
    assert "web-1" in names(f"--all-projects --host {host}", admin)
    there = {server["name"] for server in cloud.servers() if server["OS-EXT-SRV-ATTR:host"] == host}
    assert set(names(f"--all-projects --host {host}", admin)) == there

    long = {row["Name"]: row for row in admin.show("server list --long --all-projects")}
    assert (long["web-1"]["Host"], long["web-1"]["Power State"], long["web-1"]["Flavor"]) == (host, 1, "m1.tiny")
    assert (long["web-2"]["Status"], long["web-2"]["Image Name"]) == ("SHUTOFF", "renova-guest-2")
    assert "403" in demo.refused("server list --all-projects")


def test_reboots_keep_disk_and_address(cloud: WholeCloud, demo: OpenStack) -> None:
    demo(f"{CREATE} --network private --wait one")
    before = cloud.server("one")
    cloud.booted(before["id"], [1])
    demo("server reboot --soft --wait one")
    cloud.booted(before["id"], [1, 2])
    demo("server reboot --hard --wait one")
    cloud.booted(before["id"], [1, 2, 3])
    after = cloud.settled("one")
    assert (after["addresses"], after["hostId"]) == (before["addresses"], before["hostId"])
    assert cloud.actions(before["id"]) == ["create", "reboot", "reboot"]


def test_a_rebuild_gives_image_name_and_password(cloud: WholeCloud, demo: OpenStack) -> None:
    demo(f"{CREATE} --network private --property a=b --wait one")
    before = cloud.server("one")
    cloud.booted(before["id"], [1])
    shown = demo.show("server rebuild --image renova-guest-2 --name two --password geheim --description new --wait one")
    after = cloud.settled("two")
    assert (after["id"], after["image"]["id"]) == (before["id"], cloud.images["renova-guest-2"])
    assert (after["description"], after["metadata"]) == ("new", {"a": "b"})
    assert (after["addresses"], after["hostId"]) == (before["addresses"], before["hostId"])
    assert shown["adminPass"] == "geheim"
    cloud.booted(after["id"], [1])
    assert cloud.allocations(after["id"]) == {after["OS-EXT-SRV-ATTR:host"]: TINY}

    demo("server stop two")
    cloud.settled("two", "SHUTOFF")
    demo("server rebuild --wait two")
    assert cloud.settled("two", "SHUTOFF")["image"]["id"] == cloud.images["renova-guest-2"]
    assert cloud.actions(after["id"]) == ["create", "rebuild", "stop", "rebuild"]


def test_stop_and_start(cloud: WholeCloud, demo: OpenStack) -> None:
    demo(f"{CREATE} --network private --wait one")
    demo("server stop one")
    stopped = cloud.settled("one", "SHUTOFF")
    assert (stopped["OS-EXT-STS:vm_state"], stopped["OS-EXT-STS:power_state"]) == ("stopped", 4)
    assert [port.status for port in cloud.ports(stopped["id"])] == ["DOWN"]
    assert cloud.allocations(stopped["id"]) == {stopped["OS-EXT-SRV-ATTR:host"]: TINY}
    assert "409" in demo.refused("server stop one")
    demo("server start one")
    cloud.settled("one")
    assert "409" in demo.refused("server start one")
    assert [port.status for port in cloud.ports(stopped["id"])] == ["ACTIVE"]
    assert cloud.actions(stopped["id"]) == ["create", "stop", "start"]


def test_a_locked_server_is_left_alone(cloud: WholeCloud, admin: OpenStack, demo: OpenStack) -> None:
    demo(f"{CREATE} --network private --wait one")
    server = cloud.server("one")
    demo("server lock --reason upkeep one")
    locked = cloud.server("one")
    assert (locked["locked"], locked["locked_reason"]) == (True, "upkeep")
    assert demo.column("server list --locked", "Name") == ["one"]
    for line in ("reboot", "stop", "rebuild", "delete"):
        assert "409" in demo.refused(f"server {line} one")
    assert cloud.actions(server["id"]) == ["create", "lock"]
    demo("server unlock one")
    admin(f"server lock {server['id']}")
    assert "403" in demo.refused("server unlock one")
    admin(f"server stop {server['id']}")
    cloud.settled("one", "SHUTOFF")
    admin(f"server unlock {server['id']}")
    assert cloud.server("one")["locked"] is False


def test_console_and_events_tell_what_happened(cloud: WholeCloud, admin: OpenStack, demo: OpenStack) -> None:
    demo(f"{CREATE} --network private --wait one")
    server = cloud.server("one")
    cloud.booted(server["id"], [1])
    demo("server reboot --hard --wait one")
    cloud.booted(server["id"], [1, 2])
    assert demo("console log show one").splitlines() == ["GUEST-READY one boots=1", "GUEST-READY one boots=2"]
    assert demo("console log show --lines 1 one") == "GUEST-READY one boots=2\n"

    events = demo.show("server event list --long one")
    assert [event["Action"] for event in events] == ["reboot", "create"]
    assert {event["User ID"] for event in events} == {cloud.demo.current_user_id}
    for event in events:
        mine = demo.show(f"server event show one {event['Request ID']}")
        whole = admin.show(f"server event show {server['id']} {event['Request ID']}")
        assert mine["action"] == whole["action"] == event["Action"]
        assert [part["result"] for part in whole["events"]] == ["Success"] * len(whole["events"])
        assert {part["host"] for part in whole["events"]} <= {None, server["OS-EXT-SRV-ATTR:host"]}
        assert all(part["host"] is None for part in mine["events"])
    demo("server delete --wait one")
    assert demo.column(f"server event list {server['id']}", "Action") == ["delete", "reboot", "create"]


def test_a_server_is_described_anew(cloud: WholeCloud, demo: OpenStack) -> None:
    demo(f"{CREATE} --network private --property a=b --wait one")
    demo("server set --name two --property c=d --description new --tag red one")
    server = cloud.server("two")
    assert (server["metadata"], server["description"], server["tags"]) == ({"a": "b", "c": "d"}, "new", ["red"])
    demo("server unset --property a --tag red --description two")
    server = cloud.server("two")
    assert (server["metadata"], server["description"], server["tags"]) == ({"c": "d"}, "", [])


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("server create --flavor m1.none --image renova-guest --network private bad", "No Flavor found for m1.none"),
        ("server create --flavor m1.tiny --image none --network private bad", "No Image found for none"),
        (f"{CREATE} --nic net-id=00000000-0000-0000-0000-000000000000 bad", "No Network found"),
        (f"{CREATE} --network private --key-name none bad", "400.*Invalid key_name provided"),
        (
            f"{CREATE} --network private --availability-zone mars bad",
            "400.*The requested availability zone is not available",
        ),
        (f"{CREATE} --network private --property {'k' * 256}=v bad", "400"),
        (f"{CREATE} --network private {'n' * 256}", "400.*name"),
        (f"{CREATE} --nic net-id=PRIVATE,v4-fixed-ip=192.168.0.1 bad", "400"),
        ("server reboot none", "No Server found for none"),
        ("server show 00000000-0000-0000-0000-000000000000", "No Server found"),
        ("console log show none", "No Server found for none"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    cloud: WholeCloud, demo: OpenStack, line: str, complaint: str
) -> None:
    refusal = demo.refused(line.replace("PRIVATE", cloud.network))
    assert re.search(complaint, refusal, re.DOTALL), refusal
    assert cloud.servers() == []
    assert list(cloud.demo.network.ports()) == []
