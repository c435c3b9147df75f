"""Nova's unversioned notifications: older names, and one flat payload for all."""

from typing import Any

from renova.operations.parts.notice import Notice

_NAMES = {
    "instance.rebuild_scheduled": "compute.instance.rebuild.scheduled",
    "compute_task.rebuild_server.error": "compute_task.rebuild_server",
}
# Of those that begin and end: without ".start" and ".end".
_SPANS = {
    "instance.resize_prep": "compute.instance.resize.prep",
    "instance.resize_finish": "compute.instance.finish_resize",
    "instance.live_migration_pre": "compute.instance.live_migration.pre",
    "instance.live_migration_post": "compute.instance.live_migration._post",
    "instance.live_migration_post_dest": "compute.instance.live_migration.post.dest",
    "instance.live_migration_rollback": "compute.instance.live_migration._rollback",
    "instance.live_migration_abort": "compute.instance.live.migration.abort",
    "instance.live_migration_force_complete": "compute.instance.live.migration.force.complete",
}


def event_type(event: str) -> str:
    """Return the older name of a versioned event."""
    what, _, end = event.rpartition(".")
    if what in _SPANS:
        return f"{_SPANS[what]}.{end}"
    return _NAMES.get(event) or f"compute.{event}"


def message(notice: Notice) -> dict[str, Any]:
    """Return the whole notification."""
    return {
        "event_type": event_type(notice.event),
        "publisher_id": notice.publisher.removeprefix("nova-").replace(":", ".", 1),
        "priority": notice.priority,
        "payload": payload(notice),
    }


def payload(notice: Notice) -> dict[str, Any]:
    """Return what Nova calls usage information, and what this event adds to it."""
    if notice.event.startswith("compute_task."):
        return _task(notice)
    server = notice.server
    added: dict[str, Any] = {}
    if notice.event == "instance.update":
        added = {
            "old_state": notice.before.vm_state if notice.before else None,
            "old_task_state": notice.before.task_state if notice.before else None,
            "new_task_state": server.task_state,
        }
    if notice.event in ("instance.update", "instance.exists"):
        added["audit_period_beginning"] = notice.period.beginning
        added["audit_period_ending"] = notice.period.ending
        added["bandwidth"] = {}
    if notice.failure is not None:
        added |= {"exception": notice.failure.kind, "message": notice.failure.message, "code": 500}
    return {**_usage(notice), **added}


def _usage(notice: Notice) -> dict[str, Any]:
    server = notice.server
    flavor = server.flavor
    return {
        "tenant_id": server.project,
        "user_id": server.user,
        "instance_id": server.id,
        "display_name": server.name,
        "reservation_id": server.reservation,
        "hostname": server.hostname,
        "instance_type": flavor.name,
        "instance_flavor_id": flavor.id,
        "architecture": server.image_properties.get("architecture"),
        "memory_mb": flavor.memory_mb,
        "disk_gb": flavor.root_gb + flavor.ephemeral_gb,
        "vcpus": flavor.vcpus,
        "root_gb": flavor.root_gb,
        "ephemeral_gb": flavor.ephemeral_gb,
        "host": server.host_name,
        "node": server.host_name,
        "availability_zone": server.availability_zone,
        "cell_name": "",
        "created_at": server.created_at,
        "terminated_at": server.terminated_at or "",
        "deleted_at": (server.terminated_at or "") if server.deleted else "",
        "launched_at": server.launched_at or "",
        "image_ref_url": server.image,
        "os_type": server.image_properties.get("os_type"),
        "kernel_id": "",
        "ramdisk_id": "",
        "state": server.vm_state,
        "state_description": server.task_state or "",
        "progress": server.progress or "",
        "access_ip_v4": server.access_ipv4,
        "access_ip_v6": server.access_ipv6,
        "fixed_ips": [
            {
                "address": address.ip,
                "version": 6 if ":" in address.ip else 4,
                "label": network.name,
                "vif_mac": address.mac,
            }
            for network in server.networks
            for address in network.addresses
        ],
        "image_meta": server.image_properties,
        "metadata": server.metadata,
    }


def _task(notice: Notice) -> dict[str, Any]:
    return {
        "instance_id": notice.server.id,
        "state": notice.server.vm_state,
        "method": "rebuild_server",
        "reason": notice.failure.message if notice.failure else "",
    }
