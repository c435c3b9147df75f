"""Flavors: list, show, create, describe, delete."""

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from renova.api.compute import links, paging
from renova.api.compute.fields import MAX_INTEGER, Body, Count, Name, Truth, count, given, is_true, read
from renova.api.compute.route import PAGING, known, route
from renova.api.digits import whole
from renova.api.http import Call, Reply, Version
from renova.model.errors import Invalid, NotFound
from renova.model.flavor import Flavor
from renova.model.ids import ProjectId
from renova.store import flavors as store
from renova.store.database import Tx
from renova.store.paging import Sort

POLICY = {
    "os_compute_api:os-flavor-manage:create": "rule:admin_api",
    "os_compute_api:os-flavor-manage:update": "rule:admin_api",
    "os_compute_api:os-flavor-manage:delete": "rule:admin_api",
    "os_compute_api:os-flavor-extra-specs:index": "rule:project_reader_or_admin",
}

SORT_KEYS = {
    "flavorid": "id",
    "id": "serial",
    "name": "name",
    "memory_mb": "memory_mb",
    "vcpus": "vcpus",
    "root_gb": "root_gb",
    "ephemeral_gb": "ephemeral_gb",
    "swap": "swap_mb",
    "rxtx_factor": "rxtx_factor",
    "is_public": "is_public",
    "disabled": "disabled",
    "created_at": "created_at",
}

FlavorId = Annotated[str, Meta(max_length=255, pattern=r"^(?! )[a-zA-Z0-9. _\-]*(?<! )\Z")]
FlavorDescription = Annotated[str, Meta(max_length=65535)]


