"""Resource providers: hosts, and what operators add beside or below them."""

from typing import Any

from msgspec import UNSET, UnsetType

from renova.api.http import Call, Handler, Reply
from renova.api.placement import query
from renova.api.placement.fields import Body, Name, uuid
from renova.api.placement.shown import Shown
from renova.model.errors import Conflict, Invalid
from renova.model.ids import HostId
from renova.model.provider import ProviderView
from renova.store import hosts
from renova.store import providers as store
from renova.store.database import Tx
from renova.store.placement import removal
from renova.store.providers import Provider

NESTED = (1, 14)
_REPARENTED = (1, 37)
_LINKS = (
    ("inventories", (1, 0)),
    ("usages", (1, 0)),
    ("aggregates", (1, 1)),
    ("traits", (1, 6)),
    ("allocations", (1, 11)),
)
# Filters, and since when each is known.
_FILTERS = {"member_of": (1, 3), "resources": (1, 4), "in_tree": NESTED, "required": (1, 18)}


class NewProvider(Body):
    """A provider to have."""

    name: Name
    uuid: str | UnsetType = UNSET
    parent_provider_uuid: str | UnsetType | None = UNSET


class ChangedProvider(Body):
    """A provider as it is to be; without a parent named, that stays."""

    name: Name
    parent_provider_uuid: str | UnsetType | None = UNSET


def every(shown: Shown) -> Handler:
    """Return the handler that lists providers."""

    async def answer(call: Call) -> Reply:
        call.demand("placement:resource_providers:list")
        for name, since in _FILTERS.items():
            if call.one(name) is not None and call.version < since:
                raise Invalid(f"Invalid query string parameters: {name} is known since 1.{since[1]}.")
        wanted = await _filters(call)
        forest = await shown.forest()
        found = (view for view in forest.views.values() if wanted(view))
        return Reply(200, {"resource_providers": [_shape(call, view) for view in found]})

    return answer


async def _filters(call: Call) -> Any:
    amounts = query.resources(text) if (text := call.one("resources")) is not None else {}
    traits, near = query.traits(call, "required"), query.member_of(call, "member_of")
    tree = call.one("in_tree")
    name, own = call.one("name"), call.one("uuid")

    def known(tx: Tx) -> str | None:
        query.demand_classes(amounts, store.known_classes(tx))
        query.demand_traits(traits, store.known_traits(tx))
        found = store.find(tx, uuid(tree, "in_tree")) if tree is not None else None
        return found.root if found else None

    root = await call.cloud.database.read(known)
    own = uuid(own, "uuid") if own is not None else None

    def fits(view: ProviderView) -> bool:
        return (
            (name is None or view.name == name)
            and (own is None or view.id == own)
            and (tree is None or view.root == root)
            and traits.met_by(view.traits)
            and near.met_by(view.aggregates)
            and all((stock := view.stocks.get(each)) and stock.gives(amount) for each, amount in amounts.items())
        )

    return fits


async def one(call: Call) -> Reply:
    call.demand("placement:resource_providers:show")
    return Reply(200, _shape(call, await call.cloud.database.read(lambda tx: store.get(tx, call.path["provider"]))))


async def create(call: Call) -> Reply:
    call.demand("placement:resource_providers:create")
    wanted = call.json(NewProvider)
    if wanted.parent_provider_uuid is not UNSET and call.version < NESTED:
        raise Invalid("parent_provider_uuid is known since 1.14.")
    own = uuid(wanted.uuid, "uuid") if wanted.uuid is not UNSET else call.cloud.chance.uuid()
    parent = _parent(wanted.parent_provider_uuid)

    def work(tx: Tx) -> Provider:
        store.add(tx, own, wanted.name, parent)
        return store.get(tx, own)

    made = await call.cloud.database.transact(work)
    location = {"Location": f"{call.base_url}/resource_providers/{made.id}"}
    return Reply(200, _shape(call, made), location) if call.version >= (1, 20) else Reply(201, None, location)


async def change(call: Call) -> Reply:
    call.demand("placement:resource_providers:update")
    wanted = call.json(ChangedProvider)
    if wanted.parent_provider_uuid is not UNSET and call.version < NESTED:
        raise Invalid("parent_provider_uuid is known since 1.14.")
    provider = call.path["provider"]

    def work(tx: Tx) -> Provider:
        old = store.get(tx, provider)
        parent = old.parent if wanted.parent_provider_uuid is UNSET else _parent(wanted.parent_provider_uuid)
        if parent != old.parent and old.parent is not None and call.version < _REPARENTED:
            raise Invalid(
                f"Unable to save resource provider {provider}: re-parenting a provider is not currently allowed; "
                "it is since 1.37."
            )
        store.change(tx, provider, wanted.name, parent)
        return store.get(tx, provider)

    return Reply(200, _shape(call, await call.cloud.database.transact(work)))


def _parent(given: str | UnsetType | None) -> str | None:
    return uuid(given, "parent_provider_uuid") if isinstance(given, str) else None


async def delete(call: Call) -> Reply:
    """Take a provider away; a host's goes with its compute service only, else nothing could be placed there."""
    call.demand("placement:resource_providers:delete")
    provider = HostId(call.path["provider"])

    def work(tx: Tx) -> None:
        if (host := hosts.get(tx, provider)) is not None:
            raise Conflict(
                f"Unable to delete resource provider {provider}: it is the host {host.name}. "
                "Delete its compute service instead."
            )
        removal.delete_provider(tx, provider)

    await call.cloud.database.transact(work)
    return Reply(204)


def _shape(call: Call, provider: Provider | ProviderView) -> dict[str, Any]:
    path = f"/placement/resource_providers/{provider.id}"
    shape: dict[str, Any] = {
        "uuid": provider.id,
        "name": provider.name,
        "generation": provider.generation,
        "links": [{"rel": "self", "href": path}]
        + [{"rel": rel, "href": f"{path}/{rel}"} for rel, since in _LINKS if call.version >= since],
    }
    if call.version >= NESTED:
        shape |= {"parent_provider_uuid": provider.parent, "root_provider_uuid": provider.root}
    return shape
