"""pause and unpause: the guest stands still with its memory kept, and goes on."""

from renova.api.compute.action import Action, Value, demand_no_value
from renova.api.compute.visible import asked, find_server
from renova.api.http import Call, Reply
from renova.operations.pause import accept_pause, accept_unpause

POLICY = {
    "os_compute_api:os-pause-server:pause": "rule:project_member_or_admin",
    "os_compute_api:os-pause-server:unpause": "rule:project_member_or_admin",
}


async def pause(call: Call, value: Value) -> Reply:
    demand_no_value("pause", value)
    server = await find_server(call, "os_compute_api:os-pause-server:pause")
    await call.cloud.database.transact(lambda tx: accept_pause(call.cloud, tx, asked(call), server.id))
    return Reply(202)


async def unpause(call: Call, value: Value) -> Reply:
    demand_no_value("unpause", value)
    server = await find_server(call, "os_compute_api:os-pause-server:unpause")
    await call.cloud.database.transact(lambda tx: accept_unpause(call.cloud, tx, asked(call), server.id))
    return Reply(202)


ACTIONS = {"pause": Action(pause), "unpause": Action(unpause)}
