"""Host aggregates: hosts with metadata in common. One that names an availability zone puts its hosts into that zone.

A host is in one zone at most. Nothing moves a host to another zone while it has servers: their users chose, or were
told, where they are.
"""

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from renova.api.compute.fields import MAX_INTEGER, Body, HostName, MetadataKey, MetadataValue, Name, Uuid, given, read
from renova.api.compute.route import route
from renova.api.http import Call, Reply
from renova.model.aggregate import DEFAULT_ZONE, ZONE_KEY, Aggregate
from renova.model.errors import CloudError, Conflict, Invalid, NotFound
from renova.model.host import Host
from renova.model.ids import HostId
from renova.store import aggregates as store
from renova.store import hosts, servers
from renova.store.database import Tx

POLICY = {
    "os_compute_api:os-aggregates:index": "rule:admin_api",
    "os_compute_api:os-aggregates:show": "rule:admin_api",
    "os_compute_api:os-aggregates:create": "rule:admin_api",
    "os_compute_api:os-aggregates:update": "rule:admin_api",
    "os_compute_api:os-aggregates:delete": "rule:admin_api",
    "os_compute_api:os-aggregates:add_host": "rule:admin_api",
    "os_compute_api:os-aggregates:remove_host": "rule:admin_api",
    "os_compute_api:os-aggregates:set_metadata": "rule:admin_api",
    "compute:aggregates:images": "rule:admin_api",
}

# Without a colon, which parts zone and host where a server is asked for.
ZoneName = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^(?!\s)[^:\x00-\x1f\x7f-\x9f]*(?<!\s)\Z")]


class NewAggregate(Body):
    """The aggregate asked for."""

    name: Name
    availability_zone: ZoneName | UnsetType | None = UNSET


class CreateAggregate(Body):
    """The body of POST /os-aggregates."""

    aggregate: NewAggregate


class ChangedAggregate(Body):
    """What is to change of an aggregate."""

    name: Name | UnsetType = UNSET
    availability_zone: ZoneName | UnsetType | None = UNSET


class ChangeAggregate(Body):
    """The body of PUT /os-aggregates/{id}."""

    aggregate: ChangedAggregate


class NamedHost(Body):
    """Which host an aggregate is to get or lose."""

    host: HostName


class NewMetadata(Body):
    """Metadata to set; null takes a key away."""

    metadata: dict[MetadataKey, MetadataValue | None]


class Act(Body):
    """The body of POST /os-aggregates/{id}/action: one of these."""

    add_host: NamedHost | UnsetType = UNSET
    remove_host: NamedHost | UnsetType = UNSET
    set_metadata: NewMetadata | UnsetType = UNSET


class CachedImage(Body):
    """An image that the hosts are to have at hand."""

    id: Uuid


class CacheImages(Body):
    """The body of POST /os-aggregates/{id}/images."""

    cache: Annotated[list[CachedImage], Meta(min_length=1)]


async def index(call: Call) -> Reply:
    call.demand("os_compute_api:os-aggregates:index")

    def work(tx: Tx) -> list[dict[str, Any]]:
        names = _names(tx)
        return [_view(call, aggregate, names) for aggregate in store.every(tx)]

    return Reply(200, {"aggregates": await call.cloud.database.read(work)})


async def show(call: Call) -> Reply:
    call.demand("os_compute_api:os-aggregates:show")
    return await _shown(call)


async def _shown(call: Call) -> Reply:
    shown = await call.cloud.database.read(lambda tx: _view(call, _find(call, tx), _names(tx)))
    return Reply(200, {"aggregate": shown})


async def create(call: Call) -> Reply:
    call.demand("os_compute_api:os-aggregates:create")
    wanted = read(call, CreateAggregate).aggregate
    zone = given(wanted.availability_zone, None)
    uuid = call.cloud.chance.uuid()

    def work(tx: Tx) -> Aggregate | None:
        return store.get(tx, store.add(tx, uuid, wanted.name, {ZONE_KEY: zone} if zone else {}))

    made = await call.cloud.database.transact(work)
    assert made is not None
    return Reply(200, {"aggregate": _brief(call, made)})


async def update(call: Call) -> Reply:
    call.demand("os_compute_api:os-aggregates:update")
    wanted = read(call, ChangeAggregate).aggregate
    if wanted.name is UNSET and wanted.availability_zone is UNSET:
        raise Invalid("Invalid input for aggregate: name or availability_zone is expected.")

    def work(tx: Tx) -> None:
        aggregate = _find(call, tx)
        values = None
        if wanted.availability_zone is not UNSET:
            values = _merged(aggregate.metadata, {ZONE_KEY: wanted.availability_zone})
            _demand_may_be_in(tx, aggregate, aggregate.hosts, values.get(ZONE_KEY), Invalid)
        store.change(tx, aggregate.id, name=given(wanted.name, None), values=values)
        tx.then(call.cloud.fleet.stale)

    await call.cloud.database.transact(work)
    return await _shown(call)


async def delete(call: Call) -> Reply:
    call.demand("os_compute_api:os-aggregates:delete")

    def work(tx: Tx) -> None:
        aggregate = _find(call, tx)
        if aggregate.hosts:
            raise Invalid(f"Aggregate {aggregate.id} is not empty: it has {len(aggregate.hosts)} hosts.")
        store.remove(tx, aggregate.id)

    await call.cloud.database.transact(work)
    return Reply(204)


