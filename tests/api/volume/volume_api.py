"""What the tests of the Block Storage API share: requests of a microversion, and waiting for what goes on behind."""

import asyncio
from typing import Any

import httpx

from tests.api.service_cloud import Api

BASE = "/volume/v3/{demo_project}"


async def ask(api: Api, who: str, request: str, body: Any = None, version: str = "3.0") -> httpx.Response:
    """Send a request, below the project's path, of this microversion."""
    for each in ("demo", who):
        if each not in api.tokens:
            await api.sign_in(each)
    method, _, path = request.partition(" ")
    return await api.ask(who, f"{method} {BASE}{path}", body, {"OpenStack-API-Version": f"volume {version}"})


async def settle(api: Api) -> None:
    """Wait until nothing goes on behind the API."""
    for _ in range(1000):
        running = [task for task in asyncio.all_tasks() if task.get_name().startswith("settle-")]
        if not running:
            return
        await asyncio.wait(running)


async def make(api: Api, who: str = "demo", **given: Any) -> dict[str, Any]:
    """Make a volume and wait until it is as it will stay."""
    answer = await ask(api, who, "POST /volumes", {"volume": {"size": 1, "name": "data", **given}})
    assert answer.status_code == 202, answer.text
    assert answer.json()["volume"]["status"] == "creating"
    await settle(api)
    return await shown(api, answer.json()["volume"]["id"], who)


async def shown(api: Api, volume: str, who: str = "demo", version: str = "3.0") -> dict[str, Any]:
    answer = await ask(api, who, f"GET /volumes/{volume}", version=version)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["volume"]
    return found


async def status(api: Api, volume: str) -> str | None:
    """Return the volume's status; None when it is gone."""
    answer = await ask(api, "demo", f"GET /volumes/{volume}")
    return answer.json()["volume"]["status"] if answer.status_code == 200 else None
