"""An engine over the real journal, and a story about a parcel of which every part can fail, hold and be counted."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog
from sqlalchemy import Column, Integer, MetaData, String, Table, delete, insert, select
from sqlalchemy.schema import CreateTable

from renova.engine.executor import Executor
from renova.engine.journal import Held
from renova.engine.operation import Failure, Run, Story, act, end, write
from renova.engine.runner import Runner
from renova.model.chance import SeededChance
from renova.model.clock import Clock
from renova.model.ids import ExecutorId, OperationId, ServerId
from renova.simulation.loop import VirtualClock, run_virtual
from renova.store import operations
from renova.store.database import Database, Tx
from renova.store.journal import StoredJournal
from tests.databases import open_empty
from tests.unit.store.tables import add_server

PATIENCE = 30.0
marks = Table("marks", MetaData(), Column("id", Integer, primary_key=True), Column("name", String(16)))


@dataclass
class World:
    """What the steps touch beside rows: it remembers what was done, and does as the test says."""

    clock: Clock
    told: list[tuple[float, str]] = field(default_factory=list)
    faults: dict[str, list[Exception]] = field(default_factory=dict)  # raised one after the other
    holds: dict[str, asyncio.Event] = field(default_factory=dict)  # whoever does this next waits for the event
    failure: Failure | None = None
    takes: dict[str, float] = field(default_factory=dict)  # seconds that something takes each time
    unfit: int = 0  # how often nobody is let into it

    def entered(self) -> "World":
        if self.unfit:
            self.unfit -= 1
            raise KeyError("a bug before the first step")
        return self

    @property
    def said(self) -> list[str]:
        return [name for _, name in self.told]

    def times_of(self, name: str) -> list[float]:
        return [time for time, said in self.told if said == name]

    async def does(self, name: str) -> None:
        if (takes := self.takes.get(name)) is not None:
            await self.clock.sleep(takes)
        self._say(name)
        if (hold := self.holds.pop(name, None)) is not None:
            await hold.wait()

    def writes(self, tx: Tx, name: str) -> None:
        self._say(name)
        tx.execute(insert(marks).values(name=name))

    def _say(self, name: str) -> None:
        self.told.append((self.clock.monotonic(), name))
        if self.faults.get(name):
            raise self.faults[name].pop(0)

    def hold(self, name: str) -> asyncio.Event:
        return self.holds.setdefault(name, asyncio.Event())


class Want(msgspec.Struct, frozen=True):
    """What is to be delivered."""

    item: str
    secret: str = ""


class Parcel(msgspec.Struct, frozen=True):
    """What was fetched."""

    item: str
    secret: str


async def deliver(run: Run, want: Want) -> None:
    parcel = await run(fetch, want)
    line = await run(enter, want, parcel)
    receipt = await run(send, want, parcel, line)
    await run(close, want, receipt)


@act(patience=PATIENCE)
async def fetch(world: World, want: Want) -> Parcel:
    await world.does("fetch")
    return Parcel(want.item, want.secret)


@fetch.undo
async def bring_back(world: World, want: Want) -> None:
    await world.does("bring back")


@write(patience=PATIENCE)
def enter(world: World, tx: Tx, want: Want, parcel: Parcel) -> int:
    world.writes(tx, "enter")
    return 7


@enter.undo_write
def strike_out(world: World, tx: Tx, want: Want, parcel: Parcel) -> None:
    world.writes(tx, "strike out")


@act(patience=PATIENCE)
async def send(world: World, want: Want, parcel: Parcel, line: int) -> str:
    await world.does("send")
    return f"{parcel.item} in line {line}"


@send.undo
async def recall(world: World, want: Want, parcel: Parcel, line: int) -> None:
    await world.does("recall")


@end(patience=PATIENCE)
def close(world: World, tx: Tx, want: Want, receipt: str) -> None:
    world.writes(tx, f"close: {receipt}" if receipt != "parcel in line 7" else "close")


def settle(world: World, tx: Tx, want: Want, failure: Failure) -> None:
    world.writes(tx, "settle")
    world.failure = failure


DELIVERY = Story("delivery", 1, Want, deliver, settle)
DONE = ["fetch", "enter", "send", "close"]
TAKEN_BACK = ["fetch", "enter", "send", "recall", "strike out", "bring back", "settle"]


@dataclass
class Office:
    """A database, its journal, the world, and as many executors as a test wants."""

    database: Database
    clock: Clock
    world: World
    events: Sequence[MutableMapping[str, Any]] = ()  # the log
    last_number: int = 0

    @classmethod
    async def opened(cls, database: Database, clock: Clock) -> "Office":
        await database.transact(lambda tx: tx.execute(CreateTable(marks, if_not_exists=True)))
        await database.transact(lambda tx: tx.execute(delete(marks)))
        return cls(database, clock, World(clock))

    def logged(self, event: str) -> list[MutableMapping[str, Any]]:
        return [each for each in self.events if each["event"] == event]

    async def executor(self, name: str, *stories: Story[Any], alone: bool = True) -> Runner[World, Tx]:
        """Enlist another executor; `alone` takes all others for dead."""
        journal = StoredJournal(self.database)
        runner = Runner(
            executor=Executor(ExecutorId(name)),
            context=lambda _held: self.world.entered(),
            journal=journal,
            stories={story.name: story for story in stories or (DELIVERY,)},
            clock=self.clock,
            chance=SeededChance(1),
        )
        await runner.enlist(alone=alone)
        return runner

    async def submit(
        self, runner: Runner[World, Tx], want: Want | None = None, story: Story[Any] = DELIVERY, *, start: bool = True
    ) -> Held:
        """Write an operation down and start it."""
        self.last_number += 1

        def work(tx: Tx) -> Held:
            server = ServerId(f"server-{self.last_number}")
            add_server(tx, server)
            _, held = operations.submit(
                tx,
                server,
                story=story.name,
                version=story.version,
                want=msgspec.json.encode(want or Want("parcel")),
                action=1,
                executor=runner.executor,
            )
            assert held, "the server is new, so nothing is before it"
            if start:
                tx.then(lambda: runner.start(held))
            return held

        return await self.database.transact(work)

    async def tell(self, story: Story[Any] = DELIVERY, want: Want | None = None) -> str:
        """Tell one story with one executor; return how the operation ended."""
        runner = await self.executor("executor", story)
        held = await self.submit(runner, want, story)
        await runner.finished(held.id)
        return await self.state(held.id)

    async def state(self, operation: OperationId) -> str:
        column = operations.operations.c
        row = await self.database.read(lambda tx: tx.execute(select(column.state).where(column.id == operation)).one())
        return str(row[0])

    async def ended(self, operation: OperationId) -> str:
        """Wait until the operation is over, whoever runs it."""
        while (state := await self.state(operation)) in ("queued", "active"):
            await self.clock.sleep(0.05)
        return state

    async def marked(self) -> list[str]:
        """List what was committed."""
        query = select(marks.c.name).order_by(marks.c.id)
        return await self.database.read(lambda tx: list(tx.execute(query).scalars()))

    async def seen(self, true: Callable[[], bool]) -> None:
        """Wait until it is true."""
        while not true():
            await self.clock.sleep(0.01)


def in_office(story: Callable[[Office], Awaitable[None]]) -> None:
    """Run the story in virtual time, over a database in memory."""

    async def main() -> None:
        clock = VirtualClock()
        office = await Office.opened(open_empty(clock), clock)
        with structlog.testing.capture_logs() as office.events:
            await story(office)

    run_virtual(main(), limit_s=10_000)
