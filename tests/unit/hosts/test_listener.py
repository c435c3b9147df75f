"""The agents' port, with real TLS on loopback: who is let in as whom, and who is not."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from renova.agent.enrolment import enrolled
from renova.agent.journal import FileJournal
from renova.agent.service import Agent
from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.drivers.hypervisor.simulated.storage import SimulatedStorage
from renova.drivers.network.simulated import SimulatedNetwork
from renova.engine.executor import Executor
from renova.hosts.agents import Agents
from renova.hosts.authority import Authority
from renova.hosts.connections import Connections
from renova.hosts.listener import Listener, WebSocketChannel
from renova.hosts.registration import give_token
from renova.hosts.registry import Hosts
from renova.model.chance import SystemChance
from renova.model.clock import SystemClock
from renova.model.errors import BadSetup, NotNow
from renova.model.guest import FoundGuest, PowerState
from renova.model.host import Host, HostState
from renova.model.ids import ExecutorId, ImageId
from renova.settings import AgentSettings
from renova.store import hosts as host_rows
from renova.store.database import Database
from renova.store.everything import open_database
from renova.uplink.connection import TlsDialer, open_connection, trusting
from renova.uplink.identity import certificate_file, key_file, read_identity
from renova.wire.acts import Prepare, Start, Stop
from renova.wire.enrolment import Enrol, JoinToken
from renova.wire.frames import ENROL_PATH, MAX_FRAME, PATH, decode_from_controller, encode
from renova.wire.leases import Renew
from renova.wire.results import Prepared, State
from renova.wire.sessions import Welcome
from tests.agent.host import CONTENT, PIECE, SERVER, guest
from tests.guarded import guard_beside, run_host

from .hellos import TIMES, a_hello
from .test_authority import pem, signing_request

LIMIT_S = 60.0
CLOCK, CHANCE = SystemClock(), SystemChance()


class Port:
    """A controller's agents' port, on a database of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.database: Database = open_database(directory / "renova.db", CLOCK)
        self.authority = Authority(directory / "ca", CLOCK)
        me = Executor(ExecutorId(CHANCE.uuid()))
        self.hosts = Hosts(database=self.database, clock=CLOCK, times=TIMES, me=me)
        self.agents = Agents(self.hosts, self.database, CLOCK, me)
        self.connections = Connections(
            self.hosts,
            self.agents,
            database=self.database,
            clock=CLOCK,
            chance=CHANCE,
            read_image=self._read_image,
            times=TIMES,
            me=me,
        )
        self.listener = Listener(self.connections, self.agents, self.authority, self.database, CHANCE)
        self.address = ""

    async def _read_image(self, image: ImageId, offset: int) -> AsyncIterator[bytes]:
        for start in range(offset, len(CONTENT), PIECE):
            yield CONTENT[start : start + PIECE]

    async def open(self) -> None:
        identity = self.authority.serve_as(["127.0.0.1"])
        self.address = f"127.0.0.1:{await self.listener.open(identity, address='127.0.0.1', port=0)}"

    async def token(self, hours: float = 1.0) -> str:
        """Make a join token, as an operator hands it out."""
        secret = CHANCE.secret()
        await self.database.transact(lambda tx: give_token(tx, secret, hours))
        return self.agents.join_token(secret)

    def settings(self, token: str, name: str = "host1") -> AgentSettings:
        (self.directory / f"{name}-token").write_text(token)
        return AgentSettings(
            name=name,
            state_dir=str(self.directory / name),
            join_token_file=str(self.directory / f"{name}-token"),
        )

    async def enrol(self, name: str = "host1") -> Path:
        """Enrol a new host; return its state directory."""
        await enrolled(self.settings(await self.token(), name))
        return self.directory / name

    async def host(self, name: str = "host1") -> Host | None:
        return await self.database.read(lambda tx: host_rows.by_name(tx, name))

    def context(self, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
        """Return the TLS context of somebody who trusts this authority, with this certificate if any."""
        context = trusting(pem=self.authority.pem)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
        return context

    async def dial(self, path: str = PATH, context: ssl.SSLContext | None = None) -> ClientConnection:
        return await open_connection(self.address, path, context or self.context())

    async def dial_as(self, state: Path) -> ClientConnection:
        return await self.dial(PATH, self.context(certificate_file(state), key_file(state)))


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    opened = Port(tmp_path)
    await opened.open()
    yield opened
    async with asyncio.timeout(LIMIT_S):
        await opened.listener.close()
    opened.database.close()


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not true():  # noqa: ASYNC110  (there is no event for what happens in another part)
            await asyncio.sleep(0.005)


async def end_of(connection: ClientConnection) -> int:
    """Wait until the other side ends the connection; return its code."""
    async with asyncio.timeout(LIMIT_S):
        with suppress(ConnectionClosed):
            async for _ in connection:
                pass
        await connection.wait_closed()
    return connection.close_code or 0


async def hear(connection: ClientConnection) -> Any:
    async with asyncio.timeout(LIMIT_S):
        frame = await connection.recv(decode=False)
    return decode_from_controller(frame)


# --- all of it -------------------------------------------------------------------------------------------------------


async def test_a_new_host_joins_obeys_and_stays_itself_over_a_restart(port: Port) -> None:
    state = await port.enrol()
    identity = read_identity(state)
    assert identity is not None
    hypervisor = SimulatedHypervisor(CLOCK, SimulatedStorage("storage"))

    async def order(number: int, act: Any) -> Any:
        async with asyncio.timeout(LIMIT_S):
            while True:
                try:
                    return await port.agents.command(
                        identity.host, server=SERVER, incarnation=1, number=number, epoch=1, era=1, act=act
                    )
                except NotNow:  # its lease may not have begun yet
                    await asyncio.sleep(0.01)

    for run in (1, 2):
        dialers = [TlsDialer(port.address, state)]
        guard, line = guard_beside("host1", CLOCK, CHANCE, dialers, boot="boot")
        agent = Agent(
            AgentSettings(name="host1"),
            hypervisor,
            SimulatedNetwork(),
            FileJournal(state / "journal", CHANCE),
            CLOCK,
            CHANCE,
            dialers,
            line,
            boot="boot",
            address="192.0.2.1",
        )
        running = asyncio.ensure_future(run_host(agent, guard))
        await until(lambda: port.agents.connected(identity.host) and port.hosts.up(identity.host))
        if run == 1:
            assert await order(1, Prepare(guest())) == Prepared(made=True)
            assert await order(2, Start(guest())) == State(FoundGuest(SERVER, 1, PowerState.RUNNING, 1))
            assert b"" in await port.agents.console(identity.host, SERVER)
        else:
            assert await order(3, Stop(wait_s=0)) == State(FoundGuest(SERVER, 1, PowerState.SHUTDOWN, 1))
        running.cancel()
        await asyncio.wait([running])
        await until(lambda: not port.agents.connected(identity.host))
    row = await port.host()
    assert row is not None
    assert (row.id, row.state, row.address) == (identity.host, HostState.UP, "192.0.2.1")
    lease = await port.database.read(lambda tx: host_rows.lease(tx, row.id))
    assert lease is not None
    assert lease.epoch == 1, "a restart of the agent forgets nothing"
    assert lease.counter >= 1


# --- strangers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [PATH, "/", "/hosts", "/enrol/"])
async def test_who_has_no_certificate_may_only_enrol(port: Port, path: str) -> None:
    assert await end_of(await port.dial(path)) == 1008


async def test_who_speaks_no_tls_is_not_served_and_harms_nobody(port: Port) -> None:
    with pytest.raises((InvalidHandshake, OSError)):
        await connect(f"ws://{port.address}{PATH}", proxy=None)
    reader, writer = await asyncio.open_connection(*port.address.split(":"))
    writer.write(b"\x00" * 1000)
    async with asyncio.timeout(LIMIT_S):
        await reader.read()
    writer.close()
    await port.enrol()


async def test_old_tls_is_not_spoken(port: Port) -> None:
    context = port.context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((OSError, InvalidHandshake)):
        await connect(f"wss://{port.address}{PATH}", ssl=context, proxy=None)


async def refused(dialling: Awaitable[ClientConnection]) -> bool:
    """Say whether TLS ends the connection, at once or with the first word."""
    try:
        connection = await dialling
        await connection.send(encode(a_hello()))
        await connection.recv()
    except (BadSetup, NotNow, ConnectionClosed, InvalidMessage, ssl.SSLError):
        return True
    return False


async def test_a_certificate_of_another_authority_is_refused(port: Port, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", CLOCK)
    key = ec.generate_private_key(ec.SECP256R1())
    state = await port.enrol()
    identity = read_identity(state)
    assert identity is not None
    certificate, _ = other.sign_host(pem(signing_request(key=key)), identity.host)
    write(tmp_path, certificate, key)
    assert await refused(port.dial(PATH, port.context(tmp_path / "certificate.pem", tmp_path / "key.pem")))
    assert not port.agents.connected(identity.host)


def write(directory: Path, certificate: str, key: ec.EllipticCurvePrivateKey) -> None:
    (directory / "certificate.pem").write_text(certificate)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (directory / "key.pem").write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))


