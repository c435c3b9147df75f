"""Port bindings: the ports of a server are bound to the host where it lives."""

from functools import partial

from renova.model.host import Host
from renova.model.ids import ServerId
from renova.operations.cloud import Cloud
from renova.operations.duties.mending import mend
from renova.operations.heal_ports import accept_heal_ports
from renova.operations.rounds import Tally
from renova.operations.submission import Asked
from renova.store import hosts, operations, servers
from renova.store.database import Tx


async def heal_port_bindings(cloud: Cloud, tally: Tally) -> None:
    """Have the ports bound anew that are bound elsewhere, unless somebody works on their server."""
    for host in await cloud.database.read(hosts.every):
        with tally.apart(host=host.name):
            await _look(cloud, tally, host)


async def _look(cloud: Cloud, tally: Tally, host: Host) -> None:
    for server in await cloud.database.read(lambda tx: servers.standings(tx, host.id)):
        if server.task_state is None:
            with tally.apart(host=host.name, server=server.id):
                await _heal(cloud, tally, server.id, host.name)


async def _heal(cloud: Cloud, tally: Tally, server_id: ServerId, host_name: str) -> None:
    ports = await cloud.networks.ports(server_id)
    tally.looked += len(ports)
    wrong = [port for port in ports if port.host != host_name]
    if not wrong:
        return
    if await mend(cloud, partial(_ask, cloud, server_id=server_id, host_name=host_name)):
        where = ", ".join(sorted({port.host or "no host" for port in wrong}))
        tally.find(f"{len(wrong)} ports were bound to {where}", mended=True, host=host_name, server=server_id)


def _ask(cloud: Cloud, tx: Tx, server_id: ServerId, host_name: str) -> bool:
    now = servers.get(tx, server_id)
    if now is None or now.host_name != host_name or now.task_state is not None:
        return False
    if operations.active(tx, server_id) is not None:
        return False
    asked = Asked(now.user, now.project, f"req-{cloud.chance.uuid()}", admin=True)
    accept_heal_ports(cloud, tx, asked, server_id)
    return True
