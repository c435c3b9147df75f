"""The real connection: an agent and its controller over TLS WebSockets on loopback."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from renova.agent.enrolment import enrolled
from renova.agent.journal import FileJournal, MemoryJournal
from renova.agent.service import Agent
from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.drivers.hypervisor.simulated.storage import SimulatedStorage
from renova.drivers.network.simulated import SimulatedNetwork
from renova.model.chance import SystemChance
from renova.model.channel import Closed
from renova.model.clock import SystemClock
from renova.model.errors import BadSetup, NotNow
from renova.model.guest import FoundGuest, PowerState
from renova.settings import AgentSettings
from renova.uplink.connection import TlsDialer
from renova.uplink.controllers import FileBook
from renova.wire.acts import Prepare, Start
from renova.wire.frames import MAX_FRAME
from renova.wire.results import Prepared, State
from tests.guarded import guard_beside, run_host

from .authority import Authority, Port, a_port, unused_address
from .host import SERVER, guest, order, until


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    async with a_port(tmp_path) as port:
        yield port


@pytest.fixture
async def state_dir(port: Port, tmp_path: Path) -> Path:
    """The state directory of a host that is enrolled at `port`."""
    (tmp_path / "token").write_text(port.token())
    settings = AgentSettings(name="host1", state_dir=str(tmp_path / "state"), join_token_file=str(tmp_path / "token"))
    await enrolled(settings)
    return tmp_path / "state"


async def test_an_agent_obeys_over_real_tls_and_remembers_on_a_real_disk(port: Port, state_dir: Path) -> None:
    clock, chance = SystemClock(), SystemChance()
    hypervisor = SimulatedHypervisor(clock, SimulatedStorage("storage"))
    for run in (1, 2):
        journal = FileJournal(state_dir / "journal", chance)
        dialers = [TlsDialer(port.address, state_dir)]
        guard, line = guard_beside("host1", clock, chance, dialers, boot="boot")
        agent = Agent(
            AgentSettings(name="host1"),
            hypervisor,
            SimulatedNetwork(),
            journal,
            clock,
            chance,
            dialers,
            line,
            boot="boot",
            address="192.0.2.1",
        )
        running = asyncio.get_running_loop().create_task(run_host(agent, guard))
        await port.controller.leased(run)
        if run == 1:
            assert (await port.controller.insist(order(), Prepare(guest()))).result == Prepared(made=True)
            started = await port.controller.insist(order(number=2), Start(guest()))
            assert started.result == State(FoundGuest(SERVER, 1, PowerState.RUNNING, 1))
        else:
            assert (await port.controller.send(order(number=1), Start(guest()))).why == "stale"
        running.cancel()
        await asyncio.wait([running])
    first, second = port.controller.hellos
    assert (first.journal, second.epoch) == (second.journal, 1)
    assert second.guests == (FoundGuest(SERVER, 1, PowerState.RUNNING, 1),)


@pytest.mark.slow
async def test_home_moves_to_another_controller_within_two_seconds(port: Port, state_dir: Path, tmp_path: Path) -> None:
    """When the controller falls silent, as when it is frozen, and when the connection breaks, as by kill -9."""
    async with a_port(tmp_path, authority=port.authority) as second:
        clock = SystemClock()
        book = FileBook(state_dir)
        port.controller.controllers = (port.address, second.address)  # of the second one it is only told
        dialers = [TlsDialer(port.address, state_dir)]
        chance, dialer_to = SystemChance(), lambda address: TlsDialer(address, state_dir)
        guard, line = guard_beside("host1", clock, chance, dialers, boot="boot", dialer_to=dialer_to)
        agent = Agent(
            AgentSettings(name="host1"),
            SimulatedHypervisor(clock, SimulatedStorage("storage")),
            SimulatedNetwork(),
            MemoryJournal(SystemChance()),
            clock,
            SystemChance(),
            dialers,
            line,
            boot="boot",
            address="192.0.2.1",
            dialer_to=dialer_to,
            book=book,
        )
        running = asyncio.get_running_loop().create_task(run_host(agent, guard))
        await second.controller.leased()
        assert await book.read() == tuple(sorted((port.address, second.address)))
        assert second.controller.renewals == []
        port.controller.acknowledges = False
        unheard = len(port.controller.renewals)
        await until(lambda: len(port.controller.renewals) > unheard)
        began = clock.monotonic()
        await until(lambda: bool(second.controller.renewals))
        assert clock.monotonic() - began < 2.0
        port.controller.acknowledges = True
        second.drop_all()
        began, renewed = clock.monotonic(), len(port.controller.renewals)
        await until(lambda: len(port.controller.renewals) > renewed)
        assert clock.monotonic() - began < 2.0
        running.cancel()
        await asyncio.wait([running])


async def test_frames_pass_both_ways_until_the_end(port: Port, state_dir: Path) -> None:
    heard: list[bytes] = []

    async def echo(channel: object) -> None:
        async for frame in channel.frames():  # type: ignore[attr-defined]
            heard.append(frame)
            await channel.send(frame[::-1])  # type: ignore[attr-defined]
            if frame == b"end":
                await channel.close()  # type: ignore[attr-defined]

    port.controller.accept = echo  # type: ignore[method-assign]
    channel = await TlsDialer(port.address, state_dir).dial()
    for frame in (b"abc", bytes(1024 * 1024), b"end"):
        await channel.send(frame)
    assert [len(frame) async for frame in channel.frames()] == [3, 1024 * 1024, 3]
    with pytest.raises(Closed):
        await channel.send(b"late")
    await channel.close()


async def test_a_frame_that_is_too_large_ends_the_connection(port: Port, state_dir: Path) -> None:
    async def flood(channel: object) -> None:
        await channel.send(bytes(MAX_FRAME + 1))  # type: ignore[attr-defined]
        async for _ in channel.frames():  # type: ignore[attr-defined]
            pass

    port.controller.accept = flood  # type: ignore[method-assign]
    channel = await TlsDialer(port.address, state_dir).dial()
    assert [frame async for frame in channel.frames()] == []


async def test_a_controller_that_is_away_may_come_back(state_dir: Path) -> None:
    with pytest.raises(NotNow, match="cannot be reached"):
        await TlsDialer(await unused_address(), state_dir).dial()


async def test_who_speaks_no_tls_is_no_controller(state_dir: Path) -> None:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        with pytest.raises(BadSetup, match="TLS"):
            await TlsDialer(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", state_dir).dial()


async def test_a_controller_of_another_authority_is_not_spoken_to(port: Port, state_dir: Path) -> None:
    (state_dir / "ca.pem").write_text(Authority().pem)
    with pytest.raises(BadSetup, match="is no controller of this cloud"):
        await TlsDialer(port.address, state_dir).dial()


async def test_a_host_of_another_cloud_is_not_let_in(port: Port, state_dir: Path, tmp_path: Path) -> None:
    other = Authority()
    (state_dir / "host.pem").write_text(other.sign(port.asked[0].request, "host"))
    with pytest.raises((BadSetup, NotNow), match=r"certificate|TLS"):
        await TlsDialer(port.address, state_dir).dial()
    assert port.hosts == []


def test_a_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(Authority().pem)
    with pytest.raises(BadSetup, match="certificate in"):
        TlsDialer("127.0.0.1:1", tmp_path)
    (tmp_path / "ca.pem").write_text("x")
    with pytest.raises(BadSetup, match="authority"):
        TlsDialer("127.0.0.1:1", tmp_path)
