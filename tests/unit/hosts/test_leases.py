"""A renewal counts when its commit is known, and silence is only what this controller has listened to itself."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import pytest
import structlog
from msgspec.structs import replace
from sqlalchemy import update

from renova.engine.executor import Executor as Me
from renova.hosts.leases import MOST_LOST, NOTE_SEEN, TRAILING, Leases
from renova.hosts.witnessing import Witnessing
from renova.model.chance import SeededChance
from renova.model.errors import NotNow
from renova.model.ids import ExecutorId, HostId
from renova.settings import LeaseTimes
from renova.simulation.loop import VirtualClock, run_virtual
from renova.store import cluster, hosts
from renova.store.database import Database, Executor, Standing, Tx
from renova.wire.leases import Fenced, Renew, Renewed
from renova.witness import LeaseName, Shown
from tests.database_away import Faulty
from tests.databases import open_empty
from tests.unit.store.tables import A, B, C, add_host, lease, prove

T = TypeVar("T")

TIMES = LeaseTimes(renew=1.0, ttl=5.0, margin=12.0, failover=0.0)


class Slow(Faulty):
    """A database that takes its time, or fails, as the test says."""

    def __init__(self, executor: Executor, clock: VirtualClock) -> None:
        super().__init__(executor)
        self._clock = clock
        self.takes_s = 0.0
        self.commits = 0

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        await self._clock.sleep(self.takes_s)
        done = await super().transact(fn)
        self.commits += 1
        return done


class Bench:
    """Three hosts that are up, and their leases as one controller watches them."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.slow = Slow(open_empty(self.clock)._executor, self.clock)
        self.standing = Standing()
        self.database = Database(self.slow, lambda: self.standing)
        self.me = Me(ExecutorId("executor"))
        self.me.leased_until, self.me.steady_since = float("inf"), 0.0
        self.leases = self.controller()
        self._nonces = 0

    def controller(self, times: LeaseTimes = TIMES) -> Leases:
        """Start another controller over the same database."""
        return Leases(self.database, self.clock, times, self.me)

    async def begin(self) -> None:
        for host in (A, B, C):
            await self.database.transact(partial(add_host, host=host))
            self.leases.begin(await self.lease(host))
        self.slow.commits = 0

    async def lease(self, host: HostId = A) -> Any:
        return await self.database.read(lambda tx: lease(tx, host))

    async def renew(self, host: HostId = A, **changes: Any) -> Renewed | Fenced | None:
        return await self.leases.renew(host, await self.renewal(host, **changes))

    async def renewal(self, host: HostId = A, **changes: Any) -> Renew:
        """Return a renewal of the host's lease as it stands."""
        now = await self.lease(host)
        self._nonces += 1
        fields = {"nonce": self._nonces, "boot": now.boot, "era": 1, "epoch": now.epoch, "counter": now.counter}
        fields["stops_in"] = 11.0
        return Renew(**fields | changes)


def on_bench(story: Callable[[Bench], Awaitable[None]]) -> None:
    async def main() -> None:
        bench = Bench()
        await bench.begin()
        with structlog.testing.capture_logs():
            await story(bench)

    run_virtual(main(), limit_s=1000)


def test_a_renewal_is_acknowledged_after_its_commit_and_not_before() -> None:
    async def story(bench: Bench) -> None:
        bench.slow.takes_s = 3.0
        asked = asyncio.ensure_future(bench.renew())
        await bench.clock.sleep(2.9)
        assert not asked.done()
        answer = await asked
        assert isinstance(answer, Renewed)
        assert (answer.nonce, answer.epoch, answer.counter, answer.ttl) == (1, 1, 1, 20.0)
        assert (await bench.lease()).counter == 1

    on_bench(story)


@pytest.mark.parametrize("error", [NotNow("away"), RuntimeError("a bug")])
def test_a_database_that_fails_is_silence_for_all_whom_it_concerned(error: Exception) -> None:
    async def story(bench: Bench) -> None:
        await bench.clock.sleep(10)
        bench.slow.errors = [error]
        async with asyncio.timeout(5):
            answers = await asyncio.gather(bench.renew(A), bench.renew(B))
        assert {type(answer) for answer in answers} == {type(None)}
        assert not bench.leases.alive(A), "nobody knows whether it was renewed"
        assert (await bench.lease(A)).counter == 0
        assert isinstance(await bench.renew(A), Renewed)
        assert bench.leases.alive(A)

    on_bench(story)


