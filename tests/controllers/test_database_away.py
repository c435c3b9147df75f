"""The database goes away under two controllers and comes back: they refuse for now, and go on by themselves."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from renova.lab.ports import free_ports
from renova.lab.postgresql import CARELESS, PostgreSQL, installed
from renova.store import executors
from renova.store.database import Database

from .processes import ControllerProcess, controllers, sign_in
from .test_taking_over import reading

pytestmark = pytest.mark.slow

ANSWER_S = 20.0  # of one refusal, on a machine that has other things to do
LIMIT_S = 60.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PostgreSQL]:
    """A PostgreSQL of the test's own: it is hurt."""
    if not installed():
        pytest.skip("PostgreSQL is not installed: script/bootstrap --dev, as root, installs it")
    place = tmp_path / "postgresql"
    [port] = free_ports(1)
    found = PostgreSQL(place / "server", port, place / "server.pid", place / "server.log", CARELESS)
    try:
        found.make()
        found.start()
        found.have_database()
        yield found
    finally:
        found.kill()


async def answer(one: ControllerProcess, token: str | None, path: str = "/compute/v2.1/flavors") -> httpx.Response:
    async with httpx.AsyncClient(timeout=ANSWER_S) as client:
        return await client.get(f"{one.url}{path}", headers={} if token is None else {"x-auth-token": token})


async def until_status(one: ControllerProcess, token: str | None, path: str, status: int) -> httpx.Response:
    deadline = time.monotonic() + LIMIT_S
    while (found := await answer(one, token, path)).status_code != status:
        assert time.monotonic() < deadline, found.text
        await asyncio.sleep(0.1)
    return found


async def names(database: Database) -> dict[str, str]:
    return {each.name: each.id for each in await database.read(executors.every)}


async def test_controllers_refuse_for_now_while_the_database_is_away_and_go_on_under_their_names(
    tmp_path: Path, server: PostgreSQL
) -> None:
    async with controllers(tmp_path, server.url()) as every:
        token = await sign_in(every[0].url, tmp_path)
        async with reading(server.url()) as database:
            before = await names(database)
        await asyncio.to_thread(server.kill)
        for one in every:
            refused = await until_status(one, token, "/compute/v2.1/flavors", 503)
            assert int(refused.headers["retry-after"]) >= 1
            message = refused.json()["serviceUnavailable"]["message"]
            assert "database" in message
            assert "127.0.0.1" not in message, "where the database is, is for the log"
            unwell = await until_status(one, None, "/healthcheck", 503)
            assert "the database has not confirmed this controller" in unwell.text
        api_port, agents_port = free_ports(2)
        late = ControllerProcess("late", tmp_path, server.url(), api_port, agents_port)
        await late.start()
        try:
            deadline = time.monotonic() + LIMIT_S
            while "controller waits for the database" not in late.log:
                assert time.monotonic() < deadline, late.log
                await asyncio.sleep(0.1)
            await asyncio.to_thread(server.start)
            for one in (*every, late):
                await one.until_healthy()
                assert (await answer(one, token)).status_code == 200
            async with reading(server.url()) as database:
                after = await names(database)
        finally:
            await late.kill()
        assert {name: after[name] for name in before} == before, "an outage is nobody's death"
        for one in every:
            assert one.process is not None
            assert one.process.returncode is None
