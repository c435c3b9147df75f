"""As much of a cloud as a request needs: rows, hosts that are heard as told, and operations that nothing runs."""

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from renova.engine.journal import Held
from renova.hosts.registration import welcome
from renova.model.chance import SeededChance
from renova.model.ids import ExecutorId, HostId, OperationId, ServerId
from renova.operations.cloud import Cloud
from renova.operations.parts.fleet import Fleet
from renova.operations.work import Work
from renova.settings import ControllerSettings
from renova.store import hosts
from tests.unit.hosts.hellos import FACTS, TIMES, a_hello
from tests.unit.store.tables import BEGINNING, Tables


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
class Registry:
    """Which hosts are heard, and whether this controller has listened long enough to know who is silent."""

    heard: set[HostId] = field(default_factory=set)
    settled: bool = True

    def up(self, host: HostId) -> bool:
        return host in self.heard


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
    """A cloud over these tables."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.clock = HandClock()
        self.registry = Registry()
        self.runs = Runs(ExecutorId("executor"))
        self.fleet = Fleet(self.clock, self.registry.up)
        parts: dict[str, Any] = dict.fromkeys(each.name for each in fields(Cloud))
        parts |= {
            "settings": ControllerSettings(),
            "clock": self.clock,
            "chance": SeededChance(1),
            "hosts": self.registry,
            "operations": self.runs,
            "fleet": self.fleet,
        }
        self.cloud = Cloud(**parts)

    def have_host(self, host: HostId, **facts: Any) -> None:
        """Have a host that is up and heard."""

        def work(tx: Any) -> None:
            hosts.add(tx, host, f"name-of-{host}", "", "certificate")
            welcome(tx, host, a_hello(host, facts=replace(FACTS, **facts)), TIMES)

        self.tables.do(work)
        self.registry.heard.add(host)

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
            executor=self.runs.executor,
            epoch=1,
            undoing=False,
            failure=None,
        )
        return Work(self.cloud, held)
