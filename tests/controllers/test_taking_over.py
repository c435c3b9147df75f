"""What a controller leaves is taken over: within five seconds when it died, at once when it was told to end."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
from sqlalchemy import select

from renova.model.ids import ExecutorId, OperationId, ServerId
from renova.operations.stop import STOP, StopServer
from renova.store import executors, operations, rights
from renova.store.database import Database, Tx
from renova.store.postgresql import open_postgresql
from renova.store.steps import steps
from tests.unit.store.tables import A, add_host, add_server

from .processes import ControllerProcess, controllers, sign_in

pytestmark = pytest.mark.slow

SERVER = ServerId("server")
TAKE_OVER_S = 5.0


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(open_postgresql, url)
    try:
        yield database
    finally:
        await asyncio.to_thread(database.close)


async def executor_of(database: Database, one: ControllerProcess) -> ExecutorId:
    every = await database.read(executors.every)
    return next(each.id for each in every if each.name == one.name)


async def begin_waiting(database: Database, executor: ExecutorId) -> OperationId:
    """Have an operation of the executor that waits for its server's host, which is away."""

    def work(tx: Tx) -> OperationId:
        add_host(tx, A)
        add_server(tx, SERVER, host=A, host_name=f"name-of-{A}")
        rights.grant(tx, SERVER, A)
        want = msgspec.json.encode(StopServer(1.0))
        operation, _ = operations.submit(
            tx, SERVER, story=STOP.name, version=STOP.version, want=want, action=1, executor=executor
        )
        return operation

    return await database.transact(work)


async def standing(database: Database) -> tuple[str, int]:
    """Return whose the only operation is, and under which epoch."""
    column = operations.operations.c
    row = await database.read(lambda tx: tx.execute(select(column.executor, column.epoch)).one())
    return row.executor, row.epoch


async def taken_over(database: Database, by: ExecutorId, limit_s: float) -> float:
    """Wait until the operation is the executor's; return the seconds that it took."""
    began = time.monotonic()
    while (await standing(database))[0] != by:
        assert time.monotonic() - began < limit_s, "nobody has taken it over"
        await asyncio.sleep(0.02)  # a look every so often, until the state is as wanted
    return time.monotonic() - began


async def begun(database: Database) -> None:
    """Wait until the operation has begun: its step that writes is journalled."""
    deadline = time.monotonic() + 30
    while not await database.read(lambda tx: tx.execute(select(steps.c.step)).scalars()):
        assert time.monotonic() < deadline, "it was not begun"
        await asyncio.sleep(0.02)


async def test_what_a_killed_controller_left_is_resumed_within_five_seconds(
    tmp_path: Path, postgresql_url: str, record_property: Callable[[str, object], None]
) -> None:
    async with controllers(tmp_path, postgresql_url) as (one, two), reading(postgresql_url) as database:
        heir = await executor_of(database, two)
        await begin_waiting(database, await executor_of(database, one))
        await begun(database)
        await one.kill()
        took = await taken_over(database, heir, limit_s=30)
        record_property("taken_over_s", round(took, 2))
        assert took <= TAKE_OVER_S
        assert "operation resumed" in two.log
        names = [each.name for each in await database.read(executors.every)]
        assert names == [two.name]


async def test_what_a_controller_gives_away_when_it_ends_is_taken_over_at_once(
    tmp_path: Path, postgresql_url: str
) -> None:
    async with controllers(tmp_path, postgresql_url) as (one, two), reading(postgresql_url) as database:
        heir = await executor_of(database, two)
        await begin_waiting(database, await executor_of(database, one))
        await begun(database)
        one.send(signal.SIGTERM)
        assert await one.ended() == 0
        assert await taken_over(database, heir, limit_s=30) <= 2.0


async def test_a_frozen_controller_goes_on_under_another_name_and_what_it_had_stays_where_it_went(
    tmp_path: Path, postgresql_url: str
) -> None:
    async with controllers(tmp_path, postgresql_url) as (one, two), reading(postgresql_url) as database:
        former, heir = await executor_of(database, one), await executor_of(database, two)
        token = await sign_in(two.url, tmp_path)
        await begin_waiting(database, former)
        await begun(database)
        one.send(signal.SIGSTOP)
        try:
            await taken_over(database, heir, limit_s=30)
            before = await standing(database)
        finally:
            one.send(signal.SIGCONT)
        await one.until_healthy()
        assert one.process is not None
        assert one.process.returncode is None, "it need not end"
        assert await executor_of(database, one) != former
        assert "this controller was taken for dead" in one.log
        assert await standing(database) == before
        async with httpx.AsyncClient(timeout=30.0) as client:
            answer = await client.get(f"{one.url}/compute/v2.1/servers", headers={"x-auth-token": token})
        assert answer.status_code == 200, answer.text
