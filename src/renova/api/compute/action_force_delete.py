"""forceDelete: the server is deleted at once. Here every delete is: none is kept back for a time."""

from renova.api.compute.action import Action, Value, demand_no_value
from renova.api.compute.visible import asked, find_server
from renova.api.http import Call, Reply
from renova.operations.delete import accept_delete

POLICY = {"os_compute_api:os-deferred-delete:force": "rule:project_member_or_admin"}


async def force_delete(call: Call, value: Value) -> Reply:
    demand_no_value("forceDelete", value)
    server = await find_server(call, "os_compute_api:os-deferred-delete:force")
    await call.cloud.database.transact(lambda tx: accept_delete(call.cloud, tx, asked(call), server.id))
    return Reply(202)


ACTIONS = {"forceDelete": Action(force_delete)}
