"""A backup that is put in place as the operators' guide says is the database that it was."""

import sqlite3
import subprocess
import sys
from pathlib import Path

from tests.docs.test_docs import OPERATE, blocks

# Ends without closing the database: its log stays, and holds what came after the backup.
_LOSE = """
import os, sqlite3
database = sqlite3.connect("renova.db", isolation_level=None)
database.execute("pragma journal_mode = wal")
database.execute("create table kept (n integer primary key, text text)")
database.executemany("insert into kept values (?, ?)", [(n, "before" * 50) for n in range(200)])
with sqlite3.connect("copy.db") as copy:
    database.backup(copy)
database.execute("create table lost (n integer primary key)")
database.executemany("insert into kept values (?, ?)", [(n, "after" * 50) for n in range(200, 2000)])
os._exit(0)
"""


def test_a_backup_that_is_restored_as_told_holds_nothing_of_what_came_after_it(tmp_path: Path) -> None:
    (told,) = [block for block in blocks(OPERATE, "text") if "mv renova.db*" in block]
    subprocess.run([sys.executable, "-c", _LOSE], cwd=tmp_path, check=True)
    assert (tmp_path / "renova.db-wal").stat().st_size > 0
    subprocess.run(["sh", "-ec", told], cwd=tmp_path, check=True)
    with sqlite3.connect(tmp_path / "renova.db") as restored:
        assert restored.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert restored.execute("select count(*), max(text) from kept").fetchone() == (200, "before" * 50)
        assert restored.execute("select name from sqlite_master where type = 'table'").fetchall() == [("kept",)]
    assert (tmp_path / "renova.db").stat().st_mode & 0o777 == 0o600
