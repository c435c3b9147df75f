"""The client that measures: against a server of its own, on real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from bench.client import Client, Request

from renova.model.errors import NotNow, Refused


class Echo:
    """Answers each request with its path and body; counts connections."""

    def __init__(self, *, keep: bool = True, status: str = "200 OK", chunked: bool = False) -> None:
        self.connections = 0
        self.heads: list[str] = []
        self.tasks: list[asyncio.Task[None] | None] = []
        self._keep = keep
        self._status = status
        self._chunked = chunked

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.tasks.append(asyncio.current_task())
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                length = int(head.lower().partition("content-length:")[2].split()[0])
                body = head.split()[1].encode() + await reader.readexactly(length)
                writer.write(self._answer(body))
                if not self._keep:
                    break
        except asyncio.IncompleteReadError:
            pass
        writer.close()
        await writer.wait_closed()

    def _answer(self, body: bytes) -> bytes:
        lines = [f"HTTP/1.1 {self._status}", "X-Name: value"]
        lines += [] if self._keep else ["Connection: close"]
        lines.append("Transfer-Encoding: chunked" if self._chunked else f"Content-Length: {len(body)}")
        content = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if self._chunked else body
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


@asynccontextmanager
async def serving(echo: Echo) -> AsyncIterator[str]:
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*(task for task in echo.tasks if task is not None))


async def test_a_connection_is_kept_for_the_next_request() -> None:
    echo, client = Echo(), Client({"X-Auth-Token": "secret"})
    async with serving(echo) as url:
        for number in range(5):
            answer = await client.ask("POST", f"{url}/a?b={number}", {"c": number})
            assert (answer.status, answer.headers["x-name"]) == (200, "value")
            assert answer.body == f'/a?b={number}{{"c":{number}}}'.encode()
        await client.close()
    assert echo.connections == 1
    assert all("X-Auth-Token: secret\r\n" in head for head in echo.heads)


async def test_a_server_that_closes_is_called_again() -> None:
    echo, client = Echo(keep=False), Client({})
    async with serving(echo) as url:
        for _ in range(3):
            assert (await client.ask("GET", f"{url}/a")).body == b"/a"
        await client.close()
    assert echo.connections == 3


async def test_a_body_in_chunks_is_put_together() -> None:
    client = Client({})
    async with serving(Echo(chunked=True)) as url:
        assert (await client.ask("GET", f"{url}/abc")).body == b"/abc"
        await client.close()


async def test_answers_come_in_the_order_of_the_requests() -> None:
    echo, client = Echo(), Client({})
    async with serving(echo) as url:
        answers = await client.ask_all((Request("GET", f"{url}/{number}") for number in range(40)), at_once=4)
        await client.close()
    assert [answer.body for answer in answers] == [f"/{number}".encode() for number in range(40)]
    assert echo.connections == 4


async def test_a_refusal_says_what_the_server_said() -> None:
    client = Client({})
    async with serving(Echo(status="409 Conflict")) as url:
        with pytest.raises(Refused, match=r"GET .*/servers/1: 409 /servers/1"):
            await client.ask("GET", f"{url}/servers/1")
        await client.close()


async def test_a_server_that_is_not_there_cannot_be_reached() -> None:
    async with serving(Echo()) as url:
        pass
    with pytest.raises(NotNow, match="cannot be reached"):
        await Client({}).ask("GET", f"{url}/")
