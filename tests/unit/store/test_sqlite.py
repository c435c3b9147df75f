"""SQLite in a file: what was reported outlives the process, and a file that will not do is named with what to do."""

import asyncio
import signal
import sqlite3
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from renova.model.clock import SystemClock
from renova.model.errors import BadSetup, DatabaseAway, NotNow
from renova.store.database import Database, Tx
from renova.store.sqlite import open_sqlite

from .test_database import LIMIT_S, add, things, together


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    found = open_sqlite(tmp_path / "renova.db", SystemClock())
    await found.transact(lambda tx: tx.execute(text("CREATE TABLE things (name TEXT PRIMARY KEY)")))
    yield found
    found.close()


@pytest.mark.parametrize("how", ["read", "transact"])
async def test_a_disk_that_fails_for_a_moment_is_for_later(database: Database, how: str) -> None:
    def broken(tx: Tx) -> None:
        things_of = tx.execute(text("SELECT name FROM things")).all()
        raise sqlite3.OperationalError("disk I/O error", things_of)

    with pytest.raises(DatabaseAway, match="disk I/O error"):
        await getattr(database, how)(broken)
    assert await things(database) == []


async def test_a_full_disk_is_for_later_and_says_nothing_of_what_was_to_be_written(database: Database) -> None:
    def fill(tx: Tx) -> None:
        pages = tx.execute(text("PRAGMA page_count")).scalar()
        tx.execute(text(f"PRAGMA max_page_count = {pages}"))
        add(tx, "the secret" + "x" * 1_000_000)

    small, big = await together(database, lambda tx: add(tx, "small"), fill)
    assert isinstance(big, NotNow), big
    assert "secret" not in str(big)
    assert isinstance(small, (str, NotNow))
    assert await things(database) == (["small"] if isinstance(small, str) else [])
    await database.transact(lambda tx: tx.execute(text("PRAGMA max_page_count = 1000000")))
    await database.transact(lambda tx: add(tx, "later"))


CHILD = """
    import asyncio, sys
    from pathlib import Path
    from sqlalchemy import text
    from renova.model.clock import SystemClock
    from renova.store.sqlite import open_sqlite

    async def main():
        database = open_sqlite(Path(sys.argv[1]), SystemClock())
        await database.transact(lambda tx: tx.execute(text("CREATE TABLE things (name TEXT PRIMARY KEY)")))
        for number in range(100):
            sql = text(f"INSERT INTO things VALUES ('thing-{number:03}')")
            await database.transact(lambda tx: tx.execute(sql))
            print(number, flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())
"""


async def test_what_a_killed_process_reported_is_there_and_its_file_was_its_alone(tmp_path: Path) -> None:
    path = tmp_path / "renova.db"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(CHILD), path, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    try:
        async with asyncio.timeout(LIMIT_S):
            await child.stdout.readline()
            with pytest.raises(BadSetup, match=r"renova\.db is in use by another controller\. Stop that one first"):
                open_sqlite(path, SystemClock())
            for _ in range(20):
                last = int(await child.stdout.readline())
    finally:
        child.send_signal(signal.SIGKILL)
        rest = await child.stdout.read()
        await child.wait()
    reported = int(rest.split()[-1]) if rest.split() else last
    database = open_sqlite(path, SystemClock())
    found = await things(database)
    database.close()
    assert found[: reported + 1] == [f"thing-{number:03}" for number in range(reported + 1)]


def test_a_file_that_is_no_database_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "renova.db"
    path.write_bytes(b"this is a letter, not a database" * 1000)
    with pytest.raises(BadSetup, match=r"renova\.db cannot be opened \(file is not a database\)\. Restore it, or name"):
        open_sqlite(path, SystemClock())
    assert path.read_bytes().startswith(b"this is a letter")


def test_a_database_that_is_a_directory_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "renova.db").mkdir()
    with pytest.raises(BadSetup, match=r"renova\.db cannot be opened .* RENOVA_DATABASE"):
        open_sqlite(tmp_path / "renova.db", SystemClock())


def test_a_directory_that_cannot_be_used_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSetup, match=r"database directory .*file/state cannot be used \(.+\)\. Make it writable"):
        open_sqlite(tmp_path / "file" / "state" / "renova.db", SystemClock())
