"""How images are searched (Image API v2, "List images"): filters, order, pages."""

import csv
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from renova.api.digits import whole
from renova.api.http import Call
from renova.model.errors import Invalid

_PAGE = 1000  # images an answer holds at most
_NO_FILTERS = ("limit", "marker", "sort", "sort_key", "sort_dir", "member_status", "visibility", "os_hidden")
_COMPARE = {
    "gt": lambda have, want: have > want,
    "gte": lambda have, want: have >= want,
    "lt": lambda have, want: have < want,
    "lte": lambda have, want: have <= want,
    "eq": lambda have, want: have == want,
    "neq": lambda have, want: have != want,
}


def page(call: Call, shapes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the answer's body for what the query asks for of these images."""
    found = [shape for shape in shapes if _wanted(call, shape)]
    for key, down in reversed(_order(call)):
        found.sort(key=lambda shape: _sortable(shape.get(key)), reverse=down)
    after = found
    if marker := call.one("marker"):
        position = next((position for position, shape in enumerate(found) if shape["id"] == marker), None)
        if position is None:
            raise Invalid(f"Marker {marker} could not be found.")
        after = found[position + 1 :]
    asked = call.one("limit")
    limit = _PAGE if asked is None else whole(asked)
    if limit is None:
        raise Invalid("limit param must be an integer")
    shown = after[: min(limit, _PAGE)]
    query = [(name, value) for name, value in call.query if name != "marker"]
    body: dict[str, Any] = {"images": shown, "schema": "/v2/schemas/images", "first": _url(query)}
    if shown and len(shown) < len(after):
        body["next"] = _url([*query, ("marker", shown[-1]["id"])])
    return body


def _url(query: list[tuple[str, str]]) -> str:
    return "/v2/images" + (f"?{urlencode(query)}" if query else "")


def _wanted(call: Call, shape: dict[str, Any]) -> bool:
    visibility = call.one("visibility")
    if visibility is None:
        # The community's images are many, and nobody's business until asked for.
        if shape["visibility"] == "community" and shape["owner"] != call.caller.project:
            return False
    elif visibility not in ("all", shape["visibility"]):
        return False
    if shape["os_hidden"] != ((call.one("os_hidden") or "false").lower() == "true"):
        return False
    return all(_fits(shape, name, want) for name, want in call.query if name not in _NO_FILTERS)


def _fits(shape: dict[str, Any], name: str, want: str) -> bool:
    if name == "tag":
        return want in shape["tags"]
    if name in ("size_min", "size_max"):
        if (bound := whole(want)) is None:
            raise Invalid(f"{name} is a number of bytes, not '{want}'.")
        size = shape["size"]
        return size is not None and (size >= bound if name == "size_min" else size <= bound)
    have = shape.get(name)
    if name in ("created_at", "updated_at"):
        operator, _, time = want.partition(":")
        if operator not in _COMPARE:
            operator, time = "eq", want
        return bool(_COMPARE[operator](str(have), f"{time.removesuffix('Z')}Z"))
    if want.startswith("in:"):
        try:
            return have in next(csv.reader([want.removeprefix("in:")]), [])
        except csv.Error as error:
            raise Invalid(f"Filter {name} is no list of values: {error}.") from error
    if isinstance(have, bool):
        return have == (want.lower() == "true")
    return have is not None and str(have) == want


def _order(call: Call) -> list[tuple[str, bool]]:
    """Return the keys to sort by and whether each falls; without any, the order they come in (newest first)."""
    if sort := call.one("sort"):
        pairs = [each.partition(":") for each in sort.split(",")]
        return [(key.strip(), direction.strip() != "asc") for key, _, direction in pairs]
    keys = [value for name, value in call.query if name == "sort_key"]
    directions = [value for name, value in call.query if name == "sort_dir"]
    return [
        (key, (directions[min(position, len(directions) - 1)] if directions else "desc") != "asc")
        for position, key in enumerate(keys)
    ]


def _sortable(value: Any) -> tuple[bool, Any]:
    if isinstance(value, list):
        raise Invalid("Lists cannot be sorted by.")
    return (value is not None, value if value is not None else 0)
