"""How much of the volume service projects may have. Kept is only what differs from the defaults."""

from collections.abc import Mapping

from sqlalchemy import Column, String, Table, delete, insert, select

from renova.model.ids import ProjectId
from renova.store.database import Tx
from renova.store.schema import Number, metadata

# Cinder's; -1 is unlimited.
DEFAULTS = {
    "volumes": 10,
    "snapshots": 10,
    "gigabytes": 1000,
    "per_volume_gigabytes": -1,
    "backups": 10,
    "backup_gigabytes": 1000,
    "groups": 10,
}

volume_quotas = Table(
    "volume_quotas",
    metadata,
    Column("project", String(36), primary_key=True),
    Column("resource", String(64), primary_key=True),
    Column("most", Number, nullable=False),
)


def of_project(tx: Tx, project: ProjectId) -> dict[str, int]:
    """Return the project's quota of every resource."""
    rows = tx.execute(select(volume_quotas).where(volume_quotas.c.project == project))
    return {**DEFAULTS, **{row.resource: row.most for row in rows}}


def change(tx: Tx, project: ProjectId, limits: Mapping[str, int]) -> None:
    for resource, most in limits.items():
        mine = (volume_quotas.c.project == project, volume_quotas.c.resource == resource)
        tx.execute(delete(volume_quotas).where(*mine))
        tx.execute(insert(volume_quotas).values(project=project, resource=resource, most=most))


def reset(tx: Tx, project: ProjectId) -> None:
    """Have the defaults count for the project again."""
    tx.execute(delete(volume_quotas).where(volume_quotas.c.project == project))
