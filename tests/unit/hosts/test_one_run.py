"""Whatever is granted, lost, proven and cleaned up in whatever order: a server runs on one host at most.

The rows are the real ones; the hosts are told by hand, each as simple as what the agent promises: it obeys an order
only under the lease it was given for and never below an incarnation it has seen, and stops what it says it stopped.
"""

from dataclasses import dataclass, field
from functools import partial

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from renova.hosts.registration import cleaned, enrol, welcome
from renova.model.errors import Conflict
from renova.model.host import HostState, Lease
from renova.model.ids import HostId, ServerId
from renova.store import hosts, rights
from renova.wire.duties import Duty
from tests.unit.store.tables import ONE, A, B, Tables, add_server, lease

from .hellos import TIMES, a_hello, found

tables = Tables()
HOSTS = st.sampled_from([A, B])
SERVERS = st.just(ONE)


@dataclass
class Machine:
    """A host as it really is."""

    powered: bool = True
    boots: int = 1
    journals: int = 1
    epoch: int = 0  # of the last welcome; the journal keeps it
    welcomed: bool = False  # since it booted, and with the journal it has; before, an agent obeys nobody
    runs: dict[ServerId, int] = field(default_factory=dict)
    highest: dict[ServerId, int] = field(default_factory=dict)  # incarnations seen; the journal keeps them
    duties: list[Duty] = field(default_factory=list)


@dataclass(frozen=True)
class Start:
    """An order to start a guest, on its way for as long as it likes."""

    host: HostId
    host_epoch: int
    server: ServerId
    incarnation: int


