"""Ranks the hosts that will do, and explains the others."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from renova.model.host import HostView
from renova.scheduling.rules import ALL, Request, Rule

WEIGHED = ("MEMORY_MB", "VCPU", "DISK_GB")  # Nova's RAM, CPU and disk weighers: spread


class Ranking(msgspec.Struct, frozen=True):
    """Hosts that will do, the best first, and how many will not for which reason."""

    hosts: tuple[HostView, ...]
    refusals: dict[str, int]

    def explanation(self) -> str:
        """Say it as an operator reads it: "2 hosts: needs 4096 MEMORY_MB, 512 free; 1 host: down"."""
        parts = [
            f"{count} {'host' if count == 1 else 'hosts'}: {reason}"
            for reason, count in sorted(self.refusals.items(), key=lambda item: (-item[1], item[0]))
        ]
        return "; ".join(parts) or "there are no hosts"


def rank(request: Request, hosts: Sequence[HostView], rules: Sequence[Rule] = ALL) -> Ranking:
    """Test each host by the rules in order, and sort those left by free resources, normalised over them."""
    fit: list[HostView] = []
    refusals: Counter[str] = Counter()
    for host in hosts:
        for rule in rules:
            if (reason := rule(request, host)) is not None:
                refusals[reason] += 1
                break
        else:
            fit.append(host)
    weights = [0.0] * len(fit)
    for name in WEIGHED:
        free = [host.total.get(name, 0) - host.used.get(name, 0) for host in fit]
        low, high = min(free, default=0), max(free, default=0)
        if high > low:
            for place, amount in enumerate(free):
                weights[place] += (amount - low) / (high - low)
    # Fewer servers break ties, then the name: the same picture always gives the same answer.
    order = sorted(range(len(fit)), key=lambda place: (-weights[place], fit[place].servers, fit[place].name))
    return Ranking(tuple(fit[place] for place in order), dict(refusals))
