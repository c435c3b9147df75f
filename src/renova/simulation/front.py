"""The users' way in: a load balancer before the HTTP APIs of all controllers, without sockets.

Each request runs in a controller's own process, through the real ASGI application, and dies with it. As such
balancers do, it tries the next controller where nobody has taken the connection; a request that was taken and not
answered is not sent again, for it may have been obeyed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Protocol, TypeVar

import msgspec
from starlette.types import ASGIApp, Message

from renova.api.everything import rules, whole_api
from renova.api.policy import Policy
from renova.operations.cloud import Cloud
from renova.simulation.controllers import Gone
from renova.simulation.processes import Process

T = TypeVar("T")

PATIENCE_S = 60.0  # virtual seconds for which a user waits for an answer
COMPUTE = "/compute/v2.1"
VERSION = "compute 2.79"


@cache
def _rules() -> Policy:
    return rules()  # the same for all runs: to make them takes longer than twenty requests


class Server(Protocol):
    """A controller that may be asked."""

    name: str
    process: Process | None  # None: nobody takes a connection

    async def ask(self, request: Callable[[Cloud], Awaitable[T]]) -> T: ...


@dataclass(frozen=True, slots=True)
class Reply:
    """What a user got. Status 0: no answer; whether the request was obeyed is unknown."""

    status: int
    body: bytes = b""
    request: str = ""  # the request's id, as users can read it
    retry_after: str = ""

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Front:
    """Sends each request to the next controller that takes it."""

    def __init__(self, controllers: Sequence[Server], patience_s: float = PATIENCE_S) -> None:
        self._controllers = controllers
        self._patience_s = patience_s
        self._turn = 0
        self._apps: dict[int, tuple[Cloud, ASGIApp]] = {}  # of the present runs
        self.answered = 0

    async def ask(self, who: str, method: str, path: str, body: Any = None, *, version: str = VERSION) -> Reply:
        """Send a request in the name of a user (`admin` or `demo`)."""
        for _ in self._controllers:
            self._turn += 1
            controller = self._controllers[self._turn % len(self._controllers)]
            if controller.process is None:
                continue
            try:
                async with asyncio.timeout(self._patience_s):
                    reply = await controller.ask(partial(self._serve, who, method, path, body, version))
            except (Gone, TimeoutError):
                return Reply(0)
            self.answered += 1
            return reply
        return Reply(0)

    async def _serve(self, who: str, method: str, path: str, body: Any, version: str, cloud: Cloud) -> Reply:
        path, _, query = path.partition("?")
        sent = b"" if body is None else msgspec.json.encode(body)
        headers = [(b"x-auth-token", who.encode()), (b"openstack-api-version", version.encode())]
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [*headers, (b"host", b"cloud"), (b"content-type", b"application/json")],
            "server": ("cloud", 80),
            "client": ("user", 1),
        }
        status, got, pieces = 0, {}, []

        async def receive() -> Message:
            return {"type": "http.request", "body": sent, "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status, got
            if message["type"] == "http.response.start":
                status, got = message["status"], dict(message["headers"])
            else:
                pieces.append(message.get("body", b""))

        await self._app(cloud)(scope, receive, send)
        said = {name: got.get(name, b"").decode() for name in (b"x-openstack-request-id", b"retry-after")}
        return Reply(status, b"".join(pieces), said[b"x-openstack-request-id"], said[b"retry-after"])

    def _app(self, cloud: Cloud) -> ASGIApp:
        known = self._apps.get(id(cloud))
        if known is None or known[0] is not cloud:
            known = self._apps[id(cloud)] = (cloud, whole_api(cloud, _rules()))
        return known[1]
