"""os-migrateLive: a server is moved to another host with its memory, while it runs.

To which one, only administrators say.
"""

from typing import ClassVar, Literal

from msgspec import UNSET, UnsetType

from renova.api.compute.action import Action, Value, read_value
from renova.api.compute.fields import Body, HostName, Truth, is_true
from renova.api.compute.visible import asked, find_server
from renova.api.http import Call, Reply, Version
from renova.model.errors import Invalid
from renova.operations.migrate_live import accept_migrate_live

POLICY = {
    "os_compute_api:os-migrate-server:migrate_live": "rule:project_manager_or_admin",
    "os_compute_api:os-migrate-server:migrate_live:host": "rule:admin_api",
}

_AUTO_SINCE: Version = (2, 25)
_FORCED_UNTIL: Version = (2, 29)  # a host that was named was taken without asking the scheduler


class WantedLiveMigration(Body):
    """Where to, and how."""

    SINCE: ClassVar[dict[str, Version]] = {"force": (2, 30)}
    UNTIL: ClassVar[dict[str, Version]] = {"disk_over_commit": (2, 24), "force": (2, 67)}

    host: HostName | None
    block_migration: Truth | Literal["auto"]
    disk_over_commit: Truth | UnsetType = UNSET
    force: Truth | UnsetType = UNSET


async def migrate_live(call: Call, value: Value) -> Reply:
    wanted = read_value(call, "os-migrateLive", value, WantedLiveMigration)
    _check_block_migration(call, wanted)
    force = wanted.force is not UNSET and is_true(wanted.force)
    server = await find_server(call, "os_compute_api:os-migrate-server:migrate_live")
    host = wanted.host
    if host is not None:
        about = {"project_id": server.project, "user_id": server.user}
        call.demand("os_compute_api:os-migrate-server:migrate_live:host", about)
    if force and host is None:
        raise Invalid("Can't force to a non-provided destination")
    forced = host is not None and (force or call.version <= _FORCED_UNTIL)
    await call.cloud.database.transact(
        lambda tx: accept_migrate_live(call.cloud, tx, asked(call), server.id, host, forced=forced)
    )
    return Reply(202)


def _check_block_migration(call: Call, wanted: WantedLiveMigration) -> None:
    """Refuse what would have disks copied; what old clients have to say of room for them is not looked at."""
    kind = wanted.block_migration
    if kind == "auto":
        if call.version < _AUTO_SINCE:
            raise Invalid("Invalid input for os-migrateLive: block_migration 'auto' is not of type 'boolean'")
    elif is_true(kind):
        raise Invalid("Disks are not copied between hosts while a server runs: leave block_migration false")
    if call.version < _AUTO_SINCE and wanted.disk_over_commit is UNSET:
        raise Invalid("Invalid input for os-migrateLive: Object missing required field `disk_over_commit`")


ACTIONS = {"os-migrateLive": Action(migrate_live)}
