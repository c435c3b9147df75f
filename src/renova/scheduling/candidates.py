"""Allocation candidates: every way in which a request may be met by the providers of a picture, each by one tree.

Pure; asked by the Placement API. A tree is a root provider with all below it; providers that share their inventory
serve the trees of their aggregates, too. Rules are Placement's (spec: scheduling, section 7; its API reference,
"Allocation candidates").
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, product

import msgspec

from renova.model.provider import SHARES, ProviderView

ONE_FOR_ALL = ""  # the suffix of the group that may be spread over a tree


class Traits(msgspec.Struct, frozen=True):
    """Which traits are asked for: all of some, one of each of some others, none of the rest."""

    all_of: frozenset[str] = frozenset()
    one_of_each: tuple[frozenset[str], ...] = ()
    none_of: frozenset[str] = frozenset()

    def met_by(self, traits: frozenset[str]) -> bool:
        return (
            self.all_of <= traits
            and self.none_of.isdisjoint(traits)
            and all(not each.isdisjoint(traits) for each in self.one_of_each)
        )


class Membership(msgspec.Struct, frozen=True):
    """Which aggregates are asked for: one of each of some, none of the rest."""

    one_of_each: tuple[frozenset[str], ...] = ()
    none_of: frozenset[str] = frozenset()

    def has(self, aggregates: frozenset[str]) -> bool:
        return all(not each.isdisjoint(aggregates) for each in self.one_of_each)

    def met_by(self, aggregates: frozenset[str]) -> bool:
        return self.has(aggregates) and self.none_of.isdisjoint(aggregates)


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """What belongs together. One with a suffix is met by one provider; the one without may be spread over a tree."""

    suffix: str = ONE_FOR_ALL
    resources: dict[str, int] = {}
    traits: Traits = Traits()
    aggregates: Membership = Membership()
    in_tree: str | None = None


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A whole request."""

    groups: tuple[Group, ...]
    isolate: bool = False  # groups with suffixes are met by different providers
    same_subtree: tuple[frozenset[str], ...] = ()  # suffixes, of whose providers one is above all others, or is them
    root: Traits = Traits()  # of the tree's root
    nested: bool = True  # several providers of one tree may be used


class Candidate(msgspec.Struct, frozen=True):
    """What to claim of whom, and by which providers each group is met."""

    amounts: dict[str, dict[str, int]]
    mappings: dict[str, tuple[str, ...]]

    def key(self) -> tuple[object, ...]:
        amounts = frozenset((provider, *item) for provider, of in self.amounts.items() for item in of.items())
        return amounts, frozenset((suffix, frozenset(met)) for suffix, met in self.mappings.items())


class Forest:
    """All providers as trees, with those that share."""

    def __init__(self, views: Mapping[str, ProviderView]) -> None:
        self.views = views
        self.trees: dict[str, list[ProviderView]] = {}
        sharing = []
        for view in views.values():
            self.trees.setdefault(view.root, []).append(view)
            if SHARES in view.traits and view.aggregates:
                sharing.append(view)
        self.flat = not sharing and len(self.trees) == len(views)
        self._shared: dict[str, list[ProviderView]] = {}
        for root, members in self.trees.items() if sharing else ():
            around = frozenset[str]().union(*(member.aggregates for member in members))
            self._shared[root] = [
                each for each in sharing if each.root != root and not each.aggregates.isdisjoint(around)
            ]

    def shared(self, root: str) -> list[ProviderView]:
        """Return the providers of other trees that serve this one."""
        return self._shared.get(root, [])

    def ancestors(self, provider: str) -> set[str]:
        """Return the provider and all above it."""
        found: set[str] = set()
        at: str | None = provider
        while at is not None and at not in found:
            found.add(at)
            above = self.views.get(at)
            at = above.parent if above else None
        return found


def candidates(wish: Wish, forest: Forest, limit: int | None = None) -> list[Candidate]:
    """Return the candidates, the same in the same order each time; at most `limit` of them."""
    roots = _roots(wish, forest)
    found = _of_flat(wish, forest, roots) if forest.flat else _different(_of_trees(wish, forest, roots))
    return list(islice(found, limit))


def _roots(wish: Wish, forest: Forest) -> Iterable[str]:
    """Return the trees that come into question at all."""
    roots: Iterable[str] = forest.trees
    within = {view.root if (view := forest.views.get(each)) else None for each in _named(wish)}
    if within:
        # Two groups that name different trees cannot both be met, but by what is shared: they are looked at one by one.
        roots = [root for root in roots if root in within or not forest.flat]
    if wish.root != Traits():
        roots = [root for root in roots if wish.root.met_by(forest.views[root].traits)]
    return roots


def _named(wish: Wish) -> list[str]:
    return [group.in_tree for group in wish.groups if group.in_tree is not None]