async def act(call: Call) -> Reply:
    body = read(call, Act)
    asked = [name for name in body.__struct_fields__ if getattr(body, name) is not UNSET]
    if len(asked) != 1:
        raise Invalid("Exactly one of add_host, remove_host and set_metadata is expected.")
    call.demand(f"os_compute_api:os-aggregates:{asked[0]}")

    def work(tx: Tx) -> None:
        aggregate = _find(call, tx)
        if isinstance(body.add_host, NamedHost):
            _add_host(tx, aggregate, body.add_host.host)
        elif isinstance(body.remove_host, NamedHost):
            _remove_host(tx, aggregate, body.remove_host.host)
        elif isinstance(body.set_metadata, NewMetadata):
            _set_metadata(tx, aggregate, body.set_metadata.metadata)
        tx.then(call.cloud.fleet.stale)

    await call.cloud.database.transact(work)
    return await _shown(call)


def _add_host(tx: Tx, aggregate: Aggregate, name: str) -> None:
    host = _host(tx, name)
    if host.id in aggregate.hosts:
        raise Conflict(f"Aggregate {aggregate.id} already has host {name}.")
    if aggregate.zone:
        _demand_may_be_in(tx, aggregate, [host.id], aggregate.zone, Conflict)
    store.add_host(tx, aggregate.id, host.id)


def _remove_host(tx: Tx, aggregate: Aggregate, name: str) -> None:
    host = _host(tx, name)
    if host.id not in aggregate.hosts:
        raise NotFound(f"Host {name} could not be found in aggregate {aggregate.id}.")
    if aggregate.zone:
        _demand_may_be_in(tx, aggregate, [host.id], None, Conflict)
    store.remove_host(tx, aggregate.id, host.id)


def _set_metadata(tx: Tx, aggregate: Aggregate, changes: dict[str, str | None]) -> None:
    if changes.get(ZONE_KEY) is not None:
        try:
            msgspec.convert(changes[ZONE_KEY], ZoneName)
        except msgspec.ValidationError as error:
            raise Invalid(f"Invalid input for field/attribute {ZONE_KEY}. Value: {changes[ZONE_KEY]}.") from error
    values = _merged(aggregate.metadata, changes)
    _demand_may_be_in(tx, aggregate, aggregate.hosts, values.get(ZONE_KEY), Invalid)
    store.change(tx, aggregate.id, values=values)


def _merged(values: dict[str, str], changes: dict[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in {**values, **changes}.items() if value is not None}


def _demand_may_be_in(
    tx: Tx, aggregate: Aggregate, members: Iterable[HostId], zone: str | None, refusal: type[CloudError]
) -> None:
    """Raise the refusal unless these hosts may be in the zone that the aggregate names now (None: names none)."""
    for member in members:
        others = [other for other in store.of_host(tx, member) if other.id != aggregate.id]
        elsewhere = store.zone_among(others)
        if zone is not None and elsewhere not in (DEFAULT_ZONE, zone):
            raise refusal(f"One or more hosts already in availability zone(s) {elsewhere}.")
        if (zone or elsewhere) != store.zone_of(tx, member) and servers.on_host(tx, member):
            raise refusal(
                "One or more hosts contain instances, which would change their availability zone. "
                "Move or delete these first."
            )


async def cache_images(call: Call) -> Reply:
    """Take note that images are wanted at hand: hosts fetch an image when a server needs it, and keep it then."""
    call.demand("compute:aggregates:images")
    images = [image.id for image in read(call, CacheImages).cache]
    if len(set(images)) < len(images):
        raise Invalid("Duplicate images in request.")
    await call.cloud.database.read(lambda tx: _find(call, tx))
    return Reply(202)


def _find(call: Call, tx: Tx) -> Aggregate:
    text = call.path["aggregate"]
    if not text.isdecimal() or not 0 < int(text[:20]) <= MAX_INTEGER:
        raise Invalid(f"Invalid aggregate id {text}: a whole number is expected.")
    aggregate = store.get(tx, int(text))
    if aggregate is None:
        raise NotFound(f"Aggregate {text} could not be found.")
    return aggregate


def _host(tx: Tx, name: str) -> Host:
    host = hosts.compute_host_named(tx, name)
    if host is None:
        raise NotFound(f"Compute host {name} could not be found.")
    return host


def _names(tx: Tx) -> dict[HostId, str]:
    return {host.id: host.name for host in hosts.computing(tx)}


def _brief(call: Call, aggregate: Aggregate) -> dict[str, Any]:
    """Return the answer to a creation: there are neither hosts nor metadata to tell of."""
    shown: dict[str, Any] = {
        "id": aggregate.id,
        "name": aggregate.name,
        "availability_zone": aggregate.zone,
        "created_at": aggregate.created_at,
        "updated_at": aggregate.updated_at,
        "deleted": False,
        "deleted_at": None,
    }
    if call.version >= (2, 41):
        shown["uuid"] = aggregate.uuid
    return shown


def _view(call: Call, aggregate: Aggregate, names: dict[HostId, str]) -> dict[str, Any]:
    members = [names[host] for host in aggregate.hosts if host in names]
    return {**_brief(call, aggregate), "hosts": members, "metadata": aggregate.metadata}


ROUTES = [
    route("GET", "/os-aggregates", index),
    route("POST", "/os-aggregates", create),
    route("GET", "/os-aggregates/{aggregate}", show),
    route("PUT", "/os-aggregates/{aggregate}", update),
    route("DELETE", "/os-aggregates/{aggregate}", delete),
    route("POST", "/os-aggregates/{aggregate}/action", act),
    route("POST", "/os-aggregates/{aggregate}/images", cache_images, since=(2, 81)),
]
