"""What a volume looks like to clients, by microversion."""

from collections.abc import Mapping, Sequence
from typing import Any

from renova.api.http import Call
from renova.store import hosts, volume_attachments, volume_types
from renova.store.database import Tx
from renova.store.volume_attachments import StoredAttachment
from renova.store.volumes import StoredVolume


def brief(call: Call, row: StoredVolume) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "links": _links(call, row)}


class Shapes:
    """Shows all of volumes to one caller; made inside a transaction, for some volumes."""

    def __init__(self, call: Call, tx: Tx, rows: Sequence[StoredVolume]) -> None:
        self._call = call
        self._admin = call.allows("context_is_admin")
        self._types = {each.id: each.name for each in volume_types.every(tx)}
        self._hosts = {host.id: host.name for host in hosts.storing(tx)} if self._admin else {}
        self._attached: dict[str, list[StoredAttachment]] = {}
        for each in volume_attachments.of_volumes(tx, [row.id for row in rows]):
            self._attached.setdefault(each.volume, []).append(each)

    def detailed(self, row: StoredVolume) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": row.id,
            "name": row.name,
            "description": row.description,
            "size": row.size_gb,
            "status": row.status,
            "availability_zone": row.zone,
            "created_at": row.created_at,
            "updated_at": row.updated_at,
            "attachments": [self._attachment(each) for each in self._attached.get(row.id, []) if each.attached_at],
            "volume_type": self._types.get(row.type),
            "metadata": row.metadata,
            "bootable": str(row.bootable).lower(),
            "encrypted": False,
            "multiattach": False,
            "snapshot_id": row.snapshot,
            "source_volid": row.source_volume,
            "consistencygroup_id": None,
            "replication_status": None,
            "user_id": row.user,
            "os-vol-tenant-attr:tenant_id": row.project,
            "links": _links(self._call, row),
        }
        if row.image_properties:
            shown["volume_image_metadata"] = dict(row.image_properties)
        if self._admin:
            shown["os-vol-host-attr:host"] = self._hosts.get(row.host)
            shown["os-vol-mig-status-attr:migstat"] = None
            shown["os-vol-mig-status-attr:name_id"] = None
        return shown | self._newer(row)

    def _newer(self, row: StoredVolume) -> dict[str, Any]:
        version = self._call.version
        added: list[tuple[tuple[int, int], Mapping[str, Any]]] = [
            ((3, 13), {"group_id": None}),
            ((3, 21), {"provider_id": None} if self._admin else {}),
            ((3, 48), {"service_uuid": row.host if self._admin else None, "shared_targets": False}),
            ((3, 61), {"cluster_name": None} if self._admin else {}),
            ((3, 63), {"volume_type_id": row.type}),
            ((3, 65), {"consumes_quota": True}),
            ((3, 69), {"shared_targets": None}),
        ]
        shown: dict[str, Any] = {}
        for since, fields in added:
            if version >= since:
                shown |= fields
        return shown

    def _attachment(self, row: StoredAttachment) -> dict[str, Any]:
        return {
            "id": row.volume,
            "attachment_id": row.id,
            "volume_id": row.volume,
            "server_id": row.server,
            "host_name": row.host if self._admin else None,
            "device": row.device,
            "attached_at": row.attached_at,
        }


def _links(call: Call, row: StoredVolume) -> list[dict[str, str]]:
    project = call.caller.project
    base = call.base_url
    return [
        {"rel": "self", "href": f"{base}/{project}/volumes/{row.id}"},
        {"rel": "bookmark", "href": f"{base.removesuffix('/v3')}/{project}/volumes/{row.id}"},
    ]
