"""What a connection may bring, and what the controller says over it: each end of it is held to its turn."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import pytest
import structlog

from renova.engine.executor import Executor as ControllerRun
from renova.engine.journal import Lost
from renova.hosts import eras
from renova.hosts.agents import Agents
from renova.hosts.connections import HELLO_LIMIT, Connections
from renova.hosts.link import PIECES, SAY_S
from renova.hosts.peers import GATHER_PEERS
from renova.hosts.registration import cleaned, enrol
from renova.hosts.registry import Hosts
from renova.model.chance import SeededChance
from renova.model.channel import Closed
from renova.model.errors import Broken, CloudError, NotFound, NotNow, OnHold, Refused, Stale, whole
from renova.model.guest import FoundGuest, GuestChanged, PowerState
from renova.model.host import HostState
from renova.model.ids import ExecutorId, HostId, ImageId, ServerId
from renova.simulation.channel import pair
from renova.simulation.loop import VirtualClock, run_virtual
from renova.store import cluster, rights
from renova.store import hosts as host_rows
from renova.store.database import Database, Tx
from renova.wire.acts import DropDisks, Stop
from renova.wire.commands import Answer, Command
from renova.wire.duties import Clean, Cleaned, Duty
from renova.wire.frames import FromController, decode_from_controller, encode
from renova.wire.images import ImagePiece, WantImage
from renova.wire.leases import Fenced, GuardHello, GuardWelcome, Renew, Renewed
from renova.wire.message import Message
from renova.wire.questions import Read, ReadConsole
from renova.wire.results import ConsoleText, State
from renova.wire.sessions import Peers, Report, Reported, Welcome
from tests.database_away import Faulty
from tests.databases import open_empty
from tests.unit.store.tables import ONE, A, B, add_server

from .hellos import TIMES, a_hello, found

M = TypeVar("M")


class Bench:
    """A controller's end of the wire, two enrolled hosts, and what the rest of the controller was told."""

    def __init__(self, other: "Bench | None" = None) -> None:
        """Make a controller of its own, or one over the same database as the other."""
        self.clock: VirtualClock = other.clock if other else VirtualClock()
        self.faulty: Faulty = Faulty(other.faulty._executor if other else open_empty(self.clock)._executor)
        self.database = Database(self.faulty)
        self.image: list[bytes | CloudError] = []
        chance = SeededChance(2 if other else 1)
        me = ControllerRun(ExecutorId(chance.uuid()))
        self.hosts = Hosts(database=self.database, clock=self.clock, times=TIMES, me=me)
        self.agents = Agents(self.hosts, self.database, self.clock, me, extra_peers=("10.9.9.9",))
        self.connections = Connections(
            self.hosts,
            self.agents,
            database=self.database,
            clock=self.clock,
            chance=chance,
            read_image=self._read_image,
            times=TIMES,
            me=me,
        )
        self.told: list[tuple[str, Any]] = []
        self.hosts.on_up = lambda host: self.told.append(("up", host))
        self.hosts.on_report = self._take_report

    async def _take_report(self, host: HostId, changes: tuple[GuestChanged, ...]) -> None:
        self.told.append(("report", (host, changes)))

    async def _read_image(self, image: ImageId, offset: int) -> AsyncIterator[bytes]:
        for piece in self.image[offset:]:
            if isinstance(piece, CloudError):
                raise piece
            yield piece

    async def begin(self) -> None:
        for host in (A, B):
            await self.database.transact(
                partial(enrol, host=host, name=f"name-of-{host}", certificate=f"certificate-of-{host}")
            )

    def dial(self, host: HostId = A, certificate: str = "") -> "HostEnd":
        mine, theirs = pair()
        serving = asyncio.ensure_future(self.connections.serve(theirs, host, certificate or f"certificate-of-{host}"))
        return HostEnd(self, host, mine, serving)

    async def connected(self, host: HostId = A, **changes: Any) -> "HostEnd":
        """Dial, say hello and be welcomed."""
        end = self.dial(host)
        known = await self.database.read(lambda tx: host_rows.lease(tx, host))
        await end.say(a_hello(host, **({"era": 1, "epoch": known.epoch} if known else {}) | changes))
        end.welcome = await end.hear(Welcome)
        return end

    async def state(self, host: HostId = A) -> HostState:
        row = await self.database.read(lambda tx: host_rows.get(tx, host))
        assert row is not None
        return row.state


