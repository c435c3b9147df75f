"""Security groups and their rules, and which ports have them. Called by `partners.network` and `api.network`.

Groups are kept and shown. Nothing filters packets by them yet: hosts are not told of them.
"""

from typing import Any

import msgspec
from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    String,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from renova.model.chance import Chance
from renova.model.errors import Conflict, NotFound
from renova.model.ids import ProjectId
from renova.store.database import Tx
from renova.store.schema import Number, Stamp, metadata

DEFAULT = "default"  # the name of the group that every project has

security_groups = Table(
    "security_groups",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("project", String(36), nullable=False, index=True),
    Column("name", String(255), nullable=False),
    Column("description", Text, nullable=False),
    Column("stateful", Boolean, nullable=False),
    Column("created_at", Stamp, nullable=False),
    Column("updated_at", Stamp, nullable=False),
)

security_rules = Table(
    "security_rules",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("security_group", String(36), ForeignKey("security_groups.id", ondelete="CASCADE"), nullable=False),
    Column("project", String(36), nullable=False),
    Column("direction", String(8), nullable=False),
    Column("ethertype", String(8), nullable=False),
    Column("protocol", String(40)),
    Column("port_min", Number),
    Column("port_max", Number),
    Column("remote_cidr", String(64)),
    Column("remote_group", String(36), ForeignKey("security_groups.id", ondelete="CASCADE")),
    Column("description", Text, nullable=False),
    Column("created_at", Stamp, nullable=False),
)

port_security_groups = Table(
    "port_security_groups",
    metadata,
    Column("port", String(36), ForeignKey("ports.id", ondelete="CASCADE"), primary_key=True),
    Column("security_group", String(36), ForeignKey("security_groups.id"), primary_key=True, index=True),
)

# Made once: making a statement costs five times as much as running it.
_DEFAULT_OF = select(security_groups.c.id).where(
    security_groups.c.project == bindparam("project"), security_groups.c.name == DEFAULT
)
_GIVE = insert(port_security_groups)
_ADD_RULE = insert(security_rules)
_RULES_OF = (
    select(security_rules)
    .where(security_rules.c.security_group == bindparam("security_group"))
    .order_by(security_rules.c.created_at, security_rules.c.id)
)


class SecurityRule(msgspec.Struct, frozen=True, kw_only=True):
    """Lets traffic pass. None as protocol, port or remote end means any."""

    id: str
    security_group: str
    project: ProjectId
    direction: str  # ingress, egress
    ethertype: str  # IPv4, IPv6
    protocol: str | None = None
    port_min: int | None = None
    port_max: int | None = None
    remote_cidr: str | None = None
    remote_group: str | None = None
    description: str = ""
    created_at: str


class SecurityGroup(msgspec.Struct, frozen=True):
    """A set of rules that ports can have."""

    id: str
    project: ProjectId
    name: str
    description: str
    stateful: bool
    created_at: str
    updated_at: str
    rules: tuple[SecurityRule, ...] = ()


def group(tx: Tx, group_id: str) -> SecurityGroup | None:
    found = _groups(tx, security_groups.c.id == group_id)
    return found[0] if found else None


def every_group(tx: Tx, project: str | None = None) -> list[SecurityGroup]:
    """List the groups of a project (None: all), oldest first."""
    return _groups(tx) if project is None else _groups(tx, security_groups.c.project == project)


def _groups(tx: Tx, *where: Any) -> list[SecurityGroup]:
    rows = tx.execute(
        select(security_groups).where(*where).order_by(security_groups.c.created_at, security_groups.c.id)
    ).all()
    rules: dict[str, list[SecurityRule]] = {row.id: [] for row in rows}
    mine = security_rules.c.security_group.in_(select(security_groups.c.id).where(*where))
    for found in _rules(tx, mine):
        rules[found.security_group].append(found)
    return [SecurityGroup(**row._mapping, rules=tuple(rules[row.id])) for row in rows]


