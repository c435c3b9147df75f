"""Two controllers over one database: what a host does at one of them, the other one follows."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import structlog

from renova.engine.journal import Elsewhere
from renova.hosts.agents import ARRIVING_S
from renova.hosts.registration import cleaned
from renova.model.errors import NotNow
from renova.model.host import HostState, ProofKind
from renova.model.ids import HostId, ProjectId, UserId
from renova.simulation.loop import run_virtual
from renova.store import hosts as host_rows
from renova.store import rights
from renova.store.database import Tx
from renova.store.placement import allocations, claims
from renova.wire.acts import Stop
from renova.wire.duties import Cleaned, Duty
from renova.wire.leases import Fenced, GuardHello, GuardWelcome, Renew, Renewed
from renova.wire.questions import Read
from renova.wire.results import ConsoleText
from renova.wire.sessions import Controllers, Peers
from tests.unit.store.tables import ONE, A, B, add_server

from .hellos import TIMES
from .test_connections import Bench, HostEnd


async def look(*benches: Bench, controllers: tuple[str, ...] = ()) -> None:
    """Have the controllers look at the database, as their monitors do."""
    for bench in benches:
        await bench.clock.sleep(0.01)
        began = bench.clock.monotonic()
        await bench.hosts.leases.look()
        bench.agents.learn(await bench.database.read(host_rows.every), controllers, began)
    await benches[0].clock.sleep(0.01)


async def renew(host: HostEnd, epoch: int = 1, boot: str = "boot") -> None:
    known = await host.bench.database.read(lambda tx: host_rows.lease(tx, host.host))
    assert known is not None
    await host.say(Renew(nonce=1, boot=boot, era=1, epoch=epoch, counter=known.counter))
    await host.hear(Renewed)


def with_two(story: Callable[[Bench, Bench], Awaitable[None]]) -> None:
    async def main() -> None:
        one = Bench()
        await one.begin()
        with structlog.testing.capture_logs():
            await story(one, Bench(one))

    run_virtual(main(), limit_s=1000)


async def tell_to_stop(bench: Bench, host: HostId = A) -> None:
    await bench.agents.command(host, server=ONE, incarnation=3, number=5, epoch=2, era=1, act=Stop(wait_s=0))


# --- a second hello --------------------------------------------------------------------------------------------------


def test_a_hello_at_another_controller_changes_nothing_for_the_first() -> None:
    async def story(one: Bench, two: Bench) -> None:
        at_one = await one.connected(A, era=0, epoch=0)
        await renew(at_one)
        before = await one.database.read(lambda tx: host_rows.lease(tx, A))
        at_two = await two.connected(A, era=0, epoch=0)  # sent before the first one's welcome came
        assert (at_two.welcome.epoch, at_two.welcome.duties) == (1, ())
        assert at_two.welcome.controller != at_one.welcome.controller
        lease = await one.database.read(lambda tx: host_rows.lease(tx, A))
        assert lease is not None
        assert before is not None
        assert (lease.epoch, lease.counter, lease.boot) == (before.epoch, before.counter, before.boot)
        await look(one, two)
        assert one.agents.connected(A)
        assert two.agents.connected(A)
        row = await one.database.read(lambda tx: host_rows.get(tx, A))
        assert row is not None
        assert (row.state, row.resume) == (HostState.UP, False)
        await renew(at_one)

    with_two(story)


def test_a_host_that_another_controller_hears_is_up_here_too_but_cannot_be_commanded_from_here() -> None:
    async def story(one: Bench, two: Bench) -> None:
        at_two = await two.connected(A)
        await look(one)
        for _ in range(10):
            await renew(at_two)
            await one.clock.sleep(1)
            await look(one)
        assert one.hosts.up(A)
        assert not one.agents.connected(A)
        with pytest.raises(Elsewhere) as away:
            await tell_to_stop(one)
        assert away.value.executor == at_two.welcome.controller
        await one.clock.sleep(TIMES.suspect_after)
        with pytest.raises(NotNow) as gone:
            await tell_to_stop(one)
        assert not isinstance(gone.value, Elsewhere), "nobody hears it any more"

    with_two(story)


async def heard_elsewhere(one: Bench, two: Bench) -> HostEnd:
    """Have the host connected to the second controller only, and heard by the first one through the database."""
    at_two = await two.connected(A)
    await look(one)
    await renew(at_two)
    await look(one)
    return at_two


def test_a_question_waits_a_moment_for_a_host_that_is_on_its_way_here() -> None:
    """As after a restart of this controller: its agents come back within seconds."""

    async def story(one: Bench, two: Bench) -> None:
        await heard_elsewhere(one, two)
        asked = [asyncio.ensure_future(one.agents.console(A, ONE)) for _ in range(2)]
        await one.clock.sleep(ARRIVING_S / 2)
        await one.connected(B)
        at_one = await one.connected(A)
        for _ in asked:
            await at_one.answer(await at_one.hear(Read), result=ConsoleText(b"login:"))
        assert await asyncio.gather(*asked) == [b"login:"] * 2

    with_two(story)


def test_a_question_about_a_host_that_does_not_come_here_is_refused_after_a_moment() -> None:
    async def story(one: Bench, two: Bench) -> None:
        at_two = await heard_elsewhere(one, two)
        began = one.clock.monotonic()
        asked = asyncio.ensure_future(one.agents.console(A, ONE))
        await one.clock.sleep(ARRIVING_S / 2)
        await renew(at_two)
        await look(one)
        with pytest.raises(Elsewhere, match="mend the network between this controller and the host") as away:
            await asked
        assert away.value.executor == at_two.welcome.controller
        assert one.clock.monotonic() - began == pytest.approx(ARRIVING_S)

    with_two(story)


def test_a_question_about_a_host_that_nobody_hears_is_refused_at_once() -> None:
    async def story(one: Bench, two: Bench) -> None:
        await heard_elsewhere(one, two)
        await one.clock.sleep(TIMES.suspect_after)
        began = one.clock.monotonic()
        with pytest.raises(NotNow, match="switch it on") as away:
            await one.agents.console(A, ONE)
        assert not isinstance(away.value, Elsewhere)
        assert one.clock.monotonic() == began

    with_two(story)


# --- what the other one wrote ----------------------------------------------------------------------------------------


def test_a_host_that_booted_and_was_welcomed_elsewhere_says_hello_here_again() -> None:
    async def story(one: Bench, two: Bench) -> None:
        old = await one.connected(A)
        await two.connected(A, boot="next boot")
        await look(one)
        assert await old.hear(Fenced) == Fenced(epoch=1)
        await old.is_turned_away()
        again = await one.connected(A, boot="next boot", epoch=2)
        assert again.welcome.epoch == 2
        await look(one, two)
        assert one.agents.connected(A)

    with_two(story)


def test_a_host_proven_dead_by_another_is_fenced_here() -> None:
    async def story(one: Bench, two: Bench) -> None:
        host = await one.connected(A)
        await renew(host)

        def prove(tx: Tx) -> None:
            lease = host_rows.lease(tx, A)
            assert lease is not None
            assert host_rows.prove_dead(tx, lease, ProofKind.POWER_OFF, {}, "x")

        await two.database.transact(prove)
        await look(one, two)
        assert await host.hear(Fenced) == Fenced(epoch=1)
        await host.is_turned_away()
        assert not one.hosts.up(A)

    with_two(story)


def test_a_host_that_was_removed_at_another_is_let_go() -> None:
    async def story(one: Bench, two: Bench) -> None:
        host = await one.connected(A)
        await two.database.transact(lambda tx: host_rows.remove(tx, A))
        await look(one)
        await host.is_turned_away()

    with_two(story)


async def returning(one: Bench, two: Bench) -> tuple[HostEnd, HostEnd]:
    """Have a host that both have welcomed, and that has something to clean up."""

    def lost(tx: Tx) -> None:
        add_server(tx, ONE, host=B, launched_at=tx.now)
        rights.grant(tx, ONE, A)
        lease = host_rows.lease(tx, A)
        assert lease is not None
        assert host_rows.prove_dead(tx, lease, ProofKind.POWER_OFF, {}, "x")
        rights.grant(tx, ONE, B)

    await two.connected(B)
    first = await one.connected(A)
    await one.database.transact(lost)
    await first.channel.close()
    await first.serving
    ends = await one.connected(A, epoch=1), await two.connected(A, epoch=1)
    assert all(end.welcome.duties == (Duty(ONE, 2, disks=False),) for end in ends)
    return ends


def test_a_host_that_is_clean_at_one_is_up_at_both_and_told_so_even_if_that_one_died() -> None:
    async def story(one: Bench, two: Bench) -> None:
        at_one, _ = await returning(one, two)
        await look(one, two)
        assert not one.hosts.up(A)
        assert not two.hosts.up(A)
        told = two.told.count(("up", A))
        await at_one.say(Cleaned(duty=Duty(ONE, 2, disks=False)))
        await look(one, two)
        assert one.hosts.up(A)
        assert two.hosts.up(A)
        assert two.told.count(("up", A)) == told + 1
        await look(one, two)
        assert two.told.count(("up", A)) == told + 1, "once"

    with_two(story)


def test_a_duty_that_is_done_is_told_over_both_connections_and_counts_once() -> None:
    async def story(one: Bench, two: Bench) -> None:
        ends = await returning(one, two)
        for end in ends:
            await end.say(Cleaned(duty=Duty(ONE, 2, disks=False)))
        await look(one, two)
        assert await one.state() is HostState.UP

        # The server is on its way to this host again: it is claimed here, and not granted yet.
        await one.database.transact(
            lambda tx: claims.claim(tx, ONE, ProjectId("project"), UserId("user"), A, {"VCPU": 1})
        )
        held = await one.database.read(_held)
        await ends[1].say(Cleaned(duty=Duty(ONE, 2, disks=False)))
        await look(one, two)
        assert await one.database.read(_held) == held, "what is late frees nothing"
        assert one.agents.connected(A)

    with_two(story)


def _held(tx: Tx) -> object:
    return rights.right(tx, ONE), rights.debts_of(tx, A), allocations.held(tx, ONE)


def test_what_is_read_late_does_not_overrule_what_a_host_said_meanwhile() -> None:
    async def story(one: Bench, two: Bench) -> None:
        at_one, _ = await returning(one, two)
        await one.clock.sleep(0.01)
        began = one.clock.monotonic()
        rows = await one.database.read(host_rows.every)
        await one.clock.sleep(0.01)
        await at_one.say(Cleaned(duty=Duty(ONE, 2, disks=False)))
        await one.clock.sleep(0.01)
        assert one.hosts.up(A)
        one.agents.learn(rows, (), began)
        assert one.hosts.up(A)

    with_two(story)


def test_a_boot_that_nobody_followed_is_followed_by_whoever_is_there() -> None:
    async def story(one: Bench, two: Bench) -> None:
        await two.connected(A)
        await one.connected(A)
        one.told.clear()
        # The other one noted the boot, and died before it had the servers resumed.
        await two.database.transact(lambda tx: host_rows.change(tx, A, resume=True))
        await look(one)
        assert ("up", A) in one.told

    with_two(story)


# --- what all hosts must know ----------------------------------------------------------------------------------------


def test_hosts_hear_of_a_newcomer_at_another_controller() -> None:
    async def story(one: Bench, two: Bench) -> None:
        host = await one.connected(A)
        await look(one)
        await one.clock.sleep(5)
        await two.connected(B, address="10.1.0.2")
        await look(one)
        peers = await host.hear(Peers)
        while peers.addresses != ("10.1.0.1", "10.1.0.2", "10.9.9.9"):
            peers = await host.hear(Peers)

    with_two(story)


def test_guards_hear_of_newcomers_whom_they_may_ask() -> None:
    async def story(one: Bench, two: Bench) -> None:
        guard = one.dial(A)
        await guard.say(GuardHello(name=f"name-of-{A}", boot="boot", era=0, epoch=0))
        assert (await guard.hear(GuardWelcome)).peers == ()
        await one.connected(A)
        await two.connected(B, address="10.1.0.2")
        await look(one)
        while (await guard.hear(Peers)).addresses != ("10.1.0.2",):
            pass

    with_two(story)


def test_hosts_hear_where_controllers_are_and_when_that_changes() -> None:
    async def story(one: Bench, _two: Bench) -> None:
        await look(one, controllers=("c1:1", "c2:1"))
        host = await one.connected(A)
        assert host.welcome.controllers == ("c1:1", "c2:1")
        await look(one, controllers=("c1:1", "c2:1"))
        await look(one, controllers=("c1:1",))
        assert await host.hear(Controllers) == Controllers(addresses=("c1:1",))

    with_two(story)


def test_a_host_that_does_not_read_keeps_nobody_from_looking() -> None:
    async def story(one: Bench, _two: Bench) -> None:
        host = await one.connected(A)
        link = one.agents._links[A]
        stuck = asyncio.Event()

        class Stuck:
            async def send(self, _frame: bytes) -> None:
                await stuck.wait()

            async def close(self) -> None:
                await stuck.wait()

        link.channel = Stuck()  # type: ignore[assignment]
        began = one.clock.monotonic()
        row = await one.database.read(lambda tx: host_rows.get(tx, A))
        assert row is not None
        await look(one, controllers=("c1:1",))
        await one.database.transact(lambda tx: host_rows.change(tx, A, forced_down=True, certificate="another"))
        row = await one.database.read(lambda tx: host_rows.get(tx, A))
        assert row is not None
        one.agents.stand(row)
        await look(one, controllers=("c2:1",))
        assert one.clock.monotonic() - began < 1
        stuck.set()
        await host.channel.close()
        await host.serving

    with_two(story)


@pytest.mark.parametrize("debt", [2, 3], ids=["paid already", "raised since"])
def test_what_a_host_does_not_owe_is_no_news(debt: int) -> None:
    async def story(one: Bench, _two: Bench) -> None:
        host = await one.connected(A)

        def owes(tx: Tx) -> None:
            add_server(tx, ONE, host=A, launched_at=tx.now)
            rights.grant(tx, ONE, A)
            rights.owe(tx, A, ONE, debt)
            if debt == 2:
                cleaned(tx, A, Duty(ONE, 2, disks=False))
                rights.grant(tx, ONE, A)

        await one.database.transact(owes)
        before = await one.database.read(_held)
        await host.say(Cleaned(duty=Duty(ONE, 2, disks=False)))
        await one.clock.sleep(0.1)
        assert await one.database.read(_held) == before

    with_two(story)


def test_the_controller_that_renews_is_known_to_all() -> None:
    async def story(one: Bench, two: Bench) -> None:
        at_one, at_two = await one.connected(A), await two.connected(A)
        for end in (at_one, at_two):
            await renew(end)
            await look(one, two)
            assert one.hosts.leases.home(A) == two.hosts.leases.home(A) == end.welcome.controller

    with_two(story)
