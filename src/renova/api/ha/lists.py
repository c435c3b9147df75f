"""How lists are ordered and paged: `sort_key` and `sort_dir` may come several times, `limit` and `marker` once."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from renova.api.compute.fields import truth
from renova.api.http import Call
from renova.model.errors import Invalid

T = TypeVar("T")

LONGEST_PAGE = 1000
Values = Mapping[str, Callable[[T], Any]]


def page(call: Call, rows: Sequence[T], values: Values[T]) -> list[T]:
    """Return the page that is asked for; the newest come first, unless another order is asked for.

    `values` are those by which the rows can be sorted; "id" and "uuid" among them, for markers.
    """
    found = list(rows)
    for key, falls in reversed(_order(call)):
        if key not in values:
            raise Invalid(f"Invalid sort key '{key}': it must be one of {', '.join(sorted(values))}.")
        found.sort(key=partial(_text, values[key]), reverse=falls)
    if (marker := call.one("marker")) is not None:
        ids = [(str(values["id"](row)), values["uuid"](row)) for row in found]
        place = next((place for place, those in enumerate(ids) if marker in those), None)
        if place is None:
            raise Invalid(f"Marker {marker} could not be found.")
        found = found[place + 1 :]
    return found[: _limit(call)]


def _text(value: Callable[[T], Any], row: T) -> str:
    said = value(row)
    return f"{said:020d}" if isinstance(said, int) else str(said or "")


def _order(call: Call) -> list[tuple[str, bool]]:
    keys = [value.strip() for name, value in call.query if name == "sort_key"]
    directions = [value.strip().lower() for name, value in call.query if name == "sort_dir"]
    if unknown := [each for each in directions if each not in ("asc", "desc")]:
        raise Invalid(f"Invalid sort direction '{unknown[0]}': it must be asc or desc.")
    keys = keys or ["created_at"]
    if len(directions) > len(keys):
        raise Invalid("There are more sort directions than sort keys.")
    # Keys without a direction have the first one's, and so has what comes first of those that are the same.
    directions += [directions[0] if directions else "desc"] * (len(keys) + 1 - len(directions))
    return [(key, each == "desc") for key, each in zip([*keys, "id"], directions, strict=True)]


def _limit(call: Call) -> int:
    text = call.one("limit")
    if text is None:
        return LONGEST_PAGE
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise Invalid(f"Invalid limit '{text}': it must be a whole number, not below 0.")
    return min(int(text), LONGEST_PAGE)


def with_value(call: Call, rows: Sequence[T], name: str, value: Callable[[T], str | None]) -> list[T]:
    """Return the rows that have the value that the query asks for by this name; all where it does not."""
    wanted = call.one(name)
    return [row for row in rows if wanted is None or value(row) == wanted]


def with_truth(call: Call, rows: Sequence[T], name: str, value: Callable[[T], bool]) -> list[T]:
    """Return the rows of which is true or false what the query asks for by this name."""
    wanted = call.one(name)
    if wanted is None:
        return list(rows)
    return [row for row in rows if value(row) is truth(wanted, name)]
