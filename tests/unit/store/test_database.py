"""Who serves transactions on a real database: what was reported is there, and nobody pays for another's failure."""

import asyncio
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from renova.model.errors import Conflict, Invalid, NotNow
from renova.store import images
from renova.store.database import Database, Tx
from renova.store.steps import steps
from renova.store.writer import GROUP
from tests.databases import open_served

LIMIT_S = 60.0


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    found = open_served(tmp_path)
    await found.transact(lambda tx: tx.execute(text("CREATE TABLE things (name TEXT PRIMARY KEY)")))
    yield found
    found.close()


def add(tx: Tx, name: str) -> str:
    tx.execute(text("INSERT INTO things VALUES (:name)"), {"name": name})
    return tx.now


async def things(database: Database) -> list[str]:
    query = text("SELECT name FROM things ORDER BY name")
    return await database.read(lambda tx: list(tx.execute(query).scalars()))


class Held:
    """Keeps the writer busy with a transaction, so that those asked for meanwhile make one group."""

    def __init__(self, database: Database) -> None:
        self._go_on = threading.Event()
        self._begun = threading.Event()
        self._job = asyncio.ensure_future(database.transact(self._wait))

    def _wait(self, _tx: Tx) -> None:
        self._begun.set()
        assert self._go_on.wait(LIMIT_S)

    async def begun(self) -> "Held":
        assert await asyncio.to_thread(self._begun.wait, LIMIT_S)
        return self

    async def let_go(self) -> None:
        await asyncio.sleep(0)  # so that what was just asked for is in the queue
        self._go_on.set()
        await self._job


async def together(database: Database, *jobs: Any) -> list[Any]:
    """Have the jobs committed as one group; return their results or errors."""
    held = await Held(database).begun()
    asked = [asyncio.ensure_future(database.transact(job)) for job in jobs]
    await held.let_go()
    async with asyncio.timeout(LIMIT_S):
        return await asyncio.gather(*asked, return_exceptions=True)


async def test_transactions_that_wait_are_committed_together(database: Database) -> None:
    moments = await together(database, *[lambda tx, n=n: add(tx, f"thing-{n:03}") for n in range(GROUP + 5)])
    assert len(await things(database)) == GROUP + 5
    # All of a group have one time; a group takes only so many, and the rest make the next one.
    assert [moments.count(moment) for moment in dict.fromkeys(moments)] == [GROUP, 5]


async def test_what_fails_undoes_itself_and_nobody_else(database: Database) -> None:
    def refuse(tx: Tx) -> None:
        add(tx, "half done")
        raise Conflict("no")

    def repeat(tx: Tx) -> None:
        add(tx, "half done too")
        add(tx, "first")

    first, refused, broken, last = await together(
        database, lambda tx: add(tx, "first"), refuse, repeat, lambda tx: add(tx, "last")
    )
    assert isinstance(first, str)
    assert isinstance(last, str)
    assert isinstance(refused, Conflict)
    assert isinstance(broken, IntegrityError)
    assert await things(database) == ["first", "last"]


_NOTE = insert(steps)
_UNDO = update(steps).where(steps.c.operation == bindparam("of")).values(undone=True)
_NOTED = select(steps.c.operation).where(steps.c.operation == bindparam("of"))


def note(tx: Tx, operation: int) -> None:
    tx.execute(_NOTE, {"operation": operation, "place": 0, "step": "a", "result": b"", "undone": False})


async def noted(database: Database) -> list[int]:
    return await database.read(lambda tx: tx.execute(select(steps.c.operation).order_by(steps.c.operation)).scalars())


def demanding(tx: Tx, operation: int) -> None:
    tx.demand(_NOTED, {"of": operation}, lambda: Conflict(f"{operation} is not noted"))
    note(tx, operation + 100)


async def test_a_write_that_nobody_looked_at_fails_its_own_transaction_only(database: Database) -> None:
    for operation in (1, 2):  # from its second time on a statement is kept, and may be sent ahead
        await database.transact(partial(note, operation=operation))
    outcomes = await together(
        database, partial(note, operation=3), partial(note, operation=1), partial(note, operation=4)
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), IntegrityError, type(None)]
    assert await noted(database) == [1, 2, 3, 4]


