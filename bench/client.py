"""A client that costs little: HTTP/1.1 on kept connections, so that the server is what is measured.

All requests of a `Client` carry the same headers. A server that ends a kept connection is called again.
"""

import asyncio
import ssl
import time
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httptools
import msgspec

from renova.model.errors import NotNow, Refused

KEPT_S = 3.0  # for which a connection may be idle: servers end one after 5 s, perhaps just as it is used again


class Request(NamedTuple):
    """Something to ask: `url` is whole, `body` is JSON in the making."""

    method: str
    url: str
    body: Any = None


class Answer(NamedTuple):
    """What came back, and how long it took from the first byte sent to the last received."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes
    seconds: float

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class _Connection(asyncio.Protocol):
    """One connection, for one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[None] | None = None
        self._parser: Any = None
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._kept = True
        self.open = True
        self.idle_since = 0.0
        self.gone = asyncio.Event()

    async def ask(self, message: bytes) -> Answer:
        assert self._transport is not None
        self._headers, self._pieces = {}, []
        self._parser = httptools.HttpResponseParser(self)
        answered = self._answered = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        self._transport.write(message)
        await answered
        seconds = time.perf_counter() - began
        if not self._kept:
            self.close()
        return Answer(self._parser.get_status_code(), self._headers, b"".join(self._pieces), seconds)

    def close(self) -> None:
        self.open = False
        if self._transport is not None:
            self._transport.close()

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(Refused(f"the server does not speak HTTP: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        self._end(NotNow(f"the server ended the connection: {exc or 'without a word'}"))

    # What the parser tells.

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        self._kept = self._parser.should_keep_alive()  # only here does the parser know
        if self._parser.get_status_code() >= 200 and self._answered is not None and not self._answered.done():
            self._answered.set_result(None)

    def _end(self, error: Exception) -> None:
        self.open = False
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)


class Client:
    """Asks, over a few connections a server that it keeps."""

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._idle: dict[str, list[_Connection]] = {}

    async def ask(self, method: str, url: str, body: Any = None) -> Answer:
        """Ask one thing. `Refused` for an answer of 400 and above, with its words; `NotNow` if there is none."""
        where = f"{method} {url}"
        parts = urlsplit(url)
        server = f"{parts.scheme}://{parts.netloc}"
        connection = await self._connection(server)
        try:
            answer = await connection.ask(self._message(method, url, body))
        except asyncio.CancelledError:
            connection.close()  # its answer may still come, and would be taken for the next one's
            raise
        if connection.open:
            connection.idle_since = time.perf_counter()
            self._idle[server].append(connection)
        if answer.status >= 400:
            raise Refused(f"{where}: {answer.status} {answer.body.decode(errors='replace')[:500]}")
        return answer

    async def ask_all(self, requests: Iterable[Request], at_once: int) -> list[Answer]:
        """Ask everything, `at_once` at the same time; the answers come in the order of the requests."""
        waiting = enumerate(requests)
        answers: dict[int, Answer] = {}

        async def work() -> None:
            for place, request in waiting:
                answers[place] = await self.ask(*request)

        workers = [asyncio.create_task(work()) for _ in range(at_once)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
        return [answers[place] for place in sorted(answers)]

    async def close(self) -> None:
        """End the connections; those asked for later are new ones."""
        connections = [connection for idle in self._idle.values() for connection in idle]
        self._idle.clear()
        for connection in connections:
            connection.close()
            await connection.gone.wait()

    async def _connection(self, server: str) -> _Connection:
        idle = self._idle.setdefault(server, [])
        while idle:
            connection = idle.pop()
            if connection.open and time.perf_counter() - connection.idle_since < KEPT_S:
                return connection
            connection.close()
        parts = urlsplit(server)
        secure = parts.scheme == "https"
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                _Connection,
                parts.hostname or "",
                parts.port or (443 if secure else 80),
                ssl=ssl.create_default_context() if secure else None,
            )
        except OSError as error:
            raise NotNow(f"{server} cannot be reached: {error}") from error
        return connection

    def _message(self, method: str, url: str, body: Any) -> bytes:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = f"{method} {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n{self._headers}"
        if body is None:
            return f"{head}Content-Length: 0\r\n\r\n".encode()
        content = msgspec.json.encode(body)
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
