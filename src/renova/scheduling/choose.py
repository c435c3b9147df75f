"""Ranks the hosts that will do, and explains the others."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

from renova.model.host import HostView
from renova.scheduling.board import Board
from renova.scheduling.columns import COLUMNS
from renova.scheduling.request import Request
from renova.scheduling.rules import Rule, rules_for
from renova.scheduling.weights import weigh


class Ranking:
    """Hosts that will do, the best first, and how many will not for which reason; worked out as far as it is asked."""

    def __init__(
        self, request: Request, board: Board, tested: Sequence[tuple[Rule, list[int]]], fit: list[int]
    ) -> None:
        """`tested` has each rule that refused a host, with the places that it was asked for; `fit` those left."""
        self._request = request
        self._board = board
        self._tested = tested
        self._fit = fit
        self._weights = weigh(request, board, fit)

    def best(self) -> Iterator[HostView]:
        """Give the hosts that will do, the best first; the first is found without sorting the others."""
        fit, weights, views = self._fit, self._weights, self._board.views
        if not fit:
            return
        if self._company:
            yield from self.hosts
            return
        high = max(weights)
        if weights.count(high) == 1:
            yield views[fit[weights.index(high)]]
        else:
            ties = [views[place] for place, weight in zip(fit, weights, strict=True) if weight == high]
            fewest = min([host.servers for host in ties])
            yield min([host for host in ties if host.servers == fewest], key=lambda host: host.name)
        yield from self.hosts[1:]

    @property
    def _company(self) -> dict[str, int]:
        return self._request.group.company if self._request.group else {}

    @cached_property
    def hosts(self) -> tuple[HostView, ...]:
        """All hosts that will do, the best first.

        Where servers of its group have to follow this one (affinity), hosts with room for all of them come first.
        """
        fit, weights, company = [self._board.views[place] for place in self._fit], self._weights, self._company
        # Fewer servers break ties, then the name: the same picture always gives the same answer.
        order = sorted(
            range(len(fit)),
            key=lambda nth: (_short(company, fit[nth]), -weights[nth], fit[nth].servers, fit[nth].name),
        )
        return tuple(fit[nth] for nth in order)

    @cached_property
    def refusals(self) -> dict[str, int]:
        """How many hosts will not do, by the reason of the first rule that refuses each."""
        found: Counter[str | None] = Counter()
        left = self._fit
        for rule, places in reversed(self._tested):
            kept = set(left)
            found.update(rule(self._request, self._board.views[place]) for place in places if place not in kept)
            left = places
        return {reason: count for reason, count in found.items() if reason is not None}

    def explanation(self) -> str:
        """Say it as an operator reads it: "2 hosts: needs 4096 MEMORY_MB, 512 free; 1 host: down"."""
        parts = [
            f"{count} {'host' if count == 1 else 'hosts'}: {reason}"
            for reason, count in sorted(self.refusals.items(), key=lambda item: (-item[1], item[0]))
        ]
        return "; ".join(parts) or "there are no hosts"


def no_host(why: str, failed: str = "") -> str:
    """Say that there is no host for a server; `failed` is why the last that was tried could not have it."""
    told = f" The last that was tried: {failed}." if failed else ""
    return f"No valid host was found. {why}.{told}"


def rank(request: Request, board: Board, rules: Sequence[Rule] | None = None) -> Ranking:
    """Test the hosts by the rules in order (those that the request needs, unless told), and weigh those left.

    The board must not change while the ranking is read.
    """
    fit = list(range(len(board)))
    tested = []
    for rule in rules_for(request) if rules is None else rules:
        if not fit:
            break
        left = COLUMNS.get(rule, _one_by_one(rule))(request, board, fit)
        if len(left) < len(fit):
            tested.append((rule, fit))
        fit = left
    return Ranking(request, board, tested, fit)


def _one_by_one(rule: Rule) -> Callable[[Request, Board, list[int]], list[int]]:
    return lambda request, board, fit: [place for place in fit if rule(request, board.views[place]) is None]


def _short(needed: dict[str, int], host: HostView) -> bool:
    return any(host.total.get(name, 0) - host.used.get(name, 0) < amount for name, amount in needed.items())
