"""What is held against a simulated world: all that must hold of it after every commit, and as time passes."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from renova.settings import ControllerSettings
from renova.simulation.announcements import Announcements
from renova.simulation.deaths import Deaths
from renova.simulation.gates import Gates
from renova.simulation.history import History
from renova.simulation.hosts import SimulatedHost
from renova.simulation.hung import Hung
from renova.simulation.invariants import Invariants
from renova.simulation.invariants.checks import Violation
from renova.simulation.invariants.view import Believed
from renova.simulation.ledger import Change, Ledger
from renova.simulation.processes import current
from renova.simulation.spared import Spared
from renova.simulation.waking import Waking
from renova.simulation.world import World

Committed = Callable[[Sequence[Change]], None]


class Watch:
    """Watches the world from now on, and its hosts from `begin` on. `kinds`: the faults that strike; None: any.

    `committed` are told of what was committed, `lost` when commits were lost, after it was looked at here.
    """

    def __init__(
        self, world: World, history: History, settings: ControllerSettings, kinds: Sequence[str] | None = None
    ) -> None:
        self._world = world
        self.committed: list[Committed] = []
        self.lost: list[Callable[[], None]] = []
        loop = asyncio.get_running_loop()
        self._broken: asyncio.Future[None] = loop.create_future()
        self._ledger = Ledger(world.data.raw)

        def stopped(host: str) -> bool:
            return world.clock_of(host).was_stopped

        self.invariants = Invariants(
            history,
            world.hosts,
            world.storage_hosts,
            now=loop.time,
            lease_left=world.lease_left,
            reached=world.lease_reached,
            lied=lambda host: any(name == host for _, name in world.switches.lies),
            stopped=stopped,
            just_woken=Waking(world).has_just,
            broken=self._break,
        )
        self.gates = Gates(
            self.invariants,
            world.hosts,
            now=loop.time,
            stopped=stopped,
            stop_budget=settings.lease.stop_budget,
            kinds=kinds,
            witness=world.witness,
            ttl=settings.lease.ttl,
        )
        self.announcements = Announcements(self.invariants.checks.demand)
        self.deaths = Deaths(self.invariants, settings.brake, world.count + world.storage_count)
        self._spared = Spared(self.invariants, world)
        self._hung = Hung(self.invariants, world)
        history.alarm = lambda what: self._break(Violation("unexpected", what))
        world.data.on_commit.append(self._has_committed)
        world.data.on_loss.append(self._has_lost)

    @property
    def believed(self) -> Believed:
        """What was broken on purpose meanwhile."""
        return self.invariants.view.believed

    def begin(self) -> None:
        """Follow the guests of the hosts that there are."""
        for host in self._world.hosts.values():
            self.watch_host(host)

    def watch_host(self, host: SimulatedHost) -> None:
        """Follow the guests of a host that has come later."""
        self.invariants.watch_host(host)
        self.gates.watch_host(host)

    def look(self) -> None:
        """Check what tells nobody when it changes."""
        self.invariants.look()
        self.gates.look()
        self._hung.look()
        for ended in self._world.ended:
            if "Lost(" not in ended:  # as a controller may that was taken for dead
                self.invariants.checks.fail("ended_by_error", ended)

    async def unless_broken(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it to its end, or to the first `Violation`, which is raised."""
        task = asyncio.get_running_loop().create_task(work, name="run")
        await asyncio.wait({task, self._broken}, return_when=asyncio.FIRST_COMPLETED)
        if self._broken.done():
            task.cancel()
            await asyncio.wait({task})
            self._broken.result()
        task.result()

    def _break(self, violation: Violation) -> None:
        if not self._broken.done():
            self._broken.set_exception(violation)

    def _has_committed(self) -> None:
        process, changes = current(), self._ledger.take()
        self.invariants.committed(process.name if process else "world", changes)
        self.deaths.committed(changes)
        self._hung.committed(changes)
        if process is not None and self._world.sink is not None:
            self.announcements.committed(changes)
        for listener in self.committed:
            listener(changes)

    def _has_lost(self) -> None:
        self.invariants.lost_commits(self._ledger)
        self.announcements.lost_commits(self._ledger.everything()["notices"])
        self.deaths.lost_commits()
        for listener in self.lost:
            listener()
