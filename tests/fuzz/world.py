"""A whole simulated cloud with its API, and what the fuzzer can see of it: answers, changes, costs, logs."""

import asyncio
import dataclasses
import io
import json
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import unquote

import argon2
import structlog
from msgspec.structs import replace
from sqlalchemy import select

from renova import log as logs
from renova.api import app
from renova.api.dispatch import Dispatcher
from renova.api.everything import every_service, rules
from renova.drivers.hypervisor.simulated.machine import SMALL_HOST
from renova.engine.executor import Executor
from renova.model.ids import ExecutorId
from renova.partners.identity import passwords
from renova.partners.identity.builtin import BuiltinIdentity
from renova.partners.image.builtin import BuiltinImages
from renova.simulation.cloud import SimulatedCloud
from renova.store.database import Database, Tx
from renova.store.schema import metadata
from tests import databases
from tests.fuzz.known import Known
from tests.fuzz.request import Answer, Request
from tests.fuzz.shapes import SECRET

T = TypeVar("T")
STEPS = 250  # of an episode: worlds' seeds are so far from each other
ANSWER_WITHIN_S = 120.0  # virtual: what waits for a host gives up long before
PASSWORDS = {who: f"{SECRET}of-{who}" for who in ("admin", "demo")}
_JSON = ("content-type", "application/json")
# What an answer is about that does not say it: by the path's last word, or its API.
_OF_BARE = {"image": "image", "resource_providers": "provider"}


class Tape(io.StringIO):
    """All that is logged, taken piece by piece."""

    def taken(self) -> str:
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


tape = Tape()


@contextmanager
def prepare_process() -> Iterator[None]:
    """Have everything that is logged go to the tape, as the product would write it; and passwords cost little."""
    standard, before, handlers = sys.stderr, structlog.get_config(), logging.getLogger().handlers
    hashes = passwords._hasher, passwords._NOBODY
    sys.stderr = tape
    try:
        logs.set_up("debug", process="fuzz")
    finally:
        sys.stderr = standard
    structlog.configure(cache_logger_on_first_use=False)
    logging.getLogger().handlers = [logging.StreamHandler(tape)]
    passwords._hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    passwords._NOBODY = passwords._hasher.hash("no user has this password")
    yield
    passwords._hasher, passwords._NOBODY = hashes
    logging.getLogger().handlers = handlers
    structlog.configure(**before)


Rows = dict[str, frozenset[str]]  # by table


class Asker:
    """The request on whose behalf the database is changed, and what it has changed of it so far."""

    def __init__(self) -> None:
        self.gone: Counter[str] = Counter()
        self.new: Counter[str] = Counter()
        self.open = True

    def add(self, before: Rows, after: Rows) -> None:
        for table in after:
            self.gone.update(before[table] - after[table])
            self.new.update(after[table] - before[table])

    @property
    def changes(self) -> list[str]:
        """Return the rows that are other ones now; what was changed back is none."""
        gone, new = self.gone - self.new, self.new - self.gone
        return [*(f"- {row[:300]}" for row in sorted(gone)), *(f"+ {row[:300]}" for row in sorted(new))]


_asker: ContextVar[Asker | None] = ContextVar("asker", default=None)


def every_row(tx: Tx) -> Rows:
    """Return all that the database holds."""
    return {name: frozenset(f"{name} {tuple(row)!r}" for row in tx.execute(query)) for name, query in _ALL.items()}


_ALL = {table.name: select(table) for table in metadata.sorted_tables}


def watch_changes(database: Database) -> None:
    """Have noted what each transaction of a request changes."""
    transact = database.transact

    async def watched(fn: Callable[[Tx], T]) -> T:
        asker = _asker.get()
        if asker is None or not asker.open:
            return await transact(fn)
        seen: list[Rows] = []

        def noted(tx: Tx) -> T:
            before = every_row(tx)
            result = fn(tx)
            seen[:] = (before, every_row(tx))
            return result

        result = await transact(noted)
        asker.add(*seen)
        return result

    database.transact = watched  # type: ignore[method-assign]


class Cloud(SimulatedCloud):
    """The simulated cloud, on the database of tests: in memory, or a real PostgreSQL's."""

    def _open_database(self) -> Database:
        databases.next_test()
        return databases.open_empty(self.clock)


