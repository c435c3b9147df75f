"""Candidates are just those ways to meet a request that its rules allow: held against a model that tries them all."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from renova.model.provider import SHARES, ProviderView, Stock
from renova.scheduling.candidates import Candidate, Forest, Group, Membership, Traits, Wish, candidates

CLASSES = st.sampled_from(["VCPU", "DISK_GB"])
TRAITS = st.sampled_from(["T1", "T2", "T3"])
AGGREGATES = st.sampled_from(["g1", "g2"])
IDS = ("a", "b", "c", "d", "e")


def seldom(usual: Any, rare: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw mostly the usual, or hardly any wish would be met."""
    return st.integers(0, 4).flatmap(lambda drawn: rare if drawn == 4 else st.just(usual))


@st.composite
def forests(draw: st.DrawFn) -> Forest:
    """Up to five providers, each a root or below an earlier one."""
    views: dict[str, ProviderView] = {}
    nested, shared = draw(st.booleans()), draw(st.booleans())
    for own in IDS[: draw(st.integers(1, len(IDS)))]:
        parent = draw(st.sampled_from([None, *views])) if nested else None
        traits = draw(st.frozensets(TRAITS)) | ({SHARES} if shared and draw(st.booleans()) else set())
        views[own] = ProviderView(
            id=own,
            name=own,
            generation=1,
            parent=parent,
            root=views[parent].root if parent else own,
            stocks=draw(st.dictionaries(CLASSES, STOCKS)),
            traits=traits,
            aggregates=draw(st.frozensets(AGGREGATES, min_size=shared)),
            consumers=0,
        )
    return Forest(views)


STOCKS = st.builds(
    Stock,
    total=st.integers(1, 8),
    used=seldom(0, st.integers(0, 3)),
    min_unit=seldom(1, st.just(2)),
    max_unit=seldom(8, st.integers(2, 8)),
    step_size=seldom(1, st.just(2)),
)
SETS = st.frozensets(TRAITS, min_size=1, max_size=2)
ASKED = st.builds(
    Traits,
    all_of=st.frozensets(TRAITS, max_size=1),
    one_of_each=st.lists(SETS, max_size=1).map(tuple),
    none_of=st.frozensets(TRAITS, max_size=1),
)
NEAR = st.builds(
    Membership,
    one_of_each=st.lists(st.frozensets(AGGREGATES, min_size=1), max_size=1).map(tuple),
    none_of=st.frozensets(AGGREGATES, max_size=1),
)

RESOURCES = st.dictionaries(CLASSES, st.integers(1, 4), min_size=1)


def groups(suffix: str) -> st.SearchStrategy[Group]:
    needs = st.dictionaries(CLASSES, st.integers(1, 4)) if suffix else RESOURCES
    return st.builds(
        Group,
        suffix=st.just(suffix),
        resources=needs,
        traits=seldom(Traits(), ASKED),
        aggregates=seldom(Membership(), NEAR),
        in_tree=seldom(None, st.sampled_from(IDS)),
    )


WISHES = st.builds(
    Wish,
    groups=st.sampled_from([("",), ("1",), ("", "1"), ("1", "2"), ("", "1", "2")]).flatmap(
        lambda suffixes: st.tuples(*(groups(suffix) for suffix in suffixes))
    ),
    isolate=seldom(False, st.just(True)),
    same_subtree=seldom((), st.just((frozenset({"1", "2"}),))),
    root=seldom(Traits(), ASKED.map(lambda asked: Traits(asked.all_of, (), asked.none_of))),
    nested=st.booleans(),
)


def every_way(wish: Wish, forest: Forest) -> set[tuple[object, ...]]:
    """Try every provider for every resource of every group, from every root, and keep what breaks no rule."""
    views = forest.views
    found = set()
    for root in (view for view in views.values() if view.parent is None):
        tree = [view for view in views.values() if view.root == root.id]
        around = {name for view in tree for name in view.aggregates}
        seen = tree + [
            view
            for view in views.values()
            if view.root != root.id and SHARES in view.traits and view.aggregates & around
        ]
        if not met(wish.root, root.traits):
            continue
        for ways in product(*(list(ways_of(group, seen, root, views)) for group in wish.groups)):
            candidate = put_together(wish, ways, views)
            if candidate is not None:
                found.add(candidate.key())
    return found


def met(asked: Traits, traits: frozenset[str]) -> bool:
    return asked.all_of <= traits and not asked.none_of & traits and all(each & traits for each in asked.one_of_each)


Way = tuple[dict[str, str], set[str]]  # who gives each class, and who takes part


def ways_of(
    group: Group, seen: list[ProviderView], root: ProviderView, views: Mapping[str, ProviderView]
) -> Iterator[Way]:
    if group.in_tree is not None:
        named = views[group.in_tree].root if group.in_tree in views else None
        seen = [view for view in seen if view.root == named and (group.suffix or view.root == root.id)]
    names = list(group.resources)
    if group.suffix:
        for view in seen:
            near = all(each & view.aggregates for each in group.aggregates.one_of_each)
            far = not group.aggregates.none_of & view.aggregates
            if near and far and met(group.traits, view.traits) and all(gives(view, group, name) for name in names):
                yield dict.fromkeys(names, view.id), {view.id}
        return
    for givers in product(seen, repeat=len(names)):
        if not all(gives(view, group, name) for view, name in zip(givers, names, strict=True)):
            continue
        if not all(belongs(view, group.aggregates, root) for view in givers):
            continue
        together = frozenset(trait for view in givers for trait in view.traits)
        if met(group.traits, together):
            yield {name: view.id for name, view in zip(names, givers, strict=True)}, {view.id for view in givers}


