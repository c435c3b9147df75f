"""Host aggregates, their hosts and metadata; a host's availability zone is that of the aggregate it is in."""

from collections.abc import Mapping

from sqlalchemy import Column, String, Table, bindparam, delete, insert, select, update

from renova.model.aggregate import DEFAULT_ZONE, Aggregate
from renova.model.errors import Conflict
from renova.model.ids import HostId
from renova.store import providers
from renova.store.database import Tx
from renova.store.schema import Document, Number, Stamp, metadata

aggregates = Table(
    "aggregates",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("metadata", Document(dict[str, str]), nullable=False),
    Column("created_at", Stamp, nullable=False),
    Column("updated_at", Stamp),
    sqlite_autoincrement=True,  # an id is never given twice
)

aggregate_hosts = Table(
    "aggregate_hosts",
    metadata,
    Column("serial", Number, primary_key=True, autoincrement=True),
    Column("aggregate", Number, nullable=False, index=True),
    Column("host", String(36), nullable=False, index=True),
)

# Made once: making a statement costs five times as much as running it.
_EVERY = select(aggregates).order_by(aggregates.c.id)
_ONE = _EVERY.where(aggregates.c.id == bindparam("wanted"))
_HOSTS = select(aggregate_hosts).order_by(aggregate_hosts.c.serial)
_HOSTS_OF = _HOSTS.where(aggregate_hosts.c.aggregate == bindparam("wanted"))
_OF_HOST = (
    select(aggregates)
    .join(aggregate_hosts, aggregate_hosts.c.aggregate == aggregates.c.id)
    .where(aggregate_hosts.c.host == bindparam("of"))
    .order_by(aggregates.c.id)
)


def every(tx: Tx) -> list[Aggregate]:
    members: dict[int, list[HostId]] = {}
    for row in tx.execute(_HOSTS):
        members.setdefault(row.aggregate, []).append(row.host)
    return [Aggregate(**row._mapping, hosts=tuple(members.get(row.id, ()))) for row in tx.execute(_EVERY)]


def get(tx: Tx, aggregate: int) -> Aggregate | None:
    row = tx.execute(_ONE, {"wanted": aggregate}).first()
    if row is None:
        return None
    return Aggregate(**row._mapping, hosts=tuple(one.host for one in tx.execute(_HOSTS_OF, {"wanted": aggregate})))


def add(tx: Tx, uuid: str, name: str, values: Mapping[str, str]) -> int:
    """Add an aggregate of no hosts and return its id; `Conflict` when the name is taken."""
    _demand_free(tx, name, None)
    given = {"uuid": uuid, "name": name, "metadata": dict(values), "created_at": tx.now}
    return int(tx.execute(insert(aggregates).returning(aggregates.c.id), given).scalar_one())


def change(tx: Tx, aggregate: int, *, name: str | None = None, values: Mapping[str, str] | None = None) -> None:
    """Give the aggregate another name, or other metadata; `Conflict` when the name is taken."""
    changes: dict[str, object] = {"updated_at": tx.now}
    if name is not None:
        _demand_free(tx, name, aggregate)
        changes["name"] = name
    if values is not None:
        changes["metadata"] = dict(values)
    tx.execute(update(aggregates).where(aggregates.c.id == aggregate).values(**changes))
    for row in tx.execute(_HOSTS_OF, {"wanted": aggregate}).all():
        providers.note(tx, row.host)


def _demand_free(tx: Tx, name: str, but: int | None) -> None:
    taken = tx.execute(select(aggregates.c.id).where(aggregates.c.name == name)).scalar()
    if taken is not None and taken != but:
        raise Conflict(f"Aggregate {name} already exists.")


def remove(tx: Tx, aggregate: int) -> None:
    tx.execute(delete(aggregate_hosts).where(aggregate_hosts.c.aggregate == aggregate))
    tx.execute(delete(aggregates).where(aggregates.c.id == aggregate))


def add_host(tx: Tx, aggregate: int, host: HostId) -> None:
    tx.execute(insert(aggregate_hosts).values(aggregate=aggregate, host=host))
    mirror(tx, host)
    tx.execute(update(aggregates).where(aggregates.c.id == aggregate).values(updated_at=tx.now))


def remove_host(tx: Tx, aggregate: int, host: HostId) -> None:
    left = get(tx, aggregate)
    if left is not None:
        providers.leave(tx, host, left.uuid)
    tx.execute(delete(aggregate_hosts).where(aggregate_hosts.c.aggregate == aggregate, aggregate_hosts.c.host == host))
    tx.execute(update(aggregates).where(aggregates.c.id == aggregate).values(updated_at=tx.now))


def mirror(tx: Tx, host: HostId) -> None:
    """Have the host's provider in the aggregates of the host; those that only Placement knows stay its own."""
    for found in of_host(tx, host):
        providers.join(tx, host, found.uuid)


def forget_host(tx: Tx, host: HostId) -> None:
    """Have the host in no aggregate: it leaves the cloud."""
    tx.execute(delete(aggregate_hosts).where(aggregate_hosts.c.host == host))


def of_host(tx: Tx, host: HostId) -> list[Aggregate]:
    """List the aggregates that the host is in, without their hosts."""
    return [Aggregate(**row._mapping) for row in tx.execute(_OF_HOST, {"of": host})]


def zone_of(tx: Tx, host: HostId) -> str:
    """Return the host's availability zone."""
    return zone_among(of_host(tx, host))


def zone_among(found: list[Aggregate]) -> str:
    """Return the zone of a host that is in these aggregates; at most one of them names one."""
    return next((aggregate.zone for aggregate in found if aggregate.zone), DEFAULT_ZONE)


def of_hosts(tx: Tx) -> dict[HostId, list[Aggregate]]:
    """Return the aggregates of every host that is in one."""
    found: dict[HostId, list[Aggregate]] = {}
    for aggregate in every(tx):
        for host in aggregate.hosts:
            found.setdefault(host, []).append(aggregate)
    return found


def zones(tx: Tx) -> dict[HostId, str]:
    """Return the zone of every host that is not in the default one."""
    return {host: zone for host, found in of_hosts(tx).items() if (zone := zone_among(found)) != DEFAULT_ZONE}
