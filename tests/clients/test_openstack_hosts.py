"""`openstack` for operators: compute services and hypervisors."""

import re

import pytest

from tests.clients.commands import OpenStack
from tests.clients.whole_cloud import HOSTS, WholeCloud

pytestmark = pytest.mark.slow

CREATE = "server create --flavor m1.tiny --image renova-guest --network private"


def test_services_are_listed_disabled_and_enabled(cloud: WholeCloud, admin: OpenStack) -> None:
    found = admin.show("compute service list --long")
    assert {row["Host"]: (row["Binary"], row["State"], row["Status"]) for row in found} == dict.fromkeys(
        HOSTS, ("nova-compute", "up", "enabled")
    )
    assert admin.column("compute service list --host host2", "Host") == ["host2"]
    admin("compute service set --disable --disable-reason 'new fans' host1 nova-compute")
    service = cloud.service("host1")
    assert (service["status"], service["disabled_reason"], service["state"]) == ("disabled", "new fans", "up")
    admin(f"{CREATE} --min 4 --max 4 --wait one")
    assert {cloud.settled(f"one-{number}")["OS-EXT-SRV-ATTR:host"] for number in range(1, 5)} == {"host2", "host3"}
    admin("compute service set --enable host1 nova-compute")
    service = cloud.service("host1")
    assert (service["status"], service["disabled_reason"]) == ("enabled", None)
    admin.refused("compute service set --disable nohost nova-compute")
    assert [cloud.service(host)["status"] for host in HOSTS] == ["enabled"] * 3


def test_a_service_forced_down_is_down_yet_its_host_is_not_dead(cloud: WholeCloud, admin: OpenStack) -> None:
    admin(f"{CREATE} --host host2 --wait one")
    admin("compute service set --down host2 nova-compute")
    try:
        service = cloud.service("host2")
        assert (service["state"], service["forced_down"]) == ("down", True)
        assert admin.column("server list --long", "Host Status") == ["DOWN"]
        refusal = admin.refused("server evacuate one")
        assert "400" in refusal
        assert "still in use: it is forced down but still renews its lease" in refusal
        server = cloud.server("one")
        assert (server["OS-EXT-SRV-ATTR:host"], server["OS-EXT-STS:task_state"]) == ("host2", None)
        assert cloud.migrations(server["id"]) == []
        admin(f"{CREATE} --min 3 --max 3 --wait two")
        assert "host2" not in {cloud.settled(f"two-{number}")["OS-EXT-SRV-ATTR:host"] for number in range(1, 4)}
    finally:
        admin("compute service set --up host2 nova-compute")
    assert cloud.service("host2")["state"] == "up"


def test_evacuating_from_or_to_the_wrong_host_is_refused(cloud: WholeCloud, admin: OpenStack) -> None:
    admin(f"{CREATE} --host host1 --wait one")
    server = cloud.server("one")
    assert re.search("400.*host1 is still in use: it is up", admin.refused("server evacuate one"))
    assert re.search("400.*can't be the same", admin.refused("server evacuate --host host1 one"))
    assert re.search("404.*nohost", admin.refused("server evacuate --host nohost one"))
    assert cloud.settled("one") == server
    assert cloud.migrations(server["id"]) == []
    assert cloud.actions(server["id"]) == ["create"]


def test_hypervisors_say_what_they_have(cloud: WholeCloud, admin: OpenStack) -> None:
    admin(f"{CREATE} --host host3 --wait one")
    found = admin.show("hypervisor list --long")
    assert {row["Hypervisor Hostname"]: row["State"] for row in found} == dict.fromkeys(HOSTS, "up")
    shown = admin.show("hypervisor show host3")
    assert (shown["hypervisor_type"], shown["state"], shown["status"]) == ("QEMU", "up", "enabled")
    old = admin.at("2.1").show("hypervisor show host3")
    (provider,) = cloud.admin.placement.resource_providers(name="host3")
    assert provider.id == shown["id"]
    offered = {each.resource_class: each for each in cloud.admin.placement.resource_provider_inventories(provider)}
    memory = offered["MEMORY_MB"]
    assert (old["vcpus"], old["vcpus_used"], old["running_vms"]) == (offered["VCPU"].total, 1, 1)
    assert (old["memory_mb"], old["memory_mb_used"]) == (memory.total, memory.reserved + 128)
    totals = admin.show("hypervisor stats show")
    assert (totals["count"], totals["vcpus"], totals["vcpus_used"], totals["running_vms"]) == (
        3,
        3 * old["vcpus"],
        1,
        1,
    )
