"""Traits: the standard ones, those of operators, and which a provider shows."""

from renova.api.http import Call, Reply
from renova.api.placement.fields import Body, custom_name
from renova.api.placement.route import BadValue
from renova.model.errors import NotFound
from renova.store import providers as store
from renova.store.database import Tx
from renova.store.providers import Provider


class TraitsOfProvider(Body):
    """All that a provider is to show."""

    traits: list[str]
    resource_provider_generation: int


async def every(call: Call) -> Reply:
    """List traits: `name` is in:A,B or startswith:PREFIX, `associated` whether some provider shows it."""
    call.demand("placement:traits:list")

    def read(tx: Tx) -> tuple[frozenset[str], set[str]]:
        return store.known_traits(tx), store.used_traits(tx)

    known, used = await call.cloud.database.read(read)
    found = set(known)
    if (text := call.one("name")) is not None:
        how, colon, rest = text.partition(":")
        if not colon or how not in ("in", "startswith"):
            raise BadValue(
                "Badly formatted name parameter. Expected name query string parameter in form: "
                f"?name=[in|startswith]:[name1,name2|prefix]. Got: {text!r}"
            )
        found = {name for name in found if name.startswith(rest)} if how == "startswith" else found & {*rest.split(",")}
    if (associated := call.one("associated")) is not None:
        if associated.lower() not in ("true", "false"):
            raise BadValue(f"The query parameter associated is expected to be true or false. Got: {associated!r}")
        found = found & used if associated.lower() == "true" else found - used
    return Reply(200, {"traits": sorted(found)})


async def one(call: Call) -> Reply:
    call.demand("placement:traits:show")
    if call.path["trait"] not in await call.cloud.database.read(store.known_traits):
        raise NotFound(f"No such trait {call.path['trait']}.")
    return Reply(204)


async def create(call: Call) -> Reply:
    call.demand("placement:traits:update")
    name = custom_name(call.path["trait"], "trait")
    new = await call.cloud.database.transact(lambda tx: store.create_trait(tx, name))
    return Reply(201 if new else 204, None, {"Location": f"{call.base_url}/traits/{name}"})


async def delete(call: Call) -> Reply:
    call.demand("placement:traits:delete")
    await call.cloud.database.transact(lambda tx: store.delete_trait(tx, call.path["trait"]))
    return Reply(204)


async def of_provider(call: Call) -> Reply:
    call.demand("placement:resource_providers:traits:list")
    return _shown(*await call.cloud.database.read(lambda tx: _both(call, tx)))


async def set_of_provider(call: Call) -> Reply:
    call.demand("placement:resource_providers:traits:update")
    wanted = call.json(TraitsOfProvider)

    def work(tx: Tx) -> tuple[Provider, set[str]]:
        provider = store.expect(tx, call.path["provider"], wanted.resource_provider_generation)
        store.set_traits(tx, provider.id, wanted.traits)
        return _both(call, tx)

    return _shown(*await call.cloud.database.transact(work))


async def delete_of_provider(call: Call) -> Reply:
    call.demand("placement:resource_providers:traits:delete")

    def work(tx: Tx) -> None:
        store.set_traits(tx, store.get(tx, call.path["provider"]).id, ())

    await call.cloud.database.transact(work)
    return Reply(204)


def _both(call: Call, tx: Tx) -> tuple[Provider, set[str]]:
    provider = store.get(tx, call.path["provider"])
    return provider, store.traits_of(tx, provider.id)


def _shown(provider: Provider, traits: set[str]) -> Reply:
    return Reply(200, {"traits": sorted(traits), "resource_provider_generation": provider.generation})
