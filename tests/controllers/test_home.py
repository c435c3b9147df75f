"""A real agent, connected to two real controllers: its lease goes on over the other one within two seconds."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from renova.agent.enrolment import enrolled
from renova.agent.journal import MemoryJournal
from renova.agent.service import Agent
from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.drivers.hypervisor.simulated.storage import SimulatedStorage
from renova.drivers.network.simulated import SimulatedNetwork
from renova.model.chance import SystemChance
from renova.model.clock import SystemClock
from renova.model.ids import HostId
from renova.settings import AgentSettings
from renova.store import executors, hosts
from renova.store.database import Database
from renova.uplink.connection import TlsDialer
from tests.guarded import guard_beside, run_host

from .processes import ControllerProcess, controllers, sign_in
from .test_taking_over import reading

pytestmark = pytest.mark.slow

FAILS_OVER_S = 2.0
NAME = "host1"


@asynccontextmanager
async def an_agent(place: Path, to: Sequence[ControllerProcess], token: str) -> AsyncIterator[HostId]:
    """Enrol a host and run its agent, connected to these controllers."""
    async with httpx.AsyncClient(headers={"x-auth-token": token}, timeout=30.0) as client:
        answer = await client.post(f"{to[0].url}/renova/v1/join-tokens", json={})
        assert answer.status_code == 201, answer.text
    join_token = place / "join-token"
    join_token.write_text(answer.json()["join_tokens"][0])
    settings = AgentSettings(name=NAME, state_dir=str(place / "agent"), join_token_file=str(join_token))
    identity = await enrolled(settings)
    clock, chance = SystemClock(), SystemChance()
    dialers = [TlsDialer(f"127.0.0.1:{one.agents_port}", place / "agent") for one in to]
    guard, line = guard_beside(NAME, clock, chance, dialers, boot="boot")
    agent = Agent(
        settings,
        SimulatedHypervisor(clock, SimulatedStorage("storage")),
        SimulatedNetwork(),
        MemoryJournal(chance),
        clock,
        chance,
        dialers,
        line,
        boot="boot",
        address="192.0.2.1",
    )
    running = asyncio.get_running_loop().create_task(run_host(agent, guard))
    try:
        yield identity.host
    finally:
        running.cancel()
        await asyncio.wait([running])


async def connected(to: Sequence[ControllerProcess], token: str) -> None:
    """Wait until the host is connected to each of these controllers."""
    async with httpx.AsyncClient(headers={"x-auth-token": token}, timeout=30.0) as client:
        deadline = time.monotonic() + 30
        for one in to:
            while True:
                answer = await client.get(f"{one.url}/renova/v1/hosts/{NAME}")
                if answer.status_code == 200 and answer.json()["host"]["connected"]:
                    break
                assert time.monotonic() < deadline, answer.text
                await asyncio.sleep(0.05)


async def home_of(database: Database, host: HostId) -> str:
    lease = await database.read(lambda tx: hosts.lease(tx, host))
    assert lease is not None
    return lease.home


async def settled_home(
    database: Database, host: HostId, every: Sequence[ControllerProcess]
) -> tuple[ControllerProcess, str]:
    """Return the controller over whose connection the host renewed its lease last, and the name of its present run."""
    deadline = time.monotonic() + 30
    while True:
        home = await home_of(database, host)
        names = [each.name for each in await database.read(executors.every) if each.id == home]
        for one in every:
            if one.name in names:
                return one, home
        assert time.monotonic() < deadline, "nobody is home"
        await asyncio.sleep(0.05)


async def moved(database: Database, host: HostId, former: str) -> float:
    """Wait until the host renews its lease over another connection; return the seconds that it took."""
    began = time.monotonic()
    while await home_of(database, host) == former:
        assert time.monotonic() - began < 30, "its home has not moved"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def test_the_home_of_an_agent_fails_over_within_two_seconds(
    tmp_path: Path, postgresql_url: str, record_property: Callable[[str, object], None]
) -> None:
    """When its controller is frozen, at several moments between renewals, and when it is killed."""
    async with controllers(tmp_path, postgresql_url) as every, reading(postgresql_url) as database:
        token = await sign_in(every[0].url, tmp_path)
        async with an_agent(tmp_path, every, token) as host:
            took = []
            for moment in (0.1, 0.8, 1.5):
                await connected(every, token)
                struck, former = await settled_home(database, host, every)
                await asyncio.sleep(moment)
                struck.send(signal.SIGSTOP)
                try:
                    took.append(await moved(database, host, former))
                finally:
                    struck.send(signal.SIGCONT)
                await struck.until_healthy()
            struck, former = await settled_home(database, host, every)
            struck.send(signal.SIGKILL)
            took.append(await moved(database, host, former))
            record_property("home_moved_s", [round(seconds, 2) for seconds in took])
            assert max(took) <= FAILS_OVER_S, took