def test_renewals_that_come_together_are_committed_together() -> None:
    async def story(bench: Bench) -> None:
        answers = await asyncio.gather(*(bench.renew(host) for host in (C, A, B)))
        assert [type(answer) for answer in answers] == [Renewed] * 3
        assert bench.slow.commits == 1

    on_bench(story)


def test_a_renewal_that_comes_during_a_commit_is_in_the_next_one() -> None:
    async def story(bench: Bench) -> None:
        bench.slow.takes_s = 0.5
        first = asyncio.ensure_future(bench.renew(A))
        await bench.clock.sleep(0.3)
        async with asyncio.timeout(2):
            assert isinstance(await bench.renew(B), Renewed)
        assert isinstance(await first, Renewed)
        assert bench.slow.commits == 2

    on_bench(story)


def test_in_a_batch_with_a_revoked_host_the_others_are_renewed() -> None:
    async def story(bench: Bench) -> None:
        late = await bench.renewal(B)
        await bench.database.transact(lambda tx: prove(tx, B))
        answers = await asyncio.gather(bench.renew(A), bench.leases.renew(B, late), bench.renew(C))
        assert [type(answer) for answer in answers] == [Renewed, Fenced, Renewed]
        assert answers[1] == Fenced(epoch=late.epoch)
        assert (await bench.lease(B)).counter == 0

    on_bench(story)


@pytest.mark.parametrize("changes", [{"epoch": 0}, {"epoch": 2}, {"boot": "the boot before"}])
def test_who_renews_another_lease_than_its_own_is_fenced(changes: dict[str, Any]) -> None:
    async def story(bench: Bench) -> None:
        await bench.clock.sleep(10)
        assert await bench.renew(A, **changes) == Fenced(epoch=changes.get("epoch", 1)), "which epoch is over"
        assert (await bench.lease()).counter == 0
        assert not bench.leases.alive(A)

    on_bench(story)


def test_a_count_that_no_loss_explains_is_not_believed_and_holds_nobody() -> None:
    async def story(bench: Bench) -> None:
        assert await bench.renew(A, counter=MOST_LOST + 1) == Fenced(epoch=1)
        assert (await bench.lease()).counter == 0
        assert (await bench.database.read(cluster.get)).hold is None
        await bench.renew(A, counter=MOST_LOST)
        assert (await bench.database.read(cluster.get)).hold is not None, "that one may be"

    on_bench(story)


def test_a_host_that_was_removed_is_fenced() -> None:
    async def story(bench: Bench) -> None:
        renewal = await bench.renewal(A)
        await bench.database.transact(lambda tx: hosts.remove(tx, A))
        assert await bench.leases.renew(A, renewal) == Fenced(epoch=1)
        await bench.leases.look()
        assert bench.leases.silent_for(A) is None
        assert not bench.leases.alive(A)

    on_bench(story)


def test_a_host_that_cannot_hear_us_does_not_look_alive_for_ever() -> None:
    async def story(bench: Bench) -> None:
        for number in range(TRAILING + 1):
            answer = await bench.renew(A, counter=0)
            assert isinstance(answer, Renewed)
            assert (answer.nonce > 0, answer.counter) == (True, number + 1)
        await bench.clock.sleep(10)
        answer = await bench.renew(A, counter=0)
        assert answer == Renewed(nonce=0, era=1, epoch=1, counter=TRAILING + 1, ttl=20.0), "only the counter is told"
        assert (await bench.lease()).counter == TRAILING + 1
        assert not bench.leases.alive(A)
        # It has heard now, and counts again.
        assert isinstance(await bench.renew(A, counter=TRAILING + 1), Renewed)
        assert bench.leases.alive(A)

    on_bench(story)


def test_who_stops_waiting_for_an_answer_disturbs_no_other() -> None:
    async def story(bench: Bench) -> None:
        bench.slow.takes_s = 0.5
        gone = asyncio.ensure_future(bench.renew(A))
        other = asyncio.ensure_future(bench.renew(B))
        await bench.clock.sleep(0.1)
        gone.cancel()
        assert isinstance(await other, Renewed)
        assert gone.cancelled()

    on_bench(story)


def test_a_new_controller_takes_nobody_for_silent_before_it_has_listened() -> None:
    async def story(bench: Bench) -> None:
        await bench.clock.sleep(500)
        later = bench.controller()
        assert (later.silent_for(A), later.alive(A), later.settled) == (None, False, False)
        silences = await later.look()
        assert {silence.lease.host for silence in silences} == {A, B, C}
        assert {silence.since for silence in silences} == {500.0}, "the silence before it began is not its own"
        assert not later.alive(A), "nor has it heard anybody"
        await bench.clock.sleep(TIMES.suspect_after)
        assert later.settled
        assert later.silent_for(A) == TIMES.suspect_after

    on_bench(story)


