"""The gate follows the lease, whatever fails: seen closed, or killed, or the host reset; and never by a guess."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from renova.drivers.guard.simulated import SimulatedGate, SimulatedWatchdog
from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.drivers.hypervisor.simulated.storage import SimulatedStorage
from renova.guard.disarming import Disarming
from renova.guard.keeper import LOOK_S, PATIENCE_S, Keeper
from renova.guard.lease import Lease
from renova.guard.neighbours import control_plane_ails
from renova.model.chance import SeededChance
from renova.model.host import GuardClass
from renova.simulation.loop import VirtualClock, run_virtual
from renova.simulation.processes import Process, outside
from renova.wire.leases import GuardTimes, Renewed
from tests.agent.host import SERVER, guest

TTL = 20.0
W = 5.0


class Others:
    """Other hosts' guards, which say what the test has them say."""

    def __init__(self) -> None:
        self.lack = False

    def take(self, addresses: Any) -> None: ...

    async def serve(self, holds: Callable[[], bool]) -> None: ...

    async def lack_leases(self) -> bool:
        return self.lack


class Bench:
    """An armed host with a guest that runs, and a lease that is renewed by hand."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.hypervisor = SimulatedHypervisor(self.clock, SimulatedStorage("storage"))
        self.gate = SimulatedGate(self.hypervisor)
        self.reset_at: float | None = None
        self.others = Others()
        self.lease = Lease(self.clock, "boot", SeededChance(1))
        self.lease.enter(1, 1)
        self.killed = 0
        self.gate.on_kill = self._killed
        self.process = Process("guard")
        self.keeper: Keeper | None = None

    def _killed(self) -> None:
        self.killed += 1

    def start(self) -> None:
        """Begin a guard's keeper, as a new process of it does."""
        self.process = Process("guard")
        self.process.spawn(self.arm().serve(self.lease), "keeper")

    def arm(self) -> Keeper:
        loop = asyncio.get_running_loop()
        self.watchdog = SimulatedWatchdog(
            self._reset, lambda seconds, call: [loop.call_later(seconds, call, context=outside())].clear(), timeout_s=W
        )
        self.keeper = Keeper(self.gate, self.watchdog, self.clock, self.others)
        return self.keeper

    def _reset(self) -> None:
        if self.reset_at is None:
            self.reset_at = self.clock.monotonic()
        self.hypervisor.cut_power()

    def renew(self, *, returning: bool = False, guard: GuardClass = GuardClass.A) -> None:
        renewal = self.lease.renewal(guard, "controller")
        answer = Renewed(
            nonce=renewal.nonce,
            era=self.lease.era,
            epoch=self.lease.epoch,
            counter=renewal.counter + 1,
            ttl=TTL,
            returning=returning,
        )
        assert self.lease.acknowledged(answer)
        if self.keeper is not None:
            self.keeper.look()

    def runs(self) -> bool:
        return SERVER in self.hypervisor.executing()


def with_a_guest(story: Callable[[Bench], Awaitable[None]]) -> None:
    """Tell a story on an armed host whose guest runs under a lease that was renewed just now."""

    async def main() -> None:
        bench = Bench()
        bench.hypervisor.freeze()
        bench.start()
        bench.renew()
        await bench.clock.sleep(0.1)
        await bench.hypervisor.prepare(guest(), Nothing())
        await bench.hypervisor.start(guest())
        assert bench.runs()
        await story(bench)
        bench.process.kill()

    run_virtual(main(), limit_s=1000)


class Nothing:
    """An image source of which nothing is read."""

    async def read(self, _image: Any) -> Any:
        from tests.agent.host import CONTENT

        yield CONTENT


def test_guests_stand_still_from_the_deadline_on_and_go_on_with_the_next_acknowledgement() -> None:
    async def story(bench: Bench) -> None:
        await bench.clock.sleep(TTL - 1)
        assert bench.runs()
        await bench.clock.sleep(1 + LOOK_S)
        assert not bench.runs()
        assert SERVER in bench.hypervisor.active(), "it stands still, and is not killed yet"
        bench.renew()
        await bench.clock.sleep(0.1)
        assert bench.runs()
        assert (bench.killed, bench.reset_at) == (0, None)

    with_a_guest(story)


