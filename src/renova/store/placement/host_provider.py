"""The resource provider that a host is: it has the host's id, and offers what the host reports."""

from collections.abc import Sequence

import msgspec

from renova.model.ids import HostId
from renova.store import providers
from renova.store.database import Tx
from renova.store.placement.inventories import Inventory, inventory, offer
from renova.store.providers import CUSTOM


def provide(
    tx: Tx, host: HostId, name: str, offered: Sequence[Inventory], traits: frozenset[str] | None = None
) -> None:
    """Have the host's provider offer exactly this beside operators' own classes, and show these of the standard traits.

    What is in use stays in use, even where less is offered now. Operators' own traits stay; None: all traits stay.
    """
    if providers.find(tx, host) is None:
        providers.add(tx, host, name)
    if traits is not None:
        own = {trait for trait in providers.traits_of(tx, host) if trait.startswith(CUSTOM)}
        providers.set_traits(tx, host, traits | own)
    known = {item.resource_class: item for item in inventory(tx, host)}
    kept = [item for item in known.values() if item.resource_class.startswith(CUSTOM)]
    same = all(
        (have := known.get(item.resource_class)) is not None and msgspec.structs.replace(item, used=have.used) == have
        for item in offered
    )
    if not (same and len(known) == len(offered) + len(kept)):
        offer(tx, host, [*offered, *kept])


def show_trait(tx: Tx, host: str, trait: str, *, shown: bool) -> None:
    """Have the host's provider show this trait, or not; a host that has no provider yet is left alone."""
    if providers.find(tx, host) is not None:
        others = providers.traits_of(tx, host) - {trait}
        providers.set_traits(tx, host, others | {trait} if shown else others)
