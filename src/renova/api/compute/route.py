"""A route of the Compute API: method, path, microversions, and the query parameters it knows.

Parameters it does not know are dropped before the handler sees them; from the microversion named by `strict` on they
are refused. From 2.102 every route is strict.
"""

from collections.abc import Mapping

from renova.api.compute.versions import NEWEST, OLDEST
from renova.api.http import Call, Handler, Reply, Route, Version
from renova.model.errors import Invalid

_ALL_STRICT: Version = (2, 102)

Known = Mapping[str, Version]  # a query parameter, and the microversion since which it is known


def known(*names: str, since: Version = OLDEST) -> dict[str, Version]:
    """Return the parameters named, known since this microversion."""
    return dict.fromkeys(names, since)


PAGING = known("limit", "marker")


def route(
    method: str,
    path: str,
    handler: Handler,
    since: Version = OLDEST,
    until: Version = NEWEST,
    *,
    query: Known | None = None,
    strict: Version = (2, 75),
    public: bool = False,
) -> Route:
    """Return the route; without `query` it has no parameters, and ignores any below 2.102."""
    parameters = query or {}
    strict_since = strict if parameters else _ALL_STRICT

    async def checked(call: Call) -> Reply:
        if call.query:
            has = [(name, value) for name, value in call.query if call.version >= parameters.get(name, _NEVER)]
            if len(has) < len(call.query) and call.version >= min(strict_since, _ALL_STRICT):
                strange = sorted({name for name, _ in call.query} - {name for name, _ in has})
                raise Invalid(
                    f"Invalid query parameters: Additional properties are not allowed "
                    f"({', '.join(repr(name) for name in strange)} unexpected)"
                )
            call.query = has
        return await handler(call)

    return Route(method, path, checked, since, until, public)


_NEVER: Version = (99, 0)
