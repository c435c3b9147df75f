"""The links by which an answer leads on."""

from renova.api.http import Call


def both(call: Call, path: str) -> list[dict[str, str]]:
    """Return the links of a thing: with the API's version (self), and to keep (bookmark)."""
    return [
        {"rel": "self", "href": f"{call.base_url}{path}"},
        {"rel": "bookmark", "href": f"{bookmarks(call)}{path}"},
    ]


def bookmarks(call: Call) -> str:
    """Return what bookmarks begin with: the service's URL without a version."""
    return call.base_url.rpartition("/")[0]
