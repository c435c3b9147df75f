"""Payloads have the fields of Nova's, by its own samples (doc/notification_samples), and ours in them."""

from typing import Any

import msgspec
import pytest

from renova.engine.operation import Failure
from renova.model.flavor import Flavor
from renova.model.guest import PowerState
from renova.model.ids import HostId, ImageId, NetworkId, PortId, ProjectId, ServerId, UserId
from renova.model.server import AttachedAddress, AttachedNetwork, KeyPair, Server, TaskState, VmState
from renova.operations.parts import legacy_notices, versioned_notices
from renova.operations.parts.notice import Doer, Notice, Period


def names(fields: str) -> set[str]:
    return set(fields.split())


INSTANCE = names(
    "architecture availability_zone block_devices created_at deleted_at display_name display_description host "
    "host_name ip_addresses kernel_id key_name launched_at image_uuid metadata locked locked_reason node os_type "
    "progress ramdisk_id reservation_id state task_state power_state tenant_id terminated_at auto_disk_config flavor "
    "updated_at user_id uuid request_id action_initiator_user action_initiator_project"
)
FLAVOR = names(
    "flavorid name root_gb vcpus ephemeral_gb memory_mb disabled rxtx_factor extra_specs projects swap is_public "
    "vcpu_weight description"
)
REQUEST = names(
    "availability_zone flavor ignore_hosts image instance_uuid num_instances numa_topology pci_requests project_id "
    "scheduler_hints security_groups force_hosts force_nodes instance_group requested_destination retry user_id"
)
FAULT = {"function_name", "module_name", "exception", "exception_message", "traceback"}

KEY = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDx8nkQv/zgGgB4rMYmIf+6A4l6Rr+o/6lHBQdW5aYd44bd8JttDCE"
SERVER = Server(
    id=ServerId("the-server"),
    serial=10,
    project=ProjectId("apollo"),
    user=UserId("ann"),
    name="web",
    description=None,
    hostname="web",
    vm_state=VmState.ACTIVE,
    task_state=TaskState.REBUILDING,
    power_state=PowerState.NOSTATE,
    host=HostId("h1"),
    host_name="compute1",
    availability_zone="nova",
    flavor=Flavor(id="1", name="tiny", vcpus=1, memory_mb=128, root_gb=1, ephemeral_gb=2, swap_mb=3),
    image=ImageId("image"),
    key=KeyPair("my-key", f"{KEY}A= comment"),
    user_data="c2VjcmV0",
    metadata={"role": "web"},
    tags=("tag",),
    networks=(
        AttachedNetwork(NetworkId("n"), "private", (AttachedAddress("10.0.0.4", "fa:16:3e:1:2:3", PortId("p")),)),
    ),
    created_at="2026-11-21T08:00:00.123456",
    updated_at="2026-11-21T08:00:01.123456",
    launched_at="2026-11-21T08:00:02.123456",
)
FAILURE = Failure("no such machine type", "Refused", "Traceback ...", "reboot.restart_guest")
PERIOD = Period("2026-11-01T00:00:00.000000", "2026-11-21T08:00:00.000000")
NOTICE = Notice(
    "instance.reboot.start", SERVER, doer=Doer("req-1", "bob", "admins"), period=PERIOD, controller="cloud.example"
)


def a_notice(event: str, **changes: Any) -> Notice:
    return msgspec.structs.replace(NOTICE, event=event, **changes)


def payload(notice: Notice) -> tuple[str, str, dict[str, Any]]:
    made = versioned_notices.payload(notice)
    assert set(made) == {"nova_object.name", "nova_object.namespace", "nova_object.version", "nova_object.data"}
    assert made["nova_object.namespace"] == "nova"
    msgspec.json.encode(made)
    return made["nova_object.name"], made["nova_object.version"], made["nova_object.data"]


@pytest.mark.parametrize(
    ("event", "name", "version", "fields"),
    [
        ("instance.reboot.start", "InstanceActionPayload", "1.8", INSTANCE | {"fault"}),
        ("instance.evacuate", "InstanceActionPayload", "1.8", INSTANCE | {"fault"}),
        ("instance.power_off.end", "InstanceActionPayload", "1.8", INSTANCE | {"fault"}),
        ("instance.live_migration_post.start", "InstanceActionPayload", "1.8", INSTANCE | {"fault"}),
        (
            "instance.rebuild.start",
            "InstanceActionRebuildPayload",
            "1.9",
            INSTANCE | {"fault", "trusted_image_certificates"},
        ),
        (
            "instance.rebuild_scheduled",
            "InstanceActionRebuildPayload",
            "1.9",
            INSTANCE | {"fault", "trusted_image_certificates"},
        ),
        (
            "instance.create.end",
            "InstanceCreatePayload",
            "1.12",
            INSTANCE | {"fault", "keypairs", "tags", "trusted_image_certificates", "instance_name"},
        ),
        ("instance.resize_prep.start", "InstanceActionResizePrepPayload", "1.3", INSTANCE | {"fault", "new_flavor"}),
        ("instance.exists", "InstanceExistsPayload", "2.0", INSTANCE | {"audit_period"}),
        (
            "instance.update",
            "InstanceUpdatePayload",
            "2.0",
            INSTANCE | {"state_update", "audit_period", "old_display_name", "tags"},
        ),
    ],
)
def test_a_payload_has_the_fields_of_novas(event: str, name: str, version: str, fields: set[str]) -> None:
    made = payload(a_notice(event))
    assert made[:2] == (name, version)
    assert set(made[2]) == fields
    assert set(made[2]["flavor"]["nova_object.data"]) == FLAVOR


