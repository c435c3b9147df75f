"""Failover segments: hosts that stand in for one another."""

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from renova.api.compute.fields import Body, Name, Truth, canonical, is_true, is_uuid, read
from renova.api.ha.lists import page, with_truth, with_value
from renova.api.ha.versions import ENABLED
from renova.api.http import Call, Reply, Route, Version
from renova.ha.segments import follow_flags
from renova.model.errors import Conflict, Invalid, NotFound
from renova.model.segment import RecoveryMethod, Segment
from renova.store import alarms, segments
from renova.store.database import Tx

RULE = "os_masakari_api:segments:"
POLICY = {f"{RULE}{action}": "rule:admin_api" for action in ("index", "detail", "create", "update", "delete")}

Text = Annotated[str, Meta(max_length=65_535, pattern=r"^[^\x00-\x1f\x7f-\x9f]*\Z")]


class NewSegment(Body):
    """What a segment is made of."""

    SINCE: ClassVar[dict[str, Version]] = {"enabled": ENABLED}

    name: Name
    recovery_method: RecoveryMethod
    service_type: Name
    description: Text | None = None
    enabled: Truth | UnsetType = UNSET


class ChangedSegment(Body):
    """What is to be otherwise."""

    SINCE: ClassVar[dict[str, Version]] = {"enabled": ENABLED}

    name: Name | UnsetType = UNSET
    recovery_method: RecoveryMethod | UnsetType = UNSET
    service_type: Name | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    enabled: Truth | UnsetType = UNSET


class CreateSegment(Body):
    """The body of POST /segments."""

    segment: NewSegment


class UpdateSegment(Body):
    """The body of PUT /segments/{segment}."""

    segment: ChangedSegment


def segment_view(call: Call, segment: Segment) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": segment.id,
        "uuid": segment.uuid,
        "name": segment.name,
        "description": segment.description,
        "recovery_method": segment.recovery_method,
        "service_type": segment.service_type,
        **times(segment.created_at, segment.updated_at),
    }
    if call.version >= ENABLED:
        shown["enabled"] = segment.enabled
    return shown


def times(created_at: str, updated_at: str | None) -> dict[str, Any]:
    """Return what every resource has; nothing that is deleted is kept."""
    return {"created_at": created_at, "updated_at": updated_at, "deleted_at": None, "deleted": False}


def find_segment(call: Call, tx: Tx) -> Segment:
    """Return the segment that the path names by its uuid."""
    wanted = call.path["segment"]
    found = segments.get(tx, canonical(wanted)) if is_uuid(wanted) else None
    if found is None:
        raise NotFound(f"No failover segment with id {wanted}.")
    return found


def demand_idle(tx: Tx, segment: Segment, what: str) -> None:
    """Raise `Conflict` while notifications about hosts of the segment are being heeded."""
    if any(alarm.segment == segment.uuid for alarm in alarms.unheeded(tx)):
        raise Conflict(f"{what} can't be changed as it is in-use to process notifications.")


async def index(call: Call) -> Reply:
    call.demand(f"{RULE}index")
    found = await call.cloud.database.read(segments.every)
    found = with_value(call, found, "recovery_method", lambda each: each.recovery_method)
    found = with_value(call, found, "service_type", lambda each: each.service_type)
    if call.version >= ENABLED:
        found = with_truth(call, found, "enabled", lambda each: each.enabled)
    return Reply(200, {"segments": [segment_view(call, each) for each in page(call, found, _VALUES)]})


async def show(call: Call) -> Reply:
    call.demand(f"{RULE}detail")
    found = await call.cloud.database.read(lambda tx: find_segment(call, tx))
    return Reply(200, {"segment": segment_view(call, found)})


async def create(call: Call) -> Reply:
    call.demand(f"{RULE}create")
    wanted = read(call, CreateSegment).segment

    def work(tx: Tx) -> Segment:
        _demand_free(tx, wanted.name, None)
        uuid = call.cloud.chance.uuid()
        segments.add(
            tx,
            uuid=uuid,
            name=wanted.name,
            description=wanted.description,
            recovery_method=wanted.recovery_method,
            service_type=wanted.service_type,
            enabled=wanted.enabled is UNSET or is_true(wanted.enabled),
        )
        return _made(tx, uuid)

    return Reply(201, {"segment": segment_view(call, await call.cloud.database.transact(work))})


async def update(call: Call) -> Reply:
    call.demand(f"{RULE}update")
    wanted = read(call, UpdateSegment).segment
    values = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not UNSET}
    if not values:
        raise Invalid("Invalid input for segment: name, description, recovery_method or service_type is required.")
    if wanted.enabled is not UNSET:
        values["enabled"] = is_true(wanted.enabled)

    def work(tx: Tx) -> Segment:
        known = find_segment(call, tx)
        demand_idle(tx, known, f"Failover segment {known.uuid}")
        if wanted.name is not UNSET:
            _demand_free(tx, wanted.name, known.uuid)
        segments.change(tx, known.uuid, **values)
        return _made(tx, known.uuid)

    return Reply(200, {"segment": segment_view(call, await call.cloud.database.transact(work))})


async def delete(call: Call) -> Reply:
    """Remove the segment; its hosts are in none then, and nothing that their places there said of them counts."""
    call.demand(f"{RULE}delete")
    who = call.caller.user_name

    def work(tx: Tx) -> None:
        known = find_segment(call, tx)
        demand_idle(tx, known, f"Failover segment {known.uuid}")
        for place in segments.hosts_of(tx, known.uuid):
            follow_flags(call.cloud, tx, place.name, on_maintenance=False, reserved=False, who=who)
        segments.remove(tx, known.uuid)

    await call.cloud.database.transact(work)
    return Reply(204)


def _demand_free(tx: Tx, name: str, mine: str | None) -> None:
    known = segments.by_name(tx, name)
    if known is not None and known.uuid != mine:
        raise Conflict(f"Failover segment with name {name} already exists.")


def _made(tx: Tx, uuid: str) -> Segment:
    found = segments.get(tx, uuid)
    assert found is not None
    return found


_SORTED_BY = ("created_at", "description", "name", "updated_at", "uuid", "recovery_method", "service_type", "id")
_VALUES = {key: lambda each, key=key: getattr(each, key) for key in _SORTED_BY}

ROUTES = [
    Route("GET", "/segments", index),
    Route("POST", "/segments", create),
    Route("GET", "/segments/{segment}", show),
    Route("PUT", "/segments/{segment}", update),
    Route("DELETE", "/segments/{segment}", delete),
]
