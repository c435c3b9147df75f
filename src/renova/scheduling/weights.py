"""How much better one host is than another: Nova's weighers (spec: scheduling, section 5).

Each looks at one amount, brings it to 0 to 1 over the hosts that are left, and counts as much as its multiplier says.
"""

from collections.abc import Iterator, Sequence

from renova.model.group import GroupPolicy
from renova.model.host import HostView
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


def weigh(request: Request, hosts: Sequence[HostView]) -> list[float]:
    """Return the weight of each host, the best having the highest."""
    weights = [0.0] * len(hosts)
    for multiplier, amounts in _wishes(request, hosts):
        low, high = min(amounts, default=0), max(amounts, default=0)
        if high == low:
            continue
        own = multiplier in request.marks  # some aggregate has a multiplier of its own
        usual: float = getattr(request.settings, multiplier)
        for place, amount in enumerate(amounts):
            factor = _multiplier(hosts[place], multiplier, usual) if own else usual
            weights[place] += factor * (amount - low) / (high - low)
    return weights


def _wishes(request: Request, hosts: Sequence[HostView]) -> Iterator[tuple[str, list[float]]]:
    for name, multiplier in _FREE.items():
        yield multiplier, [host.total.get(name, 0) - host.used.get(name, 0) for host in hosts]
    group = request.group
    if group is not None and group.policy in _GROUP:
        multiplier, sign = _GROUP[group.policy]
        yield multiplier, [float(sign * group.on.get(host.id, 0)) for host in hosts]


def _multiplier(host: HostView, name: str, usual: float) -> float:
    """Return the smallest that the host's aggregates say, or the usual one."""
    said = []
    for value in host.marks.get(name, ()):
        try:
            said.append(float(value))
        except ValueError:
            continue  # Nova, too, goes on with the usual one
    return min(said, default=usual)