def _of_flat(wish: Wish, forest: Forest, roots: Iterable[str]) -> Iterator[Candidate]:
    """Where every provider is a tree of its own, each meets all groups or none."""
    if wish.isolate and sum(1 for group in wish.groups if group.suffix) > 1:
        return
    wanted = [(name, amount) for group in wish.groups for name, amount in group.resources.items()]
    together: Counter[str] = Counter()
    for name, amount in wanted:
        together[name] += amount
    sums = [] if len(together) == len(wanted) else list(together.items())
    tests = [
        (group.traits, group.aggregates)
        for group in wish.groups
        if group.traits != Traits() or group.aggregates != Membership()
    ]
    named = _named(wish)
    for root in roots:
        view = forest.views[root]
        stocks = view.stocks
        for name, amount in wanted:
            stock = stocks.get(name)
            if stock is None or not stock.gives(amount):
                break
        else:
            if sums and any(amount > stocks[name].free or amount > stocks[name].max_unit for name, amount in sums):
                continue
            if any(not traits.met_by(view.traits) or not near.met_by(view.aggregates) for traits, near in tests):
                continue
            if any(each != root for each in named):
                continue
            yield Candidate(
                {root: dict(together)} if together else {}, {group.suffix: (root,) for group in wish.groups}
            )


def _different(found: Iterable[Candidate]) -> Iterator[Candidate]:
    seen: set[tuple[object, ...]] = set()
    for each in found:
        if (key := each.key()) not in seen:
            seen.add(key)
            yield each


# How one group is met: which provider gives each of its resources, and all that take part.
_Choice = tuple[tuple[tuple[str, ProviderView], ...], tuple[ProviderView, ...]]


def _of_trees(wish: Wish, forest: Forest, roots: Iterable[str]) -> Iterator[Candidate]:
    for root in roots:
        choices = [_choices(group, forest, root) for group in wish.groups]
        for combined in product(*choices):
            candidate = _joined(wish, forest, combined)
            if candidate is not None:
                yield candidate


def _choices(group: Group, forest: Forest, root: str) -> list[_Choice]:
    own, shared = forest.trees[root], forest.shared(root)
    if group.in_tree is not None:
        named = forest.views.get(group.in_tree)
        own = own if named is not None and named.root == root else []
        shared = [each for each in shared if group.suffix and named is not None and each.root == named.root]
    if group.suffix:
        fit = [each for each in [*own, *shared] if _alone(group, each)]
        return [(tuple((name, each) for name in group.resources), (each,)) for each in fit]
    return _spread(group, forest.views[root], own, shared)


def _alone(group: Group, view: ProviderView) -> bool:
    """Say whether the provider meets the group all by itself."""
    return (
        all((stock := view.stocks.get(name)) and stock.gives(amount) for name, amount in group.resources.items())
        and group.traits.met_by(view.traits)
        and group.aggregates.met_by(view.aggregates)
    )


def _spread(
    group: Group, root: ProviderView, own: Sequence[ProviderView], shared: Sequence[ProviderView]
) -> list[_Choice]:
    """Return the ways to meet the group by several providers together, which have its traits together."""
    near = group.aggregates
    # What a root is in, its whole tree is in; who shares must be in it itself.
    fit = [
        each
        for each in own
        if (near.has(each.aggregates) or near.has(root.aggregates))
        and near.none_of.isdisjoint(each.aggregates | root.aggregates)
    ]
    if near.none_of.isdisjoint(root.aggregates):
        fit += [each for each in shared if near.met_by(each.aggregates)]
    fit = [each for each in fit if group.traits.none_of.isdisjoint(each.traits)]
    found: list[_Choice] = []
    givers = [
        [(name, each) for each in fit if (stock := each.stocks.get(name)) and stock.gives(amount)]
        for name, amount in group.resources.items()
    ]
    for given in product(*givers):
        taking = tuple({each.id: each for _, each in given}.values())
        if group.traits.met_by(frozenset[str]().union(*(each.traits for each in taking))):
            found.append((given, taking))
    return found


def _joined(wish: Wish, forest: Forest, combined: Sequence[_Choice]) -> Candidate | None:
    """Return what meets all groups together, if it does."""
    mappings = {
        group.suffix: tuple(each.id for each in taking)
        for group, (_, taking) in zip(wish.groups, combined, strict=True)
    }
    single = [mappings[group.suffix][0] for group in wish.groups if group.suffix]
    if wish.isolate and len(set(single)) < len(single):
        return None
    for suffixes in wish.same_subtree:
        met = {each for suffix in suffixes for each in mappings.get(suffix, ())}
        if len(met) > 1 and not set.intersection(*(forest.ancestors(each) for each in met)) & met:
            return None
    amounts: dict[str, dict[str, int]] = {}
    for group, (given, _) in zip(wish.groups, combined, strict=True):
        for name, view in given:
            of = amounts.setdefault(view.id, {})
            of[name] = of.get(name, 0) + group.resources[name]
    for provider, of in amounts.items():
        stocks = forest.views[provider].stocks
        if any(amount > stocks[name].free or amount > stocks[name].max_unit for name, amount in of.items()):
            return None
    if not wish.nested and len({forest.views[each].root for each in amounts}) < len(amounts):
        return None
    return Candidate(amounts, mappings)
