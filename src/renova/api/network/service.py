"""The routes and rules of the Network API."""

from renova.api.dispatch import Service
from renova.api.http import Call, Reply, Route
from renova.api.network import extensions, networks, ports, security_groups, subnets
from renova.operations.cloud import Cloud

_NET_OWNER = "rule:admin_api or (role:member and project_id:%(network:project_id)s)"
_NET_OWNER_OR_SERVICE = f"{_NET_OWNER} or role:service"
_MEMBER_OR_SERVICE = "rule:project_member_or_admin or role:service"
_READER_OR_SERVICE = "rule:project_reader_or_admin or role:service"
_ADMIN_OR_SERVICE = "rule:admin_api or role:service"
_SEEN = f"{_READER_OR_SERVICE} or True:%(shared)s"

# Neutron's names.
POLICY = {
    "get_network": _SEEN,
    "get_network:provider:segmentation_id": "rule:admin_api",
    "create_network": "rule:project_member_or_admin",
    "create_network:shared": "rule:admin_api",
    "update_network": "rule:project_member_or_admin",
    "update_network:shared": "rule:admin_api",
    "delete_network": "rule:project_member_or_admin",
    "get_subnet": _SEEN,
    "create_subnet": _NET_OWNER,
    "update_subnet": _NET_OWNER,
    "delete_subnet": _NET_OWNER,
    "get_port": _READER_OR_SERVICE,
    "get_port:binding:host_id": _ADMIN_OR_SERVICE,
    "create_port": _MEMBER_OR_SERVICE,
    "create_port:mac_address": _NET_OWNER_OR_SERVICE,
    "create_port:fixed_ips:ip_address": _NET_OWNER_OR_SERVICE,
    "create_port:binding:host_id": _ADMIN_OR_SERVICE,
    "create_port:binding:profile": _ADMIN_OR_SERVICE,
    "update_port": _MEMBER_OR_SERVICE,
    "update_port:fixed_ips:ip_address": _NET_OWNER_OR_SERVICE,
    "update_port:binding:host_id": _ADMIN_OR_SERVICE,
    "update_port:binding:profile": _ADMIN_OR_SERVICE,
    "delete_port": _MEMBER_OR_SERVICE,
    "get_security_group": "rule:project_reader_or_admin",
    "create_security_group": "rule:project_member_or_admin",
    "update_security_group": "rule:project_member_or_admin",
    "delete_security_group": "rule:project_member_or_admin",
    "get_security_group_rule": "rule:project_reader_or_admin",
    "create_security_group_rule": "rule:project_member_or_admin",
    "delete_security_group_rule": "rule:project_member_or_admin",
    "get_quota": "rule:project_reader_or_admin",
    "get_agent": "rule:admin_api",
    "get_availability_zone": "@",
}

_RESOURCES = ("networks", "subnets", "ports", "security-groups", "security-group-rules", "extensions", "quotas")


async def resources(call: Call) -> Reply:
    """List what is below this version of the API."""
    return Reply(
        200,
        {
            "resources": [
                {
                    "collection": name,
                    "name": name.removesuffix("s"),
                    "links": [{"rel": "self", "href": f"{call.base_url}/{name}"}],
                }
                for name in _RESOURCES
            ]
        },
    )


_ROUTES = [
    Route("GET", "/", resources, public=True),
    Route("GET", "/extensions", extensions.every),
    Route("GET", "/extensions/{alias}", extensions.one),
    Route("GET", "/networks", networks.every),
    Route("POST", "/networks", networks.create),
    Route("GET", "/networks/{network}", networks.one),
    Route("PUT", "/networks/{network}", networks.update),
    Route("DELETE", "/networks/{network}", networks.delete),
    Route("GET", "/subnets", subnets.every),
    Route("POST", "/subnets", subnets.create),
    Route("GET", "/subnets/{subnet}", subnets.one),
    Route("PUT", "/subnets/{subnet}", subnets.update),
    Route("DELETE", "/subnets/{subnet}", subnets.delete),
    Route("GET", "/ports", ports.every),
    Route("POST", "/ports", ports.create),
    Route("GET", "/ports/{port}", ports.one),
    Route("PUT", "/ports/{port}", ports.update),
    Route("DELETE", "/ports/{port}", ports.delete),
    Route("GET", "/security-groups", security_groups.every),
    Route("POST", "/security-groups", security_groups.create),
    Route("GET", "/security-groups/{group}", security_groups.one),
    Route("PUT", "/security-groups/{group}", security_groups.update),
    Route("DELETE", "/security-groups/{group}", security_groups.delete),
    Route("GET", "/security-group-rules", security_groups.every_rule),
    Route("POST", "/security-group-rules", security_groups.create_rule),
    Route("GET", "/security-group-rules/{rule}", security_groups.one_rule),
    Route("DELETE", "/security-group-rules/{rule}", security_groups.delete_rule),
    Route("GET", "/quotas", extensions.quotas),
    Route("GET", "/quotas/{project}", extensions.quota),
    Route("GET", "/quotas/{project}/default", extensions.quota),
    Route("GET", "/quotas/{project}/details", extensions.quota_details),
    Route("GET", "/agents", extensions.agents),
    Route("GET", "/availability_zones", extensions.availability_zones),
]

_TYPES = {
    400: "InvalidInput",
    403: "PolicyNotAuthorized",
    404: "NotFound",
    405: "HTTPMethodNotAllowed",
    409: "Conflict",
    503: "ServiceUnavailable",
}


def service(cloud: Cloud) -> Service:
    """Return the Network API."""
    return Service("network", ("/network/v2.0",), _ROUTES, error)


def error(status: int, message: str, request_id: str) -> Reply:
    """Answer as Neutron does; a missing token is answered as by the middleware before it."""
    if status == 401:
        return Reply(status, {"error": {"code": 401, "title": "Unauthorized", "message": message}})
    kind = _TYPES.get(status, "HTTPInternalServerError")
    return Reply(status, {"NeutronError": {"type": kind, "message": message, "detail": ""}})
