"""Opens the database with every table there is: a new module with tables is named here."""

from pathlib import Path

from renova.model.clock import Clock
from renova.store import (  # noqa: F401  imported for their tables
    actions,
    aggregates,
    alarms,
    block_devices,
    cluster,
    drains,
    executors,
    flavors,
    found_guests,
    hosts,
    identity,
    images,
    keypairs,
    migrations,
    networks,
    notices,
    operations,
    personal_files,
    ports,
    posts,
    power_controllers,
    providers,
    quotas,
    recoveries,
    restarts,
    rights,
    security_groups,
    segments,
    server_groups,
    servers,
    steps,
    strangers,
    volume_attachments,
    volume_quotas,
    volume_snapshots,
    volume_types,
    volumes,
)
from renova.store.database import Database
from renova.store.placement import allocations, inventories  # noqa: F401
from renova.store.sqlite import open_sqlite


def open_database(where: Path | str | None, clock: Clock) -> Database:
    """Open the database with all tables: PostgreSQL at a `postgresql://` address, else SQLite in a file.

    `None` opens one in memory, served inline.
    """
    if isinstance(where, str) and where.startswith(("postgresql://", "postgres://")):
        from renova.store.postgresql import open_postgresql  # noqa: PLC0415  not installed where it is not used

        return open_postgresql(where)
    return open_sqlite(None if where is None else Path(where), clock)