def default_group(tx: Tx, chance: Chance, project: ProjectId) -> str:
    """Return the id of the project's own default group, made on first use."""
    found = tx.execute(_DEFAULT_OF, {"project": project}).scalar()
    if found is not None:
        return str(found)
    made = add_group(tx, chance, project, DEFAULT, "Default security group", stateful=True)
    for ethertype in ("IPv4", "IPv6"):
        add_rule(
            tx,
            SecurityRule(
                id=chance.uuid(),
                security_group=made.id,
                project=project,
                direction="ingress",
                ethertype=ethertype,
                remote_group=made.id,
                created_at=tx.now,
            ),
        )
    return made.id


def has_default_group(tx: Tx, project: str) -> bool:
    return tx.execute(_DEFAULT_OF, {"project": project}).first() is not None


def add_group(
    tx: Tx, chance: Chance, project: ProjectId, name: str, description: str, *, stateful: bool
) -> SecurityGroup:
    """Make a group with the rules every new group has: all may leave. `Conflict` for a second default group."""
    if name == DEFAULT and has_default_group(tx, project):
        raise Conflict("Default security group already exists.")
    group_id = chance.uuid()
    tx.execute(
        insert(security_groups).values(
            id=group_id,
            project=project,
            name=name,
            description=description,
            stateful=stateful,
            created_at=tx.now,
            updated_at=tx.now,
        )
    )
    for ethertype in ("IPv4", "IPv6"):
        rule = SecurityRule(
            id=chance.uuid(),
            security_group=group_id,
            project=project,
            direction="egress",
            ethertype=ethertype,
            created_at=tx.now,
        )
        add_rule(tx, rule)
    made = group(tx, group_id)
    assert made is not None
    return made


def change_group(tx: Tx, group_id: str, **values: Any) -> SecurityGroup:
    tx.execute(update(security_groups).where(security_groups.c.id == group_id).values(updated_at=tx.now, **values))
    changed = group(tx, group_id)
    if changed is None:
        raise NotFound(f"Security group {group_id} does not exist")
    return changed


def remove_group(tx: Tx, group_id: str) -> None:
    """Remove a group with its rules. `Conflict` while ports have it."""
    used = select(port_security_groups.c.port).where(port_security_groups.c.security_group == group_id).limit(1)
    if tx.execute(used).first() is not None:
        raise Conflict(f"Security Group {group_id} in use.")
    tx.execute(delete(security_groups).where(security_groups.c.id == group_id))


def rule(tx: Tx, rule_id: str) -> SecurityRule | None:
    found = _rules(tx, security_rules.c.id == rule_id)
    return found[0] if found else None


def every_rule(tx: Tx, project: str | None = None) -> list[SecurityRule]:
    return _rules(tx) if project is None else _rules(tx, security_rules.c.project == project)


def _rules(tx: Tx, *where: Any) -> list[SecurityRule]:
    query = select(security_rules).where(*where).order_by(security_rules.c.created_at, security_rules.c.id)
    return [SecurityRule(**row._mapping) for row in tx.execute(query)]


def add_rule(tx: Tx, new: SecurityRule) -> None:
    """Add a rule to its group. `Conflict` when the group has the same one already."""
    for row in tx.execute(_RULES_OF, {"security_group": new.security_group}):
        other = SecurityRule(**row._mapping)
        same = msgspec.structs.replace(other, id=new.id, created_at=new.created_at, description=new.description)
        if same == new:
            raise Conflict(f"Security group rule already exists. Rule id is {other.id}.")
    tx.execute(_ADD_RULE, msgspec.structs.asdict(new))


def remove_rule(tx: Tx, rule_id: str) -> None:
    tx.execute(delete(security_rules).where(security_rules.c.id == rule_id))


def give_groups(tx: Tx, port: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    """Have a new port have these groups; return them in the order in which they are shown."""
    given = tuple(sorted(set(groups)))
    for each in given:
        tx.execute(_GIVE, {"port": port, "security_group": each})
    return given


def change_groups(tx: Tx, port: str, groups: tuple[str, ...]) -> None:
    """Have the port have exactly these groups."""
    tx.execute(delete(port_security_groups).where(port_security_groups.c.port == port))
    give_groups(tx, port, groups)