def test_a_new_guard_begins_with_the_gate_closed() -> None:
    async def story(bench: Bench) -> None:
        bench.process.kill()
        bench.lease = Lease(bench.clock, "boot", SeededChance(2))
        bench.lease.enter(1, 1)
        bench.start()
        await bench.clock.sleep(0.1)
        assert not bench.runs()
        bench.renew()
        await bench.clock.sleep(0.1)
        assert bench.runs()

    with_a_guest(story)


def test_a_gate_that_does_not_open_at_once_is_opened_as_soon_as_it_can_be() -> None:
    async def story(bench: Bench) -> None:
        bench.others.lack = True
        await bench.clock.sleep(TTL + 1)
        assert not bench.runs()
        bench.gate.jams = True
        bench.renew()
        await bench.clock.sleep(10)
        assert not bench.runs()
        bench.gate.jams = False
        await bench.clock.sleep(2 * LOOK_S)
        assert bench.runs()
        assert (bench.killed, bench.reset_at) == (0, None)

    with_a_guest(story)


@pytest.mark.parametrize("lack", [True, False], ids=["others lack leases too", "only this host is cut off"])
def test_frozen_guests_are_killed_only_where_others_have_leases(lack: bool) -> None:
    async def story(bench: Bench) -> None:
        bench.others.lack = lack
        await bench.clock.sleep(TTL + PATIENCE_S - 1)
        assert SERVER in bench.hypervisor.active()
        await bench.clock.sleep(600 if lack else 2)
        assert (SERVER in bench.hypervisor.active()) is lack
        assert bench.reset_at is None
        if lack:
            bench.renew()
            await bench.clock.sleep(0.1)
            assert bench.runs()
            assert bench.killed == 0

    with_a_guest(story)


def test_others_that_are_first_to_have_leases_again_cost_no_guest_its_life() -> None:
    async def story(bench: Bench) -> None:
        bench.others.lack = True
        await bench.clock.sleep(TTL + 60)
        bench.others.lack = False
        await bench.clock.sleep(PATIENCE_S - 1)
        bench.renew()
        await bench.clock.sleep(0.1)
        assert bench.runs()
        assert bench.killed == 0

    with_a_guest(story)


def test_a_control_plane_that_comes_back_just_before_patience_ends_costs_no_guest_its_life() -> None:
    async def story(bench: Bench) -> None:
        bench.others.lack = True
        await bench.clock.sleep(TTL + PATIENCE_S - 1)
        bench.others.lack = False  # they were dialled sooner
        await bench.clock.sleep(PATIENCE_S - 1)
        bench.renew()
        await bench.clock.sleep(0.1)
        assert bench.runs()
        assert bench.killed == 0

    with_a_guest(story)


@pytest.mark.parametrize(("lacking", "answered", "ails"), [(0, 0, False), (0, 2, False), (1, 2, True), (1, 3, False)])
def test_the_control_plane_ails_where_half_of_the_others_lack_leases(lacking: int, answered: int, ails: bool) -> None:
    assert control_plane_ails(lacking, answered) is ails


def test_guests_that_do_not_stand_still_are_killed_within_a_second() -> None:
    async def story(bench: Bench) -> None:
        bench.gate.sticks = True
        await bench.clock.sleep(TTL + 1)
        assert bench.hypervisor.active() == {}
        assert bench.reset_at is None
        await bench.clock.sleep(60)
        assert bench.reset_at is None, "a host whose guests are gone is petted on"

    with_a_guest(story)


def test_guests_that_could_not_be_killed_at_first_are_killed_again() -> None:
    async def story(bench: Bench) -> None:
        bench.gate.sticks = bench.gate.immortal = True
        await bench.clock.sleep(TTL + 1)
        assert bench.hypervisor.active() != {}
        bench.gate.immortal = False
        await bench.clock.sleep(60)
        assert bench.hypervisor.active() == {}
        assert bench.reset_at is None

    with_a_guest(story)


def test_a_host_whose_guests_neither_stand_still_nor_die_is_reset_within_the_stop_budget() -> None:
    async def story(bench: Bench) -> None:
        bench.gate.sticks = bench.gate.immortal = True
        began = bench.clock.monotonic()
        await bench.clock.sleep(TTL + 11)
        assert bench.reset_at is not None
        assert TTL < bench.reset_at - began + 0.1 <= TTL + 5

    with_a_guest(story)


