"""Limits: what the project may have, and how much of it is in use."""

from typing import Any

from renova.api.compute.route import known, route
from renova.api.http import Call, Reply
from renova.model.ids import ProjectId
from renova.store import quotas, server_groups, servers
from renova.store.database import Tx

POLICY = {
    "os_compute_api:limits": "@",
    "os_compute_api:limits:other_project": "rule:admin_api",
}

_NAMES = {
    "maxTotalInstances": "instances",
    "maxTotalCores": "cores",
    "maxTotalRAMSize": "ram",
    "maxTotalKeypairs": "key_pairs",
    "maxServerMeta": "metadata_items",
    "maxServerGroups": "server_groups",
    "maxServerGroupMembers": "server_group_members",
}
_IMAGES_UNTIL = (2, 38)
_FILES_UNTIL = (2, 56)
_NETWORK_UNTIL = (2, 35)


async def show(call: Call) -> Reply:
    call.demand("os_compute_api:limits")
    project = call.caller.project
    if (other := call.one("tenant_id")) is not None and other != project:
        project = ProjectId(other)
        call.demand("os_compute_api:limits:other_project", {"project_id": project})

    def work(tx: Tx) -> tuple[dict[str, int], tuple[int, int, int], int]:
        return quotas.of_project(tx, project), servers.usage(tx, project), server_groups.count(tx, project)

    most, (instances, cores, ram), groups = await call.cloud.database.read(work)
    absolute: dict[str, Any] = {name: most[resource] for name, resource in _NAMES.items()}
    if call.version <= _IMAGES_UNTIL:
        absolute["maxImageMeta"] = most["metadata_items"]
    if call.version <= _FILES_UNTIL:
        absolute["maxPersonality"] = most["injected_files"]
        absolute["maxPersonalitySize"] = most["injected_file_content_bytes"]
    if call.version <= _NETWORK_UNTIL:
        unlimited = ("maxTotalFloatingIps", "maxSecurityGroups", "maxSecurityGroupRules")
        absolute |= dict.fromkeys(unlimited, -1) | {"totalFloatingIpsUsed": 0, "totalSecurityGroupsUsed": 0}
    absolute |= {"totalInstancesUsed": instances, "totalCoresUsed": cores, "totalRAMUsed": ram}
    absolute["totalServerGroupsUsed"] = groups
    return Reply(200, {"limits": {"rate": [], "absolute": absolute}})


ROUTES = [route("GET", "/limits", show, query=known("tenant_id", "reserved"))]
