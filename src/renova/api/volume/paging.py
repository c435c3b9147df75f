"""How volumes, snapshots and attachments are listed: filters, order and pages, as Cinder's query has them."""

import ast
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlencode

from renova.api.http import Call
from renova.model.errors import Invalid

T = TypeVar("T")

LONGEST_PAGE = 1000


def is_true(text: str | None) -> bool:
    return (text or "").strip().lower() in ("1", "t", "true", "on", "y", "yes")


def matching(call: Call, rows: Sequence[T], values: dict[str, Callable[[T], Any]]) -> list[T]:
    """Return the rows that all filters of the query fit; those named in `values` are filters, `name~` is a part."""
    found = list(rows)
    for name, wanted in call.query:
        if name.endswith("~") and name[:-1] in values:
            value = values[name[:-1]]
            found = [row for row in found if wanted in str(value(row) or "")]
        elif name == "metadata" and name in values:
            pairs = _pairs(wanted)
            value = values[name]
            found = [row for row in found if all(value(row).get(key) == text for key, text in pairs.items())]
        elif name in values:
            value = values[name]
            found = [row for row in found if _text(value(row)) == wanted or _text(value(row)) == wanted.lower()]
    return found


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _pairs(text: str) -> dict[str, str]:
    """Return the pairs of a filter that is written as Python writes a dict."""
    try:
        # What is no dictionary has no items; a list is no key, and a long number no text.
        return {str(key): str(value) for key, value in ast.literal_eval(text).items()}
    except (AttributeError, TypeError, ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise Invalid("Invalid filter metadata: it must be a dictionary, such as {'key': 'value'}.") from error


def page(call: Call, rows: Sequence[T], values: dict[str, Callable[[T], Any]]) -> tuple[list[T], bool]:
    """Return the page of the rows that is asked for, in the order that is asked for, and whether more follow."""
    found = list(rows)
    for key, falls in reversed(_order(call)):
        if key not in values:
            raise Invalid(f"Invalid sort key: {key}.")
        found.sort(key=partial(_as_text, values[key]), reverse=falls)
    if marker := call.one("marker"):
        ids = [str(values["id"](row)) for row in found]
        if marker not in ids:
            raise Invalid(f"marker [{marker}] not found")
        found = found[ids.index(marker) + 1 :]
    found = found[_number(call, "offset", 0) :]
    limit = min(_number(call, "limit", LONGEST_PAGE), LONGEST_PAGE)
    return found[:limit], len(found) > limit


def _as_text(value: Callable[[T], Any], row: T) -> str:
    return str(value(row) or "")


def _order(call: Call) -> list[tuple[str, bool]]:
    if sort := call.one("sort"):
        pairs = [each.partition(":") for each in sort.split(",")]
        return [(key.strip(), direction.strip() != "asc") for key, _, direction in pairs]
    if key := call.one("sort_key"):
        return [(key, call.one("sort_dir") != "asc")]
    return []


def _number(call: Call, name: str, usual: int) -> int:
    text = call.one(name)
    if text is None:
        return usual
    if not text.isdecimal() or len(text) > 18:
        raise Invalid(f"{name} param must be a non-negative integer")
    return int(text)


def listing(
    call: Call, name: str, shown: list[dict[str, Any]], *, more: bool, count: int | None = None
) -> dict[str, Any]:
    """Return the body of a list, with the link to the next page where there is one."""
    body: dict[str, Any] = {name: shown}
    if more and shown:
        query = [(key, value) for key, value in call.query if key != "marker"] + [("marker", shown[-1]["id"])]
        host = call.base_url.removesuffix("/volume/v3")
        body[f"{name}_links"] = [{"rel": "next", "href": f"{host}{call.url_path}?{urlencode(query)}"}]
    if count is not None and call.version >= (3, 45) and is_true(call.one("with_count")):
        body["count"] = count
    return body
