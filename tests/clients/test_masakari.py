"""What Masakari's users have: its plugin of `openstack`, and openstacksdk, by which monitors send notifications."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from openstack import exceptions as sdk

from renova.model.alarm import OPEN
from tests.clients.commands import OpenStack
from tests.clients.whole_cloud import WholeCloud

pytestmark = pytest.mark.slow

DOWN = {"event": "STOPPED", "cluster_status": "OFFLINE", "host_status": "NORMAL"}


@pytest.fixture
def monitor(cloud: WholeCloud) -> Iterator[Any]:
    """Return what monitors have; afterwards all hosts are up and in use, and in no segment."""
    yield cloud.admin.instance_ha
    cloud.clear()
    cloud.revive()
    for segment in known(cloud, "segments"):
        cloud.admin.instance_ha.delete(f"/segments/{segment['uuid']}")
    for service in cloud.admin.compute.services():
        if service.status == "disabled":
            cloud.admin.compute.enable_service(service)


def known(cloud: WholeCloud, path: str) -> Any:
    """Return what a plain request reads there."""
    answer = cloud.admin.instance_ha.get(f"/{path}", microversion="1.3")
    assert answer.status_code == 200, answer.text
    (found,) = answer.json().values()
    return found


def now() -> str:
    """Return the time as Masakari writes it."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")


def segment_of(monitor: Any, *hosts: str) -> str:
    """Have a segment of these hosts; returns its uuid."""
    made = monitor.create_segment(name="rack-1", recovery_method="auto", service_type="COMPUTE")
    for host in hosts:
        monitor.create_host(made.uuid, name=host, type="COMPUTE", control_attributes="SSH")
    return str(made.uuid)


def say(monitor: Any, kind: str, host: str, **payload: str) -> str:
    """Send a notification as masakari-monitors do; returns its uuid."""
    sent = monitor.create_notification(type=kind, hostname=host, generated_time=now(), payload=payload)
    return str(sent.notification_uuid)


def heeded(cloud: WholeCloud, uuid: str) -> dict[str, Any]:
    """Wait until the notification has come to its end; return it."""
    path = f"notifications/{uuid}"
    cloud.wait(lambda: known(cloud, path)["status"] not in OPEN, "the notification is not heeded")
    return dict(known(cloud, path))


def on_host1(cloud: WholeCloud) -> str:
    """Have a server on host1; returns its id."""
    where = {"availability_zone": "nova:host1", "network": "private", "auto_ip": False}
    cloud.admin.create_server("one", image="renova-guest", flavor="m1.tiny", wait=True, **where)
    return str(cloud.server("one")["id"])


def test_openstack_segment_makes_changes_and_removes_segments(
    cloud: WholeCloud, monitor: Any, admin: OpenStack
) -> None:
    made = admin.show("segment create rack-1 rh_priority COMPUTE --description first")
    (found,) = known(cloud, "segments")
    assert found["uuid"] == made["uuid"]
    assert (found["name"], found["recovery_method"], found["description"]) == ("rack-1", "rh_priority", "first")
    assert found["enabled"]
    admin("segment update rack-1 --recovery_method auto --is_enabled False")
    changed = known(cloud, f"segments/{made['uuid']}")
    assert (changed["recovery_method"], changed["enabled"]) == ("auto", False)
    assert admin.column("segment list --filters recovery_method=auto", "uuid") == [made["uuid"]]
    assert admin.show("segment show rack-1")["is_enabled"] is False
    assert "already exists" in admin.refused("segment create rack-1 auto COMPUTE")
    admin("segment delete rack-1")
    assert known(cloud, "segments") == []


def test_openstack_segment_host_takes_hosts_out_of_use_and_into_it_again(
    cloud: WholeCloud, monitor: Any, admin: OpenStack
) -> None:
    segment = segment_of(monitor)
    admin("segment host create host1 COMPUTE SSH rack-1")
    (found,) = known(cloud, f"segments/{segment}/hosts")
    assert (found["name"], found["reserved"], found["on_maintenance"]) == ("host1", False, False)
    for flag in ("reserved", "on_maintenance"):
        admin(f"segment host update rack-1 host1 --{flag} True")
        assert cloud.service("host1")["status"] == "disabled"
        assert admin.column(f"segment host list rack-1 --filters {flag}=True", "name") == ["host1"]
        admin(f"segment host update rack-1 host1 --{flag} False")
        assert cloud.service("host1")["status"] == "enabled"
    assert admin.show("segment host show rack-1 host1")["uuid"] == found["uuid"]
    assert "could not be found" in admin.refused("segment host create nowhere COMPUTE SSH rack-1")
    admin("segment host delete rack-1 host1")
    assert known(cloud, f"segments/{segment}/hosts") == []


def test_openstack_notification_tells_of_a_process_that_has_failed(
    cloud: WholeCloud, monitor: Any, admin: OpenStack
) -> None:
    segment_of(monitor, "host1")
    payload = '{"event": "STOPPED", "process_name": "libvirtd"}'
    sent = admin.show(f"notification create PROCESS host1 {now()} '{payload}'")["notification_uuid"]
    assert heeded(cloud, sent)["status"] == "finished"
    assert cloud.service("host1")["disabled_reason"] == "process libvirtd has stopped"
    assert admin.show(f"notification show {sent}")["status"] == "finished"
    assert admin.column("notification list --filters type=PROCESS", "notification_uuid")[0] == sent


def test_openstack_notification_vmove_shows_where_the_servers_of_a_dead_host_went(
    cloud: WholeCloud, monitor: Any, admin: OpenStack
) -> None:
    server = on_host1(cloud)
    segment_of(monitor, "host1")
    cloud.kill("host1")
    uuid = say(monitor, "COMPUTE_HOST", "host1", **DOWN)
    assert heeded(cloud, uuid)["status"] == "finished"
    told = admin.show(f"notification show {uuid}")["recovery_workflow_details"][-1]
    assert (told["name"], told["state"]) == ("bring its servers up elsewhere", "SUCCESS")
    assert "recovery.automatic" in told["progress_details"][-1]["message"], "this cloud leaves it to its operators"

    cloud.admin.compute.evacuate_server(server)
    reached = cloud.settled("one", "SHUTOFF")["OS-EXT-SRV-ATTR:host"]
    assert reached != "host1"
    (move,) = admin.show(f"notification vmove list {uuid}")
    assert (move["server_id"], move["source_host"], move["dest_host"]) == (server, "host1", reached)
    assert (move["type"], move["status"]) == ("evacuation", "succeeded")
    assert admin.show(f"notification vmove show {uuid} {move['uuid']}")["server_name"] == "one"


def test_a_host_that_is_well_stays_so_whatever_monitors_say_of_it(cloud: WholeCloud, monitor: Any) -> None:
    server = on_host1(cloud)
    segment_of(monitor, "host1")
    assert heeded(cloud, say(monitor, "COMPUTE_HOST", "host1", **DOWN))["status"] == "ignored"
    assert cloud.service("host1")["state"] == "up"
    assert (cloud.server("one")["OS-EXT-SRV-ATTR:host"], cloud.boots(server)) == ("host1", [1])
    with pytest.raises(sdk.BadRequestException, match="any segment"):
        say(monitor, "COMPUTE_HOST", "host2", **DOWN)
