"""Whatever dies at whatever point, another goes on from the journal; and who was taken for dead commits nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, update

from renova.engine.operation import Run, Story
from renova.engine.runner import Runner
from renova.engine.telling import UNREAD
from renova.model.errors import DatabaseAway, NotNow, OnHold, Refused
from renova.store import operations
from renova.store.database import Database, Executor, Tx
from renova.store.steps import steps
from tests.database_away import Away
from tests.operations.crashes import Fuse, FusedExecutor

from .delivery import DELIVERY, DONE, TAKEN_BACK, Office, Want, World, deliver, fetch, in_office, marks, settle


@asynccontextmanager
async def serving(runner: Runner[World, Tx]) -> AsyncIterator["asyncio.Task[None]"]:
    """Have the executor beat, and take over what it finds."""
    task = asyncio.get_running_loop().create_task(runner.serve())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
        await runner.close()


class Restarts:
    """An office whose executor dies at a transaction, before or after it, and is followed by another."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.count = 0
        self.fuse = Fuse(self.kill)
        office.database = Database(FusedExecutor(office.database._executor, self.fuse))
        self._serving: asyncio.Task[None] | None = None

    async def begin(self) -> Runner[World, Tx]:
        self.count += 1
        self.runner = await self.office.executor(f"executor-{self.count}")
        self._serving = asyncio.get_running_loop().create_task(self.runner.serve())
        return self.runner

    async def kill(self) -> None:
        assert self._serving is not None
        self._serving.cancel()
        await self.runner.close()
        await self.office.clock.sleep(0.5)
        await self.begin()


async def tell_with_a_crash(office: Office, at: int | None, *, before: bool) -> Fuse:
    restarts = Restarts(office)
    runner = await restarts.begin()
    await office.clock.sleep(0.1)  # the first beat is behind it
    held = await office.submit(runner)
    restarts.fuse.arm(at, before=before)
    await office.ended(held.id)
    restarts.fuse.armed = False
    return restarts.fuse


@pytest.mark.parametrize("before", [True, False], ids=["before it", "after it"])
@pytest.mark.parametrize("fails", [False, True], ids=["told", "taken back"])
def test_a_crash_at_any_transaction_changes_nothing_about_the_end(fails: bool, before: bool) -> None:
    wanted = ["enter", "strike out", "settle"] if fails else ["enter", "close"]

    def tell(at: int | None) -> Fuse:
        fuses: list[Fuse] = []

        async def story(office: Office) -> None:
            if fails:
                office.world.faults["send"] = [Refused("never")] * 2
            fuses.append(await tell_with_a_crash(office, at, before=before))
            assert await office.marked() == wanted, "a write happened twice, or never"
            said = office.world.said
            # What speaks to the outside may be said twice, but in order, and nothing else.
            assert list(dict.fromkeys(said)) == (TAKEN_BACK if fails else DONE)
            assert len(said) <= len(wanted) + 6

        in_office(story)
        return fuses[0]

    points = tell(None).passed
    assert points >= (6 if fails else 2)
    for at in range(1, points + 1):
        assert tell(at).blown, f"point {at} of {points} was not reached"


class LostAnswers(Away):
    """A database that does what it is asked, of which once nobody hears."""

    def __init__(self, executor: Executor) -> None:
        super().__init__(executor)
        self.at = -1
        self.lost = 0

    async def transact(self, fn: Any) -> Any:
        result = await super().transact(fn)
        self.at -= 1
        if self.at == 0:
            self.lost += 1
            raise NotNow("the connection was lost while it committed")
        return result


@pytest.mark.parametrize("name", DONE[:3])
def test_a_step_cut_short_is_run_again_and_those_before_it_are_not(name: str) -> None:
    async def story(office: Office) -> None:
        first = await office.executor("first")
        if name != "enter":
            office.world.hold(name)
        held = await office.submit(first)
        await office.seen(lambda: name in office.world.said)
        await first.close()
        async with serving(await office.executor("second")):
            assert await office.ended(held.id) == "done"
        place = DONE.index(name)
        again = [name] if name != "enter" else []
        assert office.world.said == [*DONE[: place + 1], *again, *DONE[place + 1 :]]
        assert await office.marked() == ["enter", "close"]

    in_office(story)


