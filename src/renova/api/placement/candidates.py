"""Allocation candidates: a query read into a wish, and what meets it written as each version has it."""

import re
from typing import Any

import msgspec

from renova.api.digits import whole
from renova.api.http import Call, Handler, Reply
from renova.api.placement import query
from renova.api.placement.fields import uuid
from renova.api.placement.route import BadValue, Missing
from renova.api.placement.shown import Shown
from renova.model.errors import Invalid
from renova.model.provider import ProviderView
from renova.scheduling.candidates import Candidate, Forest, Group, Membership, Traits, Wish, candidates
from renova.store import providers as store
from renova.store.database import Tx

_BY_PROVIDER = (1, 12)
_ALL_CLASSES = (1, 27)
_NESTED = (1, 29)
_MAPPINGS = (1, 34)
# The parameters of groups, and since when each is known.
_OF_GROUPS = {"resources": (1, 10), "required": (1, 17), "member_of": (1, 21), "in_tree": (1, 31)}
_OF_ALL = {"limit": (1, 16), "group_policy": (1, 25), "root_required": (1, 35), "same_subtree": (1, 36)}
_SUFFIXED = (1, 25)
_FREE_SUFFIXES = (1, 33)
_GROUP = re.compile(rf"({'|'.join(_OF_GROUPS)})([a-zA-Z0-9_-]{{0,64}})")
_NUMBER = re.compile(r"[1-9][0-9]*")

_json = msgspec.json.Encoder()


def every(shown: Shown) -> Handler:
    """Return the handler that lists candidates."""

    async def answer(call: Call) -> Reply:
        call.demand("placement:allocation_candidates:list")
        wish, limit = _wish(call), _limit(call)

        def known(tx: Tx) -> tuple[list[str], frozenset[str]]:
            return store.known_classes(tx), store.known_traits(tx)

        classes, traits = await call.cloud.database.read(known)
        for group in wish.groups:
            query.demand_classes(group.resources, classes)
            query.demand_traits(group.traits, traits)
        query.demand_traits(wish.root, traits)
        forest = await shown.forest()
        found = candidates(wish, forest, limit)
        body = {
            "allocation_requests": [_request(call, each) for each in found],
            "provider_summaries": _summaries(call, shown, wish, forest, found),
        }
        return Reply(200, _json.encode(body), {"content-type": "application/json"})

    return answer


def _limit(call: Call) -> int | None:
    text = call.one("limit")
    if text is None:
        return None
    if not (most := whole(text)):
        raise Invalid(
            f"Invalid query string parameters: limit is expected to be a whole number from 1 on, not {text!r}."
        )
    return most


def _wish(call: Call) -> Wish:
    suffixes: dict[str, set[str]] = {}
    for key, _ in call.query:
        if (since := _OF_ALL.get(key)) is not None:
            _demand_known(call, key, since)
            continue
        found = _GROUP.fullmatch(key)
        if found is None or not _may_be(call, found[2]):
            raise Invalid(f"Invalid query string parameters: Additional properties are not allowed ({key}).")
        _demand_known(call, key, _OF_GROUPS[found[1]])
        suffixes.setdefault(found[2], set()).add(found[1])
    groups = tuple(_group(call, suffix) for suffix in suffixes)
    subtrees = _same_subtree(call, suffixes)
    _demand_resources(groups, subtrees)
    policy = call.one("group_policy")
    if policy not in (None, "none", "isolate"):
        raise Invalid(
            f"Invalid query string parameters: group_policy is expected to be none or isolate, not {policy!r}."
        )
    if policy is None and sum(1 for group in groups if group.suffix and group.resources) > 1:
        raise Missing(
            'The "group_policy" parameter is required when specifying more than one "resources{N}" parameter.'
        )
    return Wish(
        groups=groups,
        isolate=policy == "isolate",
        same_subtree=subtrees,
        root=_root(call),
        nested=call.version >= _NESTED,
    )


def _demand_known(call: Call, key: str, since: tuple[int, int]) -> None:
    if call.version < since:
        raise Invalid(f"Invalid query string parameters: {key} is known since 1.{since[1]}.")


