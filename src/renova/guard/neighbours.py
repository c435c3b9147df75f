"""The other hosts' guards, which this one asks whether they, too, have lost their leases.

If half of those that answer have, or more, it is the control plane that ails and not this host that is cut off: its
frozen guests may stay as they are, and go on unharmed later. No safety rests on the answers: whoever lies can have
guests killed that stand still, or left standing still, and no more.
"""

from collections.abc import Callable, Sequence
from typing import Protocol


class Neighbours(Protocol):
    """Asks, and answers."""

    def take(self, addresses: Sequence[str]) -> None:
        """Ask among the hosts at these addresses from now on."""
        ...

    async def serve(self, holds: Callable[[], bool]) -> None:
        """Answer others, until cancelled; `holds` says whether this host's lease does."""
        ...

    async def lack_leases(self) -> bool:
        """Ask, and say whether the control plane ails (`control_plane_ails`) by what was answered within a second."""
        ...


def control_plane_ails(lacking: int, answered: int) -> bool:
    """Say what it means that so many of those that answered lack a lease. Nobody answered: False.

    In a cloud of three hosts only one of two others may have its lease yet, when the control plane is back.
    """
    return 0 < answered <= 2 * lacking