def test_a_guard_that_stands_still_loses_its_host_within_two_timeouts_of_the_deadline() -> None:
    async def story(bench: Bench) -> None:
        deadline = bench.lease.deadline
        await bench.clock.sleep(TTL - 1)
        bench.process.freeze()
        await bench.clock.sleep(60)
        assert bench.reset_at is not None
        assert bench.reset_at <= deadline + 2 * W

    with_a_guest(story)


@pytest.mark.parametrize("sticks", [False, True])
def test_a_keeper_that_ends_before_it_began_stops_the_watchdog_only_behind_a_closed_gate(sticks: bool) -> None:
    async def story(bench: Bench) -> None:
        bench.process.kill()
        bench.watchdog.disarm()
        await bench.gate.open()
        bench.gate.sticks = sticks
        keeper = bench.arm()
        await keeper.end()
        await keeper.end()
        assert bench.runs() is sticks
        await bench.clock.sleep(2 * W)
        assert (bench.reset_at is not None) is sticks

    with_a_guest(story)


def test_under_a_higher_epoch_the_gate_opens_only_when_the_host_is_in_its_place() -> None:
    async def story(bench: Bench) -> None:
        bench.lease.enter(1, 2)
        assert bench.keeper is not None
        bench.keeper.look()
        await bench.clock.sleep(0.1)
        assert not bench.runs()
        bench.renew(returning=True)
        await bench.clock.sleep(1)
        assert not bench.runs()
        bench.renew()
        await bench.clock.sleep(0.1)
        assert bench.runs()

    with_a_guest(story)


def test_a_guest_born_behind_a_closed_gate_executes_nothing() -> None:
    async def story(bench: Bench) -> None:
        bench.lease.lapse()
        assert bench.keeper is not None
        bench.keeper.look()
        await bench.clock.sleep(0.1)
        await bench.hypervisor.kill(SERVER)
        with pytest.raises(Exception, match="gate is closed"):
            await bench.hypervisor.start(guest(2))
        assert not bench.runs()

    with_a_guest(story)


@pytest.mark.parametrize(("budget", "strength"), [(11.0, GuardClass.A), (10.9, GuardClass.C)])
def test_a_watchdog_that_is_too_slow_for_the_stop_budget_does_not_count(budget: float, strength: GuardClass) -> None:
    async def story(bench: Bench) -> None:
        assert bench.keeper is not None
        bench.keeper.allowed(GuardTimes(stop_budget=budget, drift=0.01))
        assert bench.keeper.strength is strength

    with_a_guest(story)


@pytest.mark.parametrize(
    ("timeout", "strength", "stops_in"),
    [(5, GuardClass.A, 11.0), (7, GuardClass.B, 15.0), (1, GuardClass.A, 4.25), (7, GuardClass.C, 4.25)],
)
def test_a_guard_says_how_soon_it_stops_all_by_what_makes_its_class(
    timeout: float, strength: GuardClass, stops_in: float
) -> None:
    async def story(bench: Bench) -> None:
        assert bench.keeper is not None
        bench.watchdog.timeout_s, bench.watchdog.strength = timeout, strength
        assert bench.keeper.stops_in == stops_in

    with_a_guest(story)


def test_a_host_is_disarmed_only_when_the_controllers_know() -> None:
    async def story(bench: Bench) -> None:
        bench.process.kill()
        bench.watchdog.disarm()
        bench.hypervisor.freeze()
        disarming = bench.keeper = Disarming(bench.gate, lambda: None)  # type: ignore[assignment]
        process = Process("guard")
        bench.lease.lapse()
        process.spawn(disarming.serve(bench.lease), "disarming")
        bench.renew(guard=GuardClass.A)
        await bench.clock.sleep(5)
        assert not bench.runs()
        bench.renew(guard=disarming.strength)
        await bench.clock.sleep(0.1)
        assert bench.runs()
        await bench.clock.sleep(TTL + 60)
        assert bench.runs(), "it is not armed any more"

    with_a_guest(story)
