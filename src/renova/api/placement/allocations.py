"""Allocations: who holds how much of whom, written for whole consumers at once."""

from typing import Any

from msgspec import UNSET, UnsetType

from renova.api.http import Call, Reply
from renova.api.placement.fields import Body, Holder, Positive, uuid
from renova.model.errors import Invalid, NotFound
from renova.model.ids import ProjectId, ServerId, UserId
from renova.store import providers
from renova.store.database import Tx
from renova.store.placement import allocations as store
from renova.store.placement import claims
from renova.store.placement.holdings import Holding, replace_all

NAMED = (1, 8)  # since when an allocation says whose it is
BY_PROVIDER = (1, 12)
GENERATIONS = (1, 28)
MAPPINGS = (1, 34)
TYPES = (1, 38)

NOBODY = "00000000-0000-0000-0000-000000000000"  # whose it is where nobody said, as Placement's own default


class Resources(Body):
    """How much of one provider; its generation is taken, for an answer may be sent back, and not looked at."""

    resources: dict[str, Positive]
    generation: int | UnsetType = UNSET


class NamedProvider(Body):
    """A provider, in the older form."""

    uuid: str


class OldResources(Body):
    """How much of one provider, in the older form."""

    resource_provider: NamedProvider
    resources: dict[str, Positive]


class OldAllocations(Body):
    """All that a consumer is to hold, until 1.11."""

    allocations: list[OldResources]
    project_id: Holder | UnsetType = UNSET
    user_id: Holder | UnsetType = UNSET


class Allocations(Body):
    """All that a consumer is to hold."""

    allocations: dict[str, Resources]
    project_id: Holder
    user_id: Holder
    consumer_generation: int | UnsetType | None = UNSET
    consumer_type: str | UnsetType = UNSET
    mappings: dict[str, list[str]] | UnsetType = UNSET  # told by candidates and taken back; nothing is done with them


async def of_consumer(call: Call) -> Reply:
    call.demand("placement:allocations:list")
    server = ServerId(call.path["consumer"])

    def read(tx: Tx) -> dict[str, Any]:
        held: dict[str, dict[str, Any]] = {}
        for allocation in store.held(tx, server):
            if allocation.provider not in held:
                generation = providers.get(tx, allocation.provider).generation
                held[allocation.provider] = {"generation": generation, "resources": {}}
            held[allocation.provider]["resources"][allocation.resource_class] = allocation.amount
        body: dict[str, Any] = {"allocations": held}
        consumer = store.consumer(tx, server)
        if held and consumer is not None and call.version >= BY_PROVIDER:
            body |= {"project_id": consumer.project, "user_id": consumer.user}
            if call.version >= GENERATIONS:
                body["consumer_generation"] = consumer.generation
            if call.version >= TYPES:
                body["consumer_type"] = consumer.type or "unknown"
        return body

    return Reply(200, await call.cloud.database.read(read))


async def of_provider(call: Call) -> Reply:
    call.demand("placement:resource_providers:allocations:list")

    def read(tx: Tx) -> dict[str, Any]:
        provider = providers.get(tx, call.path["provider"])
        holders = store.consumers_of(tx, provider.id) if call.version >= GENERATIONS else {}
        found: dict[str, dict[str, Any]] = {}
        for allocation in store.held_of(tx, provider.id):
            shape = found.setdefault(allocation.consumer, {"resources": {}})
            shape["resources"][allocation.resource_class] = allocation.amount
            if allocation.consumer in holders:
                shape["consumer_generation"] = holders[allocation.consumer].generation
        return {"resource_provider_generation": provider.generation, "allocations": found}

    return Reply(200, await call.cloud.database.read(read))


async def replace(call: Call) -> Reply:
    call.demand("placement:allocations:update")
    consumer = uuid(call.path["consumer"], "The consumer")
    want = _old(call, consumer) if call.version < BY_PROVIDER else holding(call, consumer, call.json(Allocations))
    if not want.amounts and call.version < GENERATIONS:
        raise Invalid("JSON does not validate: allocations is empty. Take allocations back with DELETE.")
    await call.cloud.database.transact(lambda tx: replace_all(tx, [want]))
    return Reply(204)


async def replace_many(call: Call) -> Reply:
    call.demand("placement:allocations:manage")
    wanted = call.json(dict[str, Allocations])
    if not wanted:
        raise Invalid("JSON does not validate: at least one consumer is expected.")
    holdings = [holding(call, uuid(consumer, "Each consumer"), each) for consumer, each in wanted.items()]
    await call.cloud.database.transact(lambda tx: replace_all(tx, holdings))
    return Reply(204)


