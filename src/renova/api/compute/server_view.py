"""A server as clients see it, at each microversion and for each caller: pure, and cheap enough for long lists.

What depends only on the request is worked out once; policy is asked once a project, not once a server.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from renova.api.compute import links
from renova.api.compute.server_status import WITH_FAULT, WITH_PROGRESS, status
from renova.api.compute.times import seconds
from renova.api.http import Call, Version
from renova.model.host import Host
from renova.model.ids import HostId, ProjectId
from renova.model.server import Server

POLICY = {
    "os_compute_api:os-extended-server-attributes": "rule:admin_api",
    "os_compute_api:servers:show:host_status": "rule:admin_api",
    "os_compute_api:servers:show:host_status:unknown-only": "rule:admin_api",
    "os_compute_api:servers:show:flavor-extra-specs": "rule:project_reader_or_admin",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the caller may see of the servers of one project."""

    attributes: bool
    host_status: bool
    unknown_host_status: bool
    extra_specs: bool


def host_status(host: Host, *, up: bool) -> str:
    """Return what users read of the host of their server; the order of the tests is Nova's."""
    if host.forced_down:
        return "DOWN"
    if host.disabled:
        return "MAINTENANCE"
    return "UP" if up else "UNKNOWN"


class ServerViews:
    """Makes the views of one request's servers."""

    def __init__(self, call: Call, host_statuses: Mapping[HostId, str]) -> None:
        self._call = call
        self._version = call.version
        self._host_statuses = host_statuses
        self._admin = call.allows("context_is_admin")
        self._self = f"{call.base_url}/servers/"
        self._bookmark = f"{links.bookmarks(call)}/servers/"
        self._image = f"{links.bookmarks(call)}/images/"
        self._flavor = f"{links.bookmarks(call)}/flavors/"
        self._seen: dict[ProjectId, Seen] = {}
        self._host_ids: dict[tuple[ProjectId, str | None], str] = {}

    def links(self, server: Server) -> list[dict[str, str]]:
        return [
            {"rel": "self", "href": self._self + server.id},
            {"rel": "bookmark", "href": self._bookmark + server.id},
        ]

    def brief(self, server: Server) -> dict[str, Any]:
        return {"id": server.id, "name": server.name, "links": self.links(server)}

    def created(self, server: Server, admin_pass: str) -> dict[str, Any]:
        """Return the answer to POST /servers."""
        return {
            "id": server.id,
            "links": self.links(server),
            "OS-DCF:diskConfig": server.disk_config,
            "security_groups": [{"name": name} for name in server.security_groups],
            "adminPass": admin_pass,
        }

    def shown(self, server: Server) -> dict[str, Any]:
        """Return the answer to GET /servers/{id}: an entry of the detailed list, and the server's groups."""
        shown = self.detailed(server)
        if self._version >= (2, 71):
            shown["server_groups"] = [server.group] if server.group else []
        return shown

    def updated(self, server: Server) -> dict[str, Any]:
        """Return the answer to PUT /servers/{id}: from 2.75 on all that GET shows."""
        if self._version >= (2, 75):
            return self.shown(server)
        shown = self._basic(server)
        if self._version >= (2, 71):
            shown["server_groups"] = [server.group] if server.group else []
        return shown

    def rebuilt(self, server: Server, admin_pass: str) -> dict[str, Any]:
        """Return the answer to a rebuild (spec: rebuild, section 1)."""
        shown = self.updated(server)
        if self._version >= (2, 54):
            shown["key_name"] = server.key.name if server.key else None
        if self._version >= (2, 57):
            shown["user_data"] = server.user_data
        shown["adminPass"] = admin_pass
        return shown

    def detailed(self, server: Server) -> dict[str, Any]:
        """Return the server's entry in the detailed list."""
        version = self._version
        seen = self._seen.get(server.project) or self._see(server)
        shown = self._basic(server, seen)
        shown["OS-EXT-AZ:availability_zone"] = server.availability_zone or ""
        shown["config_drive"] = server.config_drive
        shown["key_name"] = server.key.name if server.key else None
        shown["OS-SRV-USG:launched_at"] = server.launched_at
        shown["OS-SRV-USG:terminated_at"] = server.terminated_at
        shown["OS-EXT-STS:task_state"] = server.task_state
        shown["OS-EXT-STS:vm_state"] = server.vm_state
        shown["OS-EXT-STS:power_state"] = server.power_state
        shown["os-extended-volumes:volumes_attached"] = _volumes(version, server)
        if server.security_groups:
            shown["security_groups"] = [{"name": name} for name in server.security_groups]
        if seen.attributes:
            shown["OS-EXT-SRV-ATTR:host"] = server.host_name
            shown["OS-EXT-SRV-ATTR:instance_name"] = server.domain
            shown["OS-EXT-SRV-ATTR:hypervisor_hostname"] = server.host_name
            if version >= (2, 3):
                shown["OS-EXT-SRV-ATTR:reservation_id"] = server.reservation
                shown["OS-EXT-SRV-ATTR:launch_index"] = 0
                shown["OS-EXT-SRV-ATTR:kernel_id"] = ""
                shown["OS-EXT-SRV-ATTR:ramdisk_id"] = ""
                shown["OS-EXT-SRV-ATTR:root_device_name"] = "/dev/vda"
                shown["OS-EXT-SRV-ATTR:user_data"] = server.user_data
                shown["OS-EXT-SRV-ATTR:hostname"] = server.hostname
        if version >= (2, 90):
            shown["OS-EXT-SRV-ATTR:hostname"] = server.hostname
        if version >= (2, 16) and (seen.host_status or seen.unknown_host_status):
            standing = self._host_statuses.get(server.host, "UNKNOWN") if server.host else ""
            if seen.host_status or standing == "UNKNOWN":
                shown["host_status"] = standing
        return shown

    def _basic(self, server: Server, seen: Seen | None = None) -> dict[str, Any]:
        """Return what every full answer has, whatever it answers."""
        version = self._version
        state = status(server.vm_state, server.task_state)
        host_id = self._host_ids.get((server.project, server.host_name))
        shown: dict[str, Any] = {
            "id": server.id,
            "name": server.name,
            "status": state,
            "tenant_id": server.project,
            "user_id": server.user,
            "metadata": server.metadata,
            "hostId": self._host_id(server) if host_id is None else host_id,
            "image": self._image_of(server),
            "flavor": self._flavor_of(server, seen or self._seen.get(server.project) or self._see(server)),
            "created": seconds(server.created_at),
            "updated": seconds(server.updated_at),
            "addresses": addresses(server),
            "accessIPv4": server.access_ipv4 or "",
            "accessIPv6": server.access_ipv6 or "",
            "links": self.links(server),
            "OS-DCF:diskConfig": server.disk_config,
        }
        if state in WITH_PROGRESS:
            shown["progress"] = server.progress
        if server.fault is not None and state in WITH_FAULT:
            shown["fault"] = {
                "code": server.fault.code,
                "message": server.fault.message,
                "created": seconds(server.fault.created),
            }
            if self._admin or server.fault.code != 500:
                shown["fault"]["details"] = server.fault.details
        if version >= (2, 9):
            shown["locked"] = server.locked_by is not None
        if version >= (2, 19):
            shown["description"] = server.description
        if version >= (2, 26):
            shown["tags"] = server.tags
        if version >= (2, 63):
            shown["trusted_image_certificates"] = server.trusted_certs
        if version >= (2, 73):
            shown["locked_reason"] = server.locked_reason
        if version >= (2, 96):
            shown["pinned_availability_zone"] = server.pinned_zone
        if version >= (2, 100):
            shown["scheduler_hints"] = server.scheduler_hints
        return shown

    def _see(self, server: Server) -> Seen:
        def allows(rule: str) -> bool:
            return self._call.allows(rule, target)

        target = {"project_id": server.project, "user_id": server.user}
        seen = self._seen[server.project] = Seen(
            attributes=allows("os_compute_api:os-extended-server-attributes"),
            host_status=allows("os_compute_api:servers:show:host_status"),
            unknown_host_status=allows("os_compute_api:servers:show:host_status:unknown-only"),
            extra_specs=allows("os_compute_api:servers:show:flavor-extra-specs"),
        )
        return seen

    def _host_id(self, server: Server) -> str:
        """Return a word for the host that tells a project which of its servers share one, and not which it is."""
        found = ""
        if server.host_name is not None:
            found = hashlib.sha224(f"{server.project}{server.host_name}".encode()).hexdigest()
        self._host_ids[server.project, server.host_name] = found
        return found

    def _image_of(self, server: Server) -> dict[str, Any] | str:
        if server.image is None:
            return ""
        shown: dict[str, Any] = {
            "id": server.image,
            "links": [{"rel": "bookmark", "href": self._image + server.image}],
        }
        if self._version >= (2, 98):
            shown["properties"] = server.image_properties
        return shown

    def _flavor_of(self, server: Server, seen: Seen) -> dict[str, Any]:
        flavor = server.flavor
        if self._version < (2, 47):
            return {"id": flavor.id, "links": [{"rel": "bookmark", "href": self._flavor + flavor.id}]}
        shown: dict[str, Any] = {
            "vcpus": flavor.vcpus,
            "ram": flavor.memory_mb,
            "disk": flavor.root_gb,
            "ephemeral": flavor.ephemeral_gb,
            "swap": flavor.swap_mb,
            "original_name": flavor.name,
        }
        if seen.extra_specs:
            shown["extra_specs"] = flavor.extra_specs
        return shown


def _volumes(version: Version, server: Server) -> list[dict[str, Any]]:
    if version < (2, 3):
        return [{"id": each.volume} for each in server.volumes]
    return [{"id": each.volume, "delete_on_termination": each.delete_on_termination} for each in server.volumes]


def addresses(server: Server) -> dict[str, list[dict[str, Any]]]:
    """Return the server's addresses by its networks' names: several networks may have one name."""
    shown: dict[str, list[dict[str, Any]]] = {}
    for network in server.networks:
        shown.setdefault(network.name, []).extend(
            {
                "version": 6 if ":" in address.ip else 4,
                "addr": address.ip,
                "OS-EXT-IPS:type": "fixed",
                "OS-EXT-IPS-MAC:mac_addr": address.mac,
            }
            for address in network.addresses
        )
    return shown
