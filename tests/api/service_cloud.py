"""A controller's HTTP side in this process, and tables of requests and answers to play against it.

A row is (who asks, "METHOD /path", body, expected status, expected answer). The answer's shown part must be there,
with lists in full; `Keep(name)` takes any value and keeps it, and `{name}` in later rows stands for it.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from renova.api import root
from renova.api.app import build
from renova.api.dispatch import Dispatcher
from renova.api.identity import service as identity
from renova.api.image import service as image
from renova.api.network import service as network
from renova.api.placement import service as placement
from renova.api.policy import Policy
from renova.api.volume import service as volume
from renova.engine.executor import Executor
from renova.model.chance import SeededChance
from renova.model.clock import Clock
from renova.model.ids import ExecutorId
from renova.operations.cloud import Cloud
from renova.partners.identity.builtin import BuiltinIdentity
from renova.partners.image.builtin import BuiltinImages
from renova.partners.network.builtin import BuiltinNetworks
from renova.partners.volume.builtin import BuiltinVolumes
from renova.settings import ControllerSettings
from renova.store.database import Database, Tx
from tests.databases import open_empty
from tests.storage_at_hand import StorageAtHand

PASSWORDS = {"admin": "admin's password", "demo": "demo's password"}
T = TypeVar("T")
Row = tuple[str | None, str, Any, int, Any]


class HandClock:
    """A clock that goes on only when told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def wall(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.now.timestamp()

    def boottime(self) -> float:
        return self.now.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)  # whoever else has something to do may do it meanwhile


@dataclass(frozen=True)
class Keep:
    """Expects any value, and keeps it under this name."""

    name: str


@dataclass(frozen=True)
class Like:
    """Expects a text that matches the whole pattern."""

    pattern: str