class OneRun(RuleBasedStateMachine):
    """Hosts come, go and are believed dead; servers are given to them and taken back."""

    @initialize()
    def begin(self) -> None:
        tables.forget()
        self.machines = {host: Machine() for host in (A, B)}
        self.orders: list[Start] = []
        self.evidence: dict[HostId, Lease] = {}
        self.granted = dict.fromkeys((ONE,), 0)
        for server in (ONE,):
            tables.do(partial(add_server, server=server))
        for host in self.machines:
            tables.do(partial(enrol, host=host, name=f"name-of-{host}", certificate="certificate"))
            self.say_hello(host)

    @rule(host=HOSTS)
    def say_hello(self, host: HostId) -> None:
        machine = self.machines[host]
        if not machine.powered:
            return
        hello = a_hello(
            host,
            boot=f"boot-{machine.boots}",
            journal=f"journal-{machine.journals}",
            epoch=machine.epoch,
            guests=tuple(found(server, incarnation) for server, incarnation in machine.runs.items()),
        )
        place = tables.do(lambda tx: welcome(tx, host, hello, TIMES))
        assert place.lease.epoch >= machine.epoch
        machine.epoch, machine.duties, machine.welcomed = place.lease.epoch, list(place.duties), True

    @rule(host=HOSTS)
    def switch(self, host: HostId) -> None:
        """Cut the host's power, or give it back."""
        machine = self.machines[host]
        machine.powered = not machine.powered
        if machine.powered:
            machine.boots += 1
        machine.runs, machine.duties, machine.welcomed = {}, [], False

    @rule(host=HOSTS)
    def come_back(self, host: HostId) -> None:
        """As a rule, all goes well: it cleans up, and what is its own is started."""
        if not self.machines[host].powered:
            self.switch(host)
        self.say_hello(host)
        while self.machines[host].duties:
            self.do_a_duty(host)
        self.order(ONE)
        self.deliver_all()

    @rule(host=HOSTS)
    def lose_the_journal(self, host: HostId) -> None:
        machine = self.machines[host]
        machine.journals += 1
        machine.epoch, machine.highest, machine.welcomed = 0, {}, False

    @rule(host=HOSTS)
    def read_lease_and_power(self, host: HostId) -> None:
        row = tables.do(lambda tx: hosts.get(tx, host))
        assert row is not None
        if not self.machines[host].powered and row.state in (HostState.UP, HostState.RETURNING):
            self.evidence[host] = tables.do(lambda tx: lease(tx, host))

    @precondition(lambda self: self.evidence)
    @rule(data=st.data())
    def prove_dead(self, data: st.DataObject) -> None:
        """By what was read a while ago: the host may have come back since."""
        host = data.draw(st.sampled_from(sorted(self.evidence)))
        tables.do(lambda tx: hosts.prove_dead(tx, self.evidence[host], "power_off", {}, "x"))

    @rule(host=HOSTS)
    def find_dead(self, host: HostId) -> None:
        self.read_lease_and_power(host)
        if host in self.evidence:
            tables.do(lambda tx: hosts.prove_dead(tx, self.evidence[host], "power_off", {}, "x"))

    @rule(host=HOSTS)
    def find_dead_too_late(self, host: HostId) -> None:
        """It comes back between the readings and the proof."""
        if self.machines[host].powered:
            self.switch(host)
        self.read_lease_and_power(host)
        self.come_back(host)
        if host in self.evidence:
            tables.do(lambda tx: hosts.prove_dead(tx, self.evidence[host], "power_off", {}, "x"))

    @rule(server=SERVERS, host=HOSTS, at_once=st.booleans())
    def grant(self, server: ServerId, host: HostId, at_once: bool) -> None:
        try:
            right = tables.do(lambda tx: rights.grant(tx, server, host))
        except Conflict:
            return
        assert right.incarnation > self.granted[server], "a number was used twice"
        self.granted[server] = right.incarnation
        self.order(server)
        if at_once:
            self.deliver_all()

    @rule(server=SERVERS)
    def order(self, server: ServerId) -> None:
        """Order the server's start once more, as a reboot does."""
        right = tables.do(lambda tx: rights.right(tx, server))
        if right is not None and (machine := self.machines[right.host]).welcomed:
            self.orders.append(Start(right.host, machine.epoch, server, right.incarnation))

    @rule()
    def deliver_all(self) -> None:
        for order in self.orders:
            self.obey(order)

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """Late, twice, out of turn: whatever is on its way."""
        self.obey(data.draw(st.sampled_from(self.orders)))

    def obey(self, order: Start) -> None:
        machine = self.machines[order.host]
        if not machine.welcomed or order.host_epoch != machine.epoch:
            return
        if order.incarnation >= machine.highest.get(order.server, 0):
            machine.highest[order.server] = order.incarnation
            machine.runs[order.server] = order.incarnation

    @rule(server=SERVERS)
    def release(self, server: ServerId) -> None:
        """Have its host stop it for good."""
        right = tables.do(lambda tx: rights.right(tx, server))
        if right is None or not (machine := self.machines[right.host]).welcomed:
            return
        machine.runs.pop(server, None)
        machine.highest[server] = right.incarnation + 1
        tables.do(lambda tx: rights.release(tx, server))

    @rule(host=HOSTS)
    def do_a_duty(self, host: HostId) -> None:
        machine = self.machines[host]
        if not machine.duties:
            return
        duty = machine.duties.pop()
        if machine.runs.get(duty.server, duty.below) < duty.below:
            del machine.runs[duty.server]
        machine.highest[duty.server] = max(duty.below, machine.highest.get(duty.server, 0))
        tables.do(lambda tx: cleaned(tx, host, duty))

    @invariant()
    def a_server_runs_on_one_host(self) -> None:
        for server in (ONE,):
            running = [host for host, machine in self.machines.items() if server in machine.runs]
            assert len(running) <= 1, f"{server} runs on {running}"

    @invariant()
    def nobody_runs_more_than_was_granted(self) -> None:
        for machine in self.machines.values():
            assert all(incarnation <= self.granted[server] for server, incarnation in machine.runs.items())


TestOneRun = OneRun.TestCase
TestOneRun.settings = settings(max_examples=settings().max_examples // 2, stateful_step_count=50)
