"""What Nova has and this cloud does not have yet, answered so that clients go on: empty lists, or a plain refusal."""

from renova.api.compute.route import route
from renova.api.compute.visible import find_server
from renova.api.dispatch import Failure
from renova.api.http import Call, Reply
from renova.model.errors import NotFound

POLICY = {
    "os_compute_api:os-server-password:show": "rule:project_reader_or_admin",
    "os_compute_api:os-server-diagnostics": "rule:admin_api",
    "os_compute_api:os-remote-consoles": "rule:project_member_or_admin",
    "os_compute_api:extensions": "@",
}

# Extensions were an idea of API v2; clients still ask which there are. What is served is in v2.1 itself.
_EXTENSIONS = {
    "os-aggregates": "Aggregates",
    "os-availability-zone": "AvailabilityZone",
    "os-console-output": "ConsoleOutput",
    "os-evacuate": "Evacuate",
    "os-extended-server-attributes": "ExtendedServerAttributes",
    "os-flavor-access": "FlavorAccess",
    "os-flavor-extra-specs": "FlavorExtraSpecs",
    "os-flavor-manage": "FlavorManage",
    "os-hypervisors": "Hypervisors",
    "os-instance-actions": "InstanceActions",
    "os-keypairs": "Keypairs",
    "os-lock-server": "LockServer",
    "os-migrations": "Migrations",
    "os-quota-sets": "Quotas",
    "os-server-groups": "ServerGroups",
    "os-services": "Services",
    "os-simple-tenant-usage": "SimpleTenantUsage",
    "servers": "Servers",
}


async def password(call: Call) -> Reply:
    """Return the password that the guest reported, encrypted: guests have no way to report one."""
    await find_server(call, "os_compute_api:os-server-password:show")
    return Reply(200, {"password": ""})


async def diagnostics(call: Call) -> Reply:
    await find_server(call, "os_compute_api:os-server-diagnostics")
    raise Failure(501, "Diagnostics of servers are not supported yet.")


async def remote_console(call: Call) -> Reply:
    await find_server(call, "os_compute_api:os-remote-consoles")
    raise Failure(501, "Remote consoles are not supported yet; the console's output can be read.")


async def extensions(call: Call) -> Reply:
    call.demand("os_compute_api:extensions")
    return Reply(200, {"extensions": [_extension(alias) for alias in _EXTENSIONS]})


async def extension(call: Call) -> Reply:
    call.demand("os_compute_api:extensions")
    if call.path["alias"] not in _EXTENSIONS:
        raise NotFound(f"Extension {call.path['alias']} could not be found.")
    return Reply(200, {"extension": _extension(call.path["alias"])})


def _extension(alias: str) -> dict[str, object]:
    return {
        "alias": alias,
        "name": _EXTENSIONS[alias],
        "description": "",
        "namespace": "https://docs.openstack.org/api-ref/compute/",
        "links": [],
        "updated": "2014-12-03T00:00:00Z",
    }


async def gone(call: Call) -> Reply:
    """Answer for what Nova itself removed."""
    raise Failure(410, "This resource was removed from the API.")


_GONE = ("os-networks", "os-tenant-networks", "os-cells", "os-agents", "os-fping", "os-cloudpipe", "os-certificates")

ROUTES = [
    route("GET", "/servers/{server}/os-server-password", password),
    route("GET", "/servers/{server}/diagnostics", diagnostics),
    route("POST", "/servers/{server}/remote-consoles", remote_console, since=(2, 6)),
    route("GET", "/extensions", extensions),
    route("GET", "/extensions/{alias}", extension),
    *(route("GET", f"/{name}", gone) for name in _GONE),
]
