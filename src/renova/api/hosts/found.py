"""The host that a request's path names."""

from renova.api.http import Call
from renova.model.errors import NotFound
from renova.model.host import Host
from renova.store import hosts


async def host_in_path(call: Call) -> Host:
    name = call.path["host"]
    host = await call.cloud.database.read(lambda tx: hosts.by_name(tx, name))
    if host is None:
        raise unknown_host(name)
    return host


def unknown_host(name: str) -> NotFound:
    """Return what is said of a host that is named and is not there."""
    return NotFound(f"There is no host {name}: `renova host list` shows those there are.")
