"""os-server-external-events: what other services tell of servers. Each event is answered with a code of its own.

The services of this cloud tell each other things without it; it is there for those who do not. An event is only a
hint: what it says is never believed, but looked at. So a late, doubled or unknown one does no harm.
"""

from typing import Annotated, Any, ClassVar, Literal

import structlog
from msgspec import UNSET, Meta, UnsetType

from renova.api.compute.fields import Body, Uuid, canonical, read
from renova.api.compute.route import route
from renova.api.http import Call, Reply, Version
from renova.model.errors import Invalid, NotFound
from renova.model.ids import ServerId
from renova.model.server import Server
from renova.store import servers

log = structlog.get_logger()

POLICY = {"os_compute_api:os-server-external-events:create": "role:service or rule:admin_api"}

# The events of Nova, each with the microversion since which it is known.
_SINCE: dict[str, Version] = {
    "network-changed": (2, 1),
    "network-vif-plugged": (2, 1),
    "network-vif-unplugged": (2, 1),
    "network-vif-deleted": (2, 1),
    "volume-extended": (2, 51),
    "power-update": (2, 76),
    "accelerator-request-bound": (2, 82),
    "volume-reimaged": (2, 93),
}
_WITH_TAG = frozenset({"volume-extended", "power-update", "accelerator-request-bound", "volume-reimaged"})


class Event(Body):
    """What happened to a server; the tag says to which of its parts."""

    SINCE: ClassVar[dict[str, Version]] = {}

    name: str
    server_uuid: Uuid
    status: Literal["failed", "completed", "in-progress"] = "completed"
    tag: Annotated[str, Meta(max_length=255)] | UnsetType = UNSET


class Events(Body):
    """The body of POST."""

    events: Annotated[list[Event], Meta(min_length=1)]


async def create(call: Call) -> Reply:
    call.demand("os_compute_api:os-server-external-events:create")
    events = read(call, Events).events
    for event in events:
        if call.version < _SINCE.get(event.name, (99, 0)):
            raise Invalid(f"Invalid input for field/attribute name. Value: {event.name}. There is no such event.")
    wanted = sorted({ServerId(canonical(event.server_uuid)) for event in events})
    found = await call.cloud.database.read(lambda tx: {server: servers.get(tx, server) for server in wanted})
    answers = [_answer(event, found[ServerId(canonical(event.server_uuid))]) for event in events]
    if not any(answer["code"] == 200 for answer in answers):
        raise NotFound("No instances found for any event")
    return Reply(200 if all(answer["code"] == 200 for answer in answers) else 207, {"events": answers})


def _answer(event: Event, server: Server | None) -> dict[str, Any]:
    code = 200
    if server is None:
        code = 404
    elif event.name in _WITH_TAG and event.tag is UNSET:
        code = 400
    elif server.host is None:
        code = 422
    else:
        log.info("event heard", server=server.id, name=event.name, status=event.status)
    answer: dict[str, Any] = {"name": event.name, "server_uuid": event.server_uuid}
    if event.tag is not UNSET:
        answer["tag"] = event.tag
    answer["status"] = "failed" if code != 200 else event.status
    answer["code"] = code
    return answer


ROUTES = [route("POST", "/os-server-external-events", create)]