@pytest.mark.parametrize("name", ["recall", "bring back"])
def test_an_undo_cut_short_is_run_again_and_those_done_are_not(name: str) -> None:
    async def story(office: Office) -> None:
        office.world.faults["send"] = [Refused("the first reason")]
        office.world.hold(name)
        first = await office.executor("first")
        held = await office.submit(first)
        await office.seen(lambda: name in office.world.said)
        await first.close()
        async with serving(await office.executor("second")):
            assert await office.ended(held.id) == "failed"
        place = TAKEN_BACK.index(name)
        assert office.world.said == [*TAKEN_BACK[: place + 1], *TAKEN_BACK[place:]]
        assert office.world.failure is not None
        assert office.world.failure.message == "the first reason"

    in_office(story)


def test_an_error_of_the_story_itself_is_taken_back_over_a_crash_too() -> None:
    async def stumbling(run: Run, want: Want) -> None:
        await run(fetch, want)
        raise KeyError("a bug between the steps")

    async def story(office: Office) -> None:
        stumble = Story("stumbling", 1, Want, stumbling, settle)
        office.world.hold("bring back")
        first = await office.executor("first", stumble)
        held = await office.submit(first, story=stumble)
        await office.seen(lambda: "bring back" in office.world.said)
        await first.close()
        async with serving(await office.executor("second", stumble)):
            await office.seen(lambda: "settle" in office.world.said)
        assert await office.state(held.id) == "failed"

    in_office(story)


def test_a_journal_that_does_not_fit_its_story_is_taken_back() -> None:
    async def reordered(run: Run, want: Want) -> None:
        await run(second_fetch, want)

    second_fetch = type(fetch)(fetch.body, fetch.kind, fetch.patience)
    second_fetch.name = "delivery.fetch_again"

    async def story(office: Office) -> None:
        first = await office.executor("first")
        office.world.hold("send")
        held = await office.submit(first)
        await office.seen(lambda: "send" in office.world.said)
        await first.close()
        async with serving(await office.executor("second", replace(DELIVERY, tell=reordered))):
            assert await office.ended(held.id) == "failed"
        assert office.world.failure is not None
        assert office.world.failure.kind == "Broken"

    in_office(story)


@pytest.mark.parametrize("undoing", [False, True])
def test_steps_that_an_unreadable_journal_keeps_from_being_taken_back_are_named(undoing: bool) -> None:
    async def story(office: Office) -> None:
        if undoing:
            office.world.faults["send"] = [Refused("the first reason")]
        first = await office.executor("first")
        office.world.hold("recall" if undoing else "send")
        held = await office.submit(first)
        await office.seen(lambda: ("recall" if undoing else "send") in office.world.said)
        await first.close()
        of_fetch = (steps.c.operation == held.id) & (steps.c.place == 0)
        await office.database.transact(lambda tx: tx.execute(update(steps).where(of_fetch).values(result=b"7")))
        async with serving(await office.executor("second")):
            assert await office.ended(held.id) == "failed"
        assert [each["steps"] for each in office.logged(UNREAD)] == [["delivery.enter"]]
        assert office.world.said[-2:] == ["bring back", "settle"], "what can be read is taken back"

    in_office(story)