def test_a_renewal_that_another_controller_took_is_heard_by_looking() -> None:
    async def story(bench: Bench) -> None:
        other = bench.controller()
        await other.look()
        await bench.clock.sleep(2)
        await bench.renew(A)
        await bench.clock.sleep(2)
        silences = {silence.lease.host: silence for silence in await other.look()}
        assert (silences[A].since, silences[A].heard) == (bench.clock.monotonic(), True), "when it was read"
        assert (silences[B].since, silences[B].heard) == (0.0, False)
        assert (other.alive(A), other.alive(B)) == (True, False)

    on_bench(story)


@pytest.mark.parametrize("standing", [Standing(2), Standing(1, "another timeline")])
def test_silence_counts_anew_when_a_connection_was_lost_or_the_database_failed_over(standing: Standing) -> None:
    async def story(bench: Bench) -> None:
        await bench.renew(A)
        heard = bench.clock.monotonic()
        await bench.clock.sleep(1)
        await bench.leases.look()
        bench.standing = standing
        await bench.clock.sleep(1)
        silences = await bench.leases.look()
        assert {silence.since for silence in silences} == {bench.clock.monotonic()}, "what was missed is not known"
        assert bench.leases.alive(A), "it was heard a moment ago all the same"
        await bench.clock.sleep(1)
        assert {silence.since for silence in await bench.leases.look()} == {bench.clock.monotonic() - 1}
        await bench.clock.sleep(TIMES.suspect_after - (bench.clock.monotonic() - heard))
        assert not bench.leases.alive(A), "a lost connection is no sign of life"

    on_bench(story)


def test_silence_counts_anew_when_the_controller_stood_still_or_the_database_was_away() -> None:
    async def story(bench: Bench) -> None:
        await bench.leases.look()
        bench.me.leased_until = bench.clock.monotonic() + 5
        await bench.clock.sleep(60)
        assert not bench.leases.settled, "it has only just come back, and knows of nobody"
        assert {silence.since for silence in await bench.leases.look()} == {bench.clock.monotonic()}
        bench.me.leased_until, bench.me.steady_since = float("inf"), bench.clock.monotonic()
        await bench.clock.sleep(1)
        assert (bench.leases.silent_for(A), bench.leases.settled) == (1.0, False)
        await bench.clock.sleep(TIMES.suspect_after)
        assert bench.leases.settled

    on_bench(story)


def test_who_cannot_commit_renewals_takes_nobody_for_silent() -> None:
    async def story(bench: Bench) -> None:
        await bench.leases.look()
        await bench.clock.sleep(60)
        bench.slow.errors.append(NotNow("the disk is full"))
        await bench.renew(A)
        assert {silence.since for silence in await bench.leases.look()} == {bench.clock.monotonic()}
        assert (bench.leases.silent_for(B), bench.leases.settled) == (0.0, False)

    on_bench(story)


def test_a_counter_that_fell_in_a_failover_is_what_counts_from_then_on() -> None:
    async def story(bench: Bench) -> None:
        await bench.renew(A)
        await bench.renew(A)
        await bench.database.transact(lambda tx: tx.execute(update(hosts.leases).values(counter=1)))
        bench.standing = Standing(2, "another timeline")
        await bench.clock.sleep(1)
        await bench.leases.look()
        silence = bench.leases.silence(A)
        assert silence is not None
        assert (silence.lease.counter, silence.since) == (1, bench.clock.monotonic())

    on_bench(story)


def test_an_epoch_that_a_proof_of_death_raised_is_no_sign_of_life() -> None:
    async def story(bench: Bench) -> None:
        await bench.leases.look()
        await bench.database.transact(lambda tx: prove(tx, A))
        await bench.leases.look()
        assert not bench.leases.alive(A)
        silence = bench.leases.silence(A)
        assert silence is not None
        assert (silence.lease.epoch, silence.heard) == (2, False)

    on_bench(story)


SLOW: dict[str, Any] = {"guard": "A", "stops_in": 15.0}  # a guard with a watchdog of 7 s
LONGER = LeaseTimes(renew=1.0, ttl=20.0, margin=17.0, stop_budget=16.0, failover=0.0)