class HostEnd:
    """The host's end of one connection."""

    welcome: Welcome

    def __init__(self, bench: Bench, host: HostId, channel: Any, serving: "asyncio.Future[None]") -> None:
        self.bench = bench
        self.host = host
        self.channel = channel
        self.serving = serving
        self._frames = channel.frames()

    async def say(self, message: Message) -> None:
        await self.channel.send(encode(message))

    async def next(self) -> FromController | None:
        """Return the next message, None when the connection has ended."""
        async with asyncio.timeout(60):
            frame = await anext(self._frames, None)
        return None if frame is None else decode_from_controller(frame)

    async def hear(self, kind: type[M]) -> M:
        """Return the next message, which is of this kind; peers are told at any time."""
        message = await self.next()
        while isinstance(message, Peers) and kind is not Peers:
            message = await self.next()
        assert isinstance(message, kind), message
        return message

    async def is_turned_away(self) -> None:
        await self.hear(type(None))
        await self.serving

    async def answer(self, command: Command | Read, **fields: Any) -> None:
        await self.say(Answer(id=command.id, **fields))


def on_bench(story: Callable[[Bench], Awaitable[None]]) -> None:
    async def main() -> None:
        bench = Bench()
        await bench.begin()
        with structlog.testing.capture_logs():
            await story(bench)

    run_virtual(main(), limit_s=1000)


def stop(bench: Bench, host: HostId = A, number: int = 5, era: int | None = None) -> "asyncio.Future[Any]":
    """Order a stop of a server's guest; by default in the era that the controller knows of."""
    era = bench.agents.era if era is None else era
    return asyncio.ensure_future(
        bench.agents.command(host, server=ONE, incarnation=3, number=number, epoch=2, era=era, act=Stop(wait_s=0))
    )


# --- who is let in ---------------------------------------------------------------------------------------------------


def test_a_host_that_says_hello_is_told_its_place() -> None:
    async def story(bench: Bench) -> None:
        host = await bench.connected()
        welcome = host.welcome
        assert (welcome.host, welcome.era, welcome.epoch, welcome.ttl, welcome.renew) == (A, 1, 1, 5.0, 1.0)
        assert welcome.peers == ("10.1.0.1", "10.9.9.9")
        assert bench.agents.connected(A)
        assert bench.hosts.up(A)
        assert not bench.agents.connected(B)
        other = await bench.connected(B)
        assert other.welcome.session != welcome.session

    on_bench(story)


@pytest.mark.parametrize(
    "first",
    [
        encode(Renew(nonce=1, boot="boot", era=1, epoch=1, counter=0)),
        encode(Answer(id=1)),
        encode(Welcome(host=A, session="", era=1, epoch=1, ttl=1, renew=1, duties=(), peers=())),
        b"",
        b"\xc1",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x91" * 100_000,
    ],
    ids=["renewal", "answer", "welcome", "nothing", "junk", "http", "nested"],
)
def test_what_begins_with_anything_but_a_hello_is_turned_away(first: bytes) -> None:
    async def story(bench: Bench) -> None:
        host = bench.dial()
        await host.channel.send(first)
        await host.is_turned_away()
        assert not bench.agents.connected(A)
        assert await bench.state() is HostState.ENROLLED

    on_bench(story)


def test_who_says_nothing_is_not_waited_for() -> None:
    async def story(bench: Bench) -> None:
        host = bench.dial()
        await host.is_turned_away()
        assert bench.clock.monotonic() == HELLO_LIMIT

    on_bench(story)


def test_a_certificate_that_is_not_the_hosts_own_is_turned_away() -> None:
    async def story(bench: Bench) -> None:
        for certificate in ("certificate-of-host-b", "an old one", "x"):
            host = bench.dial(A, certificate)
            await host.say(a_hello(A))
            await host.is_turned_away()
        nobody = bench.dial(HostId("nobody"))
        await nobody.say(a_hello(A))
        await nobody.is_turned_away()
        assert await bench.state() is HostState.ENROLLED

    on_bench(story)


