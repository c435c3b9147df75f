"""How an agent reaches its controllers: a `Dialer` for each, and the channels it opens.

`main` gives the agent a `TlsDialer` a controller; the simulation gives it lines in memory.
"""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, WebSocketException

from renova.model.channel import Channel, Closed
from renova.model.errors import BadSetup, NotNow
from renova.uplink.identity import authority_file, certificate_file, key_file
from renova.wire.frames import MAX_FRAME, PATH
from renova.wire.hanging_up import hang_up

OPEN_S, CLOSE_S = 10.0, 2.0
PING_S, PONG_S = 5.0, 10.0  # a connection that is dead is noticed after their sum
WAITING_FRAMES = 4  # that arrived and were not read yet: each is memory


class DialledChannel(Channel, Protocol):
    """A channel as its dialler has it, who may want to know whether anybody is still at the other end."""

    async def ping(self) -> None:
        """Return once the process at the other end has answered; `Closed` when the connection ends first."""
        ...


class Dialer(Protocol):
    """Reaches one controller."""

    @property
    def address(self) -> str:
        """Return what people call the controller: host:port."""
        ...

    async def dial(self) -> DialledChannel:
        """Open a new connection. `NotNow` when the controller cannot be reached; `BadSetup` when one side does not
        accept the other's certificate."""
        ...


class LocalDialer(Protocol):
    """Reaches the other process of this host."""

    async def dial(self) -> Channel:
        """Open a new channel; `NotNow` when nobody listens."""
        ...


class TlsDialer:
    """Reaches the controller at `address` with the certificate of an enrolled host."""

    def __init__(self, address: str, state_dir: Path) -> None:
        self.address = address
        self._context = trusting(authority_file(state_dir))
        try:
            self._context.load_cert_chain(certificate_file(state_dir), key_file(state_dir))
        except (OSError, ssl.SSLError) as error:
            raise BadSetup(f"The host's certificate in {state_dir} cannot be used ({error}).") from error

    async def dial(self) -> "WebSocketChannel":
        return WebSocketChannel(await open_connection(self.address, PATH, self._context), self.address)


class WebSocketChannel:
    """A TLS WebSocket as a `Channel`."""

    def __init__(self, connection: ClientConnection, address: str) -> None:
        self._connection = connection
        self._address = address

    async def send(self, frame: bytes) -> None:
        try:
            await self._connection.send(frame)
        except ConnectionClosed as error:
            raise Closed(f"the connection to {self._address} ended: {error}") from error

    async def frames(self) -> AsyncIterator[bytes]:
        try:
            async for frame in self._connection:
                # Text is never sent; as bytes it is a malformed message, and whoever reads says so.
                yield frame if isinstance(frame, bytes) else frame.encode()
        except ConnectionClosed:
            return

    async def ping(self) -> None:
        try:
            await (await self._connection.ping())
        except ConnectionClosed as error:
            raise Closed(f"the connection to {self._address} ended: {error}") from error

    async def close(self) -> None:
        await hang_up(self._connection, CLOSE_S)


def trusting(authority: Path | None = None, *, pem: str | None = None) -> ssl.SSLContext:
    """Return a TLS context that trusts controllers of this authority (a file, or its text) and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the name or address that was dialled, too
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cafile=authority, cadata=pem)
    except (OSError, ssl.SSLError) as error:
        raise BadSetup(f"The authority's certificate {authority or 'of the join token'} cannot be used.") from error
    return context


async def open_connection(address: str, path: str, context: ssl.SSLContext) -> ClientConnection:
    """Open a WebSocket to `address` (host:port). `NotNow` and `BadSetup` as in `Dialer.dial`."""
    try:
        return await connect(
            f"wss://{address}{path}",
            ssl=context,
            proxy=None,  # the environment's proxy is not for a cloud's own connections
            compression=None,
            max_size=MAX_FRAME,
            max_queue=WAITING_FRAMES,
            open_timeout=OPEN_S,
            close_timeout=CLOSE_S,
            ping_interval=PING_S,
            ping_timeout=PONG_S,
            user_agent_header=None,
        )
    except ssl.SSLCertVerificationError as error:
        raise BadSetup(
            f"{address} is no controller of this cloud, or is not reached under this name: {error.verify_message}."
        ) from error
    except (OSError, WebSocketException) as error:
        refusal = error if isinstance(error, ssl.SSLError) else error.__cause__
        if isinstance(refusal, ssl.SSLError):
            raise BadSetup(f"{address} refuses the TLS connection ({refusal.reason}).") from error
        if isinstance(error, InvalidMessage):
            # So ends a connection whose certificate the other side does not take, among others.
            raise NotNow(f"{address} closed the connection; it may not accept this host's certificate") from error
        raise NotNow(f"{address} cannot be reached: {error or 'no answer in time'}") from error
