"""Controllers are restarted one after the other, and no request fails."""

import asyncio
import signal
from pathlib import Path

import httpx
import pytest

from .processes import Balancer, ControllerProcess, controllers, seen, sign_in

pytestmark = pytest.mark.slow

CLIENTS = 4


class Clients:
    """Read and change, each as soon as it was answered; nothing is tried again."""

    def __init__(self, balancer: Balancer, token: str) -> None:
        self._balancer = balancer
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
        url = self._balancer.next()
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


async def restart(one: ControllerProcess) -> None:
    one.send(signal.SIGTERM)
    assert await one.ended() == 0, one.log[-3000:]
    await one.start()
    await one.until_healthy()


async def test_no_request_fails_while_all_controllers_are_restarted(tmp_path: Path, postgresql_url: str) -> None:
    async with controllers(tmp_path, postgresql_url) as every:
        balancer = Balancer(every)
        clients = Clients(balancer, await sign_in(every[0].url, tmp_path))
        watching = asyncio.create_task(balancer.watch())
        await seen(lambda: all(balancer.healthy.get(one.url) for one in every), 30, "not all are healthy")
        working = [asyncio.create_task(clients.work(number)) for number in range(CLIENTS)]
        try:
            await clients.more()
            for one in every:
                await restart(one)
                await clients.more()
        finally:
            for task in (watching, *working):
                task.cancel()
            await asyncio.wait([watching, *working])
        assert clients.failed == []
        for task in working:
            assert task.cancelled()
