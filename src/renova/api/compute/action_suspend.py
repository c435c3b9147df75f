"""suspend and resume: the guest is off with its memory saved, and goes on from it."""

from renova.api.compute.action import Action, Value, demand_no_value
from renova.api.compute.visible import asked, find_server
from renova.api.http import Call, Reply
from renova.operations.suspend import accept_resume, accept_suspend

POLICY = {
    "os_compute_api:os-suspend-server:suspend": "rule:project_member_or_admin",
    "os_compute_api:os-suspend-server:resume": "rule:project_member_or_admin",
}


async def suspend(call: Call, value: Value) -> Reply:
    demand_no_value("suspend", value)
    server = await find_server(call, "os_compute_api:os-suspend-server:suspend")
    await call.cloud.database.transact(lambda tx: accept_suspend(call.cloud, tx, asked(call), server.id))
    return Reply(202)


async def resume(call: Call, value: Value) -> Reply:
    demand_no_value("resume", value)
    server = await find_server(call, "os_compute_api:os-suspend-server:resume")
    await call.cloud.database.transact(lambda tx: accept_resume(call.cloud, tx, asked(call), server.id))
    return Reply(202)


ACTIONS = {"suspend": Action(suspend), "resume": Action(resume)}
