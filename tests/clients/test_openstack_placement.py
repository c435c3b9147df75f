"""`openstack resource ...` for operators: Placement's own client. What is so afterwards is read by plain requests."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.commands import OpenStack
from tests.clients.whole_cloud import HOSTS, WholeCloud

pytestmark = pytest.mark.slow

CREATE = "server create --flavor m1.tiny --image renova-guest --network private"
CONSUMER = "5e000000-0000-4000-8000-000000000001"
AGGREGATE = "5e000000-0000-4000-8000-000000000002"


@pytest.fixture
def admin(cloud: WholeCloud) -> OpenStack:
    return OpenStack(cloud.environments["admin"], "--os-placement-api-version", "1.39")


@pytest.fixture
def shelf(cloud: WholeCloud, admin: OpenStack) -> Iterator[str]:
    """A provider beside the hosts, as of a storage that all of them use."""
    created = admin.show("resource provider create shelf")
    yield created["uuid"]
    if (left := read(cloud, f"/resource_providers/{created['uuid']}/allocations")) is not None:
        for consumer in left["allocations"]:
            admin(f"resource provider allocation delete {consumer}")
        admin(f"resource provider delete {created['uuid']}")


def read(cloud: WholeCloud, path: str) -> Any:
    """Return what Placement says at this path; None where there is nothing."""
    answer = cloud.admin.placement.get(path, microversion="1.39")
    assert answer.status_code in (200, 204, 404), f"GET {path}: {answer.status_code} {answer.text}"
    return None if answer.status_code == 404 else answer.json() if answer.content else {}


def provider(cloud: WholeCloud, host: str) -> str:
    (found,) = read(cloud, f"/resource_providers?name={host}")["resource_providers"]
    return str(found["uuid"])


def test_hosts_are_providers_with_what_they_have_and_can(cloud: WholeCloud, admin: OpenStack) -> None:
    assert set(admin.column("resource provider list", "name")) == set(HOSTS)
    host = provider(cloud, "host1")
    traits = admin.column(f"resource provider trait list {host}", "name")
    assert {"COMPUTE_NODE", "OWNER_NOVA", "COMPUTE_IMAGE_TYPE_QCOW2"} <= set(traits)
    assert admin.show(f"resource provider show {host}")["name"] == "host1"
    inventory = admin.show(f"resource provider inventory list {host}")
    assert {row["resource_class"]: row["used"] for row in inventory} == {"VCPU": 0, "MEMORY_MB": 0, "DISK_GB": 0}


def test_a_server_is_a_consumer_of_its_host(cloud: WholeCloud, admin: OpenStack) -> None:
    admin(f"{CREATE} --host host2 --wait one")
    server, host = cloud.server("one")["id"], provider(cloud, "host2")
    (held,) = admin.show(f"resource provider allocation show {server}")
    assert (held["resource_provider"], held["consumer_type"]) == (host, "INSTANCE")
    assert held["resources"]["VCPU"] == 1
    usage = {row["resource_class"]: row["usage"] for row in admin.show(f"resource provider usage show {host}")}
    assert (usage["VCPU"], usage["MEMORY_MB"]) == (1, held["resources"]["MEMORY_MB"])
    total = read(cloud, f"/usages?project_id={held['project_id']}")["usages"]["INSTANCE"]
    assert (total["VCPU"], total["consumer_count"]) == (1, 1)
    admin("server delete --wait one")
    assert read(cloud, f"/allocations/{server}") == {"allocations": {}}


def test_a_disabled_service_shows_a_trait_by_which_its_host_is_left_out(cloud: WholeCloud, admin: OpenStack) -> None:
    host = provider(cloud, "host3")
    query = "allocation candidate list --resource VCPU=1 --forbidden COMPUTE_STATUS_DISABLED"
    assert host in admin.column(query, "resource provider")
    admin("compute service set --disable host3 nova-compute")
    try:
        assert "COMPUTE_STATUS_DISABLED" in read(cloud, f"/resource_providers/{host}/traits")["traits"]
        assert host not in admin.column(query, "resource provider")
    finally:
        admin("compute service set --enable host3 nova-compute")
    assert "COMPUTE_STATUS_DISABLED" not in read(cloud, f"/resource_providers/{host}/traits")["traits"]


def test_a_host_is_in_placements_aggregates_as_in_computes(cloud: WholeCloud, admin: OpenStack) -> None:
    host = provider(cloud, "host1")
    uuid = admin.show("aggregate create rack")["uuid"]
    try:
        admin("aggregate add host rack host1")
        assert read(cloud, f"/resource_providers/{host}/aggregates")["aggregates"] == [uuid]
        assert admin.column(f"resource provider list --member-of {uuid}", "name") == ["host1"]
        admin("aggregate remove host rack host1")
        assert read(cloud, f"/resource_providers/{host}/aggregates")["aggregates"] == []
    finally:
        admin("aggregate delete rack")


def test_a_provider_of_ones_own(cloud: WholeCloud, admin: OpenStack, shelf: str) -> None:
    admin("resource class create CUSTOM_BOOK")
    admin("trait create CUSTOM_OAK")
    try:
        admin(f"resource provider inventory set {shelf} --resource CUSTOM_BOOK=30 --resource CUSTOM_BOOK:max_unit=5")
        admin(f"resource provider trait set {shelf} --trait CUSTOM_OAK")
        generation = read(cloud, f"/resource_providers/{shelf}")["generation"]
        admin(f"resource provider aggregate set {shelf} --aggregate {AGGREGATE} --generation {generation}")
        inventory = read(cloud, f"/resource_providers/{shelf}/inventories")["inventories"]["CUSTOM_BOOK"]
        assert (inventory["total"], inventory["max_unit"]) == (30, 5)
        assert read(cloud, f"/resource_providers/{shelf}/traits")["traits"] == ["CUSTOM_OAK"]
        assert read(cloud, f"/resource_providers/{shelf}/aggregates")["aggregates"] == [AGGREGATE]

        found = admin.show("allocation candidate list --resource CUSTOM_BOOK=2 --required CUSTOM_OAK")
        assert [row["resource provider"] for row in found] == [shelf]
        owner = "--project-id p --user-id u --consumer-type READER"
        admin(f"resource provider allocation set {CONSUMER} --allocation rp={shelf},CUSTOM_BOOK=2 {owner}")
        assert read(cloud, f"/allocations/{CONSUMER}")["allocations"][shelf]["resources"] == {"CUSTOM_BOOK": 2}
        refusal = admin.refused(
            f"resource provider allocation set {CONSUMER} --allocation rp={shelf},CUSTOM_BOOK=6 {owner}"
        )
        assert "409" in refusal
        assert "409" in admin.refused(f"resource provider delete {shelf}")
        assert read(cloud, f"/resource_providers/{shelf}/usages")["usages"] == {"CUSTOM_BOOK": 2}
        admin(f"resource provider allocation delete {CONSUMER}")
        assert read(cloud, f"/allocations/{CONSUMER}") == {"allocations": {}}
        admin(f"resource provider inventory delete {shelf} --resource-class CUSTOM_BOOK")
        admin(f"resource provider trait delete {shelf}")
    finally:
        admin("trait delete CUSTOM_OAK")
        admin("resource class delete CUSTOM_BOOK")
    assert read(cloud, "/traits/CUSTOM_OAK") is None
    assert read(cloud, "/resource_classes/CUSTOM_BOOK") is None
