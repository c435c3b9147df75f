"""A story is told once, tried again while something is away, and taken back whole when it fails."""

from itertools import pairwise

import pytest

from renova.engine.operation import Run, Story
from renova.engine.telling import LONGEST_SETTLING_PAUSE
from renova.engine.tries import FIRST_PAUSE, LONGEST_PAUSE
from renova.model.errors import Broken, DatabaseAway, NotNow, OnHold, Refused

from .delivery import DONE, PATIENCE, TAKEN_BACK, Office, Want, close, deliver, enter, fetch, in_office, send, settle


def test_steps_run_in_order_each_with_the_results_of_those_before() -> None:
    async def story(office: Office) -> None:
        assert await office.tell() == "done"
        assert office.world.said == DONE
        assert await office.marked() == ["enter", "close"]

    in_office(story)


@pytest.mark.parametrize("name", ["fetch", "enter", "send", "close"])
def test_a_step_that_fails_is_taken_back_with_all_before_it_the_newest_first(name: str) -> None:
    async def story(office: Office) -> None:
        office.world.faults[name] = [Refused("never")]
        assert await office.tell() == "failed"
        undos = {"fetch": "bring back", "enter": "strike out", "send": "recall"}
        begun = DONE[: DONE.index(name) + 1]
        assert office.world.said == [*begun, *(undos[step] for step in reversed(begun) if step in undos), "settle"]
        # Of the writes, only what committed: the failed step's own change is not there.
        done = {"fetch": [], "enter": [], "send": ["enter"], "close": ["enter"]}[name]
        taken_back = ["strike out"] if name != "fetch" else []
        assert await office.marked() == [*done, *taken_back, "settle"]

    in_office(story)


@pytest.mark.parametrize("name", ["fetch", "enter", "send", "close"])
def test_what_is_away_is_waited_for(name: str) -> None:
    async def story(office: Office) -> None:
        office.world.faults[name] = [NotNow("away")] * 9
        assert await office.tell() == "done"
        times = office.world.times_of(name)
        pauses = [later - earlier for earlier, later in pairwise(times)]
        assert len(pauses) == 9
        for number, pause in enumerate(pauses):
            planned = min(FIRST_PAUSE * 2**number, LONGEST_PAUSE)
            assert 0.8 * planned <= pause <= 1.2 * planned + 1e-6
        assert await office.marked() == ["enter", "close"], "a try that was put off left something behind"

    in_office(story)


@pytest.mark.parametrize("name", ["fetch", "enter", "send", "close"])
def test_patience_ends_and_then_the_story_is_taken_back(name: str) -> None:
    async def story(office: Office) -> None:
        office.world.faults[name] = [NotNow("away for good")] * 1000
        assert await office.tell() == "failed"
        times = office.world.times_of(name)
        assert PATIENCE - 1.2 * LONGEST_PAUSE <= times[-1] - times[0] <= PATIENCE * 1.2
        assert office.world.said[-1] == "settle"
        assert office.world.failure is not None
        assert office.world.failure.message == "away for good"

    in_office(story)


@pytest.mark.parametrize("error", [DatabaseAway("no answer"), OnHold("hosts are waited for")])
@pytest.mark.parametrize("name", ["fetch", "send", "recall"])
def test_patience_does_not_end_while_all_wait_for_the_same(name: str, error: NotNow) -> None:
    async def story(office: Office) -> None:
        outage = int(10 * PATIENCE / LONGEST_PAUSE)
        # Before and after it the host is away, for less than there is patience for.
        away = [NotNow("away")] * 5
        office.world.faults[name] = [*away, *[error] * outage, *away]
        if name == "recall":
            office.world.faults["send"] = [Refused("never")]
        assert await office.tell() == ("failed" if name == "recall" else "done")
        times = office.world.times_of(name)
        assert len(times) == outage + 2 * len(away) + 1
        assert office.logged("undo failed") == []

    in_office(story)


def test_an_act_that_is_cut_off_after_a_long_time_is_tried_again() -> None:
    async def story(office: Office) -> None:
        office.world.takes["send"] = 2 * PATIENCE  # copies a large image, say
        office.world.faults["send"] = [NotNow("the connection ended")]
        assert await office.tell() == "done"
        assert len(office.world.times_of("send")) == 2

    in_office(story)


def test_an_undo_waits_for_what_is_away_too() -> None:
    async def story(office: Office) -> None:
        office.world.faults = {"send": [Refused("never")], "recall": [NotNow("away")] * 3, "settle": [NotNow("away")]}
        assert await office.tell() == "failed"
        assert office.world.said == [
            *TAKEN_BACK[:3],
            *["recall"] * 4,
            "strike out",
            "bring back",
            "settle",
            "settle",
        ]
        assert await office.marked() == ["enter", "strike out", "settle"]

    in_office(story)


