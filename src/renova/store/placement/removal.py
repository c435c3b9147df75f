"""Providers taken away with what they have: by operators while nothing of it is held, of a removed host whatever is."""

from sqlalchemy import delete

from renova.model.ids import HostId
from renova.store import providers
from renova.store.database import Tx
from renova.store.placement.allocations import allocations, changed, held_of
from renova.store.placement.inventories import inventories
from renova.store.providers import ProviderInUse


def delete_provider(tx: Tx, provider: HostId) -> None:
    """Take away a provider of which nothing is held."""
    providers.get(tx, provider)
    if held_of(tx, provider):
        raise ProviderInUse(f"Unable to delete resource provider {provider}: Resource provider has allocations.")
    withdraw(tx, provider)


def withdraw(tx: Tx, host: HostId) -> None:
    """Remove the provider with its inventory and whatever is still allocated from it."""
    holders = {each.consumer for each in held_of(tx, host)}
    providers.remove(tx, host)
    tx.execute(delete(allocations).where(allocations.c.provider == host))
    tx.execute(delete(inventories).where(inventories.c.provider == host))
    for holder in holders:
        changed(tx, holder)