async def delete(call: Call) -> Reply:
    call.demand("placement:allocations:delete")
    server = ServerId(call.path["consumer"])

    def work(tx: Tx) -> None:
        if not store.held(tx, server):
            raise NotFound(f"No allocations for consumer '{server}'")
        claims.release(tx, server)

    await call.cloud.database.transact(work)
    return Reply(204)


def holding(call: Call, consumer: str, wanted: Allocations) -> Holding:
    """Return what the consumer is to hold; refuses what this version does not know, and misses what it asks for."""
    _demand(call, "consumer_generation", GENERATIONS, there=wanted.consumer_generation is not UNSET)
    _demand(call, "consumer_type", TYPES, there=wanted.consumer_type is not UNSET)
    if wanted.mappings is not UNSET and call.version < MAPPINGS:
        raise Invalid("JSON does not validate: mappings is known since 1.34.")
    if isinstance(wanted.consumer_type, str) and not _is_type(wanted.consumer_type):
        raise Invalid("JSON does not validate: consumer_type is expected in capital letters, digits and underscores.")
    for provider, of in wanted.allocations.items():
        if not of.resources:
            raise Invalid(f"JSON does not validate: the resources of {provider} are empty. Leave it out instead.")
    return Holding(
        consumer=ServerId(consumer),
        amounts={uuid(provider, "Each provider"): of.resources for provider, of in wanted.allocations.items()},
        project=ProjectId(wanted.project_id),
        user=UserId(wanted.user_id),
        type=wanted.consumer_type,
        generation=wanted.consumer_generation,
    )


def _is_type(text: str) -> bool:
    return 0 < len(text) <= 255 and all(each in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_" for each in text)


def _demand(call: Call, name: str, since: tuple[int, int], *, there: bool) -> None:
    if there and call.version < since:
        raise Invalid(f"JSON does not validate: {name} is known since 1.{since[1]}.")
    if not there and call.version >= since:
        raise Invalid(f"JSON does not validate: '{name}' is a required property.")


def _old(call: Call, consumer: str) -> Holding:
    wanted = call.json(OldAllocations)
    named = wanted.project_id is not UNSET and wanted.user_id is not UNSET
    if call.version < NAMED and (wanted.project_id is not UNSET or wanted.user_id is not UNSET):
        raise Invalid("JSON does not validate: project_id and user_id are known since 1.8.")
    if call.version >= NAMED and not named:
        raise Invalid("JSON does not validate: 'project_id' and 'user_id' are required properties.")
    amounts: dict[str, dict[str, int]] = {}
    for each in wanted.allocations:
        if not each.resources:
            raise Invalid("JSON does not validate: the resources of a provider are empty.")
        amounts.setdefault(uuid(each.resource_provider.uuid, "Each provider"), {}).update(each.resources)
    return Holding(
        consumer=ServerId(consumer),
        amounts=amounts,
        project=ProjectId(wanted.project_id if wanted.project_id is not UNSET else NOBODY),
        user=UserId(wanted.user_id if wanted.user_id is not UNSET else NOBODY),
    )


async def usages(call: Call) -> Reply:
    """Sum up what a project's consumers hold, one user's only if so asked; since 1.38 by their type."""
    project, user, kind = call.one("project_id"), call.one("user_id"), call.one("consumer_type")
    call.demand("placement:usages", {"project_id": project})
    if not project:
        raise Invalid("Invalid query string parameters: 'project_id' is a required property.")
    if kind is not None and call.version < TYPES:
        raise Invalid("Invalid query string parameters: consumer_type is known since 1.38.")
    found, counts = await call.cloud.database.read(lambda tx: store.usages(tx, project, user))
    if call.version < TYPES:
        return Reply(200, {"usages": _summed((each.resource_class, each.amount) for each in found)})
    if kind == "all":
        amounts = _summed((each.resource_class, each.amount) for each in found)
        shown = {"all": amounts | {"consumer_count": sum(counts.values())}} if found else {}
        return Reply(200, {"usages": shown})
    by_type: dict[str, dict[str, int]] = {}
    for each in found:
        name = each.type or "unknown"
        if kind in (None, name):
            by_type.setdefault(name, {"consumer_count": counts[each.type]})[each.resource_class] = each.amount
    return Reply(200, {"usages": by_type})


def _summed(amounts: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for name, amount in amounts:
        total[name] = total.get(name, 0) + amount
    return total
