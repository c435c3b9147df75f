"""Controllers are restarted one after the other, and no request fails."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import which

import httpx
import pytest

from .balancing import balanced
from .processes import Balancer, ControllerProcess, controllers, seen, sign_in

pytestmark = pytest.mark.slow

CLIENTS = 4


class Clients:
    """Read and change, each as soon as it was answered; nothing is tried again."""

    def __init__(self, where: Callable[[], str], token: str) -> None:
        self._where = where
        self._headers = {"x-auth-token": token}
        self.answered = 0
        self.failed: list[str] = []

    async def work(self, number: int) -> None:
        async with httpx.AsyncClient(timeout=30.0, headers=self._headers) as client:
            turn = 0
            while True:
                turn += 1
                await self._ask(client, "GET", "/compute/v2.1/servers/detail")
                name = f"key-{number}-{turn}"
                await self._ask(client, "POST", "/compute/v2.1/os-keypairs", {"keypair": {"name": name}})
                await self._ask(client, "DELETE", f"/compute/v2.1/os-keypairs/{name}")

    async def _ask(self, client: httpx.AsyncClient, method: str, path: str, body: object = None) -> None:
        url = self._where()
        try:
            answer = await client.request(method, f"{url}{path}", json=body)
        except httpx.HTTPError as error:
            self.failed.append(f"{method} {url}{path}: {error!r}")
            return
        if answer.status_code >= 400:
            self.failed.append(f"{method} {url}{path}: {answer.status_code} {answer.text}")
        self.answered += 1

    async def more(self, count: int = 20) -> None:
        wanted = self.answered + count
        await seen(lambda: self.answered >= wanted or bool(self.failed), 60, "requests are not answered")


@asynccontextmanager
async def working(where: Callable[[], str], token: str) -> AsyncIterator[Clients]:
    clients = Clients(where, token)
    tasks = [asyncio.create_task(clients.work(number)) for number in range(CLIENTS)]
    try:
        await clients.more()
        yield clients
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        assert task.cancelled(), task.exception()


async def restart(one: ControllerProcess) -> None:
    one.send(signal.SIGTERM)
    assert await one.ended() == 0, one.log[-3000:]
    await one.start()
    await one.until_healthy()


async def test_no_request_fails_while_all_controllers_are_restarted(tmp_path: Path, postgresql_url: str) -> None:
    async with controllers(tmp_path, postgresql_url) as every:
        balancer = Balancer(every)
        watching = asyncio.create_task(balancer.watch())
        try:
            await seen(lambda: all(balancer.healthy.get(one.url) for one in every), 30, "not all are healthy")
            async with working(balancer.next, await sign_in(every[0].url, tmp_path)) as clients:
                for one in every:
                    await restart(one)
                    await clients.more()
        finally:
            watching.cancel()
            await asyncio.wait([watching])
        assert clients.failed == []


@pytest.mark.skipif(which("haproxy") is None, reason="HAProxy is not installed: script/bootstrap --dev installs it")
async def test_no_request_fails_behind_haproxy_either(tmp_path: Path, postgresql_url: str) -> None:
    async with controllers(tmp_path, postgresql_url) as every, balanced(tmp_path, every) as address:
        token = await sign_in(every[0].url, tmp_path)
        async with working(lambda: address, token) as clients:
            for one in every:
                await restart(one)
                await clients.more()
                await asyncio.gather(*(each.until_healthy() for each in every))
        assert clients.failed == []