@pytest.mark.parametrize(
    ("name", "error"),
    [(name, error) for name in ("recall", "strike out", "bring back") for error in (Refused("no"), ValueError("bug"))]
    + [(name, NotNow("away for good")) for name in ("recall", "bring back")],
)
def test_an_undo_that_fails_does_not_keep_the_others_from_running(name: str, error: Exception) -> None:
    async def story(office: Office) -> None:
        office.world.faults = {"send": [Refused("the reason")], name: [error] * 1000}
        assert await office.tell() == "failed"
        assert list(dict.fromkeys(office.world.said)) == TAKEN_BACK
        assert len(office.logged("undo failed")) == 1
        assert office.world.failure is not None
        assert office.world.failure.message == "the reason"

    in_office(story)


def test_an_unexpected_error_is_told_to_administrators_whole_and_to_users_not_at_all() -> None:
    async def story(office: Office) -> None:
        office.world.faults["send"] = [ZeroDivisionError("key 4711 in /etc/renova")]
        assert await office.tell() == "failed"
        failure = office.world.failure
        assert failure is not None
        assert (failure.kind, failure.step) == ("ZeroDivisionError", "delivery.send")
        assert "4711" not in failure.message
        assert "in does" in failure.traceback
        assert "ZeroDivisionError: key 4711 in /etc/renova" in failure.traceback

    in_office(story)


def test_the_chain_of_causes_is_kept_for_administrators() -> None:
    async def story(office: Office) -> None:
        error = Refused("the image is not to be had")
        error.__cause__ = OSError("disk 4711 is gone")
        office.world.faults["fetch"] = [error]
        assert await office.tell() == "failed"
        assert office.world.failure is not None
        assert office.world.failure.message == "the image is not to be had"
        assert "disk 4711 is gone" in office.world.failure.traceback

    in_office(story)


def test_a_story_that_comes_to_no_end_is_a_bug_and_taken_back() -> None:
    async def endless(run: Run, want: Want) -> None:
        await run(fetch, want)

    async def story(office: Office) -> None:
        assert await office.tell(Story("endless", 1, Want, endless, settle)) == "failed"
        assert office.world.said == ["fetch", "bring back", "settle"]
        assert office.world.failure is not None
        assert office.world.failure.kind == Broken.__name__

    in_office(story)


def test_nothing_happens_after_the_end() -> None:
    async def talkative(run: Run, want: Want) -> None:
        await deliver(run, want)
        await run(fetch, want)

    async def story(office: Office) -> None:
        assert await office.tell(Story("talkative", 1, Want, talkative, settle)) == "done"
        assert office.world.said == DONE

    in_office(story)


def test_an_error_of_the_story_itself_is_taken_back_like_that_of_a_step() -> None:
    async def stumbling(run: Run, want: Want) -> None:
        await run(fetch, want)
        raise KeyError("a bug between the steps")

    async def story(office: Office) -> None:
        assert await office.tell(Story("stumbling", 1, Want, stumbling, settle)) == "failed"
        assert office.world.said == ["fetch", "bring back", "settle"]

    in_office(story)


def test_a_failed_operation_that_cannot_be_settled_is_tried_again_until_it_is() -> None:
    async def story(office: Office) -> None:
        office.world.faults = {"fetch": [Refused("never")], "settle": [KeyError("a row that nobody expected")] * 15}
        assert await office.tell() == "failed"
        times = office.world.times_of("settle")
        assert len(times) == 16
        assert max(later - earlier for earlier, later in pairwise(times)) <= 1.2 * LONGEST_SETTLING_PAUSE
        assert len(office.logged("operation not settled yet")) == 15
        assert await office.marked() == ["settle"]

    in_office(story)


def test_an_operation_is_run_by_one_task_however_often_it_is_started() -> None:
    async def story(office: Office) -> None:
        runner = await office.executor("executor")
        go_on = office.world.hold("fetch")
        held = await office.submit(runner)
        for _ in range(3):
            runner.start(held)
        await office.seen(lambda: "fetch" in office.world.said)
        assert runner.running == 1
        go_on.set()
        await runner.finished(held.id)
        assert office.world.said == DONE
        assert runner.running == 0

    in_office(story)


def test_operations_run_beside_one_another() -> None:
    async def story(office: Office) -> None:
        runner = await office.executor("executor")
        go_on = office.world.hold("send")
        waits = await office.submit(runner)
        await office.seen(lambda: "send" in office.world.said)
        passes = await office.submit(runner)
        await runner.finished(passes.id)
        assert (await office.state(waits.id), await office.state(passes.id)) == ("active", "done")
        go_on.set()
        await runner.finished(waits.id)
        assert await office.state(waits.id) == "done"

    in_office(story)


def test_each_step_has_a_name_of_its_own_that_says_where_it_is_told() -> None:
    assert [step.name for step in (fetch, enter, send, close)] == [
        "delivery.fetch",
        "delivery.enter",
        "delivery.send",
        "delivery.close",
    ]
