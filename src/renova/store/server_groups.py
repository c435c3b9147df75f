"""Server groups. A server is in at most one, which its row names; where members are is told by their rows and rights.

Who claims a host for a member reads that in the claiming transaction, so two members can never both take the last
place that their group's policy leaves.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Column, String, Table, bindparam, delete, func, insert, select, update

from renova.model.group import GroupPolicy, ServerGroup
from renova.model.ids import GroupId, ProjectId, ServerId
from renova.model.place import Place
from renova.model.server import VmState
from renova.store.database import Tx
from renova.store.rights import rights
from renova.store.schema import Number, Stamp, metadata
from renova.store.servers import servers

server_groups = Table(
    "server_groups",
    metadata,
    Column("serial", Number, primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("project", String(36), nullable=False, index=True),
    Column("user", String(36), nullable=False),
    Column("name", String(255), nullable=False),
    Column("policy", String(32), nullable=False),
    Column("max_server_per_host", Number),
    Column("created_at", Stamp, nullable=False),
)

_FIELDS = [server_groups.c[name] for name in ServerGroup.__struct_fields__]

# Made once: making a statement costs five times as much as running it.
_BY_ID = select(*_FIELDS).where(server_groups.c.id == bindparam("wanted"))
_PLACES = (
    select(servers.c.id, servers.c.host, rights.c.host, servers.c.vm_state, servers.c.task_state)
    .select_from(servers.outerjoin(rights, rights.c.server == servers.c.id))
    .where(servers.c.deleted.is_(False))
)
_SOME = select(*_FIELDS).where(server_groups.c.id.in_(bindparam("ids", expanding=True)))
_OF_GROUPS = (
    select(servers.c.group, *_PLACES.selected_columns)
    .select_from(servers.outerjoin(rights, rights.c.server == servers.c.id))
    .where(servers.c.deleted.is_(False), servers.c.group.in_(bindparam("ids", expanding=True)))
    .order_by(servers.c.serial)
)
_OF_GROUP = _PLACES.where(servers.c.group == bindparam("of")).order_by(servers.c.serial)
_OF_SERVERS = _PLACES.where(
    servers.c.id.in_(bindparam("ids", expanding=True)), servers.c.project == bindparam("project")
)


def place_of(row: Iterable[Any]) -> Place:
    """Return where a server is, from its id, its row's host, the one that may run it, vm_state and task_state."""
    server, host, runs_on, vm_state, task_state = row
    if vm_state == VmState.BUILDING and runs_on is None:
        return Place(server, None, None)  # its row names at most a host that could not build it
    return Place(server, host, runs_on, task_state is not None and (vm_state == VmState.BUILDING or runs_on != host))


def _group(row: Iterable[Any]) -> ServerGroup:
    values = dict(zip(ServerGroup.__struct_fields__, row, strict=True))
    return ServerGroup(**{**values, "policy": GroupPolicy(values["policy"])})


def add(tx: Tx, group: ServerGroup) -> None:
    values = {name: getattr(group, name) for name in ServerGroup.__struct_fields__}
    tx.execute(insert(server_groups), {**values, "created_at": tx.now})


def get(tx: Tx, group: GroupId) -> ServerGroup | None:
    row = tx.execute(_BY_ID, {"wanted": group}).first()
    return _group(tuple(row)) if row else None


def with_places(tx: Tx, wanted: Sequence[GroupId]) -> dict[GroupId, tuple[ServerGroup, list[Place]]]:
    """Return these groups, each with the places of its servers as `places` has them, by two statements."""
    found = {row.id: (_group(tuple(row)), list[Place]()) for row in tx.execute(_SOME, {"ids": wanted})}
    for of, *row in tx.execute(_OF_GROUPS, {"ids": wanted}):
        if of in found:
            found[of][1].append(place_of(row))
    return found


def page(tx: Tx, project: ProjectId | None, offset: int, limit: int) -> list[ServerGroup]:
    """List the project's groups (None: all), in the order in which they were made."""
    query = select(*_FIELDS).order_by(server_groups.c.serial).offset(offset).limit(limit)
    if project is not None:
        query = query.where(server_groups.c.project == project)
    return [_group(tuple(row)) for row in tx.execute(query)]


def count(tx: Tx, project: ProjectId) -> int:
    query = select(func.count()).select_from(server_groups).where(server_groups.c.project == project)
    return int(tx.execute(query).scalar() or 0)


def remove(tx: Tx, group: GroupId) -> bool:
    """Remove the group; its servers stay as they are, in none. False when there is none."""
    tx.execute(update(servers).where(servers.c.group == group).values(group=None))
    return tx.execute(delete(server_groups).where(server_groups.c.id == group)).rowcount == 1


def members(tx: Tx, groups: Sequence[GroupId]) -> dict[GroupId, list[ServerId]]:
    """Return the servers of each group, in the order in which they were made."""
    found: dict[GroupId, list[ServerId]] = {group: [] for group in groups}
    query = select(servers.c.group, servers.c.id).where(servers.c.group.in_(groups), servers.c.deleted.is_(False))
    for group, server in tx.execute(query.order_by(servers.c.serial)):
        found[group].append(server)
    return found


def places(tx: Tx, group: GroupId) -> list[Place]:
    """List where the group's servers are now, also those that are being moved."""
    return [place_of(row) for row in tx.execute(_OF_GROUP, {"of": group})]


def places_of(tx: Tx, project: ProjectId, wanted: Sequence[ServerId]) -> list[Place]:
    """List where these servers are now; those of other projects are not told of."""
    return [place_of(row) for row in tx.execute(_OF_SERVERS, {"ids": wanted, "project": project})]
