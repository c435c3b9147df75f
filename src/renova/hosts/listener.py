"""The agents' port: TLS WebSockets, told apart by client certificate; and enrolment for those that have none yet."""

import asyncio
import base64
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import msgspec
import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from renova.hosts.agents import Agents
from renova.hosts.authority import Authority, ServerIdentity, fingerprint, host_named_in
from renova.hosts.connections import Connections
from renova.hosts.registration import enrol, spend_token
from renova.model.chance import Chance
from renova.model.channel import Closed
from renova.model.errors import BadSetup, CloudError, NotNow
from renova.model.ids import HostId
from renova.store.database import Database, Tx
from renova.wire.enrolment import Enrol, Enrolled, JoinToken, NotEnrolled
from renova.wire.frames import ENROL_PATH, MAX_FRAME, PATH, decode_from_new_host, encode
from renova.wire.hanging_up import hang_up

log = structlog.get_logger()

HANDSHAKE_LIMIT = 5.0  # seconds; who only holds a connection open keeps others from theirs
WAITING_FRAMES = 16  # of a host, that arrived and were not read yet: each is memory
CLOSE_S = 2.0
ENROL_LIMIT = 10.0  # seconds; who has no certificate gets no more of our time


class WebSocketChannel:
    """A host's WebSocket as a channel. The host has `close_s` to take what was sent, and as long to hang up."""

    def __init__(self, connection: ServerConnection, close_s: float = CLOSE_S) -> None:
        self._connection = connection
        self._close_s = close_s

    async def send(self, frame: bytes) -> None:
        try:
            await self._connection.send(frame)
        except ConnectionClosed as error:
            raise Closed("the connection to the host ended") from error

    async def frames(self) -> AsyncIterator[bytes]:
        try:
            async for frame in self._connection:
                if isinstance(frame, str):
                    return  # agents speak binary; text is a stranger's
                yield frame
        except ConnectionClosed:
            return

    async def close(self) -> None:
        await hang_up(self._connection, self._close_s)


class Listener:
    """Accepts agents until closed."""

    def __init__(
        self, connections: Connections, agents: Agents, authority: Authority, database: Database, chance: Chance
    ) -> None:
        self._connections = connections
        self._agents = agents
        self._authority = authority
        self._database = database
        self._chance = chance
        self._server: Server | None = None

    async def open(
        self,
        identity: ServerIdentity,
        *,
        address: str,
        port: int,
        sock: socket.socket | None = None,
        reached_at: tuple[str, ...] = (),
    ) -> int:
        """Listen on address and port, or on a socket made elsewhere; returns the port.

        `reached_at` is how new hosts are told to reach the controllers, where that is not address and port.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(identity.certificate, identity.key)
        context.load_verify_locations(identity.authority)
        context.verify_mode = ssl.CERT_OPTIONAL  # without one, only enrolment answers
        where: dict[str, Any] = {"sock": sock} if sock is not None else {"host": address, "port": port}
        try:
            self._server = await serve(
                self._serve,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_LIMIT,
                max_size=MAX_FRAME,
                max_queue=WAITING_FRAMES,
                compression=None,  # what travels is small, or an image that is compressed already
                ping_interval=5,
                ping_timeout=10,
                close_timeout=CLOSE_S,
                server_header=None,
                **where,
            )
        except OSError as error:
            raise BadSetup(
                f"The agents' port {address}:{port} cannot be opened ({os.strerror(error.errno or 0)}). "
                "Free it, or choose another with RENOVA_AGENTS_PORT."
            ) from error
        opened = int(next(iter(self._server.sockets)).getsockname()[1])
        self._agents.join_token = lambda secret: self._join_token(secret, reached_at or (f"{address}:{opened}",))
        return opened

    def _join_token(self, secret: str, reached_at: tuple[str, ...]) -> str:
        """Return what a new host is handed: where controllers are, whom to trust, and the secret."""
        controllers = tuple(dict.fromkeys((*reached_at, *self._agents.controllers)))
        token = JoinToken(controllers=controllers, ca=self._authority.pem, secret=secret)
        return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        path = connection.request.path
        certificate: bytes | None = connection.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        if path == PATH and certificate is not None:
            await self._connections.serve(
                WebSocketChannel(connection), host_named_in(certificate), fingerprint(certificate)
            )
        elif path == ENROL_PATH:
            await self._enrol(connection)
        else:
            await connection.close(1008, "a host's certificate is needed here")

    async def _enrol(self, connection: ServerConnection) -> None:
        try:
            async with asyncio.timeout(ENROL_LIMIT):
                frame = await connection.recv()
                request = decode_from_new_host(frame if isinstance(frame, bytes) else b"")
                await connection.send(encode(await self._admit(request)))
        except NotNow as error:
            log.warning("host not enrolled yet", reason=str(error))  # who gets no answer asks again
        except CloudError as error:
            log.warning("host not enrolled", reason=str(error))
            with suppress(ConnectionClosed):
                await connection.send(encode(NotEnrolled(reason=str(error))))
        except (ConnectionClosed, TimeoutError) as error:
            log.warning("enrolment broken off", reason=str(error))

    async def _admit(self, request: Enrol) -> Enrolled:
        fresh = HostId(self._chance.uuid())

        def work(tx: Tx) -> Enrolled:
            spend_token(tx, request.secret, request.name)
            host = enrol(tx, fresh, request.name, "")
            certificate, mark = self._authority.sign_host(request.request, host)
            enrol(tx, host, request.name, mark)
            return Enrolled(host=host, certificate=certificate, ca=self._authority.pem)

        enrolled = await self._database.transact(work)
        log.info("host enrolled", host=request.name, id=enrolled.host)
        return enrolled
