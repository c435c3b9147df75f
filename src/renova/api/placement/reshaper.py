"""The reshaper: inventories that go from provider to provider, with the allocations that are made of them, in one."""

from renova.api.http import Call, Reply
from renova.api.placement.allocations import Allocations, holding
from renova.api.placement.fields import Body, uuid
from renova.api.placement.inventories import AllInventories, offered
from renova.model.ids import HostId
from renova.store import providers
from renova.store.database import Tx
from renova.store.placement.holdings import replace_all
from renova.store.placement.inventories import inventory, set_inventories


class Reshaped(Body):
    """What the providers are to have, and the consumers to hold, afterwards."""

    inventories: dict[str, AllInventories]
    allocations: dict[str, Allocations]


async def reshape(call: Call) -> Reply:
    call.demand("placement:reshaper:reshape")
    wanted = call.json(Reshaped)
    new = {
        (provider := HostId(uuid(each, "Each provider"))): (
            offered(call, provider, of.inventories),
            of.resource_provider_generation,
        )
        for each, of in wanted.inventories.items()
    }
    holdings = [holding(call, uuid(each, "Each consumer"), of) for each, of in wanted.allocations.items()]

    def work(tx: Tx) -> None:
        for provider, (inventories, generation) in new.items():
            providers.expect(tx, provider, generation)
            # Both for a moment: what is held of the old is only now given back.
            names = {item.resource_class for item in inventories}
            old = [item for item in inventory(tx, provider) if item.resource_class not in names]
            set_inventories(tx, provider, [*inventories, *old])
        replace_all(tx, holdings)
        for provider, (inventories, _) in new.items():
            set_inventories(tx, provider, inventories)

    await call.cloud.database.transact(work)
    return Reply(204)
