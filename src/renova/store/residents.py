"""Which servers live on which hosts, with all that is known of them: read for many hosts at once."""

from collections.abc import Iterator, Sequence

import msgspec
from sqlalchemy import BindParameter, bindparam, or_, select, union

from renova.model.ids import HostId
from renova.model.place import Place
from renova.model.server import Server
from renova.store import server_groups
from renova.store.database import Tx
from renova.store.rights import rights
from renova.store.servers import of_row, servers

AT_ONCE = 500  # hosts that are asked for in one statement

_EVERY = (
    select(*servers.columns, rights.c.host)
    .select_from(servers.outerjoin(rights, rights.c.server == servers.c.id))
    .where(servers.c.deleted.is_(False), or_(servers.c.host.is_not(None), rights.c.host.is_not(None)))
    .order_by(servers.c.id)
)
_IDS: BindParameter[list[str]] = bindparam("ids", expanding=True)
# Each half by an index of its own: asked for both in one condition, a database looks at every server that ever was.
ON_HOSTS = union(
    select(servers.c.id).where(servers.c.host.in_(_IDS)), select(rights.c.server).where(rights.c.host.in_(_IDS))
)
_OF_HOSTS = _EVERY.where(servers.c.id.in_(ON_HOSTS))


class Resident(msgspec.Struct, frozen=True):
    """A server, and where it is."""

    server: Server
    place: Place


def residents(tx: Tx, hosts: Sequence[HostId] | None) -> list[Resident]:
    """List the servers that live on these hosts (None: on any), or may run there; each once, by id."""
    found: dict[str, Resident] = {}
    for row in _rows(tx, hosts):
        server = of_row(row[:-1])
        place = server_groups.place_of((server.id, server.host, row[-1], server.vm_state, server.task_state))
        found[server.id] = Resident(server, place)
    return [found[server] for server in sorted(found)]


def _rows(tx: Tx, hosts: Sequence[HostId] | None) -> Iterator[Sequence[object]]:
    if hosts is None:
        yield from tx.execute(_EVERY)
        return
    for first in range(0, len(hosts), AT_ONCE):
        yield from tx.execute(_OF_HOSTS, {"ids": hosts[first : first + AT_ONCE]})
