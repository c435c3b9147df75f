"""One run of the simulation: a world, a workload, faults and calm, all drawn from one seed."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from renova.drivers.hypervisor.simulated.machine import SMALL_HOST
from renova.model.errors import Invalid, Refused
from renova.model.host import GuardClass
from renova.settings import BrakeSettings, ControllerSettings, MaintenanceSettings, ProofName, RecoverySettings
from renova.simulation.calm import CALM_S, disagreements
from renova.simulation.cloud import QUICK_LEASE, SimulatedCloud
from renova.simulation.fault_kinds import KINDS, hangs
from renova.simulation.fault_kinds.crash_points import AIMED
from renova.simulation.faults import Injector, Kind
from renova.simulation.front import Front
from renova.simulation.history import History, listening, quiet_logs
from renova.simulation.invariants.checks import Violation
from renova.simulation.last_death import lose_a_host
from renova.simulation.loop import Stuck, run_virtual
from renova.simulation.receiver import Receiver
from renova.simulation.surroundings import Users, an_image, watched_images
from renova.simulation.watch import Watch
from renova.simulation.workload import CONTENT, IMAGES, Workload
from renova.simulation.world import World
from renova.store.database import Tx

CPU_RATIO = 4  # virtual CPUs that a host offers for each of its own
LOOK_S = 0.5  # virtual seconds between looks at what tells nobody when it changes: writes, exports
BRAKE = BrakeSettings(window=30.0)
CARE_S = 12.0  # seconds for which a host that was switched off stays so, at least
HANG_AFTER_S = 10.0
# What the watchdogs of guests do, by their images; of each pair one is left to the cloud.
WATCHDOGS = (("none", "reset"), ("pause", "poweroff"))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run is drawn from; the same plan gives the same history."""

    seed: int
    controllers: int = 2
    hosts: int = 6
    storage_hosts: int = 2
    servers: int = 20
    users: int = 4
    minutes: float = 5.0
    pause_s: float = 1.0  # between two requests of a user, about
    rate: float = 1.0  # faults a second, about
    pace: float = 1.0  # what a fault lasts is multiplied by this
    faults: tuple[str, ...] = ()  # words in the names of the kinds to strike with; none: all kinds
    aims: tuple[str, ...] = ()  # crash points at which somebody is to die first
    room: int = 12  # servers that fit on a host
    margin: float = 12.0  # of the hosts' lease, in seconds
    brake: BrakeSettings = BRAKE
    told: bool | None = None  # whether somebody is told of events; None: in one seed of four
    by_silence: bool | None = None  # whether silence proves a host dead; None: in one seed of eight
    fencing: bool | None = None  # whether silent hosts are switched off; None: in one seed of four
    armed: bool | None = None  # whether hosts have armed guards; None: in one seed of four
    witnessed: bool | None = None  # whether armed hosts have a witness; None: in every other seed of these
    weak: bool | None = None  # whether armed hosts' watchdogs stand still when these do; None: in half of these seeds
    cuts: bool | None = None  # whether of those only servers go that storage cuts off; None: in half of these seeds
    recovers: bool | None = None  # whether servers of dead hosts come back by themselves; None: in one seed of three
    watched: bool | None = None  # whether guests have agents and watchdogs; None: in half of those that recover
    maintained: bool | None = None  # whether hosts that live are emptied, servers moved; None: in two seeds of five

    @property
    def shared(self) -> bool:
        """Whether the hosts share their instances directory."""
        return self.seed % 3 != 0

    @property
    def fences(self) -> bool:
        return self.seed % 4 == 2 if self.fencing is None else self.fencing

    @property
    def guards(self) -> bool:
        """Whether the hosts' guards are armed."""
        return self.seed % 4 == 3 if self.armed is None else self.armed

    @property
    def witness(self) -> bool:
        """Whether armed hosts go by a witness."""
        return self.guards and (self.seed % 8 == 7 if self.witnessed is None else self.witnessed)

    @property
    def recovering(self) -> bool:
        """Whether servers come back by themselves, and guests."""
        return self.seed % 3 == 2 if self.recovers is None else self.recovers

    @property
    def watches(self) -> bool:
        """Whether guests have agents and watchdogs: only where they may hang, and come back by themselves."""
        usual = self.seed % 6 == 5 if self.watched is None else self.watched
        return usual and self.recovering and any(kind in hangs.KINDS for kind in self.kinds())

    @property
    def maintains(self) -> bool:
        """Whether somebody empties hosts that live, and moves servers."""
        return self.seed % 5 in (1, 3) if self.maintained is None else self.maintained

    @property
    def watchdogs(self) -> GuardClass:
        """The class of armed hosts' watchdogs."""
        weak = self.seed % 16 >= 8 if self.weak is None else self.weak
        return GuardClass.B if weak else GuardClass.A

    @property
    def cuts_off(self) -> bool:
        """Whether weak watchdogs count only for servers that write nothing but what storage cuts off."""
        return self.seed % 32 >= 16 if self.cuts is None else self.cuts

    @property
    def settings(self) -> ControllerSettings:
        """The controllers'."""
        lease = replace(QUICK_LEASE, margin=self.margin)
        by_silence = self.seed % 8 == 5 if self.by_silence is None else self.by_silence
        proofs: tuple[ProofName, ...] = ("power_off", "lease_revoked", "operator")
        return ControllerSettings(
            lease=lease,
            soft_reboot_wait=10,
            shutdown_wait=10,
            accept_weak_guard=self.watchdogs is GuardClass.B and not self.cuts_off,
            accepted_proofs=(*proofs, "heartbeat_age") if by_silence else proofs,
            heartbeat_age=lease.ttl + lease.margin,
            fence_after=lease.ttl,
            fence_isolated=self.seed % 8 != 6,
            brake=self.brake,
            maintenance=MaintenanceSettings(again=5.0),
            recovery=RecoverySettings(
                automatic=self.recovering, again=10.0, hang_after=HANG_AFTER_S if self.watches else 0.0
            ),
        )

    def kinds(self) -> Sequence[Kind]:
        """Return the kinds of faults that strike; `Invalid` for a word that no kind has."""
        for word in self.faults:
            if not any(word in kind.name for kind in KINDS):
                raise Invalid(f"there is no kind of fault with {word!r} in its name")
        return [kind for kind in KINDS if not self.faults or any(word in kind.name for word in self.faults)]


