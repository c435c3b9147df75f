"""As much of a cloud as a request needs: rows, hosts that are heard as told, and operations that nothing runs."""

import math
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from msgspec.structs import replace

from renova.engine.executor import Executor
from renova.engine.journal import Held
from renova.hosts.agents import Agents
from renova.hosts.registration import welcome
from renova.hosts.registry import Hosts
from renova.model.chance import SeededChance
from renova.model.ids import ExecutorId, HostId, OperationId, ServerId
from renova.operations.cloud import Cloud
from renova.operations.parts.fleet import Fleet
from renova.operations.work import Work
from renova.settings import ControllerSettings
from renova.store import hosts
from renova.store.database import Tx
from tests.databases import open_empty
from tests.unit.hosts.hellos import FACTS, TIMES, a_hello
from tests.unit.store.tables import BEGINNING, Tables, lease


class HandClock:
    """A clock that tests turn by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def wall(self) -> datetime:
        return BEGINNING

    def monotonic(self) -> float:
        return self.now

    def boottime(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps in a transaction")


@dataclass
class Runs:
    """What was to be started and stopped."""

    executor: ExecutorId
    started: list[Held] = field(default_factory=list)
    stopped: list[OperationId] = field(default_factory=list)

    def start(self, held: Held) -> None:
        self.started.append(held)

    def stop(self, operation: OperationId) -> None:
        self.stopped.append(operation)

    async def finished(self, operation: OperationId) -> None: ...


class SmallCloud:
    """A cloud over these tables, whose controller has listened long enough to know who is silent."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.clock = HandClock()
        self.executor = Executor(ExecutorId("executor"))
        self.executor.leased_until, self.executor.steady_since = math.inf, -math.inf
        chance = SeededChance(1)
        nothing = open_empty(self.clock)  # its transactions are awaited; those of requests are the tables'
        self.hosts = Hosts(database=nothing, clock=self.clock, times=TIMES, me=self.executor)
        self.runs = Runs(self.executor.id)
        self.fleet = Fleet(self.clock, self.hosts.up)
        untouched: Any = None  # by a transaction
        self.cloud = Cloud(
            settings=ControllerSettings(),
            clock=self.clock,
            chance=chance,
            database=nothing,
            hosts=self.hosts,
            agents=Agents(self.hosts, nothing, self.clock, self.executor),
            identity=untouched,
            images=untouched,
            networks=untouched,
            volumes=untouched,
            operations=self.runs,
            fleet=self.fleet,
        )
        self.clock.now += TIMES.suspect_after

    def have_host(self, host: HostId, **facts: Any) -> None:
        """Have a host that is up and heard."""

        def work(tx: Tx) -> None:
            hosts.add(tx, host, f"name-of-{host}", "", "certificate")
            welcome(tx, host, a_hello(host, facts=replace(FACTS, **facts)), TIMES)

        self.tables.do(work)
        self.hear(host)

    def hear(self, *those: HostId) -> None:
        """Hear the hosts now."""
        for host in those:
            self.hosts.leases.begin(self.tables.do(partial(lease, host=host)))

    def wait(self, seconds: float = TIMES.suspect_after) -> None:
        """Let time pass in which no host is heard; usually so much that all are silent."""
        self.clock.now += seconds

    def work(self, server: ServerId) -> Work:
        """Return the context of some operation of the server."""
        held = Held(
            id=OperationId(1),
            created_at="",
            server=server,
            number=1,
            story="s",
            version=1,
            want=b"",
            action=1,
            executor=self.executor.id,
            epoch=1,
            undoing=False,
            failure=None,
        )
        return Work(self.cloud, held, 1)