def test_an_unknown_host_is_noted_while_on_hold_whether_its_agent_knocks_or_its_guard() -> None:
    async def story(bench: Bench) -> None:
        await bench.database.transact(lambda tx: eras.begin(tx, "me"))
        for host, hello in (
            (HostId("one"), a_hello(A)),
            (HostId("two"), GuardHello(name="compute7", boot="boot", era=1, epoch=1)),
        ):
            end = bench.dial(host)
            await end.say(hello)
            await end.is_turned_away()
        waiting = await bench.database.read(eras.waiting)
        assert {each.host: each.name for each in waiting.strangers} == {"one": f"name-of-{A}", "two": "compute7"}

    on_bench(story)


def test_a_host_speaks_for_itself_whatever_it_says() -> None:
    async def story(bench: Bench) -> None:
        await bench.connected(B)
        liar = bench.dial(A)
        await liar.say(a_hello(B, name=f"name-of-{A}"))
        assert (await liar.hear(Welcome)).host == A
        assert bench.agents.connected(B)
        rows = await bench.database.read(host_rows.every)
        assert [(row.id, row.name) for row in rows] == [(A, "name-of-host-a"), (B, "name-of-host-b")]

    on_bench(story)


def test_a_host_that_was_removed_loses_its_connection_and_gets_no_other() -> None:
    async def story(bench: Bench) -> None:
        host = await bench.connected()
        await bench.database.transact(lambda tx: host_rows.remove(tx, A))
        await bench.agents.drop(A)
        await host.is_turned_away()
        assert not bench.agents.connected(A)
        again = bench.dial(A)
        await again.say(a_hello(A))
        await again.is_turned_away()
        await bench.agents.drop(A)

    on_bench(story)


@pytest.mark.parametrize(
    "bad", [b"junk", encode(a_hello(A)), encode(Fenced(epoch=1))], ids=["junk", "a second hello", "out of turn"]
)
def test_what_no_agent_says_ends_the_connection(bad: bytes) -> None:
    async def story(bench: Bench) -> None:
        host = await bench.connected()
        await host.channel.send(bad)
        await host.is_turned_away()
        assert not bench.agents.connected(A)
        await bench.connected()

    on_bench(story)


def test_a_database_that_is_away_lets_nobody_in_and_loses_nobody() -> None:
    async def story(bench: Bench) -> None:
        bench.faulty.errors = [NotNow("away")]
        host = bench.dial()
        await host.say(a_hello(A))
        await host.is_turned_away()
        assert (await bench.connected()).welcome.epoch == 1

    on_bench(story)


# --- commands --------------------------------------------------------------------------------------------------------


def test_a_command_says_under_which_lease_and_connection_it_was_given() -> None:
    async def story(bench: Bench) -> None:
        host = await bench.connected()
        asked = stop(bench)
        command = await host.hear(Command)
        order = command.order
        assert (order.era, order.host_epoch, order.session) == (1, 1, host.welcome.session)
        assert (order.server, order.incarnation, order.number, order.epoch) == (ONE, 3, 5, 2)
        await host.answer(command, result=State(None))
        assert await asked == State(None)

    on_bench(story)


@pytest.mark.parametrize(
    ("why", "error"),
    [("refused", Refused), ("stale", Stale), ("not_now", NotNow), ("broken", Broken), ("", Broken), ("news", Broken)],
)
def test_an_answer_becomes_what_the_caller_should_do_next(why: str, error: type[CloudError]) -> None:
    async def story(bench: Bench) -> None:
        host = await bench.connected()
        asked = stop(bench)
        await host.answer(await host.hear(Command), error="the reason", why=why, details="10.0.0.1 is deaf")
        with pytest.raises(error) as raised:
            await asked
        told, in_full = "the reason", "the reason (host name-of-host-a: 10.0.0.1 is deaf)"
        assert (type(raised.value), str(raised.value), whole(raised.value)) == (error, told, in_full)

    on_bench(story)


