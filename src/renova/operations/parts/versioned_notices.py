"""Nova's versioned notifications, as they stood in release 2023.2: the same fields, filled from our rows.

Passwords and user data are in none of them.
"""

import base64
import hashlib
from typing import Any, TypeAlias

from renova.engine.operation import Failure
from renova.model.flavor import Flavor
from renova.model.server import KeyPair, Server
from renova.operations.parts.notice import POWER, Notice

Payload: TypeAlias = dict[str, Any]


def message(notice: Notice) -> Payload:
    """Return the whole notification."""
    return {
        "event_type": notice.event,
        "publisher_id": notice.publisher,
        "priority": notice.priority,
        "payload": payload(notice),
    }


def payload(notice: Notice) -> Payload:
    """Return the payload of the kind that Nova sends with this event."""
    server = notice.server
    match notice.event.split("."):
        case ["compute_task", *_]:
            return _object("ComputeTaskPayload", "1.0", _task(notice))
        case ["instance", "update"]:
            return _object("InstanceUpdatePayload", "2.0", {**_instance(notice), **_update(notice)})
        case ["instance", "exists"]:
            return _object("InstanceExistsPayload", "2.0", {**_instance(notice), "audit_period": _period(notice)})
        case ["instance", "create", *_]:
            created = {
                "keypairs": [_key(server, server.key)] if server.key else [],
                "tags": list(server.tags),
                "trusted_image_certificates": list(server.trusted_certs) if server.trusted_certs else None,
                "instance_name": server.domain,
            }
            return _object("InstanceCreatePayload", "1.12", {**_action(notice), **created})
        case ["instance", "rebuild" | "rebuild_scheduled", *_]:
            data = {
                **_action(notice),
                "trusted_image_certificates": list(server.trusted_certs) if server.trusted_certs else None,
            }
            return _object("InstanceActionRebuildPayload", "1.9", data)
        case ["instance", "resize_prep", *_]:
            data = {**_action(notice), "new_flavor": _flavor(server.flavor)}
            return _object("InstanceActionResizePrepPayload", "1.3", data)
        case ["instance", "snapshot", *_]:
            data = {**_action(notice), "snapshot_image_id": notice.snapshot}
            return _object("InstanceActionSnapshotPayload", "1.9", data)
        case ["instance", "volume_attach" | "volume_detach", *_]:
            data = {**_action(notice), "volume_id": notice.volume}
            return _object("InstanceActionVolumePayload", "1.6", data)
        case _:
            return _object("InstanceActionPayload", "1.8", _action(notice))


def _object(name: str, version: str, data: Payload) -> Payload:
    return {
        "nova_object.name": name,
        "nova_object.namespace": "nova",
        "nova_object.version": version,
        "nova_object.data": data,
    }


def _instance(notice: Notice) -> Payload:
    server, doer = notice.server, notice.doer
    return {
        "uuid": server.id,
        "user_id": server.user,
        "tenant_id": server.project,
        "reservation_id": server.reservation,
        "display_name": server.name,
        "display_description": server.description,
        "host_name": server.hostname,
        "host": server.host_name,
        "node": server.host_name,
        "os_type": server.image_properties.get("os_type"),
        "architecture": server.image_properties.get("architecture"),
        "availability_zone": server.availability_zone,
        "flavor": _flavor(server.flavor),
        "image_uuid": server.image,
        "key_name": server.key.name if server.key else None,
        "kernel_id": "",
        "ramdisk_id": "",
        "created_at": _time(server.created_at),
        "launched_at": _time(server.launched_at),
        "terminated_at": _time(server.terminated_at),
        "deleted_at": _time(server.terminated_at) if server.deleted else None,
        "updated_at": _time(server.updated_at),
        "state": server.vm_state,
        "power_state": POWER[server.power_state],
        "task_state": server.task_state,
        "progress": server.progress,
        "ip_addresses": _addresses(server),
        "block_devices": None,  # Nova's default: volumes are not told
        "metadata": server.metadata,
        "locked": server.locked_by is not None,
        "locked_reason": server.locked_reason,
        "auto_disk_config": server.disk_config,
        "request_id": doer.request if doer else None,
        "action_initiator_user": doer.user if doer else None,
        "action_initiator_project": doer.project if doer else None,
    }


