"""Scheduler hints of a new server: its server group, and the servers that it is to be beside or apart from.

What is named must exist and be of the caller's project: where another project's servers are is not told, nor may
anybody get next to them. Hints of no meaning here are kept and shown, as Nova does.
"""

from collections.abc import Mapping
from typing import Any

from renova.api.compute.fields import canonical, is_uuid
from renova.api.http import Call
from renova.model.errors import Invalid
from renova.model.ids import GroupId, ServerId
from renova.store import server_groups
from renova.store.database import Tx

_SERVERS = ("different_host", "same_host")


def checked(hints: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hints with their ids as they are stored. `Invalid` for a form that none can have."""
    found = dict(hints)
    if "group" in hints:
        found["group"] = _id("group", hints["group"])
    for name in _SERVERS:
        if name in hints:
            given = hints[name]
            found[name] = [_id(name, each) for each in given] if isinstance(given, list) else _id(name, given)
    return found


def _id(name: str, value: Any) -> str:
    if not isinstance(value, str) or not is_uuid(value):
        raise Invalid(f"Invalid input for field/attribute {name}. Value: {value}. A uuid is expected.")
    return canonical(value)


def group(hints: Mapping[str, Any]) -> GroupId | None:
    return GroupId(hints["group"]) if "group" in hints else None


def demand_known(call: Call, tx: Tx, hints: Mapping[str, Any]) -> None:
    """Raise `Invalid` unless what checked hints name exists; asked in the transaction that accepts the server."""
    wanted = group(hints)
    if wanted is not None:
        known = server_groups.get(tx, wanted)
        if known is None or known.project != call.caller.project:
            raise Invalid(f"Instance group {wanted} could not be found.")
    for name in _SERVERS:
        given = hints.get(name, [])
        named = {ServerId(each) for each in (given if isinstance(given, list) else [given])}
        there = {place.server for place in server_groups.places_of(tx, call.caller.project, sorted(named))}
        if missing := sorted(named - there):
            raise Invalid(f"The hint {name} names servers that could not be found: {', '.join(missing)}.")
