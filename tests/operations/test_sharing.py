"""What one controller at a time does for all of them: duties, telling of events, and what a dead one left behind."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from msgspec.structs import replace

from renova.engine.executor import Executor
from renova.model.ids import ExecutorId
from renova.model.server import VmState
from renova.operations.pause import accept_pause, accept_unpause
from renova.operations.rounds import LOOK_AGAIN, Duty, Rounds, Tally
from renova.partners.notifications import CloudEvent
from renova.settings import DutyTimes
from renova.simulation.loop import VirtualClock, run_virtual
from renova.store import executors, posts
from renova.store.database import Database, Tx
from tests.database_away import Away
from tests.databases import open_empty
from tests.operations.listening import SETTINGS, Listener, all_told
from tests.operations.story import Told, asked

ONE, OTHER = "controller1", "controller2"
PAUSES = ["active pausing", "pause.start", "paused -", "pause.end"]


class Pair:
    """The rounds of two controllers over one database; `alive` are those that nobody takes for dead."""

    def __init__(self, do: Callable[[str, Tally], Awaitable[None]], every_s: float = 100.0) -> None:
        self.clock = VirtualClock()
        self.database = open_empty(self.clock)
        self.rounds = {
            name: Rounds(
                self.clock,
                {"looking": Duty(partial(do, name), every_s)},
                self.database,
                Executor(ExecutorId(name)),
                name,
            )
            for name in (ONE, OTHER)
        }

    async def alive(self, *names: str) -> None:
        def work(tx: Tx) -> None:
            executors.bury_all(tx)
            for name in names:
                executors.enlist(tx, ExecutorId(name), executors.Controller(name), 1e6)

        await self.database.transact(work)


def test_a_duty_that_two_controllers_share_is_done_once_each_time_that_it_is_due() -> None:
    async def main() -> None:
        done: list[tuple[str, float]] = []

        async def look(name: str, tally: Tally) -> None:
            done.append((name, pair.clock.monotonic()))
            await pair.clock.sleep(5)
            tally.looked = 3

        pair = Pair(look)
        await pair.alive(ONE, OTHER)
        serving = [asyncio.create_task(each.serve()) for each in pair.rounds.values()]
        await pair.clock.sleep(340)
        assert [round(second) for _, second in done] == [30, 130, 230, 330]
        (told,) = await pair.rounds[OTHER].last()
        assert (told.rounds, told.looked, told.done_by) == (4, 3, done[-1][0])
        assert await pair.rounds[ONE].last() == [told], "each tells what any of them found"
        for task in serving:
            task.cancel()
        await asyncio.wait(serving)

    run_virtual(main())


def test_a_duty_that_dies_with_its_controller_is_done_by_another_and_what_that_found_stands() -> None:
    async def main() -> None:
        thaws = asyncio.Event()

        async def look(name: str, tally: Tally) -> None:
            tally.looked = 1 if name == ONE else 2
            if name == ONE:
                await thaws.wait()

        pair = Pair(look)
        await pair.alive(ONE, OTHER)
        frozen = asyncio.create_task(pair.rounds[ONE].do("looking"))
        await pair.clock.sleep(1)
        (shown,) = await pair.rounds[OTHER].last()
        assert (shown.doing, shown.rounds) == (ONE, 0)
        asked = asyncio.create_task(pair.rounds[OTHER].do("looking"))
        await pair.clock.sleep(60)
        assert not asked.done(), "it is never done twice at the same time"
        await pair.alive(OTHER)
        await pair.clock.sleep(LOOK_AGAIN)
        assert (await asked).looked == 2
        thaws.set()
        await frozen
        (shown,) = await pair.rounds[ONE].last()
        assert (shown.looked, shown.rounds, shown.done_by, shown.doing) == (2, 1, OTHER, None)

    run_virtual(main())


def test_a_duty_whose_end_the_database_did_not_hear_is_not_begun_by_another_meanwhile() -> None:
    async def main() -> None:
        began: list[str] = []

        async def look(name: str, _tally: Tally) -> None:
            began.append(name)
            if name == ONE:
                away.go()

        pair = Pair(look)
        await pair.alive(ONE, OTHER)
        away = Away(pair.database._executor)
        pair.rounds[ONE].database = Database(away)
        first = asyncio.create_task(pair.rounds[ONE].do("looking"))
        second = asyncio.create_task(pair.rounds[OTHER].do("looking"))
        await pair.clock.sleep(60)
        assert began == [ONE]
        away.come_back()
        assert ((await first).rounds, (await second).rounds) == (1, 2)

    run_virtual(main())


def hear(story: Callable[[Told, Listener], Awaitable[None]], listener: Listener | None = None) -> None:
    """Tell the story with two controllers, of which one tells the listener."""

    async def main() -> None:
        hearing = listener or Listener()
        quiet = replace(SETTINGS, duties=DutyTimes(**dict.fromkeys(("power_states", "orphans"), 0.0)))
        told = await Told(sink=hearing, settings=quiet, controller_count=2).begin()
        await story(told, hearing)
        await told.check()
        await told.cloud.down()
        assert told.cloud.ended == []

    run_virtual(main())


async def teller(told: Told) -> str:
    """Name the controller that tells of events."""

    def read(tx: Tx) -> dict[str, str]:
        return {held.name: held.controller for held in posts.held(tx)}

    return (await told.cloud.database.read(read))["notices"]


async def pause_at(told: Told, controller: str, server: str, *, back: bool = False) -> None:
    cloud = told.cloud.controllers[controller].cloud
    accept = accept_unpause if back else accept_pause
    await cloud.database.transact(lambda tx: accept(cloud, tx, asked(told.cloud), server))  # type: ignore[arg-type]
    await told.idle(server)  # type: ignore[arg-type]


def test_events_of_any_controller_are_told_in_their_order_by_the_one_whose_post_it_is() -> None:
    async def story(told: Told, listener: Listener) -> None:
        server = await told.created()
        await all_told(told)
        since = len(listener.heard)
        for controller in (ONE, OTHER, ONE, OTHER):
            back = (await told.get(server)).vm_state is VmState.PAUSED
            await pause_at(told, controller, server, back=back)
        await all_told(told)
        events = listener.of(server, since=since)
        assert len(events) == len({event.id for event in listener.heard[since:]}), "none is told twice"
        assert events[:4] == PAUSES
        assert [event for event in events if event.endswith((".start", ".end"))] == [
            f"{what}.{when}" for what in ("pause", "unpause") * 2 for when in ("start", "end")
        ]

    hear(story)


def test_when_the_one_that_tells_dies_another_goes_on_where_it_stood() -> None:
    async def story(told: Told, listener: Listener) -> None:
        server = await told.created()
        await all_told(told)
        since, dying = len(listener.heard), await teller(told)
        other = OTHER if dying == ONE else ONE
        listener.away = True
        await pause_at(told, dying, server)
        await told.cloud.kill_controller(dying)
        listener.away = False
        await all_told(told)
        assert listener.of(server, since=since) == PAUSES
        assert await teller(told) == other
        await told.cloud.start_controller(dying)
        await pause_at(told, other, server, back=True)
        assert await teller(told) == other, "who tells goes on telling"

    hear(story)


def test_one_that_tells_and_freezes_is_not_waited_for_and_tells_nothing_more_when_it_thaws() -> None:
    class Slow(Listener):
        def __init__(self) -> None:
            super().__init__()
            self.then: list[Callable[[], None]] = []

        async def deliver(self, event: CloudEvent) -> None:
            await super().deliver(event)
            while self.then:
                self.then.pop()()
                await asyncio.sleep(0)  # the answer comes when it can be heard

    slow = Slow()

    async def story(told: Told, _listener: Listener) -> None:
        server = await told.created()
        await all_told(told)
        since, freezing = len(slow.heard), await teller(told)
        other = OTHER if freezing == ONE else ONE
        process = told.cloud.controllers[freezing].process
        assert process is not None
        slow.then.append(process.freeze)
        await pause_at(told, other, server)
        await all_told(told)
        assert await teller(told) == other
        assert slow.of(server, since=since) == [PAUSES[0], *PAUSES], "the first was on its way when its teller froze"
        process.thaw()
        await told.cloud.clock.sleep(60)
        assert len(slow.of(server, since=since)) == 1 + len(PAUSES)

    hear(story, slow)