async def test_a_host_cannot_sign_other_hosts(port: Port, tmp_path: Path) -> None:
    state, victim = await port.enrol("host1"), await port.enrol("host2")
    identity = read_identity(victim)
    assert identity is not None
    signer_key = serialization.load_pem_private_key(key_file(state).read_bytes(), None)
    signer = x509.load_pem_x509_certificate(certificate_file(state).read_bytes())
    assert isinstance(signer_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.host)]))
        .issuer_name(signer.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(CLOCK.wall() - timedelta(hours=1))
        .not_valid_after(CLOCK.wall() + timedelta(days=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(signer_key, hashes.SHA256())
    )
    chain = forged.public_bytes(serialization.Encoding.PEM).decode() + certificate_file(state).read_text()
    write(tmp_path, chain, key)
    assert await refused(port.dial(PATH, port.context(tmp_path / "certificate.pem", tmp_path / "key.pem")))


async def test_a_controllers_own_certificate_is_no_hosts(port: Port) -> None:
    own = port.authority.serve_as(["127.0.0.1"])
    assert await refused(port.dial(PATH, port.context(own.certificate, own.key)))


async def test_a_hosts_certificate_is_no_controllers(port: Port) -> None:
    """Else one stolen host could give orders to all others."""
    thief, victim = await port.enrol("host1"), await port.enrol("host2")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file(thief), key_file(thief))
    async with serve(lambda connection: connection.close(), "127.0.0.1", 0, ssl=context) as server:
        address = f"127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        with pytest.raises(BadSetup, match=r"no controller of this cloud.*(purpose|certificate)"):
            await TlsDialer(address, victim).dial()


# --- hosts -----------------------------------------------------------------------------------------------------------


async def test_a_host_speaks_for_the_id_in_its_certificate_only(port: Port) -> None:
    first, second = await port.enrol("host1"), await port.enrol("host2")
    liar = await port.dial_as(first)
    victim = read_identity(second)
    assert victim is not None
    await liar.send(encode(a_hello(victim.host, name="host1", address="192.0.2.66")))
    welcome = await hear(liar)
    assert isinstance(welcome, Welcome)
    mine = read_identity(first)
    assert mine is not None
    assert welcome.host == mine.host
    row = await port.host("host2")
    assert row is not None
    assert (row.state, row.address) == (HostState.ENROLLED, "")
    await liar.close()


async def test_a_certificate_replaced_by_a_newer_one_is_worth_nothing(port: Port, tmp_path: Path) -> None:
    """As after an enrolment that was begun anew elsewhere."""
    state = await port.enrol()
    row = await port.host()
    assert row is not None
    await port.database.transact(lambda tx: host_rows.change(tx, row.id, certificate="of another key"))
    connection = await port.dial_as(state)
    await connection.send(encode(a_hello(row.id, name=row.name)))
    assert await end_of(connection) == 1000
    assert not port.agents.connected(row.id)


async def test_a_removed_hosts_certificate_opens_no_door(port: Port) -> None:
    state = await port.enrol()
    row = await port.host()
    assert row is not None
    connection = await port.dial_as(state)
    await connection.send(encode(a_hello(row.id, name=row.name)))
    await hear(connection)
    await port.database.transact(lambda tx: host_rows.remove(tx, row.id))
    await port.agents.drop(row.id)
    await end_of(connection)
    again = await port.dial_as(state)
    await again.send(encode(a_hello(row.id, name=row.name)))
    await end_of(again)
    assert not port.agents.connected(row.id)


BAD_FIRST: list[Any] = [
    encode(Renew(nonce=1, boot="boot", era=1, epoch=1, counter=0)),
    b"junk",
    "a text",
    encode(a_hello()).decode("latin-1"),
]


@pytest.mark.parametrize("frame", BAD_FIRST, ids=["no hello", "junk", "text", "a hello as text"])
async def test_who_does_not_begin_with_a_hello_is_turned_away(port: Port, frame: Any) -> None:
    connection = await port.dial_as(await port.enrol())
    await connection.send(frame)
    assert await end_of(connection) == 1000
    row = await port.host()
    assert row is not None
    assert row.state is HostState.ENROLLED


@pytest.mark.parametrize(
    ("frame", "code"),
    [(bytes(MAX_FRAME + 1), 1009), ("text", 1000), (b"junk", 1000), (encode(a_hello()), 1000)],
    ids=["too large", "text", "junk", "a second hello"],
)
async def test_what_no_agent_sends_ends_the_connection(port: Port, frame: Any, code: int) -> None:
    connection = await port.dial_as(await port.enrol())
    row = await port.host()
    assert row is not None
    await connection.send(encode(a_hello(row.id, name=row.name)))
    assert isinstance(await hear(connection), Welcome)
    await connection.send(frame)
    assert await end_of(connection) == code
    await until(lambda: not port.agents.connected(row.id))


async def test_closing_the_port_ends_the_connections(tmp_path: Path) -> None:
    port = Port(tmp_path)
    await port.open()
    connection = await port.dial_as(await port.enrol())
    row = await port.host()
    assert row is not None
    await connection.send(encode(a_hello(row.id, name=row.name)))
    assert isinstance(await hear(connection), Welcome)
    closing = asyncio.ensure_future(port.listener.close())
    assert await end_of(connection) == 1001
    async with asyncio.timeout(LIMIT_S):
        await closing
    assert not port.agents.connected(row.id)
    with pytest.raises(NotNow):
        await port.dial()
    port.database.close()


# --- joining ---------------------------------------------------------------------------------------------------------


async def test_a_token_enrols_one_host(port: Port) -> None:
    token = await port.token()
    await enrolled(port.settings(token, "host1"))
    with pytest.raises(BadSetup, match="unknown, expired or was used for another host; make a new one"):
        await enrolled(port.settings(token, "host2"))
    assert await port.host("host2") is None


async def test_an_expired_token_enrols_nobody(port: Port) -> None:
    with pytest.raises(BadSetup, match="expired"):
        await enrolled(port.settings(await port.token(hours=-0.001)))
    assert await port.host() is None


async def test_an_enrolment_whose_answer_was_lost_may_be_repeated(port: Port) -> None:
    settings = port.settings(await port.token())
    first = await enrolled(settings)
    (port.directory / "host1" / "host.json").unlink()
    second = await enrolled(settings)
    assert second == first
    connection = await port.dial_as(port.directory / "host1")
    await connection.send(encode(a_hello(first.host, name="host1")))
    assert isinstance(await hear(connection), Welcome)
    await connection.close()


async def test_a_name_that_is_in_use_is_not_taken_over(port: Port) -> None:
    connection = await port.dial_as(await port.enrol())
    row = await port.host()
    assert row is not None
    await connection.send(encode(a_hello(row.id, name=row.name)))
    await hear(connection)
    thief = port.settings(await port.token())
    with pytest.raises(BadSetup, match="enrolled already"):
        await enrolled(
            AgentSettings(name="host1", state_dir=str(port.directory / "t"), join_token_file=thief.join_token_file)
        )
    after = await port.host()
    assert after is not None
    assert (after.id, after.certificate) == (row.id, row.certificate)
    await connection.close()


NESTED = b"\x82\xa4kind\xa5enrol\xa1x" + b"\x91" * 100_000


async def ask_to_enrol(port: Port, frame: Any) -> bytes | None:
    """Send this to be enrolled; return the answer, None when there was none."""
    connection = await port.dial(ENROL_PATH)
    await connection.send(frame)
    try:
        async with asyncio.timeout(LIMIT_S):
            return await connection.recv(decode=False)
    except ConnectionClosed:
        return None
    finally:
        await connection.close()


async def test_a_malformed_request_is_refused_and_does_not_spend_the_token(port: Port) -> None:
    token = await port.token()
    secret = msgspec.json.decode(base64.urlsafe_b64decode(token), type=JoinToken).secret
    answer = await ask_to_enrol(port, encode(Enrol(secret=secret, name="host1", request="no request")))
    assert answer is not None
    assert b"certificate signing request is malformed" in answer
    assert await port.host() is None
    await enrolled(port.settings(token, "host2"))


@pytest.mark.parametrize(
    "frame",
    [b"", b"junk", "text", encode(Renew(nonce=1, boot="", era=1, epoch=1, counter=0)), NESTED],
    ids=["empty", "junk", "text", "no request", "nested"],
)
async def test_what_is_no_request_to_be_enrolled_is_answered_with_nothing_or_a_refusal(
    port: Port, frame: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = await ask_to_enrol(port, frame)
    assert answer is None or b"not-enrolled" in answer
    assert "connection handler failed" not in capsys.readouterr().err  # as websockets logs it
    await port.enrol()


async def test_a_database_that_is_away_during_an_enrolment_lets_the_host_try_again(port: Port) -> None:
    class Away:
        async def transact(self, fn: Any) -> Any:
            raise NotNow("the database is away")

        read = transact

        def close(self) -> None: ...

    settings = port.settings(await port.token())
    really, port.listener._database = port.listener._database, Database(Away())
    with pytest.raises(NotNow, match="gave no answer"):
        await enrolled(settings)
    port.listener._database = really
    assert (await enrolled(settings)).name == "host1"


# --- hosts that read nothing ---------------------------------------------------------------------------------------


async def test_the_connection_of_a_host_that_reads_nothing_can_be_closed() -> None:
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def flooded(connection: ServerConnection) -> None:
        channel = WebSocketChannel(connection, close_s=0.1)
        sending = [asyncio.ensure_future(channel.send(bytes(1 << 20))) for _ in range(32)]
        await asyncio.gather(channel.close(), channel.close())
        await asyncio.wait(sending)
        over.set_result(None)

    server = await serve(flooded, "127.0.0.1", 0, compression=None)
    at = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
    async with connect(at, compression=None, max_queue=1, close_timeout=0.1):
        async with asyncio.timeout(10):
            await over
    server.close()
    await server.wait_closed()


# --- the port --------------------------------------------------------------------------------------------------------


async def test_a_port_in_use_is_named_with_what_to_do(port: Port) -> None:
    number = int(port.address.rpartition(":")[2])
    identity = port.authority.serve_as(["127.0.0.1"])
    with pytest.raises(BadSetup, match=rf"127\.0\.0\.1:{number} cannot be opened \(.+\)\. Free it, or choose another"):
        await Listener(port.connections, port.agents, port.authority, port.database, CHANCE).open(
            identity, address="127.0.0.1", port=number
        )


async def test_join_tokens_are_made_once_the_port_is_open_and_say_where_it_is_reached(tmp_path: Path) -> None:
    port = Port(tmp_path)
    with pytest.raises(NotNow, match="no agents' port open yet"):
        port.agents.join_token("secret")
    identity = port.authority.serve_as(["127.0.0.1"])
    reached_at = ("cloud.example:8775", "192.0.2.1:8775")
    await port.listener.open(identity, address="127.0.0.1", port=0, reached_at=reached_at)
    token = msgspec.json.decode(base64.urlsafe_b64decode(port.agents.join_token("secret")), type=JoinToken)
    assert token == JoinToken(controllers=reached_at, ca=port.authority.pem, secret="secret")
    port.agents.learn([], (reached_at[1], "192.0.2.2:8775"), CLOCK.monotonic())
    token = msgspec.json.decode(base64.urlsafe_b64decode(port.agents.join_token("secret")), type=JoinToken)
    assert token.controllers == (*reached_at, "192.0.2.2:8775"), "any of them may enrol it"
    await port.listener.close()
    port.database.close()
