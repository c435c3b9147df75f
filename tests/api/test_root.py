"""What a client reads before it has a token."""

from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from renova.api import root
from renova.api.app import build
from renova.api.dispatch import Dispatcher
from renova.api.policy import Policy
from renova.engine.executor import Executor
from renova.model.ids import ExecutorId
from renova.operations.health import Health
from tests.api.service_cloud import running


@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        ("/", 200, '"http://cloud.example/image"'),
        ("/identity", 300, '"http://cloud.example/identity/v3/"'),
        ("/identity/v3", 200, '"http://cloud.example/identity/v3/"'),
        ("/identity/v3/", 200, '"id":"v3.14"'),
        ("/image", 300, '"http://cloud.example/image/v2/"'),
        ("/image/versions", 200, '"id":"v2.9","status":"CURRENT"'),
        ("/network", 200, '"http://cloud.example/network/v2.0/"'),
        ("/placement", 200, '"min_version":"1.0"'),
    ],
)
async def test_versions_are_told_without_a_token(tmp_path: Path, path: str, status: int, expected: str) -> None:
    async with running(tmp_path) as api:
        answer = await api.ask(None, f"GET {path}")
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
        assert expected in answer.text


async def test_the_rest_needs_a_token(tmp_path: Path) -> None:
    async with running(tmp_path) as api:
        for path in ("/else", "/image/v2/images", "/network/v2.0/networks", "/placement/resource_providers"):
            answer = await api.ask(None, f"GET {path}")
            assert answer.status_code == 401
            assert "Keystone" in answer.headers["www-authenticate"]


async def test_the_health_check_says_why_no_request_should_come(tmp_path: Path) -> None:
    async with running(tmp_path) as api:
        me = Executor(ExecutorId("me"))
        health = Health(api.clock, me)
        app = build([root.service(api.cloud)], Dispatcher(replace(api.cloud, health=health), Policy({})))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloud.example") as client:

            async def check(path: str = "/healthcheck") -> tuple[int, str]:
                answer = await client.get(path)
                return answer.status_code, answer.text

            assert await check() == (503, "this controller is not among the controllers of its cloud yet")
            me.leased_until = api.clock.monotonic() + 5
            assert await check() == (200, "OK")
            assert (await client.head("/healthcheck")).status_code == 200
            await api.clock.sleep(12)
            assert await check() == (503, "the database has not confirmed this controller in time, for 7 s now")
            assert (await check("/healthcheck?drain=404"))[0] == 404, "who waits for the database must not be cut off"
            me.leased_until = api.clock.monotonic() + 5
            health.ending = True
            assert await check() == (503, "this controller is ending")
            assert await check("/healthcheck?drain=404") == (404, "this controller is ending")
            assert (await client.get("/")).headers["connection"] == "close"