def _may_be(call: Call, suffix: str) -> bool:
    if not suffix or (call.version >= _SUFFIXED and _NUMBER.fullmatch(suffix)):
        return True
    return call.version >= _FREE_SUFFIXES


def _group(call: Call, suffix: str) -> Group:
    amounts, tree = call.one(f"resources{suffix}"), call.one(f"in_tree{suffix}")
    return Group(
        suffix=suffix,
        resources=query.resources(amounts) if amounts is not None else {},
        traits=query.traits(call, f"required{suffix}"),
        aggregates=query.member_of(call, f"member_of{suffix}"),
        in_tree=uuid(tree, f"in_tree{suffix}") if tree is not None else None,
    )


def _same_subtree(call: Call, suffixes: dict[str, set[str]]) -> tuple[frozenset[str], ...]:
    found = []
    for text in query.values(call, "same_subtree"):
        named = frozenset(each.strip() for each in text.split(","))
        if "" in named:
            raise BadValue(f"Empty string (unsuffixed group) can not be specified in `same_subtree` : {text}")
        if unknown := sorted(named - suffixes.keys()):
            raise BadValue(f"Real suffixes should be specified in `same_subtree`: {', '.join(unknown)} not found")
        found.append(named)
    return tuple(found)


def _root(call: Call) -> Traits:
    if len(query.values(call, "root_required")) > 1:
        raise BadValue("Query parameter 'root_required' may be specified only once.")
    traits = query.traits(call, "root_required")
    if traits.one_of_each:
        raise BadValue("'root_required' takes no 'in:'.")
    return traits


def _demand_resources(groups: tuple[Group, ...], subtrees: tuple[frozenset[str], ...]) -> None:
    """A group says what it needs; since 1.36, one that shares a subtree with others may go without."""
    near = frozenset[str]().union(*subtrees)
    bare = [group for group in groups if not group.resources and not (group.suffix and group.suffix in near)]
    for name, said in (("required", Traits()), ("member_of", Membership())):
        orphans = [
            f"{name}{group.suffix}"
            for group in bare
            if (group.traits if name == "required" else group.aggregates) != said
        ]
        if orphans:
            raise Missing(
                f"All {name} parameters must be associated with resources. Found the following orphaned keys: "
                f"{', '.join(sorted(orphans))}"
            )
    if bare:
        raise Missing("All request groups must specify resources.")
    if not any(group.resources for group in groups):
        raise Missing("At least one request group (`resources` or `resources{$S}`) is required.")


def _request(call: Call, candidate: Candidate) -> dict[str, Any]:
    if call.version < _BY_PROVIDER:
        return {
            "allocations": [
                {"resource_provider": {"uuid": provider}, "resources": amounts}
                for provider, amounts in candidate.amounts.items()
            ]
        }
    shape: dict[str, Any] = {
        "allocations": {provider: {"resources": amounts} for provider, amounts in candidate.amounts.items()}
    }
    if call.version >= _MAPPINGS:
        shape["mappings"] = candidate.mappings
    return shape


def _summaries(call: Call, shown: Shown, wish: Wish, forest: Forest, found: list[Candidate]) -> dict[str, Any]:
    """Show all providers of the trees that are used; before trees were known, those that are used themselves."""
    used = dict.fromkeys(provider for each in found for provider in each.amounts)
    if call.version >= _NESTED:
        roots = dict.fromkeys(forest.views[provider].root for provider in used)
        return {view.id: shown.summary(view) for root in roots for view in forest.trees[root]}
    asked = {name for group in wish.groups for name in group.resources}
    return {provider: _summary(call, forest.views[provider], asked) for provider in used}


def _summary(call: Call, view: ProviderView, asked: set[str]) -> dict[str, Any]:
    every = call.version >= _ALL_CLASSES
    shape: dict[str, Any] = {
        "resources": {
            name: {"capacity": stock.capacity, "used": stock.used}
            for name, stock in view.stocks.items()
            if every or name in asked
        }
    }
    if call.version >= _OF_GROUPS["required"]:
        shape["traits"] = sorted(view.traits)
    return shape
