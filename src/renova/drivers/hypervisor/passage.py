"""The way by which guests travel between hosts with their memory: libvirtd speaks to libvirtd, through both agents.

libvirtd listens to nobody but its own host. The agent of the host that a guest is to leave opens a socket here, to
which its libvirtd speaks as if the other one were there; what it says goes over TLS, with both hosts' certificates, to
the agent of the other host, and from there to its libvirtd. That door opens only to the host and for the server that
are expected, once its secret is told, and closes when the guest has been taken in or either end is told to forget them:
whoever gets through speaks to a libvirtd as root does. QEMU's memory travels in the same stream (libvirt calls it
tunnelled), so nothing of it crosses the network in the clear.
"""

import asyncio
import secrets
import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from renova.model.errors import BadSetup, NotNow
from renova.model.guest import Way
from renova.model.ids import HostId, ServerId

log = structlog.get_logger()

GREETING_S = 10.0  # within which both ends have to have said who they are
KEY_BYTES = 43  # of a secret as text, with the line's end one more
OPEN = b"+"
PIECE = 1 << 18


@dataclass(frozen=True)
class Credentials:
    """The host's certificate and key, and the authority that signs hosts."""

    authority: Path
    certificate: Path
    key: Path


@dataclass
class _Expected:
    """Who may come through the door, and who is in it."""

    server: ServerId
    source: HostId
    inside: "set[asyncio.Task[None]]" = field(default_factory=set)


class Passage:
    """One host's end, at `address` and `port`; 0 is any port. `libvirtd`: its socket, for who comes in."""

    def __init__(
        self,
        address: str,
        port: int,
        credentials: Credentials,
        *,
        libvirtd: Path = Path("/run/libvirt/libvirt-sock"),
        sockets: Path = Path("/run"),
    ) -> None:
        self._address, self._port = address, port
        self._libvirtd, self._sockets = libvirtd, sockets
        try:
            self._as_server = _context(ssl.PROTOCOL_TLS_SERVER, credentials)
            self._as_client = _context(ssl.PROTOCOL_TLS_CLIENT, credentials)
        except (OSError, ssl.SSLError) as error:
            raise BadSetup(f"The host's certificate {credentials.certificate} cannot be used ({error}).") from error
        self._expected: dict[str, _Expected] = {}  # by secret
        self._door: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen, unless it does already; `NotNow` while that cannot be."""
        if self._door is not None:
            return
        try:
            self._door = await asyncio.start_server(
                self._welcome, self._address, self._port, ssl=self._as_server, ssl_handshake_timeout=GREETING_S
            )
        except OSError as error:
            # Whoever has the port may be a former agent, and the address may be there in a moment.
            raise NotNow(
                f"Guests cannot come to this host: {self._address}:{self._port} cannot be listened at "
                f"({error.strerror}). Free that port, or set migration_port."
            ) from error
        self._port = self._door.sockets[0].getsockname()[1]

    async def close(self) -> None:
        door, self._door = self._door, None
        if door is not None:
            door.close()
        for server in {each.server for each in self._expected.values()}:
            await self.forget(server)

    # --- the end at which a guest arrives ---

    def expect(self, server: ServerId, source: HostId) -> Way:
        """Have the door open to this host, for this server, until it is forgotten."""
        key = secrets.token_urlsafe(32)
        self._expected[key] = _Expected(server, source)
        return Way(address=self._address, port=self._port, key=key)

    async def forget(self, server: ServerId) -> None:
        """Have the door closed for the server, and nobody in it."""
        keys = [key for key, expected in self._expected.items() if expected.server == server]
        await _end([task for key in keys for task in self._expected.pop(key).inside])

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(GREETING_S):
                key = (await reader.readexactly(KEY_BYTES + 1))[:-1].decode("ascii", "replace")
            expected = self._expected.get(key)
            if expected is None or _named(writer) != expected.source:
                log.warning("unexpected guest turned away", peer=writer.get_extra_info("peername"))
                return
            inside = asyncio.get_running_loop().create_task(self._let_in(reader, writer), name=f"in-{expected.server}")
            expected.inside.add(inside)
            inside.add_done_callback(expected.inside.discard)
            await asyncio.wait([inside])
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            log.info("nobody came through the door", reason=str(error) or type(error).__name__)
        finally:
            writer.close()

    async def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ours = await asyncio.open_unix_connection(self._libvirtd)
        writer.write(OPEN)
        await _join((reader, writer), ours)

    # --- the end that a guest leaves ---

    @asynccontextmanager
    async def towards(self, way: Way) -> AsyncIterator[Path]:
        """Give a socket by which the libvirtd of the other host is reached for as long as this is entered."""
        directory = Path(tempfile.mkdtemp(prefix="renova-way-", dir=self._sockets))
        talks: set[asyncio.Task[None]] = set()

        async def spoken_to(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            talk = asyncio.current_task()
            assert talk is not None
            talks.add(talk)
            with suppress(OSError, asyncio.IncompleteReadError, TimeoutError, NotNow):
                try:
                    await self._pass_on(way, reader, writer)
                finally:
                    writer.close()

        socket = directory / "libvirtd"
        ear = await asyncio.start_unix_server(spoken_to, socket)
        try:
            yield socket
        finally:
            ear.close()
            await _end(list(talks))
            shutil.rmtree(directory, ignore_errors=True)

    async def _pass_on(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(GREETING_S):
            there = await asyncio.open_connection(
                way.address, way.port, ssl=self._as_client, server_hostname=way.host, limit=PIECE
            )
            try:
                there[1].write(f"{way.key}\n".encode())
                if await there[0].readexactly(1) != OPEN:
                    raise NotNow("the other host does not expect the guest")
            except BaseException:
                there[1].close()
                raise
        await _join((reader, writer), there)


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _join(one: Stream, other: Stream) -> None:
    """Pass on what each says to the other, until either has ended."""
    ways = [_carry(one[0], other[1]), _carry(other[0], one[1])]
    tasks = [asyncio.get_running_loop().create_task(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(tasks)
        for _, writer in (one, other):
            writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()


async def _end(tasks: "list[asyncio.Task[None]]") -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


def _context(protocol: int, credentials: Credentials) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(credentials.authority)
    context.load_cert_chain(credentials.certificate, credentials.key)
    return context


def _named(writer: asyncio.StreamWriter) -> str:
    """Return the host that the certificate at the other end is made out to."""
    certificate: dict[str, Any] = writer.get_extra_info("peercert") or {}
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    return names[0] if len(names) == 1 else ""
