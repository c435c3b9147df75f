"""How much better one host is than another: Nova's weighers (spec: scheduling, section 5).

Each looks at one amount, brings it to 0 to 1 over the hosts that are left, and counts as much as its multiplier says.
"""

from collections.abc import Iterator, Sequence

from renova.model.group import GroupPolicy
from renova.model.host import HostView
from renova.scheduling.board import Board
from renova.scheduling.request import Request

# Nova's RAM, CPU and disk weighers: more free is better, so servers are spread.
_FREE = {
    "MEMORY_MB": "ram_weight_multiplier",
    "VCPU": "cpu_weight_multiplier",
    "DISK_GB": "disk_weight_multiplier",
}
_GROUP = {
    GroupPolicy.SOFT_AFFINITY: ("soft_affinity_weight_multiplier", 1),
    GroupPolicy.SOFT_ANTI_AFFINITY: ("soft_anti_affinity_weight_multiplier", -1),
}


def weigh(request: Request, board: Board, places: Sequence[int]) -> list[float]:
    """Return the weight of the host at each of these places, the best having the highest."""
    same: list[_Term] = []  # that count the same for all hosts
    weights = [0.0] * len(places)
    for multiplier, amounts in _wishes(request, board, places):
        low, high = min(amounts, default=0), max(amounts, default=0)
        usual: float = getattr(request.settings, multiplier)
        if high == low:
            continue
        if multiplier not in request.marks:
            if usual:
                same.append((amounts, low, (high - low) / usual))
            continue
        factors = [_multiplier(board.views[place], multiplier, usual) for place in places]
        weights = [
            weight + factor * (amount - low) / (high - low)
            for weight, factor, amount in zip(weights, factors, amounts, strict=True)
        ]
    if len(same) == 3 and not any(weights):
        return _three(*same)
    for amounts, low, span in same:
        weights = [weight + (amount - low) / span for weight, amount in zip(weights, amounts, strict=True)]
    return weights


_Term = tuple[list[float], float, float]  # amounts, the lowest of them, and what they are divided by


def _three(one: _Term, two: _Term, three: _Term) -> list[float]:
    """Return the sums of the three that nearly always count, in one go: it is done for thousands of hosts."""
    (one_amounts, one_low, one_span), (two_amounts, two_low, two_span) = one, two
    three_amounts, three_low, three_span = three
    return [
        (a - one_low) / one_span + (b - two_low) / two_span + (c - three_low) / three_span
        for a, b, c in zip(one_amounts, two_amounts, three_amounts, strict=True)
    ]


def _wishes(request: Request, board: Board, places: Sequence[int]) -> Iterator[tuple[str, list[float]]]:
    for name, multiplier in _FREE.items():
        if (free := board.free(name)) is not None:
            # All places are in their order: then it is the column itself.
            yield multiplier, free if len(places) == len(free) else [free[place] for place in places]
    group = request.group
    if group is not None and group.policy in _GROUP:
        multiplier, sign = _GROUP[group.policy]
        yield multiplier, [float(sign * group.on.get(board.views[place].id, 0)) for place in places]


def _multiplier(host: HostView, name: str, usual: float) -> float:
    """Return the smallest that the host's aggregates say, or the usual one."""
    said = []
    for value in host.marks.get(name, ()):
        try:
            said.append(float(value))
        except ValueError:
            continue  # Nova, too, goes on with the usual one
    return min(said, default=usual)