@pytest.mark.parametrize("later", [[replace(DELIVERY, version=2)], [Story("other", 1, Want, deliver, settle)]])
def test_a_story_of_another_release_is_left_in_the_journal_for_one_that_knows_it(later: list[Story[Any]]) -> None:
    async def story(office: Office) -> None:
        office.world.hold("send")
        first = await office.executor("first")
        held = await office.submit(first)
        await office.seen(lambda: "send" in office.world.said)
        await first.close()
        async with serving(await office.executor("of another release", *later)):
            await office.seen(lambda: bool(office.logged("operation of another release")))
            await office.clock.sleep(60)
        assert len(office.logged("operation of another release")) == 1
        assert await office.state(held.id) == "active"
        assert office.world.said == DONE[:3]
        async with serving(await office.executor("of this release")):
            assert await office.ended(held.id) == "done"
        assert office.world.said == [*DONE[:3], *DONE[2:]]

    in_office(story)


def test_a_superseded_operation_commits_nothing_more_and_takes_nothing_back() -> None:
    async def story(office: Office) -> None:
        go_on = office.world.hold("send")
        runner = await office.executor("executor")
        held = await office.submit(runner)
        await office.seen(lambda: "send" in office.world.said)
        await office.database.transact(lambda tx: operations.supersede(tx, held))
        go_on.set()
        await runner.finished(held.id)
        assert await office.state(held.id) == "superseded"
        assert office.world.said == DONE[:3]
        assert await office.marked() == ["enter"]
        assert office.logged("operation lost")

    in_office(story)


def test_what_another_controller_superseded_is_stopped_soon_though_its_step_never_ends() -> None:
    async def story(office: Office) -> None:
        office.world.hold("send")
        runner = await office.executor("executor")
        async with serving(runner):
            held = await office.submit(runner)
            await office.seen(lambda: "send" in office.world.said)
            await office.clock.sleep(10)
            assert runner.running == 1
            await office.database.transact(lambda tx: operations.supersede(tx, held))
            await office.clock.sleep(2)
            assert runner.running == 0
        assert office.world.said == DONE[:3]
        assert await office.state(held.id) == "superseded"

    in_office(story)


def test_an_operation_that_is_stopped_here_stays_in_the_journal() -> None:
    async def story(office: Office) -> None:
        office.world.hold("send")
        runner = await office.executor("executor")
        held = await office.submit(runner)
        await office.seen(lambda: "send" in office.world.said)
        runner.stop(held.id)
        runner.stop(held.id)
        await runner.finished(held.id)
        assert (runner.running, await office.state(held.id)) == (0, "active")
        assert office.world.said == DONE[:3]

    in_office(story)


def test_an_executor_that_beats_keeps_what_is_its_own() -> None:
    async def story(office: Office) -> None:
        go_on = office.world.hold("send")
        first = await office.executor("first")
        second = await office.executor("second", alone=False)
        async with serving(first), serving(second):
            held = await office.submit(first)
            await office.clock.sleep(100)
            assert (first.running, second.running) == (1, 0)
            go_on.set()
            assert await office.ended(held.id) == "done"
        assert office.world.said == DONE

    in_office(story)


@pytest.mark.parametrize("thaws", ["while the other runs it", "when all is over"])
def test_what_a_frozen_executor_began_is_taken_over_and_its_late_commits_are_refused(thaws: str) -> None:
    async def story(office: Office) -> None:
        thaw = office.world.hold("send")
        frozen = await office.executor("frozen")  # it never beats
        other = await office.executor("other", alone=False)
        held = await office.submit(frozen)
        async with serving(other):
            await office.clock.sleep(3.4)
            assert other.running == 0, "its lease had not lapsed yet"
            go_on = asyncio.Event()
            if thaws == "while the other runs it":
                office.world.holds["send"] = go_on
            await office.clock.sleep(1.0)
            assert office.world.said.count("send") == 2, "it is taken over within five seconds"
            if thaws == "while the other runs it":
                thaw.set()
                await frozen.finished(held.id)
                assert await office.state(held.id) == "active"
                go_on.set()
                assert await office.ended(held.id) == "done"
            else:
                assert await office.ended(held.id) == "done"
                thaw.set()
                await frozen.finished(held.id)
        assert await office.marked() == ["enter", "close"]
        assert office.world.said == [*DONE[:3], "send", "close"]
        assert len(office.logged("operation lost")) == 1
        async with serving(frozen):
            await office.seen(lambda: frozen.executor != "frozen")
            again = await office.submit(frozen)
            assert again.executor == frozen.executor
            assert await office.ended(again.id) == "done"

    in_office(story)


