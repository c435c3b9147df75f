"""`openstack server`: what stops a server without ending it, what keeps hands off it, and images of it."""

import pytest

from tests.clients.commands import OpenStack
from tests.clients.test_openstack_servers import CREATE
from tests.clients.whole_cloud import WholeCloud

pytestmark = pytest.mark.slow


def states(cloud: WholeCloud, name: str, status: str) -> tuple[str, int]:
    """Wait for the status, and return vm_state and power state."""
    server = cloud.settled(name, status)
    return server["OS-EXT-STS:vm_state"], server["OS-EXT-STS:power_state"]


def test_a_paused_server_goes_on_without_a_boot(cloud: WholeCloud, demo: OpenStack) -> None:
    demo(f"{CREATE} --network private --wait one")
    server = cloud.server("one")["id"]
    cloud.booted(server, [1])
    demo("server pause one")
    assert states(cloud, "one", "PAUSED") == ("paused", 3)
    assert "409" in demo.refused("server pause one")
    assert "vm_state paused" in demo.refused("server stop one")
    demo("server unpause one")
    assert states(cloud, "one", "ACTIVE") == ("active", 1)
    assert cloud.boots(server) == [1]
    assert cloud.actions(server) == ["create", "pause", "unpause"]


def test_a_suspended_server_goes_on_without_a_boot(cloud: WholeCloud, demo: OpenStack) -> None:
    demo(f"{CREATE} --network private --wait one")
    server = cloud.server("one")["id"]
    cloud.booted(server, [1])
    demo("server suspend one")
    assert states(cloud, "one", "SUSPENDED") == ("suspended", 4)
    demo("server resume one")
    assert states(cloud, "one", "ACTIVE") == ("active", 1)
    assert cloud.boots(server) == [1]
    demo("server suspend one")
    cloud.settled("one", "SUSPENDED")
    demo("server reboot --hard --wait one")
    cloud.booted(server, [1, 2])
    assert cloud.actions(server) == ["create", "suspend", "resume", "suspend", "reboot"]


def test_a_lock_has_a_reason_and_an_owner(cloud: WholeCloud, admin: OpenStack, demo: OpenStack) -> None:
    demo(f"{CREATE} --network private --wait one")
    server = cloud.server("one")["id"]
    demo("server lock --reason 'do not touch' one")
    assert (cloud.server("one")["locked"], cloud.server("one")["locked_reason"]) == (True, "do not touch")
    assert "is locked" in demo.refused("server pause one")
    assert demo.column("server list --locked", "Name") == ["one"]
    demo("server unlock one")
    assert (cloud.server("one")["locked"], cloud.server("one")["locked_reason"]) == (False, None)
    admin(f"server lock {server}")
    assert "403" in demo.refused("server unlock one")
    assert cloud.server("one")["locked"] is True
    admin(f"server unlock {server}")
    assert cloud.server("one")["locked"] is False


def test_an_administrator_sets_the_state(cloud: WholeCloud, admin: OpenStack, demo: OpenStack) -> None:
    demo(f"{CREATE} --network private --wait one")
    server = cloud.server("one")["id"]
    assert "403" in demo.refused("server set --auto-approve --state error one")
    admin(f"server set --auto-approve --state error {server}")
    assert cloud.server("one")["OS-EXT-STS:vm_state"] == "error"
    demo("server reboot --hard one")  # not --wait: the server is shown in ERROR until it has rebooted
    cloud.wait(lambda: cloud.server("one")["status"] == "ACTIVE", "the server does not leave ERROR")
    assert states(cloud, "one", "ACTIVE") == ("active", 1)


def test_a_server_is_made_of_an_image_of_another(cloud: WholeCloud, demo: OpenStack) -> None:
    demo(f"{CREATE} --network private --wait one")
    cloud.booted(cloud.server("one")["id"], [1])
    demo("server image create --name mine --property colour=red --wait one")
    cloud.settled("one")
    image = cloud.admin.image.find_image("mine")
    assert (image.status, image.visibility, image.disk_format) == ("active", "private", "qcow2")
    assert image.owner_id == cloud.demo.current_project_id
    server = cloud.server("one")
    shown = demo.show("image show mine")["properties"]
    assert (shown["instance_uuid"], shown["image_type"], shown["colour"]) == (server["id"], "snapshot", "red")
    assert shown["base_image_ref"] == server["image"]["id"]
    demo("server create --flavor m1.tiny --image mine --network private --wait two")
    cloud.booted(cloud.server("two")["id"], [2])  # the disk knew of the first one's boot
    demo("image delete mine")


def test_backups_are_rotated(cloud: WholeCloud, demo: OpenStack) -> None:
    demo(f"{CREATE} --network private --wait one")
    for name in ("a", "b", "c"):
        demo(f"server backup create --name {name} --type daily --rotate 2 --wait one")
        cloud.settled("one")
    server = cloud.server("one")["id"]
    left = [image.name for image in cloud.admin.image.images(instance_uuid=server)]
    assert sorted(left) == ["b", "c"]
    for name in left:
        demo(f"image delete {name}")