def test_a_watchdog_counts_only_where_this_very_lease_allows_for_it() -> None:
    async def story(bench: Bench) -> None:
        for stops_in, counts_as in ((11.0, "A"), (15.0, "C"), (0.0, "C"), (11.0, "A")):
            await bench.renew(guard="A", stops_in=stops_in)
            assert (await bench.lease()).guard == counts_as

    on_bench(story)


def test_a_margin_that_was_raised_is_granted_with_the_class_that_needs_it() -> None:
    async def story(bench: Bench) -> None:
        raised = bench.controller(LONGER)
        await raised.renew(A, await bench.renewal(**SLOW))
        now = await bench.lease()
        assert (now.guard, now.ttl, now.margin) == ("A", 20.0, 17.0)

    on_bench(story)


def test_a_margin_that_was_lowered_stays_while_the_lease_goes_on() -> None:
    async def story(bench: Bench) -> None:
        await bench.controller(LONGER).renew(A, await bench.renewal(**SLOW))
        await bench.renew(**SLOW)
        await bench.database.transact(partial(hosts.begin_lease, host=A, epoch=1, boot="boot", ttl=5.0, margin=12.0))
        await bench.renew(**SLOW)
        now = await bench.lease()
        assert (now.guard, now.ttl, now.margin) == ("A", 20.0, 17.0), "it was acknowledged for 20 s"

    on_bench(story)


def test_a_lease_that_was_never_renewed_has_the_times_of_who_begins_it() -> None:
    async def story(bench: Bench) -> None:
        await bench.renew()
        await bench.database.transact(partial(prove, host=A))
        await bench.database.transact(partial(hosts.begin_lease, host=A, epoch=2, boot="boot", ttl=5.0, margin=11.0))
        now = await bench.lease()
        assert (now.ttl, now.margin) == (5.0, 11.0)

    on_bench(story)


def test_a_silence_is_measured_by_the_times_that_another_controller_has_granted() -> None:
    async def story(bench: Bench) -> None:
        await bench.database.transact(partial(prove, host=A))
        await bench.leases.look()
        await bench.database.transact(partial(hosts.begin_lease, host=A, epoch=2, boot="boot", ttl=30.0, margin=22.0))
        await bench.leases.look()
        await bench.renew()
        await bench.leases.look()
        silence = bench.leases.silence(A)
        assert silence is not None
        assert (silence.lease.ttl, silence.lease.margin) == (30.0, 22.0)

    on_bench(story)


def test_a_host_is_alive_until_it_becomes_suspect() -> None:
    async def story(bench: Bench) -> None:
        began = bench.clock.monotonic()
        await bench.renew(A)
        heard = bench.clock.monotonic()
        for _ in range(30):
            await bench.clock.sleep(0.25)
            await bench.leases.look()
            now = bench.clock.monotonic()
            assert bench.leases.alive(A) == (now - heard < TIMES.suspect_after)
            assert bench.leases.alive(B) == (now - began < TIMES.suspect_after)

    on_bench(story)


def test_when_a_host_was_heard_is_noted_for_people_now_and_then() -> None:
    async def story(bench: Bench) -> None:
        noted: list[str | None] = []
        for _ in range(25):
            await bench.renew(A)
            host = await bench.database.read(lambda tx: hosts.get(tx, A))
            assert host is not None
            noted.append(host.last_seen)
            await bench.clock.sleep(1)
        assert None not in noted
        assert len(set(noted)) == 3
        assert NOTE_SEEN == 10.0

    on_bench(story)


class Files:
    """A witness in memory, which a controller reaches or does not."""

    def __init__(self) -> None:
        self.files: dict[LeaseName, Shown] = {}
        self.away = False

    async def have(self, lease: LeaseName, word: str) -> Shown:
        if self.away:
            raise NotNow("the witness does not answer")
        return self.files.setdefault(lease, Shown(word, revoked=False))

    async def read(self, lease: LeaseName) -> Shown:
        raise AssertionError("nobody reads here")

    async def revoke(self, lease: LeaseName, word: str) -> None:
        raise AssertionError("nobody revokes here")


class WithWitness(Bench):
    """Controllers that have a witness."""

    def __init__(self) -> None:
        self.files = Files()
        super().__init__()

    def controller(self, times: LeaseTimes = TIMES) -> Leases:
        witnessing = Witnessing(self.files, self.clock, SeededChance(1))
        return Leases(self.database, self.clock, times, self.me, witnessing)

    async def say(self, word: str | None, **changes: Any) -> float:
        """Renew with this word; return for how long a look into the witness counts by the answer."""
        answer = await self.renew(witness=word, **changes)
        assert isinstance(answer, Renewed)
        await self.clock.sleep(0.1)  # what was begun by it is done
        return answer.witness


