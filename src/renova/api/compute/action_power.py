"""os-start, os-stop and reboot."""

from typing import Literal

from renova.api.compute.action import Action, Value, demand_no_value, read_value
from renova.api.compute.fields import Body
from renova.api.compute.visible import asked, find_server
from renova.api.http import Call, Reply
from renova.operations.reboot import accept_reboot
from renova.operations.start import accept_start
from renova.operations.stop import accept_stop

POLICY = {
    "os_compute_api:servers:start": "rule:project_member_or_admin",
    "os_compute_api:servers:stop": "rule:project_member_or_admin",
    "os_compute_api:servers:reboot": "rule:project_member_or_admin",
}


class Reboot(Body):
    """Which kind of reboot; only these spellings."""

    type: Literal["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]


async def start(call: Call, value: Value) -> Reply:
    demand_no_value("os-start", value)
    server = await find_server(call, "os_compute_api:servers:start")
    await call.cloud.database.transact(lambda tx: accept_start(call.cloud, tx, asked(call), server.id))
    return Reply(202)


async def stop(call: Call, value: Value) -> Reply:
    demand_no_value("os-stop", value)
    server = await find_server(call, "os_compute_api:servers:stop")
    await call.cloud.database.transact(lambda tx: accept_stop(call.cloud, tx, asked(call), server.id))
    return Reply(202)


async def reboot(call: Call, value: Value) -> Reply:
    hard = read_value(call, "reboot", value, Reboot).type.lower() == "hard"
    server = await find_server(call, "os_compute_api:servers:reboot")
    await call.cloud.database.transact(lambda tx: accept_reboot(call.cloud, tx, asked(call), server.id, hard=hard))
    return Reply(202)


ACTIONS = {"os-start": Action(start), "os-stop": Action(stop), "reboot": Action(reboot)}
