"""The agents' port in bad company: certificates that are worth nothing, and crowds that keep no host from its lease."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from renova.hosts.authority import Authority
from renova.hosts.connections import HELLO_LIMIT, MOST_SERVED
from renova.hosts.listener import HANDSHAKE_LIMIT
from renova.model.clock import SystemClock
from renova.model.host import HostState
from renova.model.ids import HostId
from renova.store import hosts as host_rows
from renova.uplink.identity import read_identity
from renova.wire.frames import PATH, encode
from renova.wire.leases import Renew, Renewed
from renova.wire.sessions import Report, Welcome

from .hellos import a_hello
from .test_authority import pem, signing_request
from .test_listener import Port, end_of, hear, port, refused, until, write

__all__ = ["port"]
SOON_S = 2.0  # in which a renewal is to be acknowledged, whatever goes on: this machine may be busy


class LongAgo(SystemClock):
    def wall(self) -> datetime:
        return datetime.now(UTC) - timedelta(days=4000)


async def test_an_expired_certificate_opens_no_door(port: Port, tmp_path: Path) -> None:
    state = await port.enrol()
    identity = read_identity(state)
    assert identity is not None
    key = ec.generate_private_key(ec.SECP256R1())
    former = Authority(port.directory / "ca", LongAgo())  # the same authority, as it signed eleven years ago
    certificate, mark = former.sign_host(pem(signing_request(key=key)), HostId(identity.host))
    await port.database.transact(lambda tx: host_rows.change(tx, identity.host, certificate=mark))
    write(tmp_path, certificate, key)
    assert await refused(port.dial(PATH, port.context(tmp_path / "certificate.pem", tmp_path / "key.pem")))
    assert not port.agents.connected(identity.host)


async def test_a_host_that_says_it_is_another_is_turned_away_and_the_other_stays(port: Port) -> None:
    liar, victim = await port.enrol("host1"), await port.enrol("host2")
    honest = await port.dial_as(victim)
    identity = read_identity(victim)
    assert identity is not None
    await honest.send(encode(a_hello(identity.host, name="host2", address="192.0.2.2")))
    assert isinstance(await hear(honest), Welcome)
    before = await port.host("host2")
    for name in ("host2", identity.host):
        connection = await port.dial_as(liar)
        await connection.send(encode(a_hello(identity.host, name=name, address="192.0.2.66", boot="another")))
        assert await end_of(connection) == 1000
    assert await port.host("host2") == before
    assert port.agents.connected(identity.host)
    row = await port.host("host1")
    assert row is not None
    assert row.state is HostState.ENROLLED
    await honest.close()


@asynccontextmanager
async def an_honest_host(port: Port, name: str = "honest") -> AsyncIterator[list[float]]:
    """Have a host that renews its lease all the time; yields how long each renewal took."""
    connection = await port.dial_as(await port.enrol(name))
    row = await port.host(name)
    assert row is not None
    await connection.send(encode(a_hello(row.id, name=name)))
    assert isinstance(await hear(connection), Welcome)
    took: list[float] = []
    renewing = asyncio.get_running_loop().create_task(_renew(connection, took))
    try:
        yield took
        assert not renewing.done(), renewing
    finally:
        renewing.cancel()
        await asyncio.wait([renewing])
        await connection.close()


async def _renew(connection: ClientConnection, took: list[float]) -> None:
    loop = asyncio.get_running_loop()
    counter = 0
    while True:
        began = loop.time()
        await connection.send(encode(Renew(nonce=len(took) + 1, boot="boot", era=1, epoch=1, counter=counter)))
        answer = await hear(connection)
        while not isinstance(answer, Renewed):
            answer = await hear(connection)
        counter = answer.counter
        took.append(loop.time() - began)
        await asyncio.sleep(0.05)


async def renewed(took: list[float], times: int = 10) -> None:
    """Wait until so many renewals more were acknowledged, each soon."""
    reached = len(took) + times
    await until(lambda: len(took) >= reached)
    assert max(took) < SOON_S


@pytest.mark.slow
async def test_who_only_holds_connections_open_keeps_nobody_from_the_port(port: Port) -> None:
    host, _, number = port.address.rpartition(":")
    crowd: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    async with an_honest_host(port) as took:
        hello = _first_bytes_of_tls()
        for one in range(300):
            reader, writer = await asyncio.open_connection(host, int(number))
            if one % 2:
                writer.write(hello[: 5 + one % 50])  # a handshake that never goes on
            crowd.append((reader, writer))
        await renewed(took)
        async with an_honest_host(port, "newcomer") as others:
            await renewed(others)
        async with asyncio.timeout(HANDSHAKE_LIMIT + 20):
            for reader, _ in crowd:
                await _ended(reader)
        await renewed(took)
    for _, writer in crowd:
        writer.close()


async def _ended(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(1024):
            pass
    except ConnectionError:
        pass


def _first_bytes_of_tls() -> bytes:
    context = ssl.create_default_context()
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(into, out, server_hostname="x").do_handshake()
    return out.read()


@pytest.mark.slow
async def test_a_host_that_never_says_hello_is_let_go(port: Port) -> None:
    state = await port.enrol("silent")
    silent = [await port.dial_as(state) for _ in range(20)]
    async with an_honest_host(port) as took:
        async with asyncio.timeout(HELLO_LIMIT + 20):
            for connection in silent:
                assert await end_of(connection) == 1000
        await renewed(took)


async def _flood(connection: ClientConnection) -> None:
    for _ in range(20 * MOST_SERVED):
        await connection.send(encode(Report(id=1, changes=())))
        await asyncio.sleep(0)


@pytest.mark.slow
async def test_a_host_that_says_too_much_keeps_no_other_from_its_lease(port: Port) -> None:
    flooding = await port.dial_as(await port.enrol("loud"))
    row = await port.host("loud")
    assert row is not None
    await flooding.send(encode(a_hello(row.id, name="loud")))
    assert isinstance(await hear(flooding), Welcome)
    stuck = asyncio.Event()

    async def never(_host: HostId, _changes: object) -> None:
        await stuck.wait()

    port.hosts.on_report = never
    before = len(asyncio.all_tasks())
    async with an_honest_host(port) as took:
        with pytest.raises(ConnectionClosed):
            await _flood(flooding)
        await until(lambda: not port.agents.connected(row.id))
        await renewed(took)
    await until(lambda: len(asyncio.all_tasks()) <= before)
    stuck.set()


@pytest.mark.slow
async def test_a_host_that_reads_nothing_keeps_no_other_from_its_lease(port: Port) -> None:
    deaf = await port.dial_as(await port.enrol("deaf"))
    row = await port.host("deaf")
    assert row is not None
    await deaf.send(encode(a_hello(row.id, name="deaf")))
    assert isinstance(await hear(deaf), Welcome)
    deaf.transport.pause_reading()
    async with an_honest_host(port) as took:
        for count in range(200):
            port.agents.learn(
                await port.database.read(host_rows.every), tuple(f"c{n}:{count}" for n in range(3000)), 0.0
            )
            await asyncio.sleep(0)
        await renewed(took)
    deaf.transport.abort()
