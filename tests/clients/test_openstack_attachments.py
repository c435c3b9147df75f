"""`openstack server add volume`, `add port` and the like: what a server has is told by the services that it is of."""

from typing import Any

import pytest

from tests.clients.commands import Failed, OpenStack
from tests.clients.whole_cloud import WholeCloud

pytestmark = pytest.mark.slow

CREATE = "server create --flavor m1.tiny --nic none"
FROM_IMAGE = f"{CREATE} --image renova-guest"


def volume(cloud: WholeCloud, name: str) -> Any:
    """Return the volume of this name, by the volume service."""
    found = next(each for each in cloud.admin.block_storage.volumes(all_projects=True) if each.name == name)
    return cloud.admin.block_storage.get_volume(found.id)


def until(cloud: WholeCloud, name: str, status: str) -> Any:
    cloud.wait(lambda: volume(cloud, name).status == status, f"volume {name} is not {status}")
    return volume(cloud, name)


def has(cloud: WholeCloud, server: str) -> dict[str, str]:
    """Return the volumes of a server, each with its device, by the Compute API."""
    path = f"/servers/{cloud.server(server)['id']}/os-volume_attachments"
    return {each["volumeId"]: each["device"] for each in cloud.get(path)["volumeAttachments"]}


def test_a_volume_is_added_listed_and_removed(cloud: WholeCloud, demo: OpenStack) -> None:
    demo("volume create --size 1 data")
    until(cloud, "data", "available")
    demo(f"{FROM_IMAGE} --wait one")
    shown = demo.show("server add volume one data --device /dev/vdf --tag db --enable-delete-on-termination")
    assert shown["Device"] == "/dev/vdf"
    found = until(cloud, "data", "in-use")
    assert has(cloud, "one") == {found.id: "/dev/vdf"}
    (attached,) = found.attachments
    assert (attached["server_id"], attached["device"]) == (cloud.server("one")["id"], "vdf")
    (listed,) = demo.show("server volume list one")
    assert (listed["Volume ID"], listed["Tag"], listed["Delete On Termination?"]) == (found.id, "db", True)
    demo("server volume update --preserve-on-termination one data")
    assert cloud.server("one")["os-extended-volumes:volumes_attached"] == [
        {"id": found.id, "delete_on_termination": False}
    ]
    for kind in ("--hard", "--soft"):
        demo(f"server reboot --wait {kind} one")
    assert has(cloud, "one") == {found.id: "/dev/vdf"}
    demo("server remove volume one data")
    until(cloud, "data", "available")
    assert has(cloud, "one") == {}
    assert cloud.actions(cloud.server("one")["id"]) == [
        *("create", "attach_volume", "reboot", "reboot", "detach_volume")
    ]
    demo("volume delete data")


def test_servers_boot_from_volumes_and_have_more(cloud: WholeCloud, demo: OpenStack) -> None:
    demo(f"{FROM_IMAGE} --boot-from-volume 1 --wait root")
    server = cloud.settled("root")
    assert server["image"] == ""
    (root,) = has(cloud, "root")
    assert cloud.admin.block_storage.get_volume(root).is_bootable
    assert cloud.allocations(server["id"]) == {server["OS-EXT-SRV-ATTR:host"]: {"VCPU": 1, "MEMORY_MB": 128}}
    demo("volume create --size 1 --image renova-guest bootable")
    until(cloud, "bootable", "available")
    block = "uuid={},source_type=volume,boot_index=0"
    demo(f"{CREATE} --volume bootable --wait from-volume")
    assert list(has(cloud, "from-volume").values()) == ["/dev/vda"]
    demo(
        f"{FROM_IMAGE} --block-device source_type=blank,destination_type=volume,volume_size=1,"
        "delete_on_termination=true --wait with-blank"
    )
    (blank,) = has(cloud, "with-blank")
    demo("server delete --wait root from-volume with-blank")
    cloud.wait(lambda: blank not in {each.id for each in cloud.admin.block_storage.volumes(all_projects=True)}, "left")
    until(cloud, "bootable", "available")
    assert "is not bootable" in demo.refused(f"{CREATE} --block-device {block.format(_blank(cloud, demo))} never")
    for each in cloud.admin.block_storage.volumes(all_projects=True):
        cloud.admin.block_storage.delete_volume(each.id)


def _blank(cloud: WholeCloud, demo: OpenStack) -> str:
    demo("volume create --size 1 blank")
    return str(until(cloud, "blank", "available").id)


def test_ports_networks_and_addresses_are_added_and_removed(
    cloud: WholeCloud, demo: OpenStack, admin: OpenStack
) -> None:
    port = demo.show("port create --network private mine")
    demo(f"{FROM_IMAGE} --wait many")
    server = cloud.server("many")["id"]
    demo("server add port many mine")
    demo("server add network many private")
    wanted = "server add fixed ip --fixed-ip-address 10.0.0.123 many private"
    with pytest.raises(Failed, match="403"):
        demo(wanted)  # an address of a network that is not the project's own is its owner's to choose
    admin(wanted.replace("many", server))
    found = {each.id: each for each in cloud.ports(server)}
    assert len(found) == 3
    assert {each.status for each in found.values()} == {"ACTIVE"}
    addresses = {each["addr"] for each in cloud.server("many")["addresses"]["private"]}
    assert addresses == {each.fixed_ips[0]["ip_address"] for each in found.values()}
    assert "10.0.0.123" in addresses
    demo("server remove port many mine")
    cloud.wait(lambda: len(cloud.ports(server)) == 2, "the port is not removed")
    mine = cloud.admin.network.get_port(port["id"])
    assert (mine.device_id, mine.status) == ("", "DOWN")
    demo("server remove network many private")
    cloud.wait(lambda: not cloud.ports(server), "the ports are not removed")
    cloud.wait(lambda: cloud.server("many")["addresses"] == {}, "addresses are left")
    demo("port delete mine")
