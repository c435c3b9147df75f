"""Opens the database with every table there is: a new module with tables is named here."""

from pathlib import Path

from renova.model.clock import Clock
from renova.store import (
    actions,
    aggregates,
    block_devices,
    cluster,
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
    placement,
    ports,
    providers,
    quotas,
    rights,
    security_groups,
    server_groups,
    servers,
    volume_attachments,
    volume_quotas,
    volume_snapshots,
    volume_types,
    volumes,
)
from renova.store.database import Database
from renova.store.sqlite import open_sqlite

MODULES = (
    actions,
    aggregates,
    block_devices,
    cluster,
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
    placement,
    ports,
    providers,
    quotas,
    rights,
    security_groups,
    server_groups,
    servers,
    volume_attachments,
    volume_quotas,
    volume_snapshots,
    volume_types,
    volumes,
)


def open_database(path: Path | None, clock: Clock) -> Database:
    """Open the embedded database with all tables; `None` opens one in memory, served inline."""
    return open_sqlite(path, clock)
