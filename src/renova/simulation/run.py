"""One run of the simulation: a cloud, a workload, faults and calm, all drawn from one seed."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from renova.model.clock import Clock
from renova.simulation.calm import CALM_S, disagreements
from renova.simulation.cloud import SimulatedCloud
from renova.simulation.front import Front
from renova.simulation.history import History, listening, quiet_logs
from renova.simulation.invariants import Invariants, Violation
from renova.simulation.ledger import Ledger
from renova.simulation.loop import run_virtual
from renova.simulation.processes import current
from renova.simulation.workload import CONTENT, IMAGES, Users, Workload, an_image
from renova.store.database import Executor, Tx

T = TypeVar("T")

LOOK_S = 0.5  # virtual seconds between looks at what tells nobody when it changes: writes, exports


@dataclass(frozen=True)
class Plan:
    """What a run is drawn from; the same plan gives the same history."""

    seed: int
    controllers: int = 2
    hosts: int = 6
    servers: int = 20
    users: int = 4
    minutes: float = 5.0
    pause_s: float = 1.0  # between two requests of a user, about
    faults: tuple[str, ...] = ()  # kinds; none named: all
    every_s: float = 3.0  # between two faults, about

    @property
    def shared(self) -> bool:
        """Whether the hosts share their instances directory."""
        return self.seed % 3 != 0


SHORT = {"controllers": 2, "hosts": 3, "servers": 4, "users": 2, "minutes": 0.4, "pause_s": 0.6, "every_s": 1.5}


class Faults(Protocol):
    """What goes wrong in a run."""

    fired: Counter[str]

    async def run(self) -> None:
        """Have faults happen until cancelled."""
        ...

    async def mend(self) -> None:
        """Take back whatever does not end by itself: all parts run, all lines are whole."""
        ...


@dataclass
class Outcome:
    """How a run ended."""

    plan: Plan
    digest: str
    error: str | None = None
    invariant: str | None = None
    history: list[str] = field(default_factory=list)  # of a failure
    lines: int = 0
    checks: int = 0
    virtual_s: float = 0.0
    fired: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)  # requests accepted
    promises: int = 0
    calm_s: float = 0.0


class Followed:
    """The database's executor; after each commit it is looked at what has changed."""

    def __init__(self, executor: Executor, committed: Callable[[str], None]) -> None:
        self._executor = executor
        self._committed = committed

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        result = await self._executor.transact(fn)
        process = current()
        self._committed(process.name if process else "-")
        return result

    async def read(self, fn: Callable[[Tx], T]) -> T:
        return await self._executor.read(fn)

    def close(self) -> None:
        self._executor.close()


class _Eyes:
    """What an operator sees."""

    def __init__(self, cloud: SimulatedCloud) -> None:
        self._cloud = cloud

    def names(self) -> list[str]:
        return list(self._cloud.hosts)

    def is_off(self, name: str) -> bool:
        return not self._cloud.hosts[name].powered


