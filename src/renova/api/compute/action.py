"""What the actions of POST /servers/{id}/action have in common: since when each is there, and how its value is read."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

import msgspec

from renova.api.compute.fields import Body, Nothing
from renova.api.compute.versions import NEWEST, OLDEST
from renova.api.http import Call, Reply, Version
from renova.model.errors import Invalid

B = TypeVar("B", bound=Body)

Value = msgspec.Raw  # what stands behind the action's name, not yet read


class Action(NamedTuple):
    """An action: what it does, and at which microversions it is there."""

    run: Callable[[Call, Value], Awaitable[Reply]]
    since: Version = OLDEST
    until: Version = NEWEST


def read_value(call: Call, action: str, value: Value, kind: type[B]) -> B:
    """Return the action's value as this type. `Invalid` names the field that is wrong."""
    try:
        body = msgspec.json.decode(value, type=kind)
    except msgspec.MsgspecError as error:
        raise Invalid(f"Invalid input for {action}: {error}") from error
    body.demand_version(call.version, f"$.{action}")
    return body


def demand_no_value(action: str, value: Value) -> None:
    """Raise `Invalid` unless nothing but null stands behind the action."""
    if not is_nothing(value):
        raise Invalid(f"Invalid input for {action}: null is expected.")


def is_nothing(value: Value) -> bool:
    """Say whether null stands behind the action, or what clients write for it."""
    try:
        return msgspec.json.decode(value, type=Nothing) in (None, "None", {})
    except msgspec.MsgspecError:
        return False
