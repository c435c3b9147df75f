"""Who is told of what happens on pretended hosts."""

from renova.model.guest import Guest
from renova.model.ids import ServerId


class Witness:
    """Told of what happens on pretended hosts, as it happens; the simulation checks its invariants so."""

    def power(self, server: ServerId) -> None:
        """Hear that the server's guest on this host runs, stands still or has ended."""

    def begins(self, call: str, server: ServerId, guest: Guest | None) -> None:
        """Hear that this host begins to change the guest; `guest` where the call brings it along."""

    def ends(self, call: str, server: ServerId) -> None:
        """Hear that such a call has returned, however."""

    def connects(self) -> None:
        """Hear that an agent begins: what a former one had begun is over."""

    def deletes(self, server: ServerId, generation: int) -> None:
        """Hear that a server's local disks are about to be deleted for good."""