async def test_a_demand_that_is_not_met_undoes_who_demands_and_nobody_else(database: Database) -> None:
    for operation in (1, 2, 3):
        await database.transact(partial(note, operation=operation))
    met, unmet, other = await together(
        database, partial(demanding, operation=1), partial(demanding, operation=50), partial(note, operation=4)
    )
    assert (met, other) == (None, None)
    assert isinstance(unmet, Conflict)
    with pytest.raises(Conflict, match="51 is not noted"):  # and alone, when the statement is kept
        await database.transact(partial(demanding, operation=51))
    assert await noted(database) == [1, 2, 3, 4, 101]


async def test_nobody_can_take_the_failure_of_another_for_his_own_or_hide_it(database: Database) -> None:
    def looking(tx: Tx) -> str:
        try:
            return f"{len(tx.execute(_NOTED, {'of': 1}).all())} found"
        except Exception as error:  # noqa: BLE001  what a careless transaction does
            return type(error).__name__

    for operation in (1, 2):
        await database.transact(partial(note, operation=operation))
        await database.transact(looking)
    outcomes = await together(database, partial(note, operation=3), partial(note, operation=1), looking)
    assert outcomes[0] is None
    assert isinstance(outcomes[1], IntegrityError)
    assert outcomes[2] == "1 found"
    assert await noted(database) == [1, 2, 3]


async def test_how_many_rows_a_write_has_changed_is_known_to_who_asks(database: Database) -> None:
    def undo(tx: Tx, operation: int) -> int:
        note(tx, operation)
        changed = tx.execute(_UNDO, {"of": operation}), tx.execute(_UNDO, {"of": operation + 1000})
        return 10 * changed[0].rowcount + changed[1].rowcount

    found = [await database.transact(partial(undo, operation=operation)) for operation in (1, 2, 3)]
    assert found == [10, 10, 10]


async def test_a_caller_that_gives_up_does_not_lose_the_transaction(database: Database) -> None:
    done: list[str] = []

    def work(tx: Tx) -> None:
        add(tx, "kept")
        tx.then(lambda: done.append("then"))

    held = await Held(database).begun()
    asked = asyncio.ensure_future(database.transact(work))
    other = asyncio.ensure_future(database.transact(lambda tx: add(tx, "other")))
    await asyncio.sleep(0)
    asked.cancel()
    await held.let_go()
    await other
    assert asked.cancelled()
    assert await things(database) == ["kept", "other"]
    assert done == ["then"]


async def test_what_is_to_follow_a_commit_follows_it_on_the_event_loop_and_only_then(database: Database) -> None:
    followed: list[tuple[str, bool, int]] = []
    loop_thread = threading.get_ident()

    def work(tx: Tx, name: str, *, fails: bool) -> None:
        add(tx, name)
        tx.then(lambda: followed.append((name, names_now().count(name) == 1, threading.get_ident())))
        if fails:
            raise Conflict("no")

    def names_now() -> list[str]:
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.extend(asyncio.run(things(database))))
        thread.start()
        thread.join()
        return found

    await together(database, lambda tx: work(tx, "good", fails=False), lambda tx: work(tx, "bad", fails=True))
    assert followed == [("good", True, loop_thread)]


