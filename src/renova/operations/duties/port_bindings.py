"""Port bindings: the ports of a server are bound to the host where it lives, and up if its guest is.

Whoever changes either has them follow (`operations.heal_ports`); this finds what came to be otherwise.
"""

from functools import partial

from renova.model.host import Host
from renova.model.network import Port
from renova.operations.cloud import Cloud
from renova.operations.duties.mending import mend
from renova.operations.heal_ports import UP, have_ports_follow
from renova.operations.rounds import Tally
from renova.store import hosts, operations, servers
from renova.store.database import Tx
from renova.store.servers import Standing


async def heal_port_bindings(cloud: Cloud, tally: Tally) -> None:
    """Have the ports right that are not, unless somebody works on their server."""
    for host in await cloud.database.read(hosts.every):
        with tally.apart(host=host.name):
            await _look(cloud, tally, host)


async def _look(cloud: Cloud, tally: Tally, host: Host) -> None:
    for server in await cloud.database.read(lambda tx: servers.standings(tx, host.id)):
        if server.task_state is None:
            with tally.apart(host=host.name, server=server.id):
                await _heal(cloud, tally, server, host.name)


async def _heal(cloud: Cloud, tally: Tally, server: Standing, host_name: str) -> None:
    ports = await cloud.networks.ports(server.id)
    tally.looked += len(ports)
    wrong = _wrong(ports, server, host_name)
    if wrong is not None and await mend(cloud, partial(_ask, cloud, seen=server)):
        tally.find(wrong, mended=True, host=host_name, server=server.id)


def _wrong(ports: list[Port], server: Standing, host_name: str) -> str | None:
    elsewhere = [port for port in ports if port.host != host_name]
    if elsewhere:
        return (
            f"{len(elsewhere)} ports were bound to {', '.join(sorted({port.host or 'no host' for port in elsewhere}))}"
        )
    if server.vm_state not in UP:
        return None
    wanted = "ACTIVE" if UP[server.vm_state] else "DOWN"
    others = [port for port in ports if port.status != wanted]
    return f"{len(others)} ports were {others[0].status}, of a server that is {server.vm_state}" if others else None


def _ask(cloud: Cloud, tx: Tx, seen: Standing) -> bool:
    server_id = seen.id
    now = servers.get(tx, server_id)
    if now is None or (now.host_name, now.vm_state, now.task_state) != (seen.host_name, seen.vm_state, None):
        return False
    if operations.active(tx, server_id) is not None:
        return False
    have_ports_follow(cloud, tx, now)
    return True