def test_an_operation_of_which_nobody_heard_that_it_was_submitted_is_begun_all_the_same() -> None:
    async def story(office: Office) -> None:
        runner = await office.executor("executor")
        async with serving(runner):
            held = await office.submit(runner, start=False)
            assert await office.ended(held.id) == "done"
        assert office.world.said == DONE

    in_office(story)


@pytest.mark.parametrize("answered", [True, False], ids=["", "of which nobody heard that it was submitted"])
def test_an_operation_is_told_though_a_lost_one_of_the_same_id_still_runs_here(answered: bool) -> None:
    """A database that fails over and loses its last commits gives their ids again."""

    async def story(office: Office) -> None:
        runner = await office.executor("executor")
        async with serving(runner):
            office.world.hold("send")
            lost = await office.submit(runner, Want("lost"))
            await office.seen(lambda: "send" in office.world.said)
            another = msgspec.structs.replace(await office.submit(runner, start=False), id=lost.id)

            def lose(tx: Tx) -> None:
                rows = operations.operations
                tx.execute(rows.delete().where(rows.c.id == lost.id))
                tx.execute(steps.delete())
                tx.execute(rows.update().where(rows.c.created_at == another.created_at).values(id=another.id))
                if answered:
                    tx.then(lambda: runner.start(another))

            await office.database.transact(lose)
            assert await office.ended(another.id) == "done"
            assert await office.marked() == ["enter", "enter", "close"]

    in_office(story)


@pytest.mark.parametrize("fails", [False, True], ids=["told", "taken back"])
@pytest.mark.parametrize("kept", [0, 1])
def test_an_operation_whose_last_steps_were_lost_is_told_anew_from_what_the_database_has(
    kept: int, fails: bool
) -> None:
    """A fail-over that loses commits takes what steps wrote along with their entries."""

    async def story(office: Office) -> None:
        runner = await office.executor("executor")
        async with serving(runner):
            go_on = office.world.hold("send")
            held = await office.submit(runner)
            await office.seen(lambda: "send" in office.world.said)
            if fails:
                office.world.faults["close"] = [Refused("never")]

            def lose(tx: Tx) -> None:
                tx.execute(steps.delete().where(steps.c.place >= kept))
                tx.execute(marks.delete())

            await office.database.transact(lose)
            go_on.set()
            assert await office.ended(held.id) == ("failed" if fails else "done")
        assert await office.marked() == ["enter", *(["strike out", "settle"] if fails else ["close"])]

    in_office(story)


@pytest.mark.parametrize("waited_for", [OnHold("the database has lost commits"), DatabaseAway("no answer")])
def test_an_act_that_had_to_wait_is_not_done_when_what_it_rests_on_was_lost_meanwhile(waited_for: NotNow) -> None:
    async def story(office: Office) -> None:
        runner = await office.executor("executor")
        async with serving(runner):
            office.world.faults["send"] = [waited_for]
            go_on = office.world.hold("fetch")
            held = await office.submit(runner)
            go_on.set()
            await office.seen(lambda: "send" in office.world.said)

            def lose(tx: Tx) -> None:
                tx.execute(steps.delete().where(steps.c.place >= 1))
                tx.execute(marks.delete())

            await office.database.transact(lose)
            assert await office.ended(held.id) == "done"
        assert office.world.said == ["fetch", "enter", "send", "enter", "send", "close"]

    in_office(story)


def test_an_operation_that_cannot_be_told_is_tried_again_ever_more_seldom() -> None:
    async def story(office: Office) -> None:
        runner = await office.executor("executor")
        async with serving(runner):
            held = await office.submit(runner, start=False)
            office.world.unfit = 5
            assert await office.ended(held.id) == "done"
        assert [each["again_in_s"] for each in office.logged("operation cannot be told")] == [1, 2, 4, 8, 16]

    in_office(story)


