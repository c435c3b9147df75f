"""What clients ask about the service itself: its extensions, quotas, agents and zones."""

from renova.api.http import Call, Reply
from renova.model.errors import NotFound
from renova.store import networks, ports, security_groups
from renova.store.database import Tx

# Only what is really there; clients refrain from what they do not find here.
_EXTENSIONS = {
    "agent": ("agent", "The agent management extension."),
    "availability_zone": ("Availability Zone", "The availability zone extension."),
    "binding": ("Port Binding", "Expose port bindings of a virtual port to external application"),
    "external-net": ("Neutron external network", "Adds external network attribute to network resource."),
    "net-mtu": ("Network MTU", "Provides MTU attribute for a network resource."),
    "pagination": ("Pagination support", "Extension that indicates that pagination is enabled."),
    "project-id": ("project_id field enabled", "Extension that indicates that project_id field is enabled."),
    "provider": ("Provider Network", "Expose mapping of virtual networks to physical networks"),
    "quotas": ("Quota management support", "Expose functions for quotas management per project"),
    "security-group": ("security-group", "Security groups and rules are kept and shown, but not enforced yet."),
    "sorting": ("Sorting support", "Extension that indicates that sorting is enabled."),
    "standard-attr-timestamp": ("Resource timestamps", "Adds created_at and updated_at fields."),
    "stateful-security-group": ("Stateful security group", "Indicates if the security group is stateful or not"),
}

_COUNTED = ("network", "subnet", "port", "security_group", "security_group_rule")


def _shape(alias: str) -> dict[str, object]:
    name, description = _EXTENSIONS[alias]
    return {
        "alias": alias,
        "name": name,
        "description": description,
        "updated": "2020-01-01T00:00:00-00:00",
        "links": [],
    }


async def every(call: Call) -> Reply:
    return Reply(200, {"extensions": [_shape(alias) for alias in _EXTENSIONS]})


async def one(call: Call) -> Reply:
    alias = call.path["alias"]
    if alias not in _EXTENSIONS:
        raise NotFound(f"Extension with alias {alias} does not exist")
    return Reply(200, {"extension": _shape(alias)})


async def quotas(call: Call) -> Reply:
    """List the projects whose quotas differ from the default: none."""
    call.demand("get_quota")
    return Reply(200, {"quotas": []})


async def quota(call: Call) -> Reply:
    """Answer with a project's quotas, and those it would have by default: nothing is limited."""
    call.demand("get_quota", {"project_id": call.path["project"]})
    return Reply(200, {"quota": dict.fromkeys(_COUNTED, -1)})


async def quota_details(call: Call) -> Reply:
    project = call.path["project"]
    call.demand("get_quota", {"project_id": project})

    def count(tx: Tx) -> dict[str, int]:
        own = [network for network in networks.every_network(tx, project) if network.project == project]
        groups = security_groups.every_group(tx, project)
        return {
            "network": len(own),
            "subnet": sum(len(network.subnets) for network in own),
            "port": len(ports.find(tx, project=[project])),
            "security_group": len(groups),
            "security_group_rule": sum(len(group.rules) for group in groups),
        }

    used = await call.cloud.database.read(count)
    return Reply(200, {"quota": {name: {"used": used[name], "limit": -1, "reserved": 0} for name in _COUNTED}})


async def agents(call: Call) -> Reply:
    """List the network agents: none, as hosts plug their ports themselves."""
    call.demand("get_agent")
    return Reply(200, {"agents": []})


async def availability_zones(call: Call) -> Reply:
    """List the zones of networks: none, as every network reaches all hosts."""
    call.demand("get_availability_zone")
    return Reply(200, {"availability_zones": []})