def _action(notice: Notice) -> Payload:
    return {**_instance(notice), "fault": _fault(notice.failure) if notice.failure else None}


def _update(notice: Notice) -> Payload:
    before, now = notice.before, notice.server
    states = {
        "old_state": before.vm_state if before else None,
        "state": now.vm_state,
        "old_task_state": before.task_state if before else None,
        "new_task_state": now.task_state,
    }
    return {
        "state_update": _object("InstanceStateUpdatePayload", "1.0", states),
        "audit_period": _period(notice),
        "old_display_name": before.name if before and before.name != now.name else None,
        "tags": list(now.tags),
    }


def _period(notice: Notice) -> Payload:
    period = {
        "audit_period_beginning": _time(notice.period.beginning),
        "audit_period_ending": _time(notice.period.ending),
    }
    return _object("AuditPeriodPayload", "1.0", period)


def _fault(failure: Failure) -> Payload:
    module, _, function = failure.step.rpartition(".")
    fault = {
        "module_name": f"renova.operations.{module}" if module else "renova.operations",
        "function_name": function,
        "exception": failure.kind,
        "exception_message": failure.message,
        "traceback": failure.traceback,
    }
    return _object("ExceptionPayload", "1.1", fault)


def _flavor(flavor: Flavor) -> Payload:
    data = {
        "flavorid": flavor.id,
        "name": flavor.name,
        "memory_mb": flavor.memory_mb,
        "vcpus": flavor.vcpus,
        "root_gb": flavor.root_gb,
        "ephemeral_gb": flavor.ephemeral_gb,
        "swap": flavor.swap_mb,
        "rxtx_factor": flavor.rxtx_factor,
        "vcpu_weight": 0,
        "disabled": flavor.disabled,
        "is_public": flavor.is_public,
        "extra_specs": flavor.extra_specs,
        "projects": None,
        "description": flavor.description,
    }
    return _object("FlavorPayload", "1.4", data)


def _addresses(server: Server) -> list[Payload]:
    return [
        _object(
            "IpPayload",
            "1.0",
            {
                "label": network.name,
                "mac": address.mac,
                "meta": {},
                "port_uuid": address.port,
                "version": 6 if ":" in address.ip else 4,
                "address": address.ip,
                "device_name": f"tap{address.port[:11]}",
            },
        )
        for network in server.networks
        for address in network.addresses
    ]


def _key(server: Server, key: KeyPair) -> Payload:
    data = {
        "user_id": server.user,
        "name": key.name,
        "fingerprint": _fingerprint(key),
        "public_key": key.public_key,
        "type": key.type,
    }
    return _object("KeypairPayload", "1.0", data)


def _fingerprint(key: KeyPair) -> str:
    """Name the key as ssh-keygen did; nothing relies on it. Only SSH keys are named so."""
    words = key.public_key.split()
    if key.type != "ssh" or len(words) < 2:
        return ""
    digits = hashlib.md5(base64.b64decode(words[1]), usedforsecurity=False).hexdigest()
    return ":".join(digits[place : place + 2] for place in range(0, len(digits), 2))


def _task(notice: Notice) -> Payload:
    server = notice.server
    assert notice.failure is not None
    asked = {
        "instance_uuid": server.id,
        "project_id": server.project,
        "user_id": server.user,
        "availability_zone": server.pinned_zone,
        "flavor": _flavor(server.flavor),
        "image": None,
        "num_instances": 1,
        "security_groups": list(server.security_groups),
        "scheduler_hints": {
            name: [str(each) for each in (given if isinstance(given, list) else [given])]
            for name, given in server.scheduler_hints.items()
        },
        "ignore_hosts": None,
        "force_hosts": None,
        "force_nodes": None,
        "instance_group": None,
        "numa_topology": None,
        "pci_requests": None,
        "requested_destination": None,
        "retry": None,
    }
    return {
        "instance_uuid": server.id,
        "request_spec": _object("RequestSpecPayload", "1.1", asked),
        "state": server.vm_state,
        "reason": _fault(notice.failure),
    }


def _time(stored: str | None) -> str | None:
    return f"{stored[:19]}Z" if stored else None