class NewFlavor(Body):
    """What POST /flavors asks for."""

    SINCE: ClassVar[dict[str, Version]] = {"description": (2, 55)}
    UNTIL: ClassVar[dict[str, Version]] = {"rxtx_factor": (2, 101)}

    name: Name
    ram: Count
    vcpus: Count
    disk: Count
    id: FlavorId | int | None = None
    swap: Count = 0
    ephemeral: Count = msgspec.field(default=0, name="OS-FLV-EXT-DATA:ephemeral")
    rxtx_factor: float | Annotated[str, Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?\Z")] | UnsetType = UNSET
    is_public: Truth = msgspec.field(default=True, name="os-flavor-access:is_public")
    description: FlavorDescription | UnsetType | None = UNSET


class CreateFlavor(Body):
    """The body of POST /flavors."""

    flavor: NewFlavor


class Described(Body):
    """What PUT /flavors/{id} may change."""

    description: FlavorDescription | None


class DescribeFlavor(Body):
    """The body of PUT /flavors/{id}."""

    flavor: Described


def sees_all(call: Call) -> bool:
    """Say whether the caller sees flavors that are for certain projects only."""
    return call.allows("context_is_admin")


def reach(call: Call) -> ProjectId | None:
    """Return the project whose flavors the caller may use, or None for all."""
    return None if sees_all(call) else call.caller.project


async def find(call: Call) -> Flavor:
    """Return the flavor named in the path. `NotFound` when it is not there, or not the caller's to see."""
    wanted = call.path["flavor"]
    found = await call.cloud.database.read(lambda tx: store.get(tx, wanted, reach(call)))
    if found is None:
        raise missing(wanted)
    return found


def missing(flavor: str) -> NotFound:
    return NotFound(f"Flavor {flavor} could not be found.")


def view(call: Call, flavor: Flavor, *, extra_specs: bool) -> dict[str, Any]:
    """Return the flavor as the request's microversion shows it."""
    shown: dict[str, Any] = {
        "id": flavor.id,
        "name": flavor.name,
        "ram": flavor.memory_mb,
        "disk": flavor.root_gb,
        "vcpus": flavor.vcpus,
        "swap": flavor.swap_mb if flavor.swap_mb or call.version >= (2, 75) else "",
        "OS-FLV-EXT-DATA:ephemeral": flavor.ephemeral_gb,
        "os-flavor-access:is_public": flavor.is_public,
        "links": links.both(call, f"/flavors/{flavor.id}"),
    }
    if call.version <= (2, 101):
        shown["OS-FLV-DISABLED:disabled"] = flavor.disabled
        shown["rxtx_factor"] = flavor.rxtx_factor
    if call.version >= (2, 55):
        shown["description"] = flavor.description
    if extra_specs:
        shown["extra_specs"] = flavor.extra_specs
    return shown


def _shows_extra_specs(call: Call) -> bool:
    return call.version >= (2, 61) and call.allows("os_compute_api:os-flavor-extra-specs:index")


async def index(call: Call) -> Reply:
    page = await _page(call)
    brief: list[dict[str, Any]] = []
    for flavor in page:
        entry: dict[str, Any] = {
            "id": flavor.id,
            "name": flavor.name,
            "links": links.both(call, f"/flavors/{flavor.id}"),
        }
        if call.version >= (2, 55):
            entry["description"] = flavor.description
        brief.append(entry)
    return _listed(call, "/flavors", brief)


async def detail(call: Call) -> Reply:
    extra_specs = _shows_extra_specs(call)
    return _listed(call, "/flavors/detail", [view(call, each, extra_specs=extra_specs) for each in await _page(call)])


def _listed(call: Call, path: str, page: list[dict[str, Any]]) -> Reply:
    last = page[-1]["id"] if page else None
    return Reply(200, {"flavors": page, **paging.links(call, path, "flavors_links", page, last)})


async def _page(call: Call) -> list[Flavor]:
    where: list[Any] = []
    public = _wants_public(call)
    if public:
        # A flavor given to the caller's project counts among the public ones for it, an administrator's too.
        where.append(store.usable(call.caller.project))
    elif public is not None:
        where.append(store.flavors.c.is_public.is_(False))
    for parameter, column in (("minRam", "memory_mb"), ("minDisk", "root_gb")):
        if (text := call.one(parameter)) is not None:
            if (least := whole(text)) is None:
                raise Invalid(f"Invalid {parameter} filter [{text}]")
            where.append(store.flavors.c[column] >= min(least, MAX_INTEGER))
    if (name := call.one("name")) is not None:
        where.append(store.flavors.c.name == name)
    order = [Sort(store.flavors.c[_sort_key(call)], call.one("sort_dir") == "desc")]
    limit = paging.limit(call)
    marker = call.one("marker")

    def work(tx: Tx) -> list[Flavor] | None:
        return store.page(tx, reach(call), where, order, marker, limit)

    page = await call.cloud.database.read(work)
    if page is None:
        raise paging.unknown_marker(marker or "")
    return page


def _wants_public(call: Call) -> bool | None:
    """Return which flavors are asked for: public, not public, or (None) whatever the caller may use."""
    if not sees_all(call):
        return None
    text = call.one("is_public")
    if text is None:
        return True
    if text.lower() == "none":
        return None
    if text.lower() in ("true", "1", "t", "yes", "y", "on"):
        return True
    if text.lower() in ("false", "0", "f", "no", "n", "off"):
        return False
    raise Invalid(f"Invalid is_public filter [{text}]")


def _sort_key(call: Call) -> str:
    key = call.one("sort_key") or "flavorid"
    if key not in SORT_KEYS:
        raise Invalid(f"Invalid input for query parameters sort_key. Value: {key}.")
    if call.one("sort_dir") not in (None, "asc", "desc"):
        raise Invalid("Unknown sort direction, must be 'desc' or 'asc'.")
    return SORT_KEYS[key]


async def show(call: Call) -> Reply:
    return Reply(200, {"flavor": view(call, await find(call), extra_specs=_shows_extra_specs(call))})


async def create(call: Call) -> Reply:
    call.demand("os_compute_api:os-flavor-manage:create")
    wanted = read(call, CreateFlavor).flavor
    rxtx_factor = 1.0 if wanted.rxtx_factor is UNSET else float(wanted.rxtx_factor)
    if not 0 < rxtx_factor < 1e30:
        raise Invalid(f"Invalid input for field/attribute rxtx_factor. Value: {wanted.rxtx_factor}.")
    flavor = Flavor(
        id=str(wanted.id) if wanted.id not in (None, "") else call.cloud.chance.uuid(),
        name=wanted.name,
        vcpus=count(wanted.vcpus, "vcpus"),
        memory_mb=count(wanted.ram, "ram"),
        root_gb=count(wanted.disk, "disk", least=0),
        ephemeral_gb=count(wanted.ephemeral, "OS-FLV-EXT-DATA:ephemeral", least=0),
        swap_mb=count(wanted.swap, "swap", least=0),
        rxtx_factor=rxtx_factor,
        is_public=is_true(wanted.is_public),
        description=given(wanted.description, None),
    )
    await call.cloud.database.transact(lambda tx: store.add(tx, flavor))
    return Reply(200, {"flavor": view(call, flavor, extra_specs=_shows_extra_specs(call))})


async def describe(call: Call) -> Reply:
    call.demand("os_compute_api:os-flavor-manage:update")
    flavor = await find(call)
    description = read(call, DescribeFlavor).flavor.description
    await call.cloud.database.transact(lambda tx: store.describe(tx, flavor.id, description))
    changed = msgspec.structs.replace(flavor, description=description)
    return Reply(200, {"flavor": view(call, changed, extra_specs=_shows_extra_specs(call))})


async def delete(call: Call) -> Reply:
    call.demand("os_compute_api:os-flavor-manage:delete")
    wanted = call.path["flavor"]
    if not await call.cloud.database.transact(lambda tx: store.remove(tx, wanted)):
        raise missing(wanted)
    return Reply(202)


_LISTING = {
    **PAGING,
    **known("is_public", "minRam", "minDisk", "sort_key", "sort_dir"),
    **known("name", since=(2, 102)),
}

ROUTES = [
    route("GET", "/flavors", index, query=_LISTING),
    route("GET", "/flavors/detail", detail, query=_LISTING),
    route("POST", "/flavors", create),
    route("GET", "/flavors/{flavor}", show),
    route("PUT", "/flavors/{flavor}", describe, since=(2, 55)),
    route("DELETE", "/flavors/{flavor}", delete),
]
