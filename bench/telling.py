"""What the engine costs by itself: operations of six steps that do nothing, each step a transaction of its own.

Within this process, on a SQLite file and on a PostgreSQL that is made for it; both write through to the disk.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from bench.figures import Figure
from renova import log as logs
from renova.engine.executor import Executor
from renova.engine.journal import Held
from renova.engine.operation import Failure, Run, Story, end, write
from renova.engine.runner import Runner
from renova.lab.ports import free_ports
from renova.lab.postgresql import PostgreSQL
from renova.main.controller_process import SWITCH_S
from renova.main.garbage import look_seldom
from renova.model.chance import SystemChance
from renova.model.clock import SystemClock
from renova.model.flavor import Flavor
from renova.model.guest import PowerState
from renova.model.ids import ExecutorId, ProjectId, ServerId, UserId
from renova.model.server import Server, VmState
from renova.store import operations, servers
from renova.store.database import Database, Tx
from renova.store.everything import open_database
from renova.store.journal import StoredJournal

AT_ONCE = 128
ROUNDS = 5
LEAST = {"SQLite": (2000, 2000.0), "PostgreSQL": (500, 400.0)}  # operations a round, and how many a second it should be


class Nothing(msgspec.Struct, frozen=True):
    """What is wanted."""


@write()
def pass_by(_context: None, _tx: Tx, number: int) -> int:
    return number


@end()
def arrive(_context: None, _tx: Tx) -> None:
    pass


async def _tell(run: Run, _want: Nothing) -> None:
    for number in range(5):
        await run(pass_by, number)
    await run(arrive)


def _settle(_context: None, _tx: Tx, _want: Nothing, failure: Failure) -> None:
    raise AssertionError(failure.traceback)


STORY = Story("nothing", 1, Nothing, _tell, _settle)


async def telling() -> list[Figure]:
    """Six steps, on both databases."""
    figures = []
    logs.set_up("warning", process="bench")
    sys.setswitchinterval(SWITCH_S)  # as in a controller
    with tempfile.TemporaryDirectory(prefix="renova-bench-") as place:
        figures += await _measure("SQLite", open_database(Path(place) / "renova.db", SystemClock()))
        with _postgresql(Path(place)) as address:
            figures += await _measure("PostgreSQL", open_database(address, SystemClock()))
    return figures


@contextmanager
def _postgresql(place: Path) -> Iterator[str]:
    [port] = free_ports(1)
    server = PostgreSQL(place / "postgresql", port, place / "server.pid", place / "server.log")
    try:
        server.make()
        server.start()
        server.have_database()
        yield server.url()
    finally:
        server.stop()


async def _measure(name: str, database: Database) -> list[Figure]:
    clock = SystemClock()
    journal = StoredJournal(database)
    runner: Runner[Any, Tx] = Runner(
        executor=Executor(ExecutorId("bench")),
        context=lambda _: None,
        journal=journal,
        stories={STORY.name: STORY},
        clock=clock,
        chance=SystemChance(),
    )
    amount, least = LEAST[name]
    rates, costs = [], []
    look_seldom()
    for turn in range(ROUNDS):
        those = [ServerId(f"server-{turn}-{number}") for number in range(amount)]
        for first in range(0, amount, 100):
            await database.transact(partial(_have, those=those[first : first + 100]))
        waiting = iter(those)
        began, spent = time.perf_counter(), time.process_time()
        await asyncio.gather(*(_work(database, runner, waiting) for _ in range(AT_ONCE)))
        rates.append(amount / (time.perf_counter() - began))
        costs.append(1000 * (time.process_time() - spent) / amount)
    await runner.close()
    await asyncio.to_thread(database.close)
    what = f"six steps on {name}, {AT_ONCE} at once"
    return [
        Figure(measure="operations", what=what, unit="/s", samples=tuple(rates), least=least),
        Figure(measure="operations", what=f"{what}: CPU each, without the server's", unit="ms", samples=tuple(costs)),
    ]


async def _work(database: Database, runner: "Runner[Any, Tx]", waiting: Iterator[ServerId]) -> None:
    for server in waiting:
        held = await database.transact(partial(_submit, server=server, runner=runner))
        await runner.finished(held.id)


def _submit(tx: Tx, server: ServerId, runner: "Runner[Any, Tx]") -> Held:
    _, held = operations.submit(
        tx,
        server,
        story=STORY.name,
        version=STORY.version,
        want=msgspec.json.encode(Nothing()),
        action=1,
        executor=ExecutorId("bench"),
    )
    assert held is not None
    tx.then(lambda: runner.start(held))
    return held


def _have(tx: Tx, those: list[ServerId]) -> None:
    for server in those:
        servers.add(
            tx,
            Server(
                id=server,
                serial=0,
                project=ProjectId("bench"),
                user=UserId("bench"),
                name="bench",
                hostname="bench",
                vm_state=VmState.ACTIVE,
                task_state=None,
                power_state=PowerState.RUNNING,
                flavor=Flavor(id="1", name="bench", vcpus=1, memory_mb=512, root_gb=1),
                image=None,
                created_at=tx.now,
                updated_at=tx.now,
            ),
        )