def test_answers_find_their_commands_whatever_their_order() -> None:
    async def story(bench: Bench) -> None:
        host = await bench.connected()
        asked = [stop(bench, number=number) for number in range(3)]
        commands = [await host.hear(Command) for _ in asked]
        await host.say(Answer(id=999, result=State(None)))
        for command in reversed(commands):
            found_guest = FoundGuest(ONE, command.order.number, PowerState.RUNNING)
            for _ in range(2):  # the second one answers nothing any more
                await host.answer(command, result=State(found_guest))
        assert [answer.guest.incarnation for answer in await asyncio.gather(*asked)] == [0, 1, 2]
        assert bench.agents.connected(A)

    on_bench(story)


def test_what_was_begun_in_another_era_asks_a_host_for_nothing() -> None:
    """Its controller may have missed the whole hold; the new era's database need not have heard of the operation."""

    async def story(bench: Bench) -> None:
        await bench.connected()
        before = bench.agents.era
        await bench.database.transact(lambda tx: eras.begin(tx, "the operator"))
        await bench.database.transact(cluster.end_hold)
        host = await bench.connected()
        with pytest.raises(Lost, match="to be told anew"):
            await stop(bench, era=before)
        asked = stop(bench, era=bench.agents.era)
        await host.answer(await host.hear(Command), result=State(None))
        assert (await asked, bench.agents.era) == (State(None), before + 1)

    on_bench(story)


def test_a_host_welcomed_on_hold_is_given_nothing_until_it_says_hello_after_it() -> None:
    """The controller need not have followed the cluster into the hold: the welcome says of it, too."""

    async def story(bench: Bench) -> None:
        await bench.connected()
        await bench.database.transact(lambda tx: eras.begin(tx, "the operator"))
        host = await bench.connected()
        with pytest.raises(OnHold, match="a new era"):
            await bench.agents.command(A, server=ONE, incarnation=1, number=1, epoch=1, era=2, act=DropDisks(None))
        await bench.database.transact(cluster.end_hold)
        bench.agents.follow(await bench.database.read(cluster.get))
        await host.is_turned_away()
        again = await bench.connected()
        asked = stop(bench)
        await again.answer(await again.hear(Command), result=State(None))
        assert await asked == State(None)

    on_bench(story)


def test_a_command_to_a_host_that_is_away_is_for_later() -> None:
    async def story(bench: Bench) -> None:
        with pytest.raises(NotNow, match="not connected"):
            await stop(bench)

    on_bench(story)


def test_a_connection_that_ends_leaves_no_caller_waiting() -> None:
    async def story(bench: Bench) -> None:
        host = await bench.connected()
        asked = stop(bench)
        await host.hear(Command)
        await host.channel.close()
        with pytest.raises(Closed):
            await asked
        await host.serving
        assert not bench.agents.connected(A)

    on_bench(story)


def test_a_newer_connection_takes_the_place_of_the_former() -> None:
    async def story(bench: Bench) -> None:
        former = await bench.connected()
        asked = stop(bench)
        command = await former.hear(Command)
        newer = await bench.connected()
        with pytest.raises(Closed):
            await asked
        await former.is_turned_away()
        assert bench.agents.connected(A), "the end of the former must not end the newer"
        again = stop(bench)
        assert (await newer.hear(Command)).order.session == newer.welcome.session != command.order.session
        again.cancel()

    on_bench(story)


def test_an_answer_that_nobody_waits_for_any_more_harms_nobody() -> None:
    async def story(bench: Bench) -> None:
        host = await bench.connected()
        asked = stop(bench)
        command = await host.hear(Command)
        asked.cancel()
        await host.answer(command, result=State(None))
        later = stop(bench)
        await host.answer(await host.hear(Command), result=State(None))
        assert await later == State(None)

    on_bench(story)


def test_a_console_is_read_where_the_host_is_and_is_for_later_where_it_is_not() -> None:
    async def story(bench: Bench) -> None:
        with pytest.raises(NotNow, match="not connected"):
            await bench.agents.console(A, ONE)
        host = await bench.connected()
        asked = asyncio.ensure_future(bench.agents.console(A, ONE, 10))
        question = await host.hear(Read)
        assert question.what == ReadConsole(server=ONE, limit=10)
        await host.answer(question, result=ConsoleText(b"login: "))
        assert await asked == b"login: "

    on_bench(story)


# --- leases and fences -----------------------------------------------------------------------------------------------


