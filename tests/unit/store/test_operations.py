"""One operation a server, no commit in the name of one that is over, and no secret left when it ends."""

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from renova.engine.journal import Book, Entry, Held, Lost
from renova.engine.runner import Runner
from renova.model.clock import SystemClock
from renova.model.errors import Conflict, Refused
from renova.model.ids import ExecutorId, OperationId, ServerId
from renova.store import operations, steps
from renova.store.database import Tx
from renova.store.journal import StoredJournal
from renova.store.sqlite import open_sqlite
from tests.unit.engine.delivery import DONE, Office, Want, World

from .tables import ONE, TWO, Tables, add_server

EXECUTOR = ExecutorId("executor")
SECRET = "the-admin-pass-4711"


@pytest.fixture(autouse=True)
def two_servers(tables: Tables) -> None:
    for server in (ONE, TWO):
        tables.do(partial(add_server, server=server))


def submit(tx: Tx, server: ServerId = ONE, *, quiet: bool = False) -> Held | None:
    _, held = operations.submit(tx, server, story="s", version=1, want=b"{}", action=1, executor=EXECUTOR, quiet=quiet)
    return held


def test_a_server_has_one_active_operation(tables: Tables) -> None:
    first = tables.do(submit)
    assert first
    with pytest.raises(Conflict, match="under way"):
        tables.do(submit)
    assert tables.do(lambda tx: operations.active(tx, ONE)) == first
    tables.do(lambda tx: submit(tx, TWO))
    tables.do(lambda tx: operations.supersede(tx, first))
    assert tables.do(lambda tx: operations.active(tx, ONE)) is None
    second = tables.do(submit)
    assert second
    assert second.number == first.number + 1


def test_behind_a_quiet_operation_others_wait_in_their_order(tables: Tables) -> None:
    first = tables.do(lambda tx: submit(tx, quiet=True))
    assert first
    assert tables.do(lambda tx: submit(tx, quiet=True)) is None
    assert tables.do(submit) is None
    (second, third) = tables.do(lambda tx: operations.queued(tx, ONE))
    assert second.id < third.id


def test_a_quiet_operation_that_is_put_back_keeps_its_place(tables: Tables) -> None:
    first = tables.do(lambda tx: submit(tx, quiet=True))
    assert first
    tables.do(lambda tx: submit(tx, quiet=True))
    tables.do(lambda tx: operations.put_back(tx, first))
    urgent = tables.do(submit)
    assert urgent, "nothing is active any more"
    assert tables.do(lambda tx: operations.queued(tx, ONE))[0].id == first.id


def test_a_refused_operation_takes_nothing_else_of_its_transaction_along(tables: Tables) -> None:
    """Who catches the refusal may go on in the same transaction."""

    def work(tx: Tx) -> Held:
        submit(tx)
        with pytest.raises(Conflict):
            submit(tx)
        second = submit(tx, TWO)
        assert second
        return second

    assert tables.do(work).server == TWO
    assert tables.do(lambda tx: operations.active(tx, ONE)) is not None


@pytest.fixture
async def office(tmp_path: Path) -> Office:
    clock = SystemClock()
    return await Office.opened(open_sqlite(tmp_path / "renova.db", clock), clock)


def everything_in(path: Path) -> str:
    """Return all that all tables hold."""
    with closing(sqlite3.connect(path)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for table in tables for row in connection.execute(f"SELECT * FROM {table}")]
    return "\n".join(repr(row) for row in rows)


def bytes_below(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in directory.iterdir())


async def begun(office: Office) -> tuple[Runner[World, Tx], Held]:
    """Have an operation stand at a step whose forerunners' results are in the journal, secret and all."""
    office.world.hold("send")
    runner = await office.executor("executor")
    held = await office.submit(runner, Want("parcel", SECRET))
    await office.seen(lambda: "send" in office.world.said)
    return runner, held


@pytest.mark.parametrize("how", ["done", "failed", "superseded"])
async def test_secrets_are_gone_from_the_file_when_their_operation_is_over(
    office: Office, tmp_path: Path, how: str
) -> None:
    if how == "failed":
        office.world.faults["close"] = [Refused("never")]
    hold = office.world.hold("send")
    runner, held = await begun(office)
    assert everything_in(tmp_path / "renova.db").count(SECRET) == 2, "the want, and the result of the first step"
    if how == "superseded":
        await office.database.transact(lambda tx: operations.supersede(tx, held))
    hold.set()
    await runner.finished(held.id)
    assert await office.state(held.id) == how
    assert SECRET not in everything_in(tmp_path / "renova.db")
    assert "enter" in await office.marked()
    office.database.close()
    assert SECRET.encode() not in bytes_below(tmp_path), "erased from the tables, but not from the disk"


async def test_a_journal_that_ends_keeps_when_and_how(office: Office) -> None:
    await office.tell()
    row = await office.database.read(lambda tx: tx.execute(operations.operations.select()).one())
    assert (row.state, row.want, row.number) == ("done", b"", 1)
    assert row.created_at < row.ended_at
    assert await office.database.read(lambda tx: tx.execute(steps.steps.select()).all()) == []
    assert office.world.said == DONE
    office.database.close()


async def test_only_who_holds_an_operation_commits_in_its_name(office: Office) -> None:
    runner, held = await begun(office)
    journal = StoredJournal(office.database)

    def write(tx: Tx, _book: Book) -> None:
        office.world.writes(tx, "theirs")

    strangers: list[dict[str, Any]] = [
        {"executor": ExecutorId("another")},
        {"epoch": 2},
        {"epoch": 0},
        {"id": OperationId(99)},
        {"created_at": "2020-01-01T00:00:00.000000"},  # of commits that were lost: the database has given its id again
    ]
    for changed in strangers:
        with pytest.raises(Lost):
            await journal.commit(replace(held, **changed), write, "delivery.send")
    assert await office.marked() == ["enter"]
    await journal.commit(held, lambda _tx, book: book.note(Entry(2, "delivery.send", b'"x"')), "delivery.send")
    entries, undone = await journal.read(held)
    assert [entry.place for entry in entries] == [0, 1, 2]
    assert undone == set()
    await runner.close()
    office.database.close()