def test_a_payload_tells_what_the_row_says() -> None:
    _, _, data = payload(NOTICE)
    assert (data["uuid"], data["tenant_id"], data["user_id"]) == ("the-server", "apollo", "ann")
    assert (data["state"], data["task_state"], data["power_state"]) == ("active", "rebuilding", "pending")
    assert (data["host"], data["node"], data["host_name"]) == ("compute1", "compute1", "web")
    assert data["created_at"] == "2026-11-21T08:00:00Z"
    assert data["deleted_at"] is None
    assert data["flavor"]["nova_object.data"]["swap"] == 3
    (address,) = data["ip_addresses"]
    assert address["nova_object.data"] == {
        "label": "private",
        "mac": "fa:16:3e:1:2:3",
        "meta": {},
        "port_uuid": "p",
        "version": 4,
        "address": "10.0.0.4",
        "device_name": "tapp",
    }
    doer = (data["request_id"], data["action_initiator_user"], data["action_initiator_project"])
    assert doer == ("req-1", "bob", "admins")


def test_a_failure_is_told_as_novas_exception() -> None:
    notice = a_notice("instance.reboot.error", failure=FAILURE)
    fault = payload(notice)[2]["fault"]
    assert (fault["nova_object.name"], fault["nova_object.version"]) == ("ExceptionPayload", "1.1")
    assert set(fault["nova_object.data"]) == FAULT
    assert fault["nova_object.data"]["module_name"] == "renova.operations.reboot"
    assert fault["nova_object.data"]["function_name"] == "restart_guest"
    assert versioned_notices.message(notice)["priority"] == "ERROR"


def test_a_server_that_could_not_be_scheduled_is_told_with_what_was_asked_for() -> None:
    name, version, data = payload(a_notice("compute_task.rebuild_server.error", failure=FAILURE))
    assert (name, version) == ("ComputeTaskPayload", "1.0")
    assert set(data) == {"instance_uuid", "request_spec", "state", "reason"}
    assert set(data["request_spec"]["nova_object.data"]) == REQUEST


def test_an_update_tells_both_states() -> None:
    before = msgspec.structs.replace(SERVER, vm_state=VmState.STOPPED, task_state=None)
    update = payload(a_notice("instance.update", before=before))[2]["state_update"]["nova_object.data"]
    assert update == {
        "old_state": "stopped",
        "state": "active",
        "old_task_state": None,
        "new_task_state": "rebuilding",
    }


@pytest.mark.parametrize(
    ("event", "publisher"),
    [
        ("instance.reboot.end", "nova-compute:compute1"),
        ("instance.evacuate", "nova-api:cloud.example"),
        ("instance.rebuild_scheduled", "nova-conductor:cloud.example"),
    ],
)
def test_the_publisher_is_the_service_that_tells_it_in_nova(event: str, publisher: str) -> None:
    assert a_notice(event).publisher == publisher
    assert a_notice("instance.rebuild.start", host="compute2").publisher == "nova-compute:compute2"


@pytest.mark.parametrize(
    ("event", "name"),
    [
        ("instance.evacuate", "compute.instance.evacuate"),
        ("instance.reboot.start", "compute.instance.reboot.start"),
        ("instance.rebuild_scheduled", "compute.instance.rebuild.scheduled"),
        ("instance.exists", "compute.instance.exists"),
        ("instance.resize_prep.start", "compute.instance.resize.prep.start"),
        ("instance.resize.start", "compute.instance.resize.start"),
        ("instance.resize_finish.end", "compute.instance.finish_resize.end"),
        ("instance.live_migration_pre.start", "compute.instance.live_migration.pre.start"),
        ("instance.live_migration_post.end", "compute.instance.live_migration._post.end"),
        ("instance.live_migration_post_dest.end", "compute.instance.live_migration.post.dest.end"),
        ("instance.live_migration_rollback.start", "compute.instance.live_migration._rollback.start"),
        ("instance.live_migration_abort.start", "compute.instance.live.migration.abort.start"),
        ("instance.live_migration_force_complete.end", "compute.instance.live.migration.force.complete.end"),
        ("compute_task.rebuild_server.error", "compute_task.rebuild_server"),
    ],
)
def test_older_names_are_novas(event: str, name: str) -> None:
    assert legacy_notices.event_type(event) == name


def test_an_older_payload_tells_usage_and_failures() -> None:
    made = legacy_notices.message(a_notice("instance.reboot.error", failure=FAILURE))
    assert (made["publisher_id"], made["priority"]) == ("compute.compute1", "ERROR")
    assert (made["payload"]["disk_gb"], made["payload"]["state_description"]) == (3, "rebuilding")
    assert made["payload"]["message"] == "no such machine type"
    assert legacy_notices.payload(a_notice("compute_task.rebuild_server.error", failure=FAILURE))["reason"]
    assert b"c2VjcmV0" not in msgspec.json.encode(made)