def test_a_renewal_is_answered_over_the_connection_that_brought_it() -> None:
    async def story(bench: Bench) -> None:
        host = await bench.connected()
        await host.say(Renew(nonce=7, boot="boot", era=1, epoch=1, counter=0))
        answer = await host.hear(Renewed)
        assert (answer.nonce, answer.counter) == (7, 1)
        bench.faulty.errors = [NotNow("away")]
        await host.say(Renew(nonce=8, boot="boot", era=1, epoch=1, counter=1))
        await host.say(Renew(nonce=9, boot="boot", era=1, epoch=0, counter=1))
        await bench.clock.sleep(1)
        await host.say(Renew(nonce=10, boot="boot", era=1, epoch=0, counter=1))
        over = Fenced(epoch=0, next_era=1, next_epoch=1)
        assert await host.hear(Fenced) == over, "nothing was said while the database was away"

    on_bench(story)


def test_a_host_is_up_while_it_renews() -> None:
    async def story(bench: Bench) -> None:
        host = await bench.connected()
        for nonce in range(1, 11):
            await bench.clock.sleep(1)
            await host.say(Renew(nonce=nonce, boot="boot", era=1, epoch=1, counter=nonce - 1))
            await host.hear(Renewed)
            assert bench.hosts.up(A)
        await bench.clock.sleep(TIMES.suspect_after)
        assert not bench.hosts.up(A)
        assert bench.agents.connected(A), "it is silent all the same"

    on_bench(story)


def test_a_fence_is_told_to_who_is_there_to_hear_it() -> None:
    async def story(bench: Bench) -> None:
        bench.agents.fence(A)
        host = await bench.connected()
        bench.agents.fence(A)
        assert await host.hear(Fenced) == Fenced(epoch=1)

    on_bench(story)


def test_a_fence_that_nobody_hears_any_more_is_no_error() -> None:
    async def story(bench: Bench) -> None:
        host = await bench.connected()
        host.channel._link.reset()
        assert bench.agents.connected(A), "its end is not noticed yet"
        bench.agents.fence(A)

    on_bench(story)


# --- hosts that read nothing ---------------------------------------------------------------------------------------


def reads_nothing(bench: Bench, host: HostId) -> list[int]:
    """Have nothing leave for the host any more, as when its buffers are full; returns the sizes of what waits."""
    waiting: list[int] = []

    async def send(frame: bytes) -> None:
        waiting.append(len(frame))
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            waiting.remove(len(frame))

    bench.agents._links[host].channel.send = send  # type: ignore[method-assign]
    return waiting


def test_a_host_that_reads_nothing_is_away_before_long() -> None:
    async def story(bench: Bench) -> None:
        host = await bench.connected(A)
        reads_nothing(bench, A)
        began = bench.clock.monotonic()
        with pytest.raises(Closed):
            await bench.agents.console(A, ONE)
        assert bench.clock.monotonic() - began <= SAY_S
        await host.serving
        assert not bench.agents.connected(A)

    on_bench(story)


def test_a_host_that_reads_nothing_keeps_nobody_from_hearing_of_newcomers() -> None:
    async def story(bench: Bench) -> None:
        await bench.connected(A)
        other = await bench.connected(B, address="10.1.0.2")
        await bench.clock.sleep(1)
        reads_nothing(bench, A)
        await bench.connected(B, address="10.1.0.3")
        await bench.clock.sleep(1)
        other = await bench.connected(B, address="10.1.0.4")
        await bench.clock.sleep(SAY_S)
        assert (await other.hear(Peers)).addresses == ("10.1.0.1", "10.1.0.4", "10.9.9.9")

    on_bench(story)


def test_a_guard_that_reads_nothing_is_left_to_itself() -> None:
    async def story(bench: Bench) -> None:
        await bench.connected(A)
        end = bench.dial(A)
        await end.say(GuardHello(name=f"name-of-{A}", boot="boot", era=1, epoch=1))
        await end.hear(GuardWelcome)
        (channel,) = bench.agents.guards._channels

        async def send(_frame: bytes) -> None:
            await asyncio.get_running_loop().create_future()

        channel.send = send  # type: ignore[method-assign,assignment]
        began = bench.clock.monotonic()
        await bench.agents.guards.tell(("elsewhere",))
        assert bench.clock.monotonic() - began <= SAY_S
        await end.serving

    on_bench(story)


