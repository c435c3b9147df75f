"""What a step is given: the cloud, and the operation in whose name it works."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TypeVar

from renova.engine.journal import Held
from renova.model.errors import Broken, Conflict
from renova.model.guest import LIVES
from renova.model.host import Right
from renova.model.ids import HostId
from renova.model.server import Server
from renova.operations.cloud import Cloud
from renova.store import ownership, rights, servers
from renova.store.database import Tx
from renova.wire.acts import AnyAct
from renova.wire.results import Result

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Work:
    """One operation's context."""

    cloud: Cloud
    held: Held
    era: int  # the newest that this controller knew of when it was given the operation

    async def command(self, host: HostId, incarnation: int, act: AnyAct) -> Result:
        """Have the host do the act in the name of this operation; see `Agents.command` for what it raises."""
        return await self.cloud.agents.command(
            host,
            server=self.held.server,
            incarnation=incarnation,
            number=self.held.number,
            epoch=self.held.epoch,
            era=self.era,
            act=act,
        )

    async def note(self, change: Callable[[Tx], T]) -> T:
        """Change rows from within an act, in one transaction; `Lost` when the operation is no longer ours.

        For what must be known before the act goes on. As the act may run twice, so may the change.
        """

        @wraps(change)  # named as what it is for
        def ours(tx: Tx) -> T:
            self.demand_ours(tx)
            return change(tx)

        return await self.cloud.database.transact(ours)

    def demand_ours(self, tx: Tx) -> None:
        """Raise `Lost` when the operation is no longer ours: who was taken over must give it nothing any more."""
        ownership.demand_ours(tx, self.held)

    async def server(self) -> Server:
        return await self.cloud.database.read(self.server_now)

    def server_now(self, tx: Tx) -> Server:
        """Return the server as it is in this transaction."""
        server = servers.get(tx, self.held.server)
        if server is None:
            raise Broken("the server of a running operation is gone")
        return server

    def right_here(self, tx: Tx, server: Server | None = None) -> Right:
        """Return the right of the server's own host to run it, granting it anew where nobody has it.

        `server`: its row, for who has just read it.
        """
        server = server or self.server_now(tx)
        if server.host is None:
            raise Conflict("the server has no host")
        right = rights.right(tx, server.id)
        if right is not None and right.host == server.host:
            return right
        return rights.grant(tx, server.id, server.host)

    def right_to_begin(self, tx: Tx, server: Server | None = None) -> Right:
        """Return the right of the server's own host to bring its guest up; one from before this era is granted anew.

        In what was lost the host may have given that number up, or the disks may have got to a newer one (decision
        0023). A guest that runs keeps the number it has: it would be taken for an old one.
        """
        server = server or self.server_now(tx)
        right = self.right_here(tx, server)
        if server.power_state in LIVES or rights.of_this_era(tx, right):
            return right
        return rights.grant(tx, server.id, right.host)
