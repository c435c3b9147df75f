"""Behind a quiet operation others wait; each begins when the one before it has ended, however that ended."""

import asyncio
import dataclasses

import msgspec
import pytest

from renova.engine.operation import Run, act, end
from renova.engine.runner import Runner
from renova.model.errors import Refused
from renova.model.ids import OperationId, ServerId
from renova.store import operations
from renova.store.database import Tx
from tests.unit.store.tables import add_server

from .delivery import DELIVERY, DONE, TAKEN_BACK, Office, Want, World, in_office
from .test_resuming import serving

SERVER = ServerId("server")
QUIET = dataclasses.replace(DELIVERY, quiet=True)


async def submit_all(office: Office, runner: Runner[World, Tx], count: int) -> list[OperationId]:
    """Write so many operations of one server down, and start the first."""

    def work(tx: Tx) -> list[OperationId]:
        add_server(tx, SERVER)
        made = []
        for _ in range(count):
            want = msgspec.json.encode(Want("parcel"))
            story = {"story": QUIET.name, "version": QUIET.version, "want": want, "action": 1}
            number, held = operations.submit(tx, SERVER, executor=runner.executor, quiet=True, **story)  # type: ignore[arg-type]
            made.append(number)
            if held is not None:
                runner.start(held)
        return made

    return await office.database.transact(work)


def test_those_that_wait_are_told_one_after_the_other() -> None:
    async def story(office: Office) -> None:
        runner = await office.executor("executor", QUIET)
        made = await submit_all(office, runner, 3)
        assert [await office.ended(each) for each in made] == ["done"] * 3
        assert office.world.said == DONE * 3
        assert runner.running == 0

    in_office(story)


def test_one_that_fails_does_not_keep_the_next_from_its_turn() -> None:
    async def story(office: Office) -> None:
        office.world.faults["send"] = [Refused("never")]
        made = await submit_all(office, await office.executor("executor", QUIET), 2)
        assert [await office.ended(each) for each in made] == ["failed", "done"]
        assert office.world.said == TAKEN_BACK + DONE

    in_office(story)


@pytest.mark.parametrize("name", DONE[:3])
def test_whoever_takes_over_goes_on_with_those_that_wait(name: str) -> None:
    async def story(office: Office) -> None:
        first = await office.executor("first", QUIET)
        office.world.hold(name)
        made = await submit_all(office, first, 3)
        await office.seen(lambda: name in office.world.said or name == "enter")
        await first.close()
        office.world.holds.clear()
        async with serving(await office.executor("second", QUIET)):
            assert [await office.ended(each) for each in made] == ["done"] * 3
        assert office.world.said[-2 * len(DONE) :] == DONE * 2

    in_office(story)


def test_one_that_is_put_back_is_told_anew_though_its_former_telling_takes_long_to_end() -> None:
    async def story(office: Office) -> None:
        fetches: list[str] = []

        @act()
        async def fetch_slowly(world: World, want: Want) -> None:
            fetches.append("begun")
            if len(fetches) == 1:
                try:
                    await asyncio.Event().wait()
                finally:
                    await world.clock.sleep(5)
                    fetches.append("ended")

        @end()
        def close(_world: World, _tx: Tx, _want: Want) -> None:
            pass

        async def deliver_slowly(run: Run, want: Want) -> None:
            await run(fetch_slowly, want)
            await run(close, want)

        slow = dataclasses.replace(QUIET, tell=deliver_slowly)
        runner = await office.executor("executor", slow)
        [operation] = await submit_all(office, runner, 1)
        await office.seen(lambda: bool(fetches))

        def put_back(tx: Tx) -> None:
            held = operations.active(tx, SERVER)
            assert held is not None
            operations.put_back(tx, held)
            tx.then(lambda: runner.stop(operation))

        await office.database.transact(put_back)
        runner.start_next(await office.database.transact(lambda tx: operations.begin_next(tx, SERVER, runner.executor)))
        assert await office.ended(operation) == "done"
        assert fetches == ["begun", "ended", "begun"]

    in_office(story)
