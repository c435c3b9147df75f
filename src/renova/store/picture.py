"""A picture of all providers, kept in memory and brought up to date by reading only what has changed.

Two are kept: by who only reads (the Placement API, on the event loop), and by who claims (`operations.parts.fleet`, in
transactions). What a transaction has read and then did not commit is read again. A picture never decides alone: whoever
takes of a provider is tested again where it is written.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Select, bindparam, func, select

from renova.model.provider import ProviderView, Stock
from renova.store.database import Standing, Tx
from renova.store.placement.allocations import allocations
from renova.store.placement.inventories import inventories
from renova.store.providers import provider_aggregates, provider_changes, provider_traits, providers

FEW = 500  # providers that are read one by one; where more have changed, reading all is quicker
_NOTHING = -1

# Made once: making a statement costs five times as much as running it.
_CHANGES = select(provider_changes.c.number, provider_changes.c.removed)
_CHANGED = select(providers.c.id).where(providers.c.changed > bindparam("number"))
_PROVIDERS = select(
    providers.c.id, providers.c.name, providers.c.generation, providers.c.parent, providers.c.root
).order_by(providers.c.name)
_STOCKS = select(
    inventories.c.provider,
    inventories.c.resource_class,
    inventories.c.total,
    inventories.c.reserved,
    inventories.c.allocation_ratio,
    inventories.c.min_unit,
    inventories.c.max_unit,
    inventories.c.step_size,
    inventories.c.used,
)
_TRAITS = select(provider_traits.c.provider, provider_traits.c.trait)
_AGGREGATES = select(provider_aggregates.c.provider, provider_aggregates.c.aggregate)
_CONSUMERS = select(allocations.c.provider, func.count(allocations.c.consumer.distinct())).group_by(
    allocations.c.provider
)
_ALL: tuple[Select[Any], ...] = (_PROVIDERS, _STOCKS, _TRAITS, _AGGREGATES, _CONSUMERS)
_SOME = tuple(
    statement.where(column.in_(bindparam("ids", expanding=True)))
    for statement, column in zip(
        _ALL,
        (
            providers.c.id,
            inventories.c.provider,
            provider_traits.c.provider,
            provider_aggregates.c.provider,
            allocations.c.provider,
        ),
        strict=True,
    )
)


class Picture:
    """All providers by id, as they were at the last `refresh`.

    `standing` tells how the database stands: numbers of changes are given again by one that lost commits.
    """

    def __init__(self, standing: Callable[[], Standing] = Standing) -> None:
        self._standing = standing
        self._seen = standing()
        self.views: dict[str, ProviderView] = {}
        self._number = _NOTHING  # of the last change that is in the picture
        self._doubtful: set[str] = set()

    def refresh(self, tx: Tx) -> Sequence[str]:
        """Bring it up to date; returns the ids of those that may have changed, came or went."""
        if (standing := self._standing()) != self._seen:
            self._seen = standing
            self._number = _NOTHING
        number, removed = tx.execute(_CHANGES).first() or (0, 0)
        if number == self._number and not self._doubtful:
            return ()
        before = self._number
        changed: set[str] | None = None
        if before != _NOTHING and removed <= before:
            changed = self._doubtful | set(tx.execute(_CHANGED, {"number": before}).scalars())
        if changed is None or len(changed) > FEW:
            found = _read(tx, None)
            changed = self.views.keys() | found.keys()
            self.views = found
        else:
            found = _read(tx, sorted(changed)) if changed else {}
            self.views.update(found)
            for gone in changed - found.keys():
                self.views.pop(gone, None)
        self._number = number
        self._doubtful = set()
        tx.unless(lambda: self._doubt(before, changed))
        return sorted(changed)

    def _doubt(self, before: int, seen: set[str]) -> None:
        """Have what was seen read again: the transaction that saw it may have seen what it wrote, and was undone."""
        self._number = min(self._number, before)
        self._doubtful |= seen


def _read(tx: Tx, ids: Sequence[str] | None) -> dict[str, ProviderView]:
    def rows(place: int) -> Iterable[Any]:
        return tx.execute(_ALL[place]) if ids is None else tx.execute(_SOME[place], {"ids": ids})

    every = list(rows(0))
    stocks: dict[str, dict[str, Stock]] = {row.id: {} for row in every}
    for provider, resource_class, *amounts in rows(1):
        stocks[provider][resource_class] = Stock(*amounts)
    traits = _sets(rows(2))
    aggregates = _sets(rows(3))
    consumers = {row[0]: row[1] for row in rows(4)}
    nothing: frozenset[str] = frozenset()
    return {
        row.id: ProviderView(
            id=row.id,
            name=row.name,
            generation=row.generation,
            parent=row.parent,
            root=row.root,
            stocks=stocks[row.id],
            traits=traits.get(row.id, nothing),
            aggregates=aggregates.get(row.id, nothing),
            consumers=consumers.get(row.id, 0),
        )
        for row in every
    }


def _sets(rows: Iterable[Any]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for provider, name in rows:
        found.setdefault(provider, set()).add(name)
    # Hosts alike show the same traits: kept once.
    same: dict[frozenset[str], frozenset[str]] = {}
    return {provider: same.setdefault(frozen := frozenset(names), frozen) for provider, names in found.items()}