class Run:
    """One run, being told."""

    def __init__(self, plan: Plan, faults: Callable[[SimulatedCloud, Plan, History], Faults]) -> None:
        self.plan = plan
        self._make_faults = faults
        self.cloud = SimulatedCloud(plan.seed, count=plan.hosts, shared=plan.shared, controller_count=plan.controllers)
        self.history = History(self.cloud.clock.monotonic)
        self.calm_s = 0.0

    async def tell(self) -> Outcome:
        """Tell it to its end, or to the first invariant that breaks."""
        with listening(self.history):
            outcome = Outcome(self.plan, "")
            self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            try:
                await self._unless_broken(self._whole(outcome))
            except Violation as violation:
                outcome.error, outcome.invariant = str(violation), violation.invariant
            except BaseExceptionGroup as group:
                first = _first(group)
                outcome.error = f"{type(first).__name__}: {first}"
                outcome.invariant = first.invariant if isinstance(first, Violation) else type(first).__name__
            outcome.digest, outcome.lines = self.history.digest, self.history.count
            if outcome.error is not None:
                outcome.history = self.history.newest()
            return outcome

    async def _unless_broken(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="run")
        await asyncio.wait({task, self._broken}, return_when=asyncio.FIRST_COMPLETED)
        if self._broken.done():
            task.cancel()
            await asyncio.wait({task})
            self._broken.result()
        task.result()

    async def _whole(self, outcome: Outcome) -> None:
        cloud, plan = self.cloud, self.plan
        cloud.identity = Users()
        for image in IMAGES:
            described = an_image(image)
            cloud.images.images[described.id] = (described, CONTENT)
        invariants = self._watch()
        await cloud.up()
        for host in cloud.hosts.values():
            invariants.watch_host(host)
        front = Front(list(cloud.controllers.values()))
        workload = Workload(
            front,
            cloud.clock,
            self.history,
            _Eyes(cloud),
            seed=plan.seed,
            servers=plan.servers,
            pause_s=plan.pause_s,
        )
        faults = self._make_faults(cloud, plan, self.history)
        await workload.prepare()
        looking = asyncio.get_running_loop().create_task(self._look(invariants, cloud.clock), name="look")
        try:
            await self._storm(workload, faults)
            self.history.note("WORLD", "calm begins")
            await self._calm(workload)
        finally:
            looking.cancel()
            outcome.fired = faults.fired
            outcome.asked = Counter(workload.asked)
            outcome.promises = len(workload.promises)
            outcome.checks, outcome.calm_s = invariants.checked, self.calm_s
            outcome.virtual_s = cloud.clock.monotonic()
        await cloud.down()

    def _watch(self) -> Invariants:
        cloud = self.cloud
        executor: Any = cloud.database._executor
        ledger = Ledger(executor._session._raw)
        invariants = Invariants(
            self.history,
            cloud.hosts,
            cloud.storage_hosts,
            lease_left=cloud.lease_left,
            broken=self._break,
        )
        invariants.watch_database(ledger)
        cloud.database._executor = Followed(executor, lambda who: invariants.committed(who, ledger.take()))
        return invariants

    def _break(self, violation: Violation) -> None:
        if not self._broken.done():
            self._broken.set_exception(violation)

    async def _look(self, invariants: Invariants, clock: Clock) -> None:
        while True:
            invariants.look_at_writes()
            invariants.look_at_exports()
            for ended in list(self.cloud.ended):
                await self._begin_again(ended, invariants)
            await clock.sleep(LOOK_S)

    async def _begin_again(self, ended: str, invariants: Invariants) -> None:
        """Do as a service manager does for a controller that was taken for dead; no other may end by an error."""
        name = ended.partition(":")[0]
        if name not in self.cloud.controllers or "Lost(" not in ended:
            invariants.fail("ended_by_error", ended)
        self.cloud.ended.remove(ended)
        self.history.note("WORLD", "controller begins again", name=name)
        await self.cloud.kill_controller(name)
        await self.cloud.start_controller(name)

    async def _storm(self, workload: Workload, faults: Faults) -> None:
        loop = asyncio.get_running_loop()
        storm = loop.create_task(faults.run(), name="faults")
        users = loop.create_task(workload.run(self.plan.users), name="users")
        done, _ = await asyncio.wait({storm, users}, timeout=self.plan.minutes * 60, return_when="FIRST_COMPLETED")
        for task in done:
            task.result()
        storm.cancel()
        await asyncio.wait({storm})
        workload.stop()
        await faults.mend()
        await users
        await workload.settle_services()

    async def _calm(self, workload: Workload) -> None:
        """Wait until everything is final and true, for as long as that may take."""
        began = self.cloud.clock.monotonic()
        pause = 1.0
        while True:
            wrong = await self.cloud.database.read(lambda tx: list(disagreements(self.cloud, tx, workload.promises)))
            self.calm_s = self.cloud.clock.monotonic() - began
            if not wrong:
                return
            if self.calm_s > CALM_S:
                wrong = [self.history.with_names(each) for each in wrong]
                for each in wrong:
                    self.history.note("WORLD", "not so", what=each)
                raise Violation("at_the_end", f"after {CALM_S:g} calm seconds: " + "; ".join(wrong[:8]))
            await self.cloud.clock.sleep(pause)
            pause = min(pause * 1.5, 20.0)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def run(plan: Plan, faults: Callable[[SimulatedCloud, Plan, History], Faults]) -> Outcome:
    """Tell a run in a virtual loop of its own."""

    async def main() -> Outcome:
        return await Run(plan, faults).tell()

    with quiet_logs():
        return run_virtual(main())
