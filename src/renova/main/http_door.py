"""The API's door: uvicorn's HTTP, with bounds on what anybody who reaches the port may make the controller hold.

By itself uvicorn takes the head of a request whatever its size, and waits for the rest of one for as long as the
connection lasts: a stranger could fill the memory, or keep all connections, without ever having signed in.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: text/plain; charset=utf-8\r\n"
    b"content-length: 0\r\n"
    b"connection: close\r\n\r\n"
)


class Door(HttpToolsProtocol):
    """One connection of a client, who may mean no good."""

    head_bytes = 128 * 1024  # address and headers
    head_s = 30.0  # seconds in which a head is to be there, from its first byte; and a new connection's first one
    idle_s = 60.0  # seconds without a byte of a body that is not all there, while we read
    look_s = 5.0  # between looks whether the client still owes us something

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_since: float | None = None  # while a head is not all there
        self._head_size = 0  # of what the parser has told of it
        self._head_got = 0  # of what has come of it, told or not: of a header without an end, nothing is
        self._begun = 0  # heads, in this piece of data
        self._in_body = False
        self._heard = 0.0
        self._refused = False
        self._next_look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it serves TCP only
        super().connection_made(transport)
        self._heard = self._head_since = self.loop.time()
        self._next_look = self.loop.call_later(self.look_s, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._next_look is not None:
            self._next_look.cancel()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._begun = 0
        in_body = self._in_body
        super().data_received(data)
        self._heard = self.loop.time()
        # Where in a piece a head begins is not told: of one that has more than it, only the next piece counts.
        if self._head_since is not None and not in_body and self._begun <= 1:
            self._head_got += len(data)
            if self._head_got > self.head_bytes:
                self._refuse()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun += 1
        self._head_since, self._head_size, self._head_got = self.loop.time(), 0, 0

    def on_url(self, url: bytes) -> None:
        self._head_size += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_since, self._in_body = None, True
        if self._head_size > self.head_bytes:
            self._refuse()
        if not self._refused:  # else what came with it would be the next request
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        if not self._refused:
            super().on_message_complete()

    def _refuse(self) -> None:
        if not self._refused and not self.transport.is_closing():
            self.transport.write(_REFUSAL)
            self.transport.close()
        self._refused = True

    def _look(self) -> None:
        now = self.loop.time()
        late = self._head_since is not None and now - self._head_since > self.head_s
        # What we do not read, because its handler has not asked for it yet, nobody can send.
        silent = self._in_body and not self.flow.read_paused and now - self._heard > self.idle_s
        if late or silent:
            self.transport.close()
        else:
            self._next_look = self.loop.call_later(self.look_s, self._look)
