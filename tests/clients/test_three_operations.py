"""Reboot, rebuild and evacuate with every option of the field's clients; what came of it is asked for another way."""

from pathlib import Path
from typing import Any

import pytest

from renova.lab import furniture
from tests.clients.commands import Nova, OpenStack
from tests.clients.whole_cloud import HOSTS, WholeCloud

pytestmark = pytest.mark.slow

CREATE = "server create --flavor m1.tiny --image renova-guest --network private"


def newest_events(cloud: WholeCloud, server: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the name of the server's newest action, and its events with their results, the oldest first."""
    newest = cloud.get(f"/servers/{server}/os-instance-actions")["instanceActions"][0]
    shown = cloud.get(f"/servers/{server}/os-instance-actions/{newest['request_id']}")["instanceAction"]
    return shown["action"], [(event["event"], event["result"]) for event in reversed(shown["events"])]


def test_reboots_of_both_kinds(cloud: WholeCloud, demo: OpenStack) -> None:
    demo(f"{CREATE} --wait one")
    server = cloud.server("one")["id"]
    cloud.booted(server, [1])
    for boots, option in enumerate(("", "--soft", "--hard"), 2):
        demo(f"server reboot {option} --wait one")
        cloud.booted(server, list(range(1, boots + 1)))
        assert newest_events(cloud, server) == ("reboot", [("compute_reboot_instance", "Success")])
    demo("server stop one")
    cloud.settled("one", "SHUTOFF")
    assert "409" in demo.refused("server reboot --soft one")
    demo("server reboot --hard one")
    cloud.settled("one")
    demo("server stop one")
    cloud.settled("one", "SHUTOFF")
    demo("server start one")
    cloud.settled("one")


def test_a_rebuild_with_every_option(cloud: WholeCloud, demo: OpenStack, tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    demo(f"{CREATE} --key-name {furniture.KEY} --property old=1 --wait one")
    before = cloud.server("one")
    shown = demo.show(
        "server rebuild --image renova-guest-2 --name two --password geheim --property new=2 --description after "
        f"--no-key-name --user-data {tmp_path}/script --trusted-image-cert first --trusted-image-cert second "
        "--hostname www.example.org --no-preserve-ephemeral --wait one"
    )
    assert shown["adminPass"] == "geheim"
    after = cloud.settled("two")
    assert after["id"] == before["id"]
    assert after["image"]["id"] == cloud.images["renova-guest-2"]
    assert (after["metadata"], after["description"], after["key_name"]) == ({"new": "2"}, "after", None)
    assert after["trusted_image_certificates"] == ["first", "second"]
    assert after["OS-EXT-SRV-ATTR:hostname"] == "www.example.org"
    assert (after["addresses"], after["OS-EXT-SRV-ATTR:host"]) == (before["addresses"], before["OS-EXT-SRV-ATTR:host"])
    cloud.booted(after["id"], [1])
    events = [("rebuild_server", "Success"), ("compute_rebuild_instance", "Success")]
    assert newest_events(cloud, after["id"]) == ("rebuild", events)
    demo(f"server rebuild --key-name {furniture.KEY} --no-user-data --no-trusted-image-certs --wait two")
    last = cloud.settled("two")
    assert (last["key_name"], last["trusted_image_certificates"]) == (furniture.KEY, None)
    assert last["OS-EXT-SRV-ATTR:user_data"] is None
    assert "400" in demo.refused("server rebuild --preserve-ephemeral two")
    demo("server stop two")
    cloud.settled("two", "SHUTOFF")
    demo("server rebuild --wait two")
    assert cloud.settled("two", "SHUTOFF")["OS-EXT-STS:power_state"] == 4
    assert newest_events(cloud, last["id"]) == ("rebuild", [*events, ("compute_stop_instance", "Success")])


def test_actions_and_events_are_listed_by_every_option(cloud: WholeCloud, demo: OpenStack, admin: OpenStack) -> None:
    demo(f"{CREATE} --wait one")
    demo("server reboot --wait one")
    demo("server rebuild --wait one")
    server = cloud.server("one")["id"]
    rows = demo.show("server event list --long one")
    assert [row["Action"] for row in rows] == ["rebuild", "reboot", "create"] == cloud.actions(server)[::-1]
    assert demo.column("server event list --limit 1 one", "Action") == ["rebuild"]
    marked = demo.column(f"server event list --marker {rows[0]['Request ID']} one", "Action")
    assert marked == ["reboot", "create"]
    assert demo.column("server event list --changes-since 2199-01-01T00:00:00 one", "Action") == []
    assert len(demo.show("server event list --changes-before 2199-01-01T00:00:00 one")) == 3
    shown = admin.show(f"server event show {server} {rows[0]['Request ID']}")
    assert (shown["action"], shown["message"]) == ("rebuild", None)
    assert {event["event"] for event in shown["events"]} == {"rebuild_server", "compute_rebuild_instance"}


def test_an_evacuation_with_every_option(cloud: WholeCloud, admin: OpenStack) -> None:
    names = ("auto", "aimed", "old")
    for name in names:
        admin(f"{CREATE} --host host1 --wait {name}")
    cloud.kill("host1")
    try:
        # Not --wait: this client compares "active" with "ACTIVE", and would wait for ever.
        admin.at("2.94")("server evacuate auto")
        admin.at("2.30")("server evacuate --host host3 --password geheim aimed")
        admin.at("2.1")("server evacuate --shared-storage old")
        found = {name: cloud.settled(name)["OS-EXT-SRV-ATTR:host"] for name in names}
        assert found["aimed"] == "host3"
        assert "host1" not in found.values()
        told = admin.show("server migration list --type evacuation --host host1")
        status = {row["Server UUID"]: row["Status"] for row in told}  # those of earlier tests on this cloud too
        assert [status.get(cloud.server(name)["id"]) for name in names] == ["done"] * len(names)
        (one,) = cloud.migrations(cloud.server("auto")["id"])
        assert (one["source_compute"], one["dest_compute"], one["status"]) == ("host1", found["auto"], "done")
        assert newest_events(cloud, cloud.server("auto")["id"])[0] == "evacuate"
    finally:
        cloud.revive()


def test_nova_evacuates_one_and_all_of_a_host(cloud: WholeCloud, admin: OpenStack, admin_nova: Nova) -> None:
    for name in ("one", "two", "three", "four"):
        admin(f"{CREATE} --host host1 --wait {name}")
    cloud.kill("host1")
    try:
        # The hosts share their storage, and this client says that they do not.
        admin_nova.at("2.1")("evacuate --password geheim one host2")
        kept = cloud.settled("one")
        assert kept["OS-EXT-SRV-ATTR:host"] == "host1"
        assert newest_events(cloud, kept["id"])[1][-1][1] == "Error"
        admin_nova.at("2.1")("evacuate --on-shared-storage one host2")
        assert cloud.settled("one")["OS-EXT-SRV-ATTR:host"] == "host2"
        admin_nova.at("2.29")("evacuate --force two host3")
        assert cloud.settled("two")["OS-EXT-SRV-ATTR:host"] == "host3"
        rows: list[Any] = admin_nova.at("2.29").rows("host-evacuate host1")
        assert {row["Evacuate Accepted"] for row in rows} == {"True"}
        assert {cloud.settled(name)["OS-EXT-SRV-ATTR:host"] for name in ("three", "four")} <= set(HOSTS) - {"host1"}
        request = admin_nova.rows("instance-action-list three")[-1]["Request_ID"]
        assert admin_nova.properties(f"instance-action three {request}")["action"] == "evacuate"
    finally:
        cloud.revive()


def test_nova_evacuates_a_host_at_its_newest_microversion_and_leaves_servers_stopped(
    cloud: WholeCloud, admin: OpenStack, admin_nova: Nova
) -> None:
    admin(f"{CREATE} --host host1 --wait one")
    cloud.kill("host1")
    try:
        answers: list[Any] = admin_nova.rows("host-evacuate host1")
        assert [each["Evacuate Accepted"] for each in answers] == ["True"], answers
        server = cloud.settled("one", "SHUTOFF")
        assert server["OS-EXT-SRV-ATTR:host"] != "host1"
        events = ["rebuild_server", "compute_rebuild_instance", "compute_stop_instance"]
        assert [name for name, _ in newest_events(cloud, server["id"])[1]] == events
    finally:
        cloud.revive()


@pytest.mark.parametrize("version", ["2.1", ""], ids=["oldest", "newest"])
def test_nova_rebuilds_with_its_options(cloud: WholeCloud, demo_nova: Nova, version: str, tmp_path: Path) -> None:
    nova = demo_nova.at(version)
    nova("boot --flavor m1.tiny --image renova-guest --nic net-name=private --poll one")
    (tmp_path / "motd").write_text("hello\n")
    file = f"--file /etc/motd={tmp_path}/motd"
    options = (
        file if version else "--description after --key-unset --user-data-unset --trusted-image-certificates-unset"
    )
    nova(f"rebuild --poll --name two --meta a=b --rebuild-password geheim {options} one renova-guest-2")
    shown = cloud.settled("two")
    assert (shown["metadata"], shown["image"]["id"]) == ({"a": "b"}, cloud.images["renova-guest-2"])
    cloud.booted(shown["id"], [1])  # else the reboot might come before the guest has counted its first boot
    nova("reboot --hard --poll two")
    cloud.booted(shown["id"], [1, 2])
    assert [row["Action"] for row in nova.rows("instance-action-list two")] == ["create", "rebuild", "reboot"]
