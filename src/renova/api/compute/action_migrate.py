"""migrate: a server is moved, cold, to another host; its own is alive. To which one, only administrators say."""

from typing import ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from renova.api.compute.action import Action, Value, read_value
from renova.api.compute.fields import Body, HostName, given
from renova.api.compute.visible import asked, find_server
from renova.api.http import Call, Reply, Version
from renova.operations.migrate import accept_migrate

POLICY = {
    "os_compute_api:os-migrate-server:migrate": "rule:project_manager_or_admin",
    "os_compute_api:os-migrate-server:migrate:host": "rule:admin_api",
}

_HOST_SINCE: Version = (2, 56)  # before, whatever stood behind the action was not looked at


class WantedMigration(Body):
    """Where to; anywhere, unless it says."""

    SINCE: ClassVar[dict[str, Version]] = {"host": _HOST_SINCE}

    host: HostName | UnsetType | None = UNSET


async def migrate(call: Call, value: Value) -> Reply:
    host = _host(call, value)
    server = await find_server(call, "os_compute_api:os-migrate-server:migrate")
    if host is not None:
        about = {"project_id": server.project, "user_id": server.user}
        call.demand("os_compute_api:os-migrate-server:migrate:host", about)
    await call.cloud.database.transact(lambda tx: accept_migrate(call.cloud, tx, asked(call), server.id, host))
    return Reply(202)


def _host(call: Call, value: Value) -> str | None:
    if call.version < _HOST_SINCE or msgspec.json.decode(value) is None:
        return None
    return given(read_value(call, "migrate", value, WantedMigration).host, None)


ACTIONS = {"migrate": Action(migrate)}