@dataclass
class Api:
    """The services behind one port, and who asks."""

    cloud: Cloud
    client: httpx.AsyncClient
    clock: HandClock
    tokens: dict[str, str] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def storage(self) -> StorageAtHand:
        return storage_of(self.cloud)

    async def sign_in(self, who: str, password: str | None = None, project: str | None = None) -> str:
        """Return a token of the user, who is `who` in later requests."""
        user = {"name": who, "domain": {"id": "default"}, "password": password or PASSWORDS[who]}
        auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
        if project is not None:
            auth["scope"] = {"project": {"name": project, "domain": {"name": "Default"}}}
        answer = await self.client.post("/identity/v3/auth/tokens", json={"auth": auth})
        assert answer.status_code == 201, answer.text
        self.tokens[who] = answer.headers["x-subject-token"]
        token = answer.json()["token"]
        self.kept[f"{who}_user"] = token["user"]["id"]
        self.kept[f"{who}_project"] = token["project"]["id"]
        return self.tokens[who]

    async def ask(
        self, who: str | None, request: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Send one request; a body of bytes goes as it is."""
        method, _, path = request.partition(" ")
        sent = dict(headers or {})
        if who is not None:
            if who not in self.tokens:
                await self.sign_in(who)
            sent["x-auth-token"] = self.tokens[who]
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(self._fill(body)).encode()
        if content is not None:
            sent.setdefault("content-type", "application/json")
        return await self.client.request(method, self._fill(path), content=content, headers=sent)

    async def play(self, base: str, rows: Sequence[Row], headers: dict[str, str] | None = None) -> None:
        """Send the requests one after the other below the base path, and check every answer."""
        for number, (who, request, body, status, expected) in enumerate(rows, 1):
            method, _, path = request.partition(" ")
            answer = await self.ask(who, f"{method} {base}{path}", body, headers)
            context = f"row {number}: {who} {request}: {answer.status_code} {answer.text}"
            assert answer.status_code == status, context
            if expected is not None:
                self._match(expected, answer.json(), context)

    def _fill(self, value: Any) -> Any:
        if isinstance(value, str):
            return re.sub(r"\{(\w+)\}", lambda found: str(self.kept[found[1]]), value)
        if isinstance(value, dict):
            return {key: self._fill(item) for key, item in value.items()}
        return [self._fill(item) for item in value] if isinstance(value, list) else value

    def _match(self, expected: Any, got: Any, context: str) -> None:
        if isinstance(expected, Keep):
            self.kept[expected.name] = got
        elif isinstance(expected, Like):
            assert isinstance(got, str), context
            assert re.fullmatch(expected.pattern, got), f"{got!r} is not like {expected.pattern!r} in {context}"
        elif isinstance(expected, dict):
            assert isinstance(got, dict), context
            for key, value in expected.items():
                assert key in got, f"no {key!r} in {context}"
                self._match(value, got[key], context)
        elif isinstance(expected, list):
            assert isinstance(got, list), context
            assert len(expected) == len(got), context
            for one, other in zip(expected, got, strict=True):
                self._match(one, other, context)
        else:
            assert self._fill(expected) == got, f"{expected!r} expected in {context}"


def make_cloud(state: Path, database: Database, clock: Clock, **settings: Any) -> Cloud:
    """Put the built-in services together, on a database of their own."""
    chosen = ControllerSettings(**{"state_dir": str(state), "public_url": "http://cloud.example", **settings})
    chance = SeededChance(7)
    # These services ask nothing of the other parts: of hosts, operations, and so on.
    parts: dict[str, Any] = dict.fromkeys(each.name for each in fields(Cloud))
    parts |= {
        "settings": chosen,
        "clock": clock,
        "chance": chance,
        "database": database,
        "identity": BuiltinIdentity(database, clock, chance, chosen),
        "images": BuiltinImages(database, chance, chosen, Executor(ExecutorId("tests"))),
        "networks": BuiltinNetworks(database, clock, chance),
    }
    storage = StorageAtHand(database, clock, parts["images"])
    parts["volumes"] = BuiltinVolumes(database, clock, chance, parts["images"], storage, storage)
    return Cloud(**parts)


def storage_of(cloud: Cloud) -> StorageAtHand:
    """Return the storage host of a cloud made here."""
    assert isinstance(cloud.volumes, BuiltinVolumes)
    assert isinstance(cloud.volumes.hosts, StorageAtHand)
    return cloud.volumes.hosts


_PACKAGES = (identity, image, network, placement, volume)
_RULES = {rule: check for package in _PACKAGES for rule, check in package.POLICY.items()}
_DEFAULTS = Policy(_RULES)  # made once: it takes as long as many a test


def make_app(cloud: Cloud, policy_file: str = "") -> Any:
    """Return the ASGI application with every service of this package."""
    services = [root.service(cloud), *volume.services_of(cloud)]
    services += [package.service(cloud) for package in (identity, image, network, placement)]
    return build(services, Dispatcher(cloud, Policy(_RULES, policy_file) if policy_file else _DEFAULTS))


class TakingTurns:
    """A database before which requests wait for one another, as before the real one: each transaction is a turn."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        return await self._in_turn(self._database.transact(fn))

    async def read(self, fn: Callable[[Tx], T]) -> T:
        return await self._in_turn(self._database.read(fn))

    async def _in_turn(self, work: Coroutine[Any, Any, T]) -> T:
        await asyncio.sleep(0)
        try:
            return await work
        finally:
            await asyncio.sleep(0)

    def close(self) -> None:
        self._database.close()


@asynccontextmanager
async def running(state: Path, *, taking_turns: bool = False) -> AsyncIterator[Api]:
    """Run a cloud on its first start, with the users admin and demo."""
    clock = HandClock()
    database = open_empty(clock)
    if taking_turns:
        database = Database(TakingTurns(database))
    cloud = make_cloud(state, database, clock)
    assert isinstance(cloud.identity, BuiltinIdentity)
    await cloud.identity.bootstrap(PASSWORDS)
    await storage_of(cloud).enrol()
    transport = httpx.ASGITransport(make_app(cloud))
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud.example") as client:
        yield Api(cloud, client, clock)
    database.close()


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running(tmp_path) as found:
        yield found


@pytest.fixture
async def busy_api(tmp_path: Path) -> AsyncIterator[Api]:
    """The services where requests come between each other's transactions."""
    async with running(tmp_path, taking_turns=True) as found:
        yield found
