"""Quotas: how much projects may have. Kept is only what differs from the defaults."""

from collections.abc import Mapping

from sqlalchemy import Column, String, Table, bindparam, delete, insert, select

from renova.model.ids import ProjectId
from renova.store.database import Tx
from renova.store.schema import Number, metadata

# Of a project, but key pairs of a user, and members of a group; -1 is unlimited.
DEFAULTS = {
    "instances": 10,
    "cores": 20,
    "ram": 51200,  # MiB
    "metadata_items": 128,
    "key_pairs": 100,
    "server_groups": 10,
    "server_group_members": 10,
    "injected_files": 5,
    "injected_file_content_bytes": 10240,
    "injected_file_path_bytes": 255,
}

EVERYBODY = ProjectId("")  # whose rows are the defaults as the operator changed them

quotas = Table(
    "quotas",
    metadata,
    Column("project", String(36), primary_key=True),
    Column("resource", String(64), primary_key=True),
    Column("most", Number, nullable=False),
)

# Made once: making a statement costs five times as much as running it.
_KEPT = select(quotas).where(quotas.c.project == bindparam("project"))
_ADD = insert(quotas)
_REMOVE = delete(quotas).where(quotas.c.project == bindparam("project"), quotas.c.resource == bindparam("resource"))


def of_project(tx: Tx, project: ProjectId) -> dict[str, int]:
    """Return the project's quota of every resource."""
    return {**DEFAULTS, **_kept(tx, EVERYBODY), **_kept(tx, project)}


def _kept(tx: Tx, project: ProjectId) -> dict[str, int]:
    return {row.resource: row.most for row in tx.execute(_KEPT, {"project": project})}


def change(tx: Tx, project: ProjectId, limits: Mapping[str, int]) -> None:
    for resource, most in limits.items():
        tx.execute(_REMOVE, {"project": project, "resource": resource})
        tx.execute(_ADD, {"project": project, "resource": resource, "most": most})


def reset(tx: Tx, project: ProjectId) -> None:
    """Have the defaults count for the project again."""
    tx.execute(delete(quotas).where(quotas.c.project == project))
