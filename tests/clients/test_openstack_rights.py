"""What the ordinary user may not do, and may not see."""

from typing import Any

import pytest

from tests.clients.commands import OpenStack
from tests.clients.whole_cloud import HOSTS, WholeCloud

pytestmark = pytest.mark.slow

CREATE = "server create --flavor m1.tiny --image renova-guest --network private"


def test_an_operators_matters_are_not_for_users(cloud: WholeCloud, demo: OpenStack) -> None:
    demo(f"{CREATE} --wait mine")
    mine = cloud.settled("mine")
    for line in (
        "server evacuate mine",
        "server list --all-projects",
        "server migration list",
        f"{CREATE} --host host1 bad",
        f"{CREATE} --availability-zone nova:host1 bad",
        "compute service list",
        "compute service set --down host1 nova-compute",
        "hypervisor list",
        "hypervisor show host1",
        "flavor delete m1.tiny",
    ):
        assert "403" in demo.refused(line), line
    assert cloud.demo.placement.get("/resource_providers").status_code == 403
    assert [cloud.service(host)["state"] for host in HOSTS] == ["up"] * 3
    assert cloud.settled("mine") == mine
    assert [server["name"] for server in cloud.servers()] == ["mine"]


def test_a_foreign_server_is_not_there(cloud: WholeCloud, admin: OpenStack, demo: OpenStack) -> None:
    admin(f"{CREATE} --wait foreign")
    foreign = cloud.settled("foreign")
    for verb in ("show", "delete", "reboot", "stop", "evacuate", "rebuild", "lock"):
        assert "No Server found" in demo.refused(f"server {verb} {foreign['id']}"), verb
    assert "404" in demo.refused(f"server event list {foreign['id']}")
    assert demo.show("server list") == []
    # The client looks a server up before it does something with it; so its very address is asked too.
    api, path = cloud.demo.compute, f"/servers/{foreign['id']}"
    for part in ("", "/os-instance-actions", "/ips", "/os-interface", "/tags", "/metadata"):
        assert api.get(path + part, microversion="2.95").status_code == 404, part
    actions: dict[str, Any] = {"os-stop": None, "evacuate": {}, "reboot": {"type": "HARD"}, "os-getConsoleOutput": {}}
    for action, value in actions.items():
        assert api.post(f"{path}/action", json={action: value}, microversion="2.95").status_code == 404, action
    assert api.delete(path).status_code == 404
    assert cloud.settled("foreign") == foreign


def test_where_a_server_is_is_not_shown_to_its_user(cloud: WholeCloud, demo: OpenStack) -> None:
    demo(f"{CREATE} --wait mine")
    mine = cloud.settled("mine")
    seen = cloud.demo.compute.get(f"/servers/{mine['id']}", microversion="2.104").json()["server"]
    assert set(mine) - set(seen) == {
        "OS-EXT-SRV-ATTR:host",
        "OS-EXT-SRV-ATTR:hypervisor_hostname",
        "OS-EXT-SRV-ATTR:instance_name",
        "OS-EXT-SRV-ATTR:kernel_id",
        "OS-EXT-SRV-ATTR:launch_index",
        "OS-EXT-SRV-ATTR:ramdisk_id",
        "OS-EXT-SRV-ATTR:reservation_id",
        "OS-EXT-SRV-ATTR:root_device_name",
        "OS-EXT-SRV-ATTR:user_data",
        "host_status",
    }
    assert mine["OS-EXT-SRV-ATTR:host"] in HOSTS
    for line in ("server show mine -f json", "server list --long -f json", "server event list --long mine -f json"):
        assert mine["OS-EXT-SRV-ATTR:host"] not in demo(line), line
