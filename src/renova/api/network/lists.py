"""How lists are filtered, sorted, cut into pages and narrowed to some fields (Network API, "Filtering and paging")."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from renova.api.digits import whole
from renova.api.http import Call, Reply
from renova.model.errors import Invalid

_NO_FILTERS = ("fields", "limit", "marker", "sort_key", "sort_dir", "page_reverse")


def listing(call: Call, kinds: str, shapes: Iterable[dict[str, Any]]) -> Reply:
    """Answer with those things that the query asks for; filters on what no thing has are ignored, as in Neutron."""
    wanted: dict[str, list[str]] = {}
    for name, value in call.query:
        if name not in _NO_FILTERS:
            wanted.setdefault(name, []).append(value)
    found = [shape for shape in shapes if all(_fits(shape, name, values) for name, values in wanted.items())]
    directions = [value for name, value in call.query if name == "sort_dir"]
    for position, key in reversed(list(enumerate(value for name, value in call.query if name == "sort_key"))):
        down = position < len(directions) and directions[position] == "desc"
        found.sort(key=lambda shape: str(shape.get(key) or ""), reverse=down)
    page = _page(call, found)
    body: dict[str, Any] = {kinds: [narrowed(call, shape) for shape in page]}
    if page and page[-1] is not found[-1]:
        rest = [(name, value) for name, value in call.query if name != "marker"] + [("marker", page[-1]["id"])]
        body[f"{kinds}_links"] = [
            {"rel": "next", "href": f"{call.base_url}/{kinds.replace('_', '-')}?{urlencode(rest)}"}
        ]
    return Reply(200, body)


def narrowed(call: Call, shape: dict[str, Any]) -> dict[str, Any]:
    """Return what the query asks for with `fields`, which is everything without it."""
    fields = {value for name, value in call.query if name == "fields" and value}
    return {name: value for name, value in shape.items() if name in fields} if fields else shape


def _page(call: Call, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    marker, limit = call.one("marker"), call.one("limit")
    if marker:
        position = next((position for position, shape in enumerate(found) if shape["id"] == marker), None)
        if position is None:
            raise Invalid(f"Invalid input for operation: the marker {marker} could not be found.")
        found = found[position + 1 :]
    if limit is None:
        return found
    if (most := whole(limit)) is None:
        raise Invalid(f"Bad limit request: '{limit}' is not a number of things.")
    return found[:most] if most else found


def _fits(shape: Mapping[str, Any], name: str, wanted: list[str]) -> bool:
    if name not in shape:
        return True
    have = shape[name]
    if name == "fixed_ips":
        return all(_has_address(have, want) for want in wanted)
    return any(_equal(have, want) for want in wanted)


def _has_address(have: list[dict[str, str]], want: str) -> bool:
    key, _, value = want.partition("=")
    if key == "ip_address_substr":
        return any(value in fixed["ip_address"] for fixed in have)
    return any(fixed.get(key) == value for fixed in have)


def _equal(have: Any, want: str) -> bool:
    if isinstance(have, bool):
        return have == (want.lower() in ("true", "1", "yes", "t"))
    if isinstance(have, list):
        return want in have
    return ("" if have is None else str(have)) == want
