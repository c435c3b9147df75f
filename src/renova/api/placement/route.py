"""A route of Placement: refusals in its own words and codes, and how long an answer may be kept."""

from email.utils import format_datetime
from http import HTTPStatus
from typing import Any

from renova.api.dispatch import status_of
from renova.api.http import Call, Handler, Reply, Route, Version
from renova.model.errors import Invalid, Refused
from renova.store.placement.inventories import InventoryInUse
from renova.store.providers import HasChildren, NameTaken, ProviderInUse, Stale

_LATEST: Version = (99, 0)
_CODES_SINCE: Version = (1, 23)
_DATED_SINCE: Version = (1, 15)

UNDEFINED = "placement.undefined_code"
_CODES: dict[type[Refused], str] = {
    Stale: "placement.concurrent_update",
    InventoryInUse: "placement.inventory.inuse",
    NameTaken: "placement.duplicate_name",
    ProviderInUse: "placement.resource_provider.inuse",
    HasChildren: "placement.resource_provider.cannot_delete_parent",
}


class BadValue(Invalid):
    """A query parameter has a value that cannot be."""


class Missing(Invalid):
    """A query parameter is not there that must be."""


_CODES |= {BadValue: "placement.query.bad_value", Missing: "placement.query.missing_value"}


def route(
    method: str, path: str, handler: Handler, since: Version = (1, 0), until: Version = _LATEST, *, query: str = ""
) -> Route:
    """Return a route; `query` names the parameters it takes, and any other is refused."""
    known = frozenset(query.split())

    async def answer(call: Call) -> Reply:
        try:
            if method == "GET" and "*" not in known:
                _demand_known(call, known)
            reply = await handler(call)
        except Refused as refused:
            code = _CODES.get(type(refused), UNDEFINED) if call.version >= _CODES_SINCE else None
            return problem(status_of(refused), str(refused), call.request_id, code)
        if call.version >= _DATED_SINCE and reply.body is not None:
            now = call.cloud.clock.wall()
            reply.headers |= {"Last-Modified": format_datetime(now, usegmt=True), "Cache-Control": "no-cache"}
        return reply

    return Route(method, path, answer, since, until)


def _demand_known(call: Call, known: frozenset[str]) -> None:
    if unknown := sorted({name for name, _ in call.query} - known):
        raise Invalid(
            f"Invalid query string parameters: Additional properties are not allowed ({', '.join(unknown)}). "
            f"Known are {', '.join(sorted(known)) or 'none'}."
        )


def problem(status: int, detail: str, request_id: str, code: str | None = None) -> Reply:
    """Answer as Placement does when something is wrong."""
    told: dict[str, Any] = {"status": status, "title": HTTPStatus(status).phrase, "detail": detail}
    if code is not None:
        told["code"] = code
    return Reply(status, {"errors": [told | {"request_id": request_id}]})
