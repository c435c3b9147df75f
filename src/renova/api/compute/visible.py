"""Finding what a request is about: another project's server is not there for those who are no administrators."""

from collections.abc import Mapping

from renova.api.compute.host_life import is_up
from renova.api.compute.server_view import ServerViews, host_status
from renova.api.http import Call
from renova.model.errors import NotFound
from renova.model.ids import HostId, ServerId
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


async def views(call: Call) -> ServerViews:
    """Return the views of servers that this request's answer may need."""
    statuses: Mapping[HostId, str] = {}
    if call.version >= (2, 16):
        statuses = await call.cloud.database.read(lambda tx: _host_statuses(call, tx))
    return ServerViews(call, statuses)


def _host_statuses(call: Call, tx: Tx) -> dict[HostId, str]:
    return {host.id: host_status(host, up=is_up(call.cloud, host)) for host in hosts.every(tx)}


def asked(call: Call) -> Asked:
    """Say who asks, for an operation."""
    return Asked(
        user=call.caller.user,
        project=call.caller.project,
        request=call.request_id,
        admin=call.allows("context_is_admin"),
    )
