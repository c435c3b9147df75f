"""The channels between the guard of a host and its agent and reader: Unix sockets in the state directory they share."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from websockets.asyncio.client import unix_connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection, unix_serve
from websockets.exceptions import ConnectionClosed, WebSocketException

from renova.model.channel import Channel, Closed
from renova.model.errors import NotNow, unusable
from renova.wire.hanging_up import hang_up

SOCKET = "guard.sock"
READERS_SOCKET = "guard-reader.sock"
OPEN_S, CLOSE_S = 2.0, 1.0
MOST_BYTES = 4096  # of a message


class LocalChannel:
    """A Unix socket's WebSocket as a `Channel`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def send(self, frame: bytes) -> None:
        try:
            await self._connection.send(frame)
        except ConnectionClosed as error:
            raise Closed("the other process of this host is gone") from error

    async def frames(self) -> AsyncIterator[bytes]:
        try:
            async for frame in self._connection:
                yield frame if isinstance(frame, bytes) else frame.encode()
        except ConnectionClosed:
            return

    async def close(self) -> None:
        await hang_up(self._connection, CLOSE_S)


class SocketDialer:
    """Reaches the guard of this host."""

    def __init__(self, state_dir: Path, name: str = SOCKET) -> None:
        self._state_dir = state_dir
        self._name = name

    async def dial(self) -> LocalChannel:
        try:
            with _short(self._state_dir, self._name) as path:
                connection = await unix_connect(
                    path,
                    "ws://guard/",
                    compression=None,
                    max_size=MOST_BYTES,
                    open_timeout=OPEN_S,
                    close_timeout=CLOSE_S,
                    ping_interval=None,
                )
        except (OSError, WebSocketException) as error:
            socket = self._state_dir / self._name
            raise NotNow(f"the guard does not answer in {socket}: {error or 'no answer'}") from error
        return LocalChannel(connection)


async def listen(state_dir: Path, serve: Callable[[Channel], Awaitable[None]], name: str = SOCKET) -> Server:
    """Listen for the agent, or the reader, which only the machine's administrator can be."""

    async def one(connection: ServerConnection) -> None:
        await serve(LocalChannel(connection))

    (state_dir / name).unlink(missing_ok=True)
    try:
        with _short(state_dir, name) as path:
            server = await unix_serve(
                one, path, compression=None, max_size=MOST_BYTES, close_timeout=CLOSE_S, ping_interval=None
            )
    except OSError as error:
        raise unusable(error, f"The socket {state_dir / name} cannot be made ({error.strerror}).") from error
    (state_dir / name).chmod(0o600)
    return server


@contextmanager
def _short(state_dir: Path, name: str) -> Iterator[str]:
    """Give a path of the socket that is short enough: one may have 107 characters, a state directory more."""
    directory = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{name}"
    finally:
        os.close(directory)
