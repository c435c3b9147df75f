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
    weights = [0.0] * len(places)
    for multiplier, amounts in _wishes(request, board, places):
        low, high = min(amounts, default=0), max(amounts, default=0)
        if high == low:
            continue
        usual: float = getattr(request.settings, multiplier)
        span = high - low
        if multiplier in request.marks:  # some aggregate has a multiplier of its own
            factors = [_multiplier(board.views[place], multiplier, usual) for place in places]
            weights = [
                weight + factor * (amount - low) / span
                for weight, factor, amount in zip(weights, factors, amounts, strict=True)
            ]
        else:
            weights = [weight + usual * (amount - low) / span for weight, amount in zip(weights, amounts, strict=True)]
    return weights


def _wishes(request: Request, board: Board, places: Sequence[int]) -> Iterator[tuple[str, list[float]]]:
    for name, multiplier in _FREE.items():
        if (free := board.free(name)) is not None:
            yield multiplier, [free[place] for place in places]
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