class World:
    """One cloud of three hosts and a storage host, served in this process and in virtual time."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.known = Known()
        self.tokens: dict[str, str] = {}
        self._state = tempfile.TemporaryDirectory(prefix="renova-fuzz-")

    async def __aenter__(self) -> "World":
        self.cloud = cloud = Cloud(seed=self.seed, facts=replace(SMALL_HOST, vcpus=64))
        # Every second one is told where clients reach it; the others take the host's name from the request.
        public = "http://cloud.example" if self.seed // STEPS % 2 else ""
        cloud.settings = replace(cloud.settings, state_dir=self._state.name, public_url=public)
        self.identity = BuiltinIdentity(cloud.database, cloud.clock, cloud.chance, cloud.settings)
        cloud.identity = self.identity
        me = Executor(ExecutorId(""))
        cloud.images = BuiltinImages(cloud.database, cloud.chance, cloud.settings, me)  # type: ignore[assignment]
        watch_changes(cloud.database)
        await self.identity.bootstrap(PASSWORDS)
        await cloud.up()
        process = cloud.controllers["controller1"].process
        assert process is not None
        self._process = process
        me.id = cloud.cloud.operations.executor
        cloud.cloud.agents.join_token = lambda secret: f"join {secret}"  # of who opens the agents' port
        # Of its own: each episode puts what counts into their tables, and some tests another rule.
        self.services = [dataclasses.replace(each, routes=[*each.routes]) for each in every_service(cloud.cloud)]
        self._app = app.build(self.services, Dispatcher(cloud.cloud, rules()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cloud.down()
        self._state.cleanup()

    def begin_step(self, number: int) -> None:
        """Have what chance gives in this step depend on its number only: earlier steps can be left out."""
        self.cloud.chance.begin_again(self.seed * 1_000_003 + number)

    def hosts_ail(self) -> bool:
        """Say whether some host is not as a healthy cloud's: then an answer of 503 may be due."""
        connected = self.cloud.cloud.agents.connected
        return any(host.agent is None or not connected(host.id) for host in self.cloud.every_host())

    async def sign_in(self, who: str, password: str) -> None:
        user = {"name": who, "domain": {"id": "default"}, "password": password}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
        answer = await self.ask(Request("POST", "/identity/v3/auth/tokens", (_JSON,), json.dumps(body).encode()))
        self.tokens[who] = answer.header("x-subject-token") or ""
        assert self.tokens[who], answer

    async def have(self, who: str, what: str, body: Any = None) -> Any:
        """Ask for something that has to work."""
        method, _, path = what.partition(" ")
        versions = ("openstack-api-version", "compute 2.96,placement 1.39")
        kind = ("content-type", "application/octet-stream") if isinstance(body, bytes) else _JSON
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        answer = await self.ask(Request(method, path, (("x-auth-token", self.tokens[who]), versions, kind), content))
        assert answer.status < 300, f"{what}: {answer}"
        self.learn(path, answer)
        return answer.json()

    def learn(self, path: str, answer: Answer) -> None:
        """Take in what ids and names an answer tells."""
        parts = path.partition("?")[0].split("/")
        found = answer.json() if answer.body[:1] in (b"{", b"[") else None
        self.known.learn(found, parts[1], _OF_BARE.get(parts[-1], _OF_BARE.get(parts[1], "")))

    async def ask(self, request: Request) -> Answer:
        """Send the request into the application and return its answer, with what it changed and cost."""
        answer = Answer()
        asker = Asker()

        async def serve() -> None:
            _asker.set(asker)
            try:
                await self._app(self._scope(request), _receiver(request), sender)
            except Exception as error:  # noqa: BLE001  (this is what is looked for)
                answer.crash = f"{type(error).__name__}: {error}"
            finally:
                asker.open = False

        async def sender(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = [(key.decode("latin-1"), value.decode("latin-1")) for key, value in message["headers"]]
            else:
                answer.body += message.get("body", b"")

        began, cpu = self.cloud.clock.monotonic(), time.thread_time()
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await self._process.spawn(serve(), "request")
        except TimeoutError:
            answer.crash = f"no answer within {ANSWER_WITHIN_S:g} s"
        answer.cpu_s = time.thread_time() - cpu
        answer.took_s = self.cloud.clock.monotonic() - began
        answer.changes = asker.changes
        return answer

    def _scope(self, request: Request) -> dict[str, Any]:
        """Return what uvicorn makes of the request."""
        path, _, query = request.target.partition("?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": "http",
            "server": ("127.0.0.1", 8774),
            "client": ("127.0.0.1", 40000),
            "root_path": "",
            "method": request.method,
            "path": unquote(path) if "%" in path else path,
            "raw_path": path.encode("ascii"),
            "query_string": query.encode("ascii"),
            "headers": [(key.lower().encode(), _on_the_wire(self._token(value))) for key, value in request.headers],
        }

    def _token(self, value: str) -> str:
        """Return the token that a header's value stands for, or the value."""
        if value.startswith("{") and value.endswith("}"):
            return self.tokens.get(value[1:-1], f"{SECRET}garbage")
        return value


def _on_the_wire(value: str) -> bytes:
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode()


def _receiver(request: Request) -> Any:
    size = 1 << 16
    pieces = [request.body[start : start + size] for start in range(0, len(request.body), size)] or [b""]
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if not request.broken_off:
        messages[-1]["more_body"] = False
    left = iter(messages)

    async def receive() -> Any:
        if (message := next(left, None)) is not None:
            return message
        if request.broken_off:
            return {"type": "http.disconnect"}
        return await asyncio.get_running_loop().create_future()  # the client waits

    return receive
