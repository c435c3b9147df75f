"""Flavors, and the projects that may use those that are not public."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    Boolean,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    String,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    or_,
    select,
    update,
)

from renova.model.errors import Conflict
from renova.model.flavor import Flavor
from renova.model.ids import ProjectId
from renova.store.database import Tx
from renova.store.paging import Sort, after
from renova.store.schema import Document, Number, Stamp, metadata

flavors = Table(
    "flavors",
    metadata,
    Column("serial", Number, primary_key=True, autoincrement=True),
    Column("id", String(255), nullable=False, unique=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("vcpus", Number, nullable=False),
    Column("memory_mb", Number, nullable=False),
    Column("root_gb", Number, nullable=False),
    Column("ephemeral_gb", Number, nullable=False),
    Column("swap_mb", Number, nullable=False),
    Column("rxtx_factor", Float, nullable=False),
    Column("is_public", Boolean, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("description", Text),
    Column("extra_specs", Document(dict[str, str]), nullable=False),
    Column("created_at", Stamp, nullable=False),
)

flavor_projects = Table(
    "flavor_projects",
    metadata,
    Column("flavor", String(255), ForeignKey("flavors.id", ondelete="CASCADE"), primary_key=True),
    Column("project", String(36), primary_key=True, index=True),
)

_FIELDS = [flavors.c[name] for name in Flavor.__struct_fields__]


def usable(project: ProjectId | BindParameter[Any]) -> ColumnElement[bool]:
    """Return the condition of flavors that the project may use: public ones, and those given to it."""
    given = select(flavor_projects.c.flavor).where(flavor_projects.c.project == project)
    return or_(flavors.c.is_public, flavors.c.id.in_(given))


# Made once: making a statement costs five times as much as running it.
_TAKEN = {name: select(flavors.c.id).where(flavors.c[name.lower()] == bindparam("taken")) for name in ("name", "ID")}
_ADD = insert(flavors)
_BY_ID = select(*_FIELDS).where(flavors.c.id == bindparam("flavor"))
_BY_ID_USABLE = _BY_ID.where(usable(bindparam("project")))


def add(tx: Tx, flavor: Flavor) -> None:
    """Add the flavor; `Conflict` when its id or name is taken."""
    for name, value in (("name", flavor.name), ("ID", flavor.id)):
        if tx.execute(_TAKEN[name], {"taken": value}).first():
            raise Conflict(f"Flavor with {name} {value} already exists.")
    values = {name: getattr(flavor, name) for name in Flavor.__struct_fields__}
    tx.execute(_ADD, {"created_at": tx.now, **values})


def get(tx: Tx, flavor: str, project: ProjectId | None) -> Flavor | None:
    """Return the flavor if the project may use it (None: whoever may use all)."""
    if project is None:
        row = tx.execute(_BY_ID, {"flavor": flavor}).first()
    else:
        row = tx.execute(_BY_ID_USABLE, {"flavor": flavor, "project": project}).first()
    return Flavor(**row._mapping) if row else None


def page(
    tx: Tx,
    project: ProjectId | None,
    where: Sequence[ColumnElement[bool]],
    order: Sequence[Sort],
    last: str | None,
    limit: int,
) -> list[Flavor] | None:
    """List flavors that the project may use, after `last` in this order; None when it may not use that one."""
    total = [*order, Sort(flavors.c.id)]
    theirs = [] if project is None else [usable(project)]
    conditions = [*where, *theirs]
    if last is not None:
        row = tx.execute(select(flavors).where(flavors.c.id == last, *theirs)).first()
        if row is None:
            return None
        conditions.append(after(total, row._mapping))
    rows = tx.execute(select(*_FIELDS).where(*conditions).order_by(*(by.clause for by in total)).limit(limit))
    return [Flavor(**row._mapping) for row in rows]


def describe(tx: Tx, flavor: str, description: str | None) -> None:
    tx.execute(update(flavors).where(flavors.c.id == flavor).values(description=description))


def set_extra_specs(tx: Tx, flavor: str, extra_specs: Mapping[str, str]) -> None:
    tx.execute(update(flavors).where(flavors.c.id == flavor).values(extra_specs=dict(extra_specs)))


def remove(tx: Tx, flavor: str) -> bool:
    """Remove the flavor; servers keep it as it was. False when there is none."""
    return tx.execute(delete(flavors).where(flavors.c.id == flavor)).rowcount == 1


def projects(tx: Tx, flavor: str) -> list[ProjectId]:
    """List the projects that were given the flavor."""
    rows: Any = tx.execute(
        select(flavor_projects.c.project).where(flavor_projects.c.flavor == flavor).order_by(flavor_projects.c.project)
    ).scalars()
    return list(rows)


def give(tx: Tx, flavor: str, project: ProjectId) -> bool:
    """Let the project use the flavor; False when it may already."""
    if project in projects(tx, flavor):
        return False
    tx.execute(insert(flavor_projects).values(flavor=flavor, project=project))
    return True


def take(tx: Tx, flavor: str, project: ProjectId) -> bool:
    """End the project's use of the flavor; False when it had none."""
    done = tx.execute(
        delete(flavor_projects).where(flavor_projects.c.flavor == flavor, flavor_projects.c.project == project)
    )
    return done.rowcount == 1