def short(seed: int, **changes: Any) -> Plan:
    """Return a plan for a run of a fraction of a second."""
    small = {"hosts": 3, "storage_hosts": 1, "servers": 4, "users": 2, "minutes": 0.2, "pause_s": 0.4}
    return Plan(seed=seed, **{**small, **changes})


@dataclass
class Outcome:
    """How a run ended."""

    plan: Plan
    digest: str = ""
    error: str | None = None
    invariant: str | None = None  # that was broken
    history: list[str] = field(default_factory=list)  # the newest lines of a failure
    lines: int = 0
    checks: int = 0
    virtual_s: float = 0.0
    fired: Counter[str] = field(default_factory=Counter)  # faults by kind
    points: Counter[str] = field(default_factory=Counter)  # crash points at which somebody died
    passed: Counter[str] = field(default_factory=Counter)  # crash points that were passed while faults struck
    asked: Counter[str] = field(default_factory=Counter)  # requests that were accepted
    promises: int = 0
    proofs: Counter[str] = field(default_factory=Counter)  # of hosts' deaths, by kind
    assumptions: list[str] = field(default_factory=list)  # that were broken on purpose
    calm_s: float = 0.0  # until everything was final

    @property
    def events(self) -> int:
        return sum(self.fired.values())


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

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.world = World(
            plan.seed,
            count=plan.hosts,
            shared=plan.shared,
            storage_count=plan.storage_hosts,
            controller_count=plan.controllers,
            settings=plan.settings,
            switchable=plan.fences,
            armed=plan.guards,
            witnessed=plan.witness,
            watchdogs=plan.watchdogs,
            facts=replace(SMALL_HOST, vcpus=max(plan.room // CPU_RATIO, 1)),
        )
        self.history = History(asyncio.get_running_loop().time)
        self.world.points.aims = plan.aims
        self.world.listeners.append(lambda event: self.history.note("FAULT", event))
        kinds = (*plan.kinds(), AIMED) if plan.aims else plan.kinds()
        self.injector = Injector(self.world, kinds, rate=plan.rate, pace=plan.pace)
        self.workload = Workload(
            Front(list(self.world.controllers.values())),
            self.world.clock,
            self.history,
            _Eyes(self.world),
            seed=plan.seed,
            servers=plan.servers,
            pause_s=plan.pause_s,
            maintained=plan.maintains,
        )
        struck_by = [kind.name for kind in plan.kinds()]
        self.watch = Watch(self.world, self.history, plan.settings, struck_by)
        self.watch.lost.append(self.workload.promises.clear)  # of what was lost nobody can hold them
        if plan.told if plan.told is not None else plan.seed % 4 == 0:
            self.world.sink = Receiver(self.world.chance_of("receiver"), self.watch.announcements.heard)
        self._passed: Callable[[], Counter[str]] = Counter  # crash points, so far, while faults struck
        self._calm_s = 0.0

    async def tell(self) -> Outcome:
        """Tell it to its end, or to the first invariant that breaks."""
        outcome = Outcome(self.plan)
        with listening(self.history):
            try:
                await self.watch.unless_broken(self._whole())
            except Exception as error:  # noqa: BLE001  (whatever it is: the run failed, and says why)
                first = _first(error)
                outcome.error = f"{type(first).__name__}: {first}"
                outcome.invariant = first.invariant if isinstance(first, Violation) else type(first).__name__
                outcome.history = self.history.newest()
        outcome.digest, outcome.lines = self.history.digest, self.history.count
        outcome.checks, outcome.virtual_s = self.watch.invariants.checks.made, asyncio.get_running_loop().time()
        outcome.fired, outcome.points = self.injector.fired, self.world.points.fired
        outcome.passed = self._passed()
        outcome.asked, outcome.promises = Counter(self.workload.asked), len(self.workload.promises)
        outcome.proofs = self.watch.invariants.leases.proofs
        outcome.assumptions = self.watch.believed.broken
        outcome.calm_s = self._calm_s
        return outcome

    async def _whole(self) -> None:
        world = self.world
        world.identity = Users()
        usual = [an_image(image, CONTENT) for image in IMAGES]
        actions = WATCHDOGS[self.plan.seed // 6 % len(WATCHDOGS)]
        for image in watched_images(IMAGES, actions, CONTENT) if self.plan.watches else usual:
            world.images.have(image, CONTENT)
        await world.up()
        self.watch.begin()
        await self.workload.prepare()
        prepared = self.world.points.passed.copy()
        self._passed = lambda: self.world.points.passed - prepared
        looking = asyncio.get_running_loop().create_task(self._look(), name="look")
        caring = asyncio.get_running_loop().create_task(self._switch_on_again(), name="care")
        try:
            await self._storm()
            self.history.note("WORLD", "calm begins")
            await self._calm()
            if self.plan.settings.recovery.automatic and not self.watch.believed.ever_lost:
                await self._lose_a_host()
        finally:
            looking.cancel()
            caring.cancel()
        await world.down()

    async def _lose_a_host(self) -> None:
        await asyncio.sleep(self.plan.brake.window + 1.0)  # no brake is left of the storm, once it is released
        await self.workload.operator.release_brake()
        self.history.note("WORLD", "one more host dies")
        try:
            await lose_a_host(self.world)
        except Refused as error:
            self.watch.invariants.checks.fail("recovered", self.history.with_names(str(error)))
        await self._calm()

    async def _look(self) -> None:
        while True:
            self.watch.look()
            await asyncio.sleep(LOOK_S)

    async def _switch_on_again(self) -> None:
        """Look after hosts that were switched off: some time later, somebody presses the button."""
        off_since = self.world.switches.off_since
        while True:
            await asyncio.sleep(CARE_S)
            for name, since in list(off_since.items()):
                if self.world.clock.monotonic() - since >= CARE_S:
                    del off_since[name]
                    self.history.note("WORLD", "switched on by hand", host=name)
                    await self.world.power_on(name)

    async def _storm(self) -> None:
        users = asyncio.get_running_loop().create_task(self.workload.run(self.plan.users), name="users")
        faults = asyncio.get_running_loop().create_task(self.injector.run(), name="faults")
        await asyncio.wait({users, faults}, timeout=self.plan.minutes * 60, return_when=asyncio.FIRST_COMPLETED)
        faults.cancel()
        passed = self._passed()
        self._passed = lambda: passed
        self.workload.stop()
        await users
        await self.injector.mend()

    def _wrong(self, tx: Tx) -> list[str]:
        ordered, believed = self.watch.invariants.operations.ordered_images, self.watch.believed
        return list(
            disagreements(
                self.world,
                tx,
                self.workload.promises,
                ordered=ordered,
                lost=believed.ever_lost,
                deleted=believed.deleted,
                forgotten=believed.forgotten_images,
            )
        )

    async def _calm(self) -> None:
        """Wait until everything is final and true, for as long as that may take."""
        loop = asyncio.get_running_loop()
        began, pause, settled = loop.time(), 1.0, False
        while True:
            settled = settled or await self.workload.operator.settle()
            if self.watch.believed.ever_lost and self.watch.invariants.view.hold is None:
                # A restored database says what was so once, until each host that comes back was looked over.
                await self.workload.operator.look_over()
            wrong = await self.world.database.read(self._wrong)
            self._calm_s = loop.time() - began
            if not wrong:
                return
            if self._calm_s > CALM_S:
                wrong = [self.history.with_names(each) for each in wrong]
                for each in wrong:
                    self.history.note("WORLD", "not so", what=each)
                for task in sorted(asyncio.all_tasks(), key=hash):
                    if task.get_name().startswith(("operation-", "settle-", "duty-")):
                        self.history.note("WORLD", "waits", task=task.get_name(), at=_where(task))
                raise Violation("at_the_end", f"after {CALM_S:g} calm seconds: " + "; ".join(wrong[:8]))
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 20.0)


def _where(task: "asyncio.Task[Any]") -> str:
    """Return the places at which a task waits, the outermost first."""
    places = []
    inner: Any = task.get_coro()
    while inner is not None and (frame := getattr(inner, "cr_frame", None)) is not None:
        places.append(f"{frame.f_code.co_name}:{frame.f_lineno}")
        inner = inner.cr_await
    return " > ".join(places)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def run(plan: Plan) -> Outcome:
    """Tell a run in a virtual loop of its own."""
    outcome = Outcome(plan)

    async def main() -> None:
        nonlocal outcome
        outcome = await Run(plan).tell()

    with quiet_logs():
        try:
            run_virtual(main())
        except Stuck as stuck:
            outcome.error, outcome.invariant = str(stuck), "Stuck"
        except Exception as error:  # noqa: BLE001  (of a task that nobody waited for)
            if outcome.error is None:
                outcome.error = f"unseen: {type(error).__name__}: {error}"
                outcome.invariant = "unseen"
    return outcome