def test_what_an_executor_gives_away_is_taken_over_at_once() -> None:
    async def story(office: Office) -> None:
        office.world.hold("send")
        first = await office.executor("first")
        second = await office.executor("second", alone=False)
        async with serving(second):
            held = await office.submit(first)
            await office.seen(lambda: "send" in office.world.said)
            await first.resign()
            await office.clock.sleep(1.0)
            assert await office.state(held.id) == "done"
        assert office.world.said == [*DONE[:3], "send", "close"]

    in_office(story)


def test_nobody_is_taken_for_dead_for_a_time_in_which_the_database_was_away() -> None:
    async def story(office: Office) -> None:
        away = Away(office.database._executor)
        office.database = Database(away)
        go_on = office.world.hold("send")
        first = await office.executor("first")
        second = await office.executor("second", alone=False)
        async with serving(first), serving(second):
            held = await office.submit(first)
            await office.clock.sleep(20)
            away.go(60)
            await office.clock.sleep(100)
            assert (first.running, second.running) == (1, 0)
            assert (first.executor, second.executor) == ("first", "second")
            go_on.set()
            assert await office.ended(held.id) == "done"
        assert office.world.said == DONE

    in_office(story)


def test_taking_over_raises_the_epoch_so_that_hosts_tell_late_commands_apart() -> None:
    async def run_by(office: Office) -> int:
        """Have the only operation begun by a new executor that dies; return under which epoch it was."""
        office.world.hold("send")
        executor = await office.executor(f"executor {len(office.world.told)}")
        async with serving(executor):
            await office.seen(lambda: executor.running == 1)
            column = operations.operations.c
            row = await office.database.read(lambda tx: tx.execute(select(column.epoch, column.executor)).one())
            assert row.executor == executor.executor
            return int(row.epoch)

    async def story(office: Office) -> None:
        office.world.hold("send")
        frozen = await office.executor("frozen")
        assert (await office.submit(frozen)).epoch == 1
        await office.seen(lambda: "send" in office.world.said)
        assert [await run_by(office), await run_by(office)] == [2, 3]

    in_office(story)


def test_a_database_that_is_away_is_waited_for_and_nothing_done_is_forgotten() -> None:
    async def story(office: Office) -> None:
        away = Away(office.database._executor)
        really, office.database = office.database, Database(away)
        go_on = office.world.hold("send")
        runner = await office.executor("executor")
        async with serving(runner):
            held = await office.submit(runner)
            await office.seen(lambda: "send" in office.world.said)
            away.go(3600)
            go_on.set()
            await office.clock.sleep(3500)
            assert office.world.said == DONE[:3]
            office.database = really
            assert await office.ended(held.id) == "done"
        assert office.world.said == DONE, "what was done outside was forgotten, and done again"
        assert office.logged("database away")

    in_office(story)


@pytest.mark.parametrize("fails", [False, True], ids=["told", "taken back"])
def test_a_commit_whose_answer_is_lost_is_not_done_twice(fails: bool) -> None:
    wanted = ["enter", "strike out", "settle"] if fails else ["enter", "close"]

    def tell(at: int) -> bool:
        lost: list[int] = []

        async def story(office: Office) -> None:
            if fails:
                office.world.faults["send"] = [Refused("never")]
            answers = LostAnswers(office.database._executor)
            office.database = Database(answers)
            runner = await office.executor("executor")
            async with serving(runner):
                held = await office.submit(runner, start=False)
                answers.at = at
                runner.start(held)
                await office.ended(held.id)
                await runner.finished(held.id)
            assert await office.marked() == wanted, "a write happened twice, or never"
            assert office.world.said == (TAKEN_BACK if fails else DONE)
            lost.append(answers.lost)

        in_office(story)
        return lost == [1]

    points = 0
    while tell(points + 1):
        points += 1
    assert points >= (6 if fails else 2)
