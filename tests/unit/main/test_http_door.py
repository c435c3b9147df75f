"""Whoever reaches the API's port can fill neither the controller's memory nor its connections."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from renova.main.http_door import Door

pytestmark = pytest.mark.slow  # a server of its own for each, which takes its time to end

LIMIT_S = 20.0  # for what takes a moment
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


class QuickDoor(Door):
    """A door that loses patience at once."""

    head_s = idle_s = 0.15
    look_s = 0.05


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the size of the body, once all of it is there."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message.get("body", b"")), message["more_body"]
    body = str(size).encode()
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(door: type[Door], app: Any = app) -> AsyncIterator[int]:
    """Serve the application through the door; yields the port."""
    server = uvicorn.Server(uvicorn.Config(app, http=door, ws="none", lifespan="off", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as opened:
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[opened]))
            yield opened.getsockname()[1]
            server.should_exit = True


async def exchanged(port: int, *pieces: bytes) -> bytes:
    """Send the pieces and return all that comes until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(LIMIT_S):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await reader.read()
    finally:
        writer.close()


async def test_requests_pass() -> None:
    async with serving(Door) as port:
        twice = HEAD + b"Content-Length: 3\r\n\r\nabc" + HEAD + b"Connection: close\r\nContent-Length: 1\r\n\r\na"
        answer = await exchanged(port, twice)
        assert answer.count(b"HTTP/1.1 200 OK") == 2
        large = (
            b"Connection: close\r\nX-Large: " + b"a" * 100_000 + b"\r\nContent-Length: 300000\r\n\r\n" + b"b" * 300_000
        )
        assert (await exchanged(port, HEAD, large)).endswith(b"\r\n\r\n300000")


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([HEAD + b"X-A: " + b"a" * 200_000 + b"\r\n\r\n"], id="one header"),
        pytest.param([HEAD, b"X-A: ", *[b"a" * 20_000] * 8], id="a header without an end"),
        pytest.param([HEAD, *[b"X-A: b\r\n" * 2000] * 10], id="headers without an end"),
        pytest.param([b"GET /", *[b"a" * 20_000] * 8], id="an address without an end"),
    ],
)
async def test_a_head_too_large_is_refused_and_forgotten(pieces: list[bytes]) -> None:
    async with serving(Door) as port:
        try:
            answer = await exchanged(port, *pieces)
        except ConnectionError:
            return  # it hung up before all was sent
        assert answer.startswith(b"HTTP/1.1 431 ")


async def test_a_refused_head_is_no_request() -> None:
    asked = []

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await app(scope, receive, send)

    async with serving(Door, noting) as port:
        hidden = b"\r\nContent-Length: 3\r\n\r\nabcGET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
        try:
            answer = await exchanged(port, HEAD + b"X-A: " + b"a" * 140_000 + hidden)
        except ConnectionError:
            answer = b""
        assert answer.count(b"HTTP/1.1") <= 1
        assert asked == []


@pytest.mark.parametrize(
    "sent", [b"", HEAD, HEAD + b"Content-Length: 5\r\n\r\nab", HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab"]
)
async def test_who_sends_no_more_loses_the_connection(sent: bytes) -> None:
    async with serving(QuickDoor) as port:
        assert await exchanged(port, sent) == b""


async def test_who_waits_for_a_slow_answer_keeps_the_connection() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.5)
        await app(scope, receive, send)

    async with serving(QuickDoor, slow) as port:
        last = HEAD + b"Connection: close\r\nContent-Length: 200000\r\n\r\n" + b"a" * 200_000
        assert (await exchanged(port, last)).endswith(b"200000")


async def test_an_upgrade_to_what_is_not_spoken_is_a_plain_request() -> None:
    async with serving(Door) as port:
        answer = await exchanged(
            port,
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        assert answer.startswith(b"HTTP/1.1 200 ")
