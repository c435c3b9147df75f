"""Long lists in pages: `limit` and `marker` in, the link to the next page out."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from renova.api.http import Call, Version
from renova.model.errors import Invalid

MOST = 1000  # entries of a page


def limit(call: Call) -> int:
    """Return how many entries the page may have; who asks for none gets none. `Invalid`."""
    text = call.one("limit")
    if text is None:
        return MOST
    if not text.isdecimal() or len(text) > 10:
        raise Invalid(f"Invalid input for query parameters limit. Value: {text}. It must be a whole number, 0 or more.")
    return min(int(text), MOST)


def limit_since(call: Call, since: Version) -> int | None:
    """Return how many entries the page may have; None, for all, at microversions that have no pages yet. `Invalid`."""
    return limit(call) if call.version >= since else None


def unknown_marker(marker: str) -> Invalid:
    return Invalid(f"marker [{marker}] not found")


def links(call: Call, path: str, key: str, page: Sequence[Any], last: str | None) -> dict[str, list[dict[str, str]]]:
    """Return the answer's part that leads to the next page, empty when the page is not full, or has no last entry."""
    if last is None or len(page) < limit(call):
        return {}
    query = [(name, value) for name, value in call.query if name != "marker"]
    return {key: [{"rel": "next", "href": f"{call.base_url}{path}?{urlencode([*query, ('marker', last)])}"}]}
