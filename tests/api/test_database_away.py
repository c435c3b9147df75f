"""While the database is away every request is refused with the time to wait, in its service's own words."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from renova.api.compute import service as compute
from renova.api.dispatch import Service
from renova.api.everything import OF_ONE_VERSION, whole_api
from renova.api.http import Route
from renova.api.volume import service as volume
from renova.engine.executor import Executor
from renova.hosts.agents import Agents
from renova.hosts.registry import Hosts
from renova.model.ids import ExecutorId
from renova.operations.cloud import Cloud
from renova.operations.parts.fleet import Fleet
from renova.operations.rounds import Rounds
from renova.partners.identity.builtin import FRESH, BuiltinIdentity
from renova.settings import LeaseTimes
from renova.store.database import Database
from tests.api.compute.compute_cloud import WrittenDown
from tests.api.service_cloud import PASSWORDS, HandClock, make_cloud, storage_of
from tests.database_away import Away
from tests.databases import open_empty

NAMED = "11111111-1111-4111-8111-111111111111"


def image_page(answer: httpx.Response) -> tuple[int, str]:
    found = re.search(r"<h1>(\d+) Service Unavailable</h1>\s+(.*?)<br />", answer.text)
    assert found, answer.text
    return int(found[1]), found[2]


def fault(*path: str | int) -> Callable[[httpx.Response], tuple[int, str]]:
    def read(answer: httpx.Response) -> tuple[int, str]:
        assert answer.headers["content-type"].startswith("application/json"), answer.text
        body: Any = answer.json()
        for step in path:
            body = body[step]
        return body.get("status") or body.get("code") or 503, body.get("message") or body["detail"]

    return read


SHAPES = {
    "identity": fault("error"),
    "image": image_page,
    "network": fault("NeutronError"),
    "volume": fault("serviceUnavailable"),
    "compute": fault("serviceUnavailable"),
    "placement": fault("errors", 0),
    "renova": fault("error"),
    "root": fault("error"),
}


@dataclass
class Outage:
    """A controller whose database goes away when the test says so, and a client with a token that it knows."""

    client: httpx.AsyncClient
    clock: HandClock
    away: Away
    token: str
    cloud: Cloud

    async def ask(self, method: str, path: str, **headers: str) -> httpx.Response:
        content = b"{}" if method in ("POST", "PUT", "PATCH") else None
        sent = {"x-auth-token": self.token, "content-type": "application/json", **headers}
        return await self.client.request(method, path, content=content, headers=sent)


@asynccontextmanager
async def outage(state: Path, user: str = "admin") -> AsyncIterator[Outage]:
    clock = HandClock()
    database = open_empty(clock)
    away = Away(database._executor)
    cloud = make_cloud(state, Database(away), clock)
    me = Executor(ExecutorId("tests"))
    hosts = Hosts(database=cloud.database, clock=clock, times=LeaseTimes(), me=me)
    agents = Agents(hosts, cloud.database, clock, me)
    agents.join_token = lambda secret: f"token of {len(secret)} characters"
    written = WrittenDown(me.id)
    rounds = Rounds(clock, {}, cloud.database, me)
    cloud = replace(cloud, hosts=hosts, agents=agents, operations=written, fleet=Fleet(clock, hosts.up), rounds=rounds)
    assert isinstance(cloud.identity, BuiltinIdentity)
    await cloud.identity.bootstrap(PASSWORDS)
    await storage_of(cloud).enrol()
    transport = httpx.ASGITransport(whole_api(cloud))
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud.example") as client:
        who = {"user": {"name": user, "domain": {"id": "default"}, "password": PASSWORDS[user]}}
        auth = {"identity": {"methods": ["password"], "password": who}}
        answer = await client.post("/identity/v3/auth/tokens", json={"auth": auth})
        token = answer.headers["x-subject-token"]
        yield Outage(client, clock, away, token, cloud)
    database.close()


def services(cloud: Cloud) -> list[Service]:
    return [
        *compute.services(cloud),
        *volume.services_of(cloud),
        *(module.service(cloud) for module in OF_ONE_VERSION),
    ]


def path_of(service: Service, route: Route) -> str:
    return service.mounts[0] + re.sub(r"\{\w+\}", NAMED, route.path)


def shape_of(service: Service) -> Any:
    return next(shape for name, shape in SHAPES.items() if service.name.startswith(name))


async def test_every_route_that_needs_the_database_says_when_to_come_again(tmp_path: Path) -> None:
    async with outage(tmp_path) as cloud:
        assert (await cloud.ask("GET", "/compute/v2.1/flavors")).status_code == 200
        cloud.away.go()
        refused: dict[str, int] = {}
        for service in services(cloud.cloud):
            for route in service.routes:
                answer = await cloud.ask(route.method, path_of(service, route))
                where = f"{route.method} {path_of(service, route)}: {answer.status_code} {answer.text}"
                assert answer.status_code not in (500, 502, 504), where
                if answer.status_code != 503:
                    continue
                refused[service.name] = refused.get(service.name, 0) + 1
                assert answer.headers["retry-after"] == "2", where
                if route.method == "HEAD":
                    continue
                code, message = shape_of(service)(answer)
                assert code == 503, where
                assert "database" in message, where
        assert {name for name in SHAPES if not any(service.startswith(name) for service in refused)} == set()
        assert sum(refused.values()) > 150, refused


@pytest.mark.parametrize(("user", "told"), [("admin", True), ("demo", False)])
async def test_where_the_database_is_only_operators_are_told(tmp_path: Path, user: str, told: bool) -> None:
    async with outage(tmp_path, user) as cloud:
        assert (await cloud.ask("GET", "/compute/v2.1/flavors")).status_code == 200
        cloud.away.go()
        answer = await cloud.ask("GET", "/compute/v2.1/flavors")
        assert answer.status_code == 503
        assert ("db.example" in answer.text) is told


@pytest.mark.parametrize(
    ("path", "asked", "expected"),
    [
        (
            "/compute/v2.1/flavors",
            {"openstack-api-version": "compute 2.79"},
            {"openstack-api-version": "compute 2.79", "x-openstack-nova-api-version": "2.79"},
        ),
        ("/volume/v3/volumes", {"openstack-api-version": "volume 3.50"}, {"openstack-api-version": "volume 3.50"}),
        (
            "/placement/resource_providers",
            {"openstack-api-version": "placement 1.30"},
            {"openstack-api-version": "placement 1.30"},
        ),
    ],
)
async def test_the_version_that_was_asked_for_is_said_all_the_same(
    tmp_path: Path, path: str, asked: dict[str, str], expected: dict[str, str]
) -> None:
    async with outage(tmp_path) as cloud:
        assert (await cloud.ask("GET", path, **asked)).status_code == 200
        cloud.away.go()
        answer = await cloud.ask("GET", path, **asked)
        assert answer.status_code == 503
        assert {name: answer.headers.get(name) for name in expected} == expected


async def test_a_token_of_which_nobody_can_be_asked_is_refused_for_now_and_good_again_later(tmp_path: Path) -> None:
    async with outage(tmp_path) as cloud:
        cloud.away.go()
        await cloud.clock.sleep(FRESH)
        for path in ("/compute/v2.1/flavors", "/identity/v3/users", "/network/v2.0/networks"):
            answer = await cloud.ask("GET", path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2"), answer.text
        cloud.away.come_back()
        assert (await cloud.ask("GET", "/compute/v2.1/flavors")).status_code == 200


async def test_what_needs_no_database_is_answered(tmp_path: Path) -> None:
    async with outage(tmp_path) as cloud:
        cloud.away.go()
        for path in ("/", "/compute", "/identity/v3", "/network"):
            assert (await cloud.client.get(path)).status_code in (200, 300)