async def test_one_that_fails_after_its_commit_keeps_nobody_else_waiting(database: Database) -> None:
    def work(tx: Tx) -> str:
        tx.then(lambda: 1 // 0)  # type: ignore[arg-type]
        return add(tx, "first")

    first, second = await together(database, work, lambda tx: add(tx, "second"))
    assert isinstance(first, str)
    assert isinstance(second, str)
    assert await things(database) == ["first", "second"]


async def test_a_commit_that_fails_is_reported_to_all_whom_it_concerned_and_the_next_one_is_fine(
    database: Database,
) -> None:
    def make(tx: Tx) -> None:
        tx.execute(text("CREATE TABLE parts (of TEXT REFERENCES things (name) DEFERRABLE INITIALLY DEFERRED)"))

    followed: list[str] = []

    def orphan(tx: Tx) -> None:
        tx.then(lambda: followed.append("orphan"))
        tx.execute(text("INSERT INTO parts VALUES ('of nothing')"))  # is found out by the commit only

    await database.transact(make)
    outcomes = await together(database, lambda tx: add(tx, "good"), orphan)
    assert [type(outcome) for outcome in outcomes] == [NotNow, NotNow]
    assert await things(database) == []
    assert followed == []
    await database.transact(lambda tx: add(tx, "later"))
    assert await things(database) == ["later"]


async def test_an_error_of_the_database_repeats_no_values(database: Database) -> None:
    await database.transact(lambda tx: add(tx, "the secret"))
    with pytest.raises(IntegrityError) as error:
        await database.transact(lambda tx: add(tx, "the secret"))
    assert "the secret" not in str(error.value)


async def test_reads_see_what_is_committed_and_wait_for_nobody(database: Database) -> None:
    await database.transact(lambda tx: add(tx, "before"))
    go_on, written = threading.Event(), threading.Event()

    def slow(tx: Tx) -> None:
        add(tx, "after")
        written.set()
        assert go_on.wait(LIMIT_S)

    writing = asyncio.ensure_future(database.transact(slow))
    assert await asyncio.to_thread(written.wait, LIMIT_S)
    assert await things(database) == ["before"]
    go_on.set()
    await writing
    assert await things(database) == ["after", "before"]


async def test_a_read_sees_one_moment(database: Database) -> None:
    """However much is written between its statements."""
    query = text("SELECT count(*) FROM things")

    def look_twice(tx: Tx) -> tuple[Any, Any]:
        before = tx.execute(query).scalar()
        written = threading.Event()

        def write_one() -> None:
            asyncio.run(database.transact(lambda tx: add(tx, "between")))
            written.set()

        threading.Thread(target=write_one).start()
        assert written.wait(LIMIT_S)
        return before, tx.execute(query).scalar()

    assert await database.read(look_twice) == (0, 0)
    assert await things(database) == ["between"]


async def test_a_read_that_fails_harms_nobody(database: Database) -> None:
    def fail(tx: Tx) -> None:
        tx.execute(query)
        raise Conflict("no")

    query = text("SELECT * FROM things")
    for _ in range(3):
        with pytest.raises(Conflict):
            await database.read(fail)
    await database.transact(lambda tx: add(tx, "one"))
    assert await things(database) == ["one"]


async def test_a_read_cannot_write(database: Database) -> None:
    with pytest.raises(Exception, match=r"read-?only"):
        await database.read(lambda tx: add(tx, "one"))
    assert await things(database) == []


async def test_closing_commits_what_was_asked_for(tmp_path: Path) -> None:
    database = open_served(tmp_path)
    await database.transact(lambda tx: tx.execute(text("CREATE TABLE things (name TEXT PRIMARY KEY)")))
    held = await Held(database).begun()
    asked = [asyncio.ensure_future(database.transact(partial(add, name=f"thing-{n}"))) for n in range(3)]
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(asyncio.to_thread(database.close))
    await held.let_go()
    await closing
    assert len(await asyncio.gather(*asked)) == 3


@pytest.mark.parametrize("value", ["half a \ud800 character", 2**63, -(2**63) - 1])
async def test_what_no_database_keeps_is_the_users_mistake(database: Database, value: str | int) -> None:
    column = images.images.c.name if isinstance(value, str) else images.images.c.size
    find = select(images.images.c.id).where(column == bindparam("wanted"))

    def write_first(tx: Tx) -> None:
        add(tx, "half done")
        tx.execute(find, {"wanted": value})

    for _ in range(3):  # as a new statement, and as one that is kept
        with pytest.raises(Invalid, match="cannot be kept"):
            await database.read(lambda tx: tx.execute(find, {"wanted": value}))
        with pytest.raises(Invalid, match="cannot be kept"):
            await database.transact(write_first)
    assert await things(database) == []
