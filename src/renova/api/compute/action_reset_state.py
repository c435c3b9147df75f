"""os-resetState: an administrator says which state the server is in.

What is under way on the server goes on, and has the last word.
"""

from typing import Literal

from renova.api.compute.action import Action, Value, read_value
from renova.api.compute.fields import Body
from renova.api.compute.visible import find_server
from renova.api.http import Call, Reply
from renova.model.server import VmState
from renova.operations.parts.state import get_server
from renova.store import actions, servers
from renova.store.database import Tx

POLICY = {"os_compute_api:os-admin-actions:reset_state": "rule:admin_api"}


class ResetState(Body):
    """The state to have."""

    state: Literal["active", "error"]


async def reset_state(call: Call, value: Value) -> Reply:
    wanted = VmState(read_value(call, "os-resetState", value, ResetState).state)
    server = await find_server(call, "os_compute_api:os-admin-actions:reset_state")

    def work(tx: Tx) -> None:
        get_server(tx, server.id)  # it may have been deleted since it was found
        servers.change(tx, server.id, vm_state=wanted, task_state=None)
        began = actions.begin(tx, server.id, call.request_id, "resetState", call.caller.user, call.caller.project)
        actions.close_events(tx, began)

    await call.cloud.database.transact(work)
    return Reply(202)


ACTIONS = {"os-resetState": Action(reset_state)}
