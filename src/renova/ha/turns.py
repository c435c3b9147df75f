"""Whose turn it is among recoveries that wait: as many at once as the limits let, in their plan's order. Pure.

Nobody waits for a server that is not going to be up: one that failed, or is left. `waves` says beforehand what comes of
these turns.
"""

from collections import Counter
from collections.abc import Iterable

from renova.ha.waves import Limits
from renova.model.recovery import Recovery, RecoveryState


def whose_turn(recoveries: Iterable[Recovery], limits: Limits) -> list[Recovery]:
    """Return those that are to be begun now; `recoveries` are in the order of their plan."""
    known = list(recoveries)
    moving = [each for each in known if each.state is RecoveryState.MOVING]
    waiting = [each for each in known if each.state is RecoveryState.WAITING]
    on = Counter(each.target for each in moving)
    not_up = {each.server for each in (*moving, *waiting)}
    free = limits.at_once - len(moving)
    begun: list[Recovery] = []
    for each in waiting:
        if len(begun) >= free:
            break
        if on[each.target] >= limits.at_once_per_host or not not_up.isdisjoint(each.after):
            continue
        on[each.target] += 1
        begun.append(each)
    return begun
