"""Ranks the hosts that will do, and explains the others."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from renova.model.host import HostView
from renova.scheduling.request import Request
from renova.scheduling.rules import Rule, rules_for
from renova.scheduling.weights import weigh


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


def rank(request: Request, hosts: Sequence[HostView], rules: Sequence[Rule] | None = None) -> Ranking:
    """Test each host by the rules in order (those that the request needs, unless told), and sort those left by weight.

    Where servers of its group have to follow this one (affinity), hosts with room for all of them come first.
    """
    fit: list[HostView] = []
    refusals: Counter[str] = Counter()
    tested = rules_for(request) if rules is None else rules
    for host in hosts:
        for rule in tested:
            if (reason := rule(request, host)) is not None:
                refusals[reason] += 1
                break
        else:
            fit.append(host)
    weights = weigh(request, fit)
    company = request.group.company if request.group else {}
    # Fewer servers break ties, then the name: the same picture always gives the same answer.
    order = sorted(
        range(len(fit)),
        key=lambda place: (_short(company, fit[place]), -weights[place], fit[place].servers, fit[place].name),
    )
    return Ranking(tuple(fit[place] for place in order), dict(refusals))


def _short(needed: dict[str, int], host: HostView) -> bool:
    return any(host.total.get(name, 0) - host.used.get(name, 0) < amount for name, amount in needed.items())
