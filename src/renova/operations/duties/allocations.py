"""Allocations: what servers hold of hosts is what they need there, no more and no less (spec: scheduling, section 8).

A server holds its flavor's amounts of the host it lives on; and of a former host until that has cleaned up. What
others allocated by hand, for consumers that are no servers or of providers that are no hosts, is left alone.
"""

from functools import partial

from renova.model.errors import Conflict
from renova.model.host import Host
from renova.model.ids import HostId, ServerId
from renova.operations.cloud import Cloud
from renova.operations.duties.mending import mend
from renova.operations.parts.needs import amounts
from renova.operations.rounds import Tally
from renova.store import hosts, operations, rights, servers
from renova.store.database import Tx
from renova.store.placement import allocations, claims


async def audit_allocations(cloud: Cloud, tally: Tally) -> None:
    """Give back what is held for nothing, and hold what is needed, if it fits."""
    for host in await cloud.database.read(hosts.every):
        with tally.apart(host=host.name):
            await _audit_host(cloud, tally, host)


async def _audit_host(cloud: Cloud, tally: Tally, host: Host) -> None:
    looked, suspects = await cloud.database.read(lambda tx: _suspects(tx, host.id))
    tally.looked += looked
    for server in suspects:
        with tally.apart(host=host.name, server=server):
            try:
                what = await mend(cloud, partial(_mend, cloud, host=host.id, server_id=server))
            except Conflict as error:
                tally.find(
                    f"holds too little, and cannot have more: {error}", mended=False, host=host.name, server=server
                )
                continue
            if what is not None:
                tally.find(what, mended=True, host=host.name, server=server)


def _suspects(tx: Tx, host: HostId) -> tuple[int, list[ServerId]]:
    """Count who lives on the host or holds something of it, and list those for whom the two may differ."""
    held: dict[ServerId, dict[str, int]] = {}
    for allocation in allocations.held_of(tx, host):
        held.setdefault(allocation.consumer, {})[allocation.resource_class] = allocation.amount
    here = {server.id: server for server in servers.on_host(tx, host)}
    lacking = [server.id for server in here.values() if _lacks(held.get(server.id, {}), amounts(server))]
    strange = [consumer for consumer in held if consumer not in here]
    return len(here.keys() | held.keys()), lacking + strange


def _lacks(held: dict[str, int], wanted: dict[str, int]) -> bool:
    return any(held.get(name) != amount for name, amount in wanted.items())


def _mend(cloud: Cloud, tx: Tx, host: HostId, server_id: ServerId) -> str | None:
    """Have the server hold of this host what it needs there; `Conflict` where that does not fit."""
    server = servers.get(tx, server_id, deleted=True)
    if server is None or operations.active(tx, server_id) is not None:
        return None
    held = {each.resource_class: each.amount for each in allocations.held(tx, server_id) if each.provider == host}
    if server.host == host and not server.deleted:
        wanted = amounts(server)
        if not _lacks(held, wanted):
            return None
        claims.claim(tx, server.id, server.project, server.user, host, {**held, **wanted})
        cloud.fleet.stale()
        return f"held {held or 'nothing'}, holds {wanted}"
    right = rights.right(tx, server_id)
    if not held or rights.owes(tx, host, server_id) or (right is not None and right.host == host):
        return None
    claims.release(tx, server_id, host)
    cloud.fleet.stale()
    return f"held {held} for nothing"