def with_witness(story: Callable[[WithWitness], Awaitable[None]]) -> None:
    async def main() -> None:
        bench = WithWitness()
        await bench.begin()
        with structlog.testing.capture_logs():
            await story(bench)

    run_virtual(main(), limit_s=1000)


def test_a_guard_may_go_by_the_witness_once_it_has_said_the_word_that_the_controller_wrote() -> None:
    async def story(bench: WithWitness) -> None:
        assert await bench.say(None) == 0.0
        assert bench.files.files == {}, "nobody wants one"
        assert await bench.say("") == 0.0
        (word,) = [shown.word for shown in bench.files.files.values()]
        assert await bench.say("another") == 0.0, "that is not what was written for this lease"
        assert await bench.say(word) == (await bench.lease()).ttl
        assert (await bench.lease()).witness == word
        others = await bench.renew(B, witness=word)
        assert isinstance(others, Renewed)
        assert others.witness == 0.0, "that is the word of another host's lease"
        assert (await bench.lease(B)).witness == word, "though it proves nothing: whoever says one may go by it"

    with_witness(story)


def test_only_the_newest_renewal_says_that_a_guard_goes_by_no_witness_any_more() -> None:
    async def story(bench: WithWitness) -> None:
        await bench.say("word")
        late = await bench.renewal(witness=None)
        await bench.say("word")
        await bench.leases.renew(A, late)
        assert (await bench.lease()).witness == "word"
        await bench.say("")
        assert (await bench.lease()).witness == ""

    with_witness(story)


def test_a_controller_that_does_not_reach_the_witness_renews_all_the_same_and_agrees_to_nothing() -> None:
    async def story(bench: WithWitness) -> None:
        bench.files.away = True
        assert await bench.say("word") == 0.0
        bench.files.away = False
        await bench.clock.sleep(10)
        await bench.say("")
        (word,) = [shown.word for shown in bench.files.files.values()]
        assert await bench.say(word) == (await bench.lease()).ttl

    with_witness(story)


def test_nobody_renews_a_lease_that_is_revoked_and_the_guard_is_told_no_other_before_its_host_has_registered() -> None:
    async def story(bench: WithWitness) -> None:
        await bench.say("word")
        before = await bench.lease()
        assert await bench.database.transact(lambda tx: hosts.revoke(tx, before))
        revoked = await bench.lease()
        assert (revoked.epoch, revoked.revoked, revoked.witness) == (before.epoch + 1, before.epoch, "word")
        for epoch in (before.epoch, revoked.epoch):
            assert await bench.renew(epoch=epoch, witness="word") == Fenced(epoch=epoch)
        assert (await bench.lease()) == revoked

    with_witness(story)


def test_a_revocation_is_no_sign_of_life() -> None:
    async def story(bench: WithWitness) -> None:
        await bench.say("word")
        await bench.clock.sleep(20)
        await bench.leases.look()
        observed = await bench.lease()
        await bench.database.transact(lambda tx: hosts.revoke(tx, observed))
        await bench.leases.look()
        silent_s = bench.leases.silent_for(A)
        assert silent_s is not None
        assert silent_s >= 20
        assert (found := bench.leases.silence(A)) is not None
        assert found.lease.revoked == observed.epoch

    with_witness(story)


def test_a_renewal_between_reading_and_revoking_wins_and_so_does_a_word() -> None:
    async def story(bench: WithWitness) -> None:
        before = await bench.lease()
        await bench.say("word")
        assert not await bench.database.transact(lambda tx: hosts.revoke(tx, before))
        same = replace(await bench.lease(), witness="")
        assert not await bench.database.transact(lambda tx: hosts.prove_dead(tx, same, "lease_revoked", {}, "test"))

    with_witness(story)


def test_a_host_whose_agent_is_away_for_a_moment_is_up_and_one_without_an_agent_is_not() -> None:
    async def story(bench: Bench) -> None:
        await bench.renew(A)
        left = bench.clock.monotonic()
        for _ in range(8):
            await bench.clock.sleep(0.5)
            await bench.renew(A, home="")  # its guard goes on
            await bench.leases.look()
            assert bench.leases.renews(A)
            assert bench.leases.home(A) is None
            assert bench.leases.alive(A) == (bench.clock.monotonic() - left < TIMES.suspect_after)
        await bench.renew(A)
        assert bench.leases.alive(A)

    on_bench(story)
