"""Hosts of failover segments: which are kept in reserve, and which are on maintenance."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from renova.api.compute.fields import Body, Name, Truth, canonical, is_true, is_uuid, read
from renova.api.ha.lists import page, with_truth, with_value
from renova.api.ha.segments import Text, demand_idle, find_segment, segment_view, times
from renova.api.http import Call, Reply, Route
from renova.ha.segments import follow_flags
from renova.model.errors import Conflict, Invalid, NotFound
from renova.model.segment import Segment, SegmentHost
from renova.store import hosts, segments
from renova.store.database import Tx

RULE = "os_masakari_api:os-hosts:"
POLICY = {f"{RULE}{action}": "rule:admin_api" for action in ("index", "detail", "create", "update", "delete")}

Kind = Annotated[str, Meta(max_length=255, pattern=r"^[a-zA-Z0-9]*\Z")]


class NewHost(Body):
    """What a host's place is made of."""

    name: Name
    type: Kind | None
    control_attributes: Text | None
    reserved: Truth = False
    on_maintenance: Truth = False


class ChangedHost(Body):
    """What is to be otherwise."""

    name: Name | UnsetType = UNSET
    type: Kind | UnsetType | None = UNSET
    control_attributes: Text | UnsetType | None = UNSET
    reserved: Truth | UnsetType = UNSET
    on_maintenance: Truth | UnsetType = UNSET


class CreateHost(Body):
    """The body of POST /segments/{segment}/hosts."""

    host: NewHost


class UpdateHost(Body):
    """The body of PUT /segments/{segment}/hosts/{segment_host}."""

    host: ChangedHost


def _view(call: Call, segment: Segment, place: SegmentHost) -> dict[str, Any]:
    return {
        "id": place.id,
        "uuid": place.uuid,
        "name": place.name,
        "type": place.type,
        "control_attributes": place.control_attributes,
        "reserved": place.reserved,
        "on_maintenance": place.on_maintenance,
        "failover_segment_id": segment.uuid,
        "failover_segment": segment_view(call, segment),
        **times(place.created_at, place.updated_at),
    }


async def index(call: Call) -> Reply:
    call.demand(f"{RULE}index")

    def work(tx: Tx) -> tuple[Segment, list[SegmentHost]]:
        segment = find_segment(call, tx)
        return segment, segments.hosts_of(tx, segment.uuid)

    segment, found = await call.cloud.database.read(work)
    found = with_value(call, found, "name", lambda each: each.name)
    found = with_value(call, found, "type", lambda each: each.type)
    found = with_value(call, found, "control_attributes", lambda each: each.control_attributes)
    found = with_truth(call, found, "reserved", lambda each: each.reserved)
    found = with_truth(call, found, "on_maintenance", lambda each: each.on_maintenance)
    return Reply(200, {"hosts": [_view(call, segment, each) for each in page(call, found, _VALUES)]})


async def show(call: Call) -> Reply:
    call.demand(f"{RULE}detail")
    return Reply(200, {"host": _view(call, *await call.cloud.database.read(lambda tx: _find(call, tx)))})


async def create(call: Call) -> Reply:
    call.demand(f"{RULE}create")
    wanted = read(call, CreateHost).host
    flags = {"reserved": is_true(wanted.reserved), "on_maintenance": is_true(wanted.on_maintenance)}

    def work(tx: Tx) -> tuple[Segment, SegmentHost]:
        segment = find_segment(call, tx)
        _demand_known(tx, wanted.name)
        _demand_free(tx, wanted.name, None)
        uuid = call.cloud.chance.uuid()
        segments.add_host(
            tx,
            uuid=uuid,
            segment=segment.uuid,
            name=wanted.name,
            type=wanted.type,
            control_attributes=wanted.control_attributes,
            **flags,
        )
        follow_flags(call.cloud, tx, wanted.name, **flags, who=call.caller.user_name)
        return segment, _made(tx, uuid)

    return Reply(201, {"host": _view(call, *await call.cloud.database.transact(work))})


async def update(call: Call) -> Reply:
    call.demand(f"{RULE}update")
    wanted = read(call, UpdateHost).host
    values = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not UNSET}
    if not values:
        raise Invalid("Invalid input for host: one of its properties is required.")
    values |= {name: is_true(values[name]) for name in ("reserved", "on_maintenance") if name in values}

    def work(tx: Tx) -> tuple[Segment, SegmentHost]:
        segment, known = _find(call, tx)
        demand_idle(tx, segment, f"Host {known.uuid}")
        if wanted.name is not UNSET:
            _demand_known(tx, wanted.name)
            _demand_free(tx, wanted.name, known.uuid)
        segments.change_host(tx, known.uuid, **values)
        now = _made(tx, known.uuid)
        _follow(call, tx, known, now)
        return segment, now

    return Reply(200, {"host": _view(call, *await call.cloud.database.transact(work))})


async def delete(call: Call) -> Reply:
    call.demand(f"{RULE}delete")

    def work(tx: Tx) -> None:
        segment, known = _find(call, tx)
        demand_idle(tx, segment, f"Host {known.uuid}")
        segments.remove_host(tx, known.uuid)
        _follow(call, tx, known, None)

    await call.cloud.database.transact(work)
    return Reply(204)


def _follow(call: Call, tx: Tx, before: SegmentHost, now: SegmentHost | None) -> None:
    """Have compute services be as the hosts' places say: of the host that the place was of, and of whose it is."""
    who = call.caller.user_name
    if now is None or now.name != before.name:
        follow_flags(call.cloud, tx, before.name, on_maintenance=False, reserved=False, who=who)
    if now is not None:
        follow_flags(call.cloud, tx, now.name, on_maintenance=now.on_maintenance, reserved=now.reserved, who=who)


def _find(call: Call, tx: Tx) -> tuple[Segment, SegmentHost]:
    """Return the host that the path names by its uuid, with its segment."""
    segment, wanted = find_segment(call, tx), call.path["segment_host"]
    found = segments.host(tx, canonical(wanted)) if is_uuid(wanted) else None
    if found is None or found.segment != segment.uuid:
        raise NotFound(f"No host with id {wanted}.")
    return segment, found


def _demand_known(tx: Tx, name: str) -> None:
    if hosts.compute_host_named(tx, name) is None:
        raise Invalid(f"Hypervisor with name {name} could not be found.")


def _demand_free(tx: Tx, name: str, mine: str | None) -> None:
    known = segments.host_named(tx, name)
    if known is not None and known.uuid != mine:
        raise Conflict(f"Host with name {name} already exists.")


def _made(tx: Tx, uuid: str) -> SegmentHost:
    found = segments.host(tx, uuid)
    assert found is not None
    return found


_SORTED_BY = ("created_at", "type", "name", "updated_at", "uuid", "reserved", "on_maintenance", "id")
_VALUES = {key: lambda each, key=key: getattr(each, key) for key in _SORTED_BY}

ROUTES = [
    Route("GET", "/segments/{segment}/hosts", index),
    Route("POST", "/segments/{segment}/hosts", create),
    Route("GET", "/segments/{segment}/hosts/{segment_host}", show),
    Route("PUT", "/segments/{segment}/hosts/{segment_host}", update),
    Route("DELETE", "/segments/{segment}/hosts/{segment_host}", delete),
]
