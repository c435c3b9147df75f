"""Threads that all share may all hang, as with the storage of images: dead hosts are seen to all the same."""

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from renova.engine.executor import Executor
from renova.ha.recovery import Recoverer
from renova.ha.survey import take_picture
from renova.model.ids import ExecutorId, HostId
from renova.model.power import Reading, Said
from renova.power import NoPower
from renova.power.seals import Seals
from renova.power.wired import WiredPower, Wish
from renova.store import hosts
from tests.api.hosts.test_cluster import asked
from tests.api.hosts.test_hosts import HostsApi, api
from tests.api.hosts.test_rehearsals import have_fleet, rehearsal

assert api, "a fixture"

LIMIT_S = 10.0


@asynccontextmanager
async def hanging() -> AsyncIterator[None]:
    """Have all threads that `asyncio.to_thread` takes hang, and whoever waits for them not wait for ever."""
    end, begun = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        end.wait()

    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    held = asyncio.ensure_future(asyncio.to_thread(hang))
    await asyncio.sleep(0)
    assert begun.wait(LIMIT_S)
    try:
        async with asyncio.timeout(LIMIT_S):
            yield
    finally:
        end.set()
        await held


class On:
    """A switch that says that its machine is on."""

    async def check(self) -> None: ...

    async def read(self) -> Said:
        return Said(Reading.ON)

    async def switch_off(self) -> None: ...

    async def switch_on(self) -> None: ...


async def test_the_power_of_a_host_is_read(api: HostsApi, tmp_path: Path) -> None:
    def wired() -> WiredPower:
        return WiredPower(api.cloud.database, Seals(tmp_path / "keys"), {"on": lambda *_: On()}, NoPower())

    await have_fleet(api)
    host = await api.cloud.database.read(lambda tx: hosts.get(tx, HostId("id-0")))
    assert host is not None
    await wired().wire(host, Wish("on", "", "", {}, {"password": "secret"}), "ann", heard=False)
    async with hanging():
        power = await wired().of(host.id, host.name)
        assert power is not None
        assert (await power.read()).reading is Reading.ON


async def test_the_servers_of_dead_hosts_are_planned_for(api: HostsApi) -> None:
    await have_fleet(api, 0, 1)
    recoverer = Recoverer(api.cloud, Executor(ExecutorId("tests")), inline=0)
    died = frozenset({HostId("id-0")})
    fleet = replace(await take_picture(api.cloud, died), dead=died)
    async with hanging():
        made = await recoverer._make(fleet)
    assert {step.server for step in made.steps} == {server.id for server in fleet.servers}


async def test_what_would_be_is_answered(api: HostsApi) -> None:
    await have_fleet(api, 0, 1)
    async with hanging():
        assert (await rehearsal(api, "host=host0"))["summary"]["servers"] == 1
        assert (await asked(api, "GET", "/survival?failures=1"))[0] == 200