def test_what_one_host_can_have_read_of_images_at_a_time_is_bounded() -> None:
    async def story(bench: Bench) -> None:
        host = await bench.connected()
        read: list[int] = []

        async def image(_image: ImageId, offset: int) -> AsyncIterator[bytes]:
            read.append(offset)
            yield b"piece"

        bench.connections._read_image = image
        await host.hear(Peers)
        waiting = reads_nothing(bench, A)
        for number in range(300):
            await host.say(WantImage(id=number, image=ImageId("image"), offset=number))
        await bench.clock.sleep(1)
        assert (len(read), len(waiting)) == (PIECES, 1), "and what else is said waits for one piece to have left"

    on_bench(story)


def test_all_that_is_wanted_of_images_is_given_in_the_end() -> None:
    async def story(bench: Bench) -> None:
        bench.image = [b"piece"] * 100
        host = await bench.connected()
        for number in range(100):
            await host.say(WantImage(id=number, image=ImageId("image"), offset=number))
        assert {(await host.hear(ImagePiece)).id for _ in range(100)} == set(range(100))

    on_bench(story)


# --- duties ----------------------------------------------------------------------------------------------------------


async def returning(bench: Bench, **changes: Any) -> HostEnd:
    """Have host A come back after a proof of death, with one server to clean up."""

    def work(tx: Tx) -> None:
        add_server(tx, ONE, host=B, launched_at=tx.now)
        rights.grant(tx, ONE, A)
        lease = host_rows.lease(tx, A)
        assert lease is not None
        assert host_rows.prove_dead(tx, lease, "power_off", {}, "x")
        rights.grant(tx, ONE, B)

    await bench.connected(B)
    first = await bench.connected(A)
    await bench.database.transact(work)
    await first.channel.close()
    await first.serving
    return await bench.connected(A, epoch=1, **changes)


def test_a_returning_host_is_up_when_it_has_said_that_all_is_clean() -> None:
    async def story(bench: Bench) -> None:
        host = await returning(bench)
        assert host.welcome.duties == (Duty(ONE, 2, disks=False),)
        assert not bench.hosts.up(A)
        await host.say(Cleaned(duty=Duty(ONE, 2, disks=False)))
        await bench.clock.sleep(0.1)
        assert bench.hosts.up(A)
        assert await bench.state() is HostState.UP

    on_bench(story)


def test_a_host_is_told_to_be_up_only_when_it_is_clean_and_its_boot_is_kept_until_it_was_followed() -> None:
    async def story(bench: Bench) -> None:
        bench.told.clear()
        host = await returning(bench, boot="next boot")
        before = bench.told.count(("up", A))
        await host.say(Cleaned(duty=Duty(ONE, 2, disks=False)))
        await bench.clock.sleep(0.1)
        assert bench.told.count(("up", A)) == before + 1
        row = await bench.database.read(lambda tx: host_rows.get(tx, A))
        assert row is not None
        assert row.resume

    on_bench(story)


def test_a_duty_whose_end_could_not_be_written_down_is_not_forgotten() -> None:
    async def story(bench: Bench) -> None:
        host = await returning(bench)
        bench.faulty.errors = [NotNow("away")]
        await host.say(Cleaned(duty=Duty(ONE, 2, disks=False)))
        await host.is_turned_away()  # so that it says hello, and hears of its duty again
        again = await bench.connected(A)
        assert again.welcome.duties == host.welcome.duties

    on_bench(story)


def test_a_duty_that_was_paid_over_another_connection_leaves_the_host_up_all_the_same() -> None:
    async def story(bench: Bench) -> None:
        host = await returning(bench)
        # What was said over the former connection is committed after the newer one's hello.
        await bench.database.transact(lambda tx: cleaned(tx, A, Duty(ONE, 2, disks=False)))
        await host.say(Cleaned(duty=Duty(ONE, 2, disks=False)))
        await bench.clock.sleep(0.1)
        assert await bench.state() is HostState.UP
        assert bench.hosts.up(A)

    on_bench(story)