def belongs(view: ProviderView, asked: Membership, root: ProviderView) -> bool:
    """What a root is in, its tree is in; a provider that serves from another tree must be in it itself."""
    spanned = view.aggregates | (root.aggregates if view.root == root.id else set())
    inside = all(each & view.aggregates for each in asked.one_of_each)
    if view.root == root.id:
        inside = inside or all(each & root.aggregates for each in asked.one_of_each)
    return inside and not asked.none_of & (spanned | root.aggregates)


def gives(view: ProviderView, group: Group, name: str) -> bool:
    stock, amount = view.stocks.get(name), group.resources[name]
    if stock is None:
        return False
    fits = stock.used + amount <= int((stock.total - stock.reserved) * stock.allocation_ratio)
    return fits and stock.min_unit <= amount <= stock.max_unit and amount % stock.step_size == 0


def put_together(wish: Wish, ways: tuple[Way, ...], views: Mapping[str, ProviderView]) -> Candidate | None:
    mappings = {group.suffix: tuple(sorted(way[1])) for group, way in zip(wish.groups, ways, strict=True)}
    alone = [mappings[group.suffix] for group in wish.groups if group.suffix]
    if wish.isolate and len(set(alone)) != len(alone):
        return None
    for suffixes in wish.same_subtree:
        ids = {each for suffix in suffixes for each in mappings.get(suffix, ())}
        if ids and not any(all(top in above(each, views) for each in ids) for top in ids):
            return None
    amounts: dict[str, dict[str, int]] = {}
    for group, (givers, _) in zip(wish.groups, ways, strict=True):
        for name, view in givers.items():
            of = amounts.setdefault(view, {})
            of[name] = of.get(name, 0) + group.resources[name]
    for view, of in amounts.items():
        for name, amount in of.items():
            stock = views[view].stocks[name]
            if stock.used + amount > stock.capacity or amount > stock.max_unit:
                return None
    if not wish.nested and len({views[each].root for each in amounts}) != len(amounts):
        return None
    return Candidate(amounts, mappings)


def above(view: str, views: Mapping[str, ProviderView]) -> list[str]:
    parent = views[view].parent
    return [view, *(above(parent, views) if parent else [])]


@settings(max_examples=5 * settings().max_examples)
@given(forest=forests(), wish=WISHES)
def test_the_candidates_are_all_that_break_no_rule_each_once(forest: Forest, wish: Wish) -> None:
    found = [each.key() for each in candidates(wish, forest)]
    assert len(set(found)) == len(found)
    assert set(found) == every_way(wish, forest)


@given(forest=forests(), wish=WISHES, limit=st.integers(1, 3))
def test_a_limit_gives_the_first_of_all(forest: Forest, wish: Wish, limit: int) -> None:
    assert candidates(wish, forest, limit) == candidates(wish, forest)[:limit]


def provider(own: str, *, traits: set[str] | None = None, near: set[str] | None = None, **stocks: int) -> ProviderView:
    return ProviderView(
        id=own,
        name=own,
        generation=1,
        parent=None,
        root=own,
        stocks={name: Stock(total) for name, total in stocks.items()},
        traits=frozenset(traits or ()),
        aggregates=frozenset(near or ()),
        consumers=0,
    )


def test_who_shares_gives_to_the_trees_of_its_aggregates() -> None:
    views = [
        provider("a", near={"g1"}, VCPU=4),
        provider("b", near={"g2"}, VCPU=4),
        provider("nfs", traits={SHARES}, near={"g1"}, DISK_GB=100),
    ]
    forest = Forest({view.id: view for view in views})
    wish = Wish(groups=(Group(resources={"VCPU": 1, "DISK_GB": 10}),))
    assert candidates(wish, forest) == [Candidate({"a": {"VCPU": 1}, "nfs": {"DISK_GB": 10}}, {"": ("a", "nfs")})]
    # Who shares must be in the aggregate that is asked for itself, for it is no part of the tree.
    for near, found in (({"g1"}, 1), ({"g2"}, 0)):
        group = Group(resources={"VCPU": 1, "DISK_GB": 10}, aggregates=Membership((frozenset(near),)))
        assert len(candidates(Wish(groups=(group,)), forest)) == found


def test_groups_that_name_different_trees_are_met_by_none() -> None:
    forest = Forest({each: provider(each, VCPU=4) for each in "ab"})
    both = [Group(suffix=suffix, resources={"VCPU": 1}, in_tree=tree) for suffix, tree in (("1", "a"), ("2", "b"))]
    assert candidates(Wish(groups=tuple(both)), forest) == []
    assert len(candidates(Wish(groups=(both[0], Group(suffix="2", resources={"VCPU": 1}))), forest)) == 1


def test_groups_of_one_provider_are_given_the_sum_of_what_they_ask() -> None:
    forest = Forest({"a": provider("a", VCPU=4)})
    wish = Wish(groups=tuple(Group(suffix=suffix, resources={"VCPU": 2}) for suffix in ("1", "2")))
    assert candidates(wish, forest) == [Candidate({"a": {"VCPU": 4}}, {"1": ("a",), "2": ("a",)})]
    more = Wish(groups=(*wish.groups, Group(suffix="3", resources={"VCPU": 1})))
    assert candidates(more, forest) == []
