"""`openstack volume`: volumes, snapshots, types, attachments and services, as users and operators speak of them."""

from collections.abc import Iterator

import pytest

from renova.lab import furniture
from renova.lab.processes import wait_until
from tests.clients.commands import OpenStack
from tests.clients.whole_cloud import LIMIT_S, WholeCloud

pytestmark = pytest.mark.slow

SERVER = "00000000-0000-4000-8000-0000000000c1"


@pytest.fixture
def demo(cloud: WholeCloud) -> Iterator[OpenStack]:
    """A user who leaves no volume behind."""
    demo = OpenStack(cloud.environments["demo"], "--os-volume-api-version", "3.68")
    yield demo
    for volume in demo.column("volume list", "ID"):
        demo(f"volume delete --purge {volume}")
    wait_until(lambda: demo.show("volume list") == [], LIMIT_S, "volumes are left", pause=0.2)


@pytest.fixture
def admin(cloud: WholeCloud) -> OpenStack:
    return OpenStack(cloud.environments["admin"], "--os-volume-api-version", "3.68")


def until(demo: OpenStack, what: str, name: str, status: str) -> None:
    wait_until(
        lambda: demo.show(f"{what} show {name}")["status"] == status, LIMIT_S, f"{name} is not {status}", pause=0.2
    )


def test_a_volume_is_made_changed_and_deleted(cloud: WholeCloud, demo: OpenStack) -> None:
    made = demo.show("volume create --size 1 --description mine --property use=tests data")
    assert (made["name"], made["size"], str(made["bootable"]).lower()) == ("data", 1, "false")
    until(demo, "volume", "data", "available")
    assert demo.column("volume list", "Name") == ["data"]
    assert demo.column("volume list --long", "Type") == ["__DEFAULT__"]
    demo("volume set --name store --property use=more --size 2 data")
    until(demo, "volume", "store", "available")
    shown = demo.show("volume show store")
    assert (shown["size"], shown["properties"]) == (2, {"use": "more"})
    demo("volume set --bootable store")
    demo("volume unset --property use store")
    assert demo.show("volume show store")["properties"] == {}
    demo("volume delete store")
    wait_until(lambda: demo.show("volume list") == [], LIMIT_S, "the volume is still there", pause=0.2)
    assert "No" in demo.refused("volume show store")


def test_volumes_are_made_of_images_snapshots_and_volumes(cloud: WholeCloud, demo: OpenStack) -> None:
    demo(f"volume create --size 2 --image {furniture.IMAGES[0]} disk")
    until(demo, "volume", "disk", "available")
    assert str(demo.show("volume show disk")["bootable"]).lower() == "true"
    demo("volume snapshot create --volume disk before")
    until(demo, "volume snapshot", "before", "available")
    demo("volume snapshot set --name kept --property a=b before")
    assert demo.column("volume snapshot list", "Name") == ["kept"]
    demo("volume create --snapshot kept again")
    demo("volume create --source disk copy")
    for name in ("again", "copy"):
        until(demo, "volume", name, "available")
        assert demo.show(f"volume show {name}")["size"] == 2
    assert "snapshots" in demo.refused("volume delete disk")
    demo("volume snapshot delete kept")
    wait_until(lambda: demo.show("volume snapshot list") == [], LIMIT_S, "the snapshot is there", pause=0.2)


def test_a_volume_is_attached_by_hand(cloud: WholeCloud, demo: OpenStack, admin: OpenStack) -> None:
    demo("volume create --size 1 data")
    until(demo, "volume", "data", "available")
    volume = demo.show("volume show data")["id"]
    made = cloud.demo.block_storage.post(
        "/attachments",
        json={"attachment": {"volume_uuid": volume, "instance_uuid": SERVER}},
        microversion="3.54",
    ).json()["attachment"]
    assert demo.column("volume attachment list", "ID") == [made["id"]]
    until(demo, "volume", "data", "reserved")
    admin(f"volume attachment set --host host1 --ip 10.0.0.1 {made['id']}")
    assert demo.show(f"volume attachment show {made['id']}")["Status"] == "attaching"
    demo(f"volume attachment complete {made['id']}")
    until(demo, "volume", "data", "in-use")
    assert "attached" in demo.refused("volume delete data")
    demo(f"volume attachment delete {made['id']}")
    until(demo, "volume", "data", "available")


def test_operators_see_types_services_and_states(cloud: WholeCloud, demo: OpenStack, admin: OpenStack) -> None:
    assert demo.column("volume type list", "Name") == ["__DEFAULT__"]
    admin("volume type create --property disk=ssd fast")
    demo("volume create --size 1 --type fast data")
    until(demo, "volume", "data", "available")
    (service,) = admin.show("volume service list")
    assert (service["Binary"], service["Host"], service["State"]) == ("cinder-volume", "storage1", "up")
    admin(f"volume set --state error {demo.show('volume show data')['id']}")
    until(demo, "volume", "data", "error")
    demo("volume delete data")
    wait_until(lambda: demo.show("volume list") == [], LIMIT_S, "the volume is still there", pause=0.2)
    admin("volume type delete fast")
    assert demo.show("availability zone list --volume") == [{"Zone Name": "nova", "Zone Status": "available"}]
    limits = {row["Name"].replace("_", "").lower(): row["Value"] for row in demo.show("limits show --absolute")}
    assert limits["maxtotalvolumes"] == 10
