"""Changing images by JSON patch (RFC 6902), as far as the Image API allows: add, replace, remove."""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from renova.api.digits import whole
from renova.api.image.shapes import READ_ONLY, Described
from renova.model.errors import Conflict, Forbidden, Invalid

MEDIA_TYPES = ("application/openstack-images-v2.1-json-patch", "application/openstack-images-v2.0-json-patch")


class Change(msgspec.Struct):
    op: Literal["add", "replace", "remove"]
    path: str
    value: Any | UnsetType = UNSET


def patched(attributes: dict[str, Any], changes: list[Change]) -> dict[str, Any]:
    """Return the attributes after the changes. `Invalid`; `Forbidden` for read-only, `Conflict` for absent ones."""
    result = dict(attributes)
    for change in changes:
        name, *rest = _pointer(change.path)
        if name in READ_ONLY or name == "id":
            raise Forbidden(f"Attribute '{name}' is read-only.")
        if change.op != "remove" and change.value is UNSET:
            raise Invalid(f"Operation {change.op} on '{change.path}' needs a value.")
        if rest:
            result[name] = _element_changed(result.get(name), rest, change)
        elif change.op == "remove":
            if name in Described.__struct_fields__:
                raise Forbidden(f"Property {name} may not be removed.")
            if name not in result:
                raise Conflict(f"Property {name} does not exist.")
            del result[name]
        elif change.op == "replace" and name not in result:
            raise Conflict(f"Property {name} does not exist.")
        else:
            result[name] = change.value
    return result


def _pointer(path: str) -> list[str]:
    if not path.startswith("/") or path == "/":
        raise Invalid(f"Pointer '{path}' does not start with '/' and a name.")
    return [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]


def _element_changed(before: Any, place: list[str], change: Change) -> list[Any]:
    """Return a list (the tags) with one element changed."""
    if not isinstance(before, list) or len(place) != 1:
        raise Invalid(f"Invalid JSON pointer for this resource: '{change.path}'")
    after = list(before)
    if change.op == "add" and place[0] == "-":
        return [*after, change.value]
    position = whole(place[0])
    if position is None or position >= len(after) + (change.op == "add"):
        raise Invalid(f"Invalid JSON pointer for this resource: '{change.path}'")
    if change.op == "add":
        after.insert(position, change.value)
    elif change.op == "replace":
        after[position] = change.value
    else:
        del after[position]
    return after
