"""lock and unlock: whether others than administrators may act on the server."""

from typing import Annotated, Any

from msgspec import Meta

from renova.api.compute.action import Action, Value, demand_no_value, is_nothing, read_value
from renova.api.compute.fields import Body
from renova.api.compute.visible import find_server
from renova.api.http import Call, Reply
from renova.model.server import Server
from renova.operations.parts.notify import notify
from renova.operations.parts.state import get_server
from renova.store import actions, servers
from renova.store.database import Tx

POLICY = {
    "os_compute_api:os-lock-server:lock": "rule:project_member_or_admin",
    "os_compute_api:os-lock-server:unlock": "rule:project_member_or_admin",
    "os_compute_api:os-lock-server:unlock:unlock_override": "rule:admin_api",
}


class Lock(Body):
    """Why; from 2.73 on."""

    locked_reason: Annotated[str, Meta(min_length=1, max_length=255)]


async def lock(call: Call, value: Value) -> Reply:
    reason = None
    if call.version >= (2, 73) and not is_nothing(value):
        reason = read_value(call, "lock", value, Lock).locked_reason
    else:
        demand_no_value("lock", value)
    server = await find_server(call, "os_compute_api:os-lock-server:lock")
    holder = _holder(call, server)

    def work(tx: Tx) -> None:
        if get_server(tx, server.id).locked_by is not None and holder == "owner":
            return  # an administrator's lock is not made the owner's
        _change(call, tx, server, "lock", locked_by=holder, locked_reason=reason)

    await call.cloud.database.transact(work)
    return Reply(202)


async def unlock(call: Call, value: Value) -> Reply:
    demand_no_value("unlock", value)
    server = await find_server(call, "os_compute_api:os-lock-server:unlock")

    def work(tx: Tx) -> None:
        if get_server(tx, server.id).locked_by not in (None, _holder(call, server)):
            target = {"project_id": server.project, "user_id": server.user}
            call.demand("os_compute_api:os-lock-server:unlock:unlock_override", target)
        _change(call, tx, server, "unlock", locked_by=None, locked_reason=None)

    await call.cloud.database.transact(work)
    return Reply(202)


def _holder(call: Call, server: Server) -> str:
    return "owner" if server.project == call.caller.project else "admin"


def _change(call: Call, tx: Tx, server: Server, action: str, **values: Any) -> None:
    servers.change(tx, server.id, **values)
    caller = call.caller
    began = actions.begin(tx, server.id, call.request_id, action, caller.user, caller.project)
    actions.open_event(tx, began, f"api_{action}", None)
    actions.close_events(tx, began)
    notify(call.cloud, tx, server.id, f"instance.{action}")


ACTIONS = {"lock": Action(lock), "unlock": Action(unlock)}
