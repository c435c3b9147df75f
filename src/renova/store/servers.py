"""Servers: one row each, with what a list shows of them, so that a list needs one statement."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Index,
    String,
    Table,
    Text,
    Update,
    bindparam,
    func,
    insert,
    or_,
    select,
    update,
)

from renova.model.flavor import Flavor
from renova.model.guest import PowerState
from renova.model.ids import HostId, ProjectId, ServerId
from renova.model.server import AttachedNetwork, AttachedVolume, Fault, KeyPair, Server, TaskState, VmState
from renova.store.database import Tx
from renova.store.schema import Document, Number, Stamp, metadata, only_where

servers = Table(
    "servers",
    metadata,
    Column("serial", Number, primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("project", String(36), nullable=False, index=True),
    Column("user", String(36), nullable=False),
    Column("name", String(255), nullable=False),
    Column("description", String(255)),
    Column("hostname", String(255), nullable=False),
    Column("vm_state", String(32), nullable=False),
    Column("task_state", String(64)),
    Column("power_state", Number, nullable=False, default=0),
    Column("progress", Number, nullable=False, default=0),
    Column("host", String(36), index=True),
    Column("host_name", String(255)),
    Column("availability_zone", String(255)),
    Column("pinned_zone", String(255)),
    Column("flavor", Document(Flavor), nullable=False),
    Column("image", String(36)),
    Column("image_properties", Document(dict[str, str]), nullable=False),
    Column("image_format", String(16), nullable=False),
    Column("image_bytes", Number, nullable=False),
    Column("image_sha256", String(64), nullable=False),
    Column("root_generation", Number, nullable=False, default=1),
    Column("burnt_generation", Number, nullable=False, server_default="0"),
    Column("key", Document(KeyPair)),
    Column("user_data", Text),
    Column("metadata", Document(dict[str, str]), nullable=False),
    Column("tags", Document(tuple[str, ...]), nullable=False),
    Column("networks", Document(tuple[AttachedNetwork, ...]), nullable=False),
    Column("volumes", Document(tuple[AttachedVolume, ...]), nullable=False),
    Column("security_groups", Document(tuple[str, ...]), nullable=False),
    Column("scheduler_hints", Document(dict[str, Any]), nullable=False),
    Column("group", String(36), index=True),
    Column("config_drive", String(8), nullable=False, default=""),
    Column("disk_config", String(8), nullable=False, default="MANUAL"),
    Column("access_ipv4", String(64)),
    Column("access_ipv6", String(64)),
    Column("trusted_certs", Document(tuple[str, ...])),
    Column("locked_by", String(16)),
    Column("locked_reason", String(255)),
    Column("reservation", String(64), nullable=False, default=""),
    Column("fault", Document(Fault)),
    Column("last_number", Number, nullable=False, default=0),
    Column("created_at", Stamp, nullable=False),
    Column("updated_at", Stamp, nullable=False),
    Column("launched_at", Stamp),
    Column("terminated_at", Stamp),
    Column("deleted", Boolean, nullable=False, default=False),
    Index("servers_newest", "created_at", "serial"),
)
# Deleted servers are kept, and soon are most: who asks for the others is not to go through these.
_living = only_where(servers.c.deleted.is_(False))
Index("servers_living", servers.c.created_at, servers.c.serial, **_living)
Index("servers_living_in_order", servers.c.serial, **_living)
# Not one of those only: SQLite would prefer that of all the project's servers to it.
Index("servers_of_project", servers.c.project, servers.c.deleted, servers.c.created_at, servers.c.serial)

_VM = {state.value: state for state in VmState}
_TASK: dict[str | None, TaskState | None] = {state.value: state for state in TaskState} | {None: None}
_POWER = {state.value: state for state in PowerState}


# Made once: making a statement costs five times as much as running it.
_BY_ID_WITH_DELETED = select(servers).where(servers.c.id == bindparam("wanted"))
_BY_ID = _BY_ID_WITH_DELETED.where(servers.c.deleted.is_(False))
_ON_HOST = (
    select(servers).where(servers.c.host == bindparam("on"), servers.c.deleted.is_(False)).order_by(servers.c.serial)
)
_ADD = insert(servers)
_CHANGE = update(servers).where(servers.c.id == bindparam("wanted"))
_NEXT_NUMBER = _CHANGE.values(last_number=servers.c.last_number + 1).returning(servers.c.last_number)
_USAGE = (
    select(servers.c.flavor, func.count())
    .where(servers.c.project == bindparam("project"), servers.c.deleted.is_(False))
    .group_by(servers.c.flavor)
)


_COLUMNS = tuple(column.name for column in servers.columns)


def of_row(row: Any) -> Server:
    """Return the server of a row that has all columns of `servers`, in their order."""
    # Not by the row's own mapping: that makes the names anew for each row, a fifth of what a long list costs.
    values = dict(zip(_COLUMNS, row, strict=True))
    values["vm_state"] = _VM[values["vm_state"]]
    values["task_state"] = _TASK[values["task_state"]]
    values["power_state"] = _POWER[values["power_state"]]
    return Server(**values)


def add(tx: Tx, server: Server) -> None:
    """Add the server; its `serial` is given by the database."""
    values = {name: getattr(server, name) for name in server.__struct_fields__ if name != "serial"}
    tx.execute(_ADD, values)
    if tx.watch is not None:
        tx.watch(tx, None, server)


def get(tx: Tx, server: ServerId, *, deleted: bool = False) -> Server | None:
    """Return the server; a deleted one only when asked for."""
    row = tx.execute(_BY_ID_WITH_DELETED if deleted else _BY_ID, {"wanted": server}).first()
    return of_row(row) if row else None


def change(tx: Tx, server: ServerId, **values: Any) -> None:
    before = _watched(tx, server, values)
    tx.execute(_CHANGE, {"wanted": server, "updated_at": tx.now, **values})
    if before is not None:
        _tell(tx, before)


def _watched(tx: Tx, server: ServerId, values: Mapping[str, Any]) -> Server | None:
    """Return the server as it is before a change of its state of which somebody wants to be told, else None."""
    if tx.watch is None or not {"vm_state", "task_state"} & values.keys():
        return None
    return get(tx, server, deleted=True)


def _tell(tx: Tx, before: Server) -> None:
    now = get(tx, before.id, deleted=True)
    if tx.watch is not None and now is not None and _states(before) != _states(now):
        tx.watch(tx, before, now)


def _states(server: Server) -> tuple[VmState, TaskState | None]:
    return server.vm_state, server.task_state


def swap_task(
    tx: Tx, server: ServerId, expected: Sequence[TaskState | None], wanted: TaskState | None, **values: Any
) -> bool:
    """Set the task state if it is one of those expected: the one compare-and-swap by which requests race."""
    changes = {"wanted": server, "task_state": wanted, "updated_at": tx.now, **values}
    before = _watched(tx, server, changes)
    swapped = tx.execute(_swap(tuple(expected)), changes).rowcount == 1
    if before is not None and swapped:
        _tell(tx, before)
    return swapped


@cache
def _swap(expected: tuple[TaskState | None, ...]) -> Update:
    test: ColumnElement[bool] = servers.c.task_state.in_([state for state in expected if state is not None])
    if None in expected:
        test = or_(test, servers.c.task_state.is_(None))
    return _CHANGE.where(servers.c.deleted.is_(False), test)


def next_number(tx: Tx, server: ServerId) -> int:
    """Return a higher operation number than any the server had."""
    return int(tx.execute(_NEXT_NUMBER, {"wanted": server}).scalar_one())


def on_host(tx: Tx, host: HostId) -> list[Server]:
    return [of_row(row) for row in tx.execute(_ON_HOST, {"on": host})]


class Standing(msgspec.Struct, frozen=True):
    """How a server stands: what duties look at, a tenth of what its row holds."""

    id: ServerId
    host: HostId | None
    host_name: str | None
    vm_state: VmState
    task_state: TaskState | None
    power_state: PowerState
    last_number: int
    root_generation: int
    burnt_generation: int


_STANDINGS = (
    select(*(servers.c[name] for name in Standing.__struct_fields__))
    .where(servers.c.deleted.is_(False))
    .order_by(servers.c.serial)
)
_STANDINGS_ON = _STANDINGS.where(servers.c.host == bindparam("on"))


def standings(tx: Tx, host: HostId | None = None) -> list[Standing]:
    """List how all servers stand, or those of a host."""
    rows = tx.execute(_STANDINGS) if host is None else tx.execute(_STANDINGS_ON, {"on": host})
    return [
        Standing(row[0], row[1], row[2], _VM[row[3]], _TASK[row[4]], _POWER[row[5]], row[6], row[7], row[8])
        for row in rows
    ]


def find(
    tx: Tx,
    where: Sequence[ColumnElement[bool]] = (),
    order: Sequence[ColumnElement[Any]] = (),
    limit: int | None = None,
) -> list[Server]:
    """List servers that fit all conditions on the columns of `servers.servers`; the newest first unless told."""
    query = select(servers).where(*where).order_by(*(order or (servers.c.created_at.desc(), servers.c.serial.desc())))
    return [of_row(row) for row in tx.execute(query.limit(limit) if limit is not None else query).all()]


def usage(tx: Tx, project: ProjectId) -> tuple[int, int, int]:
    """Return how many servers, vCPUs and MiB of memory the project's servers use, for its quota."""
    count = vcpus = memory_mb = 0
    for flavor, of_it in tx.execute(_USAGE, {"project": project}):
        count += of_it
        vcpus += of_it * flavor.vcpus
        memory_mb += of_it * flavor.memory_mb
    return count, vcpus, memory_mb


def count_on_hosts(tx: Tx) -> dict[HostId, int]:
    rows = tx.execute(
        select(servers.c.host, func.count())
        .where(servers.c.deleted.is_(False), servers.c.host.is_not(None))
        .group_by(servers.c.host)
    )
    return {HostId(row[0]): int(row[1]) for row in rows}