def test_a_debt_is_not_paid_by_a_host_that_was_told_to_keep_disks_which_are_to_go_since() -> None:
    async def story(bench: Bench) -> None:
        host = await bench.connected()
        await bench.database.transact(lambda tx: rights.owe(tx, A, ONE, 4))
        for done, left in ((Duty(ONE, 4, disks=False), 1), (Duty(ONE, 4, disks=True), 0)):
            await host.say(Cleaned(duty=done))
            await bench.clock.sleep(0.1)
            assert len(await bench.database.read(lambda tx: rights.debts_of(tx, A))) == left

    on_bench(story)


def test_a_debt_is_called_in_from_a_host_that_is_there() -> None:
    async def story(bench: Bench) -> None:
        bench.agents.call_in_debts(A)
        host = await bench.connected()
        await bench.database.transact(lambda tx: rights.owe(tx, A, ONE, 4))
        bench.agents.call_in_debts(A)
        assert (await host.hear(Clean)).duty == Duty(ONE, 4, disks=True)
        await host.say(Cleaned(duty=Duty(ONE, 4, disks=True)))
        await bench.clock.sleep(0.1)
        assert await bench.database.read(lambda tx: rights.debts_of(tx, A)) == []

    on_bench(story)


# --- what hosts report, want and must know ---------------------------------------------------------------------------


def test_what_a_host_reports_is_told_as_its_own() -> None:
    async def story(bench: Bench) -> None:
        guest = found(ServerId("server-9"))
        host = await bench.connected(guests=(guest,))
        changes = (GuestChanged(ONE, 1, PowerState.SHUTDOWN),)
        await host.say(Report(changes=changes))
        await bench.clock.sleep(0.1)
        begun = (GuestChanged(guest.server, guest.incarnation, guest.power),)
        assert [what for kind, what in bench.told if kind == "report"] == [(A, begun), (A, changes)]

    on_bench(story)


@pytest.mark.parametrize("error", [KeyError("a bug"), NotNow("the database is away")])
def test_a_report_that_cannot_be_taken_is_not_answered_and_may_be_told_again(error: Exception) -> None:
    async def story(bench: Bench) -> None:
        host, other = await bench.connected(A), await bench.connected(B)
        taking = bench.hosts.on_report

        async def fail(_host: HostId, _changes: object) -> None:
            raise error

        bench.hosts.on_report = fail
        await host.say(Report(id=1, changes=()))
        await bench.clock.sleep(1)
        bench.hosts.on_report = taking
        await host.say(Report(id=2, changes=()))
        assert await host.hear(Reported) == Reported(id=2)
        await other.say(Renew(nonce=1, boot="boot", era=1, epoch=1, counter=0))
        await other.hear(Renewed)

    on_bench(story)


@pytest.mark.parametrize(
    ("image", "offset", "piece"),
    [
        ([b"abc", b"def"], 0, {"data": b"abc"}),
        ([b"abc", b"def"], 1, {"data": b"def"}),
        ([b"abc"], 1, {"data": b""}),
        ([NotFound("no such image")], 0, {"error": "no such image", "why": "refused"}),
        ([NotNow("glance is away")], 0, {"error": "glance is away", "why": "not_now"}),
    ],
)
def test_an_image_is_given_in_pieces_or_why_not(image: list[Any], offset: int, piece: dict[str, Any]) -> None:
    async def story(bench: Bench) -> None:
        bench.image = image
        host = await bench.connected()
        await host.say(WantImage(id=3, image=ImageId("image"), offset=offset))
        assert await host.hear(ImagePiece) == ImagePiece(id=3, **piece)

    on_bench(story)


def test_a_newcomer_is_told_to_all_a_moment_later_and_a_known_one_to_nobody() -> None:
    async def story(bench: Bench) -> None:
        host = await bench.connected(A)
        assert (await host.hear(Peers)).addresses == ("10.1.0.1", "10.9.9.9")
        await bench.connected(B, address="10.1.0.2")
        began = bench.clock.monotonic()
        assert (await host.hear(Peers)).addresses == ("10.1.0.1", "10.1.0.2", "10.9.9.9")
        assert bench.clock.monotonic() - began >= GATHER_PEERS
        await bench.connected(B, address="10.1.0.2")
        await bench.clock.sleep(10)
        bench.agents.fence(A)
        await host.hear(Fenced)

    on_bench(story)
