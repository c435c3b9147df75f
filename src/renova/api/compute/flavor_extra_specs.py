"""Flavors' extra specs: further demands of a flavor, as names and values."""

from typing import Annotated

import msgspec
from msgspec import Meta

from renova.api.compute import flavors
from renova.api.compute.fields import Body, read
from renova.api.compute.known_extra_specs import demand_known
from renova.api.compute.route import route
from renova.api.http import Call, Reply, Version
from renova.model.errors import Invalid, NotFound
from renova.store import flavors as store
from renova.store.database import Tx

POLICY = {
    "os_compute_api:os-flavor-extra-specs:show": "rule:project_reader_or_admin",
    "os_compute_api:os-flavor-extra-specs:create": "rule:admin_api",
    "os_compute_api:os-flavor-extra-specs:update": "rule:admin_api",
    "os_compute_api:os-flavor-extra-specs:delete": "rule:admin_api",
}

_LOOKED_AT_SINCE: Version = (2, 86)

Key = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9\-_:. ]{1,255}\Z")]
Value = Annotated[str, Meta(max_length=255)] | int | float
Specs = dict[Key, Value]


class SetExtraSpecs(Body):
    """The body of POST os-extra_specs: what to add or to change."""

    extra_specs: Annotated[Specs, Meta(min_length=1)]


async def index(call: Call) -> Reply:
    call.demand("os_compute_api:os-flavor-extra-specs:index")
    return Reply(200, {"extra_specs": (await flavors.find(call)).extra_specs})


async def show(call: Call) -> Reply:
    call.demand("os_compute_api:os-flavor-extra-specs:show")
    flavor = await flavors.find(call)
    key = call.path["key"]
    if key not in flavor.extra_specs:
        raise _missing(flavor.id, key)
    return Reply(200, {key: flavor.extra_specs[key]})


async def add(call: Call) -> Reply:
    call.demand("os_compute_api:os-flavor-extra-specs:create")
    specs = _checked(call, read(call, SetExtraSpecs).extra_specs)
    await flavors.find(call)
    await _merge(call, specs)
    return Reply(200, {"extra_specs": specs})


async def put(call: Call) -> Reply:
    call.demand("os_compute_api:os-flavor-extra-specs:update")
    key = call.path["key"]
    asked: Specs = call.json(Annotated[Specs, Meta(max_length=1)])  # type: ignore[arg-type]  # a shape all the same
    if key not in asked:
        raise Invalid("Request body and URI mismatch")
    specs = _checked(call, asked)
    await flavors.find(call)
    await _merge(call, specs)
    return Reply(200, specs)


async def delete(call: Call) -> Reply:
    call.demand("os_compute_api:os-flavor-extra-specs:delete")
    wanted, key = call.path["flavor"], call.path["key"]

    def work(tx: Tx) -> None:
        flavor = store.get(tx, wanted, None)
        if flavor is None:
            raise flavors.missing(wanted)
        if key not in flavor.extra_specs:
            raise _missing(wanted, key)
        left = {name: value for name, value in flavor.extra_specs.items() if name != key}
        store.set_extra_specs(tx, wanted, left)

    await call.cloud.database.transact(work)
    return Reply(200)


def _checked(call: Call, specs: Specs) -> dict[str, str]:
    """Return the specs as texts. `Invalid` for what is none, from the microversion on that looks."""
    texts = {
        key: value if isinstance(value, str) else msgspec.json.encode(value).decode() for key, value in specs.items()
    }
    if call.version >= _LOOKED_AT_SINCE:
        demand_known(texts)
    return texts


async def _merge(call: Call, specs: dict[str, str]) -> None:
    wanted = call.path["flavor"]

    def work(tx: Tx) -> None:
        flavor = store.get(tx, wanted, None)
        if flavor is None:
            raise flavors.missing(wanted)
        store.set_extra_specs(tx, wanted, {**flavor.extra_specs, **specs})

    await call.cloud.database.transact(work)


def _missing(flavor: str, key: str) -> NotFound:
    return NotFound(f"Flavor {flavor} has no extra specs with key {key}.")


_PATH = "/flavors/{flavor}/os-extra_specs"

ROUTES = [
    route("GET", _PATH, index),
    route("POST", _PATH, add),
    route("GET", f"{_PATH}/{{key}}", show),
    route("PUT", f"{_PATH}/{{key}}", put),
    route("DELETE", f"{_PATH}/{{key}}", delete),
]
