"""Finding what a request is about: another project's server is not there for those who are no administrators."""

from collections.abc import Sequence

from renova.api.compute.host_life import is_up
from renova.api.compute.server_view import ServerViews, host_status
from renova.api.http import Call
from renova.model.errors import NotFound
from renova.model.ids import HostId, ProjectId, ServerId, UserId
from renova.model.server import Server
from renova.operations.submission import Asked
from renova.store import hosts, servers
from renova.store.database import Tx


async def find_server(call: Call, rule: str, *, deleted: bool = False) -> Server:
    """Return the server named in the path, if the caller may do this to it. `NotFound`, `Forbidden`."""
    wanted = ServerId(call.path["server"].lower())
    server = await call.cloud.database.read(lambda tx: servers.get(tx, wanted, deleted=deleted))
    if server is None or (server.project != call.caller.project and not call.allows("context_is_admin")):
        raise NotFound(f"Instance {call.path['server']} could not be found.")
    call.demand(rule, {"project_id": server.project, "user_id": server.user})
    return server


async def the_server(call: Call, server: ServerId) -> Server:
    """Return the server as it is after a change. `NotFound` if it is gone since."""
    found = await call.cloud.database.read(lambda tx: servers.get(tx, server))
    if found is None:
        raise NotFound(f"Instance {server} could not be found.")
    return found


async def views(call: Call, servers_shown: Sequence[Server]) -> ServerViews:
    """Return the views for these servers, having looked at their hosts if the caller may hear of them."""
    if call.version < (2, 16):
        return ServerViews(call, {})
    projects = {server.project: server.user for server in servers_shown}
    told = {project for project, user in projects.items() if _hears_of_hosts(call, project, user)}
    wanted = {server.host for server in servers_shown if server.host is not None and server.project in told}
    if not wanted:
        return ServerViews(call, {})
    return ServerViews(call, await call.cloud.database.read(lambda tx: _host_statuses(call, tx, wanted)))


def _hears_of_hosts(call: Call, project: ProjectId, user: UserId) -> bool:
    rules = ("os_compute_api:servers:show:host_status", "os_compute_api:servers:show:host_status:unknown-only")
    return any(call.allows(rule, {"project_id": project, "user_id": user}) for rule in rules)


def _host_statuses(call: Call, tx: Tx, wanted: set[HostId]) -> dict[HostId, str]:
    # A few are asked for one by one, which is cheap however many hosts there are.
    found = hosts.computing(tx) if len(wanted) > 50 else [hosts.get(tx, host) for host in wanted]
    return {host.id: host_status(host, up=is_up(call.cloud, host)) for host in found if host is not None}


def asked(call: Call) -> Asked:
    """Say who asks, for an operation."""
    return Asked(
        user=call.caller.user,
        project=call.caller.project,
        request=call.request_id,
        admin=call.allows("context_is_admin"),
    )
