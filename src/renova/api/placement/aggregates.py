"""Which aggregates a provider is in. A host's are those that the Compute API has put it in, and what is added here."""

from renova.api.http import Call, Reply
from renova.api.placement.fields import Body, uuid
from renova.model.errors import Invalid
from renova.store import providers as store
from renova.store.database import Tx
from renova.store.providers import Provider

_GENERATIONS = (1, 19)


class AggregatesOfProvider(Body):
    """All that a provider is to be in."""

    aggregates: list[str]
    resource_provider_generation: int


async def of_provider(call: Call) -> Reply:
    call.demand("placement:resource_providers:aggregates:list")
    return _shown(call, *await call.cloud.database.read(lambda tx: _both(call, tx)))


async def set_of_provider(call: Call) -> Reply:
    call.demand("placement:resource_providers:aggregates:update")
    with_generation = call.version >= _GENERATIONS
    generation: int | None = None
    if with_generation:
        body = call.json(AggregatesOfProvider)
        given, generation = body.aggregates, body.resource_provider_generation
    else:
        given = call.json(list[str])
    wanted = {uuid(each, "each aggregate") for each in given}
    if len(wanted) < len(given):
        raise Invalid("JSON does not validate: an aggregate is named twice.")

    def work(tx: Tx) -> tuple[Provider, set[str]]:
        provider = store.expect(tx, call.path["provider"], generation)
        store.set_aggregates(tx, provider.id, wanted, raised=with_generation)
        return _both(call, tx)

    return _shown(call, *await call.cloud.database.transact(work))


def _both(call: Call, tx: Tx) -> tuple[Provider, set[str]]:
    provider = store.get(tx, call.path["provider"])
    return provider, store.aggregates_of(tx, provider.id)


def _shown(call: Call, provider: Provider, aggregates: set[str]) -> Reply:
    body: dict[str, object] = {"aggregates": sorted(aggregates)}
    if call.version >= _GENERATIONS:
        body["resource_provider_generation"] = provider.generation
    return Reply(200, body)
