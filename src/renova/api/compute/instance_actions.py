"""What was done to a server, by whom, and how each part of it went; also of servers that are deleted (2.21)."""

import hashlib
from collections.abc import Callable
from typing import Any

from renova.api.compute import paging, times
from renova.api.compute.route import known, route
from renova.api.compute.visible import find_server
from renova.api.http import Call, Reply
from renova.model.errors import Invalid, NotFound
from renova.model.server import Server
from renova.store import actions as store
from renova.store.actions import Action, Event
from renova.store.database import Tx

POLICY = {
    "os_compute_api:os-instance-actions:list": "rule:project_reader_or_admin",
    "os_compute_api:os-instance-actions:show": "rule:project_reader_or_admin",
    "os_compute_api:os-instance-actions:events": "rule:admin_api",
    "os_compute_api:os-instance-actions:events:details": "rule:admin_api",
}

_PAGED_SINCE = (2, 58)


async def index(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:os-instance-actions:list", deleted=call.version >= (2, 21))
    found = await call.cloud.database.read(lambda tx: store.of_server(tx, server.id))
    page = _page(call, [action for action in found if _in_time(call)(action)])
    answer: dict[str, Any] = {"instanceActions": [_view(call, action) for action in page]}
    if call.version >= _PAGED_SINCE:
        last = page[-1].request if page else None
        answer |= paging.links(call, f"/servers/{server.id}/os-instance-actions", "links", page, last)
    return Reply(200, answer)


def _page(call: Call, found: list[Action]) -> list[Action]:
    marker = call.one("marker")
    if marker is not None:
        places = [place for place, action in enumerate(found) if action.request == marker]
        if not places:
            raise paging.unknown_marker(marker)
        found = found[places[-1] + 1 :]
    return found[: paging.limit_since(call, _PAGED_SINCE)]


def _in_time(call: Call) -> Callable[[Action], bool]:
    """Return a test whether an action changed when the request says. `Invalid`."""
    since, before = call.one("changes-since"), call.one("changes-before")
    earliest = times.read(since, "changes-since") if since is not None else ""
    latest = times.read(before, "changes-before") if before is not None else "9999"
    if earliest > latest:
        raise Invalid("The value of changes-since must be less than or equal to changes-before.")
    return lambda action: earliest <= action.updated_at <= latest


async def show(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:os-instance-actions:show", deleted=call.version >= (2, 21))
    request = call.path["request"]

    def work(tx: Tx) -> tuple[Action, list[Event]]:
        action = store.by_request(tx, server.id, request)
        if action is None:
            raise NotFound(f"Action for request_id {request} on instance {server.id} not found")
        return action, store.events_of(tx, action.id)

    action, events = await call.cloud.database.read(work)
    shown = _view(call, action)
    target = {"project_id": server.project, "user_id": server.user}
    internals = call.allows("os_compute_api:os-instance-actions:events", target)
    if internals or call.version >= (2, 51):
        details = call.version >= (2, 84) and call.allows("os_compute_api:os-instance-actions:events:details", target)
        shown["events"] = [_event(call, server, event, internals=internals, details=details) for event in events]
    return Reply(200, {"instanceAction": shown})


def _view(call: Call, action: Action) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "action": action.action,
        "instance_uuid": action.server,
        "request_id": action.request,
        "user_id": action.user,
        "project_id": action.project,
        "start_time": action.started_at,
        "message": action.message,
    }
    if call.version >= (2, 58):
        shown["updated_at"] = action.updated_at
    return shown


def _event(call: Call, server: Server, event: Event, *, internals: bool, details: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "event": event.event,
        "start_time": event.started_at,
        "finish_time": event.finished_at,
        "result": event.result,
    }
    if internals:
        shown["traceback"] = event.traceback
    if call.version >= (2, 62):
        if internals:
            shown["host"] = event.host_name
        known_by = f"{server.project}{event.host_name}"
        shown["hostId"] = hashlib.sha224(known_by.encode()).hexdigest() if event.host_name else ""
    if details:
        shown["details"] = event.details
    return shown


_LISTING = {
    **known("limit", "marker", "changes-since", since=_PAGED_SINCE),
    **known("changes-before", since=(2, 66)),
}

ROUTES = [
    route("GET", "/servers/{server}/os-instance-actions", index, query=_LISTING, strict=_PAGED_SINCE),
    route("GET", "/servers/{server}/os-instance-actions/{request}", show),
]
