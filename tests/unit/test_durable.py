"""Files that are whole, whoever writes them at the same time."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from renova.durable import write_first, write_whole


def test_of_those_who_write_a_file_first_at_once_one_has_written_it_and_all_find_it_whole(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    contents = [f"{number}".encode() * 10_000 for number in range(8)]

    def write_and_read(content: bytes) -> bytes:
        write_first(file, content)
        return file.read_bytes()

    with ThreadPoolExecutor(len(contents)) as threads:
        found = set(threads.map(write_and_read, contents))
    assert len(found) == 1
    assert found <= set(contents)
    assert [each.name for each in tmp_path.iterdir()] == ["keys"]


def test_a_file_that_is_there_stays_as_it_was_written_first(tmp_path: Path) -> None:
    file = tmp_path / "password"
    write_first(file, b"first")
    write_first(file, b"second")
    assert file.read_bytes() == b"first"


def test_what_is_written_is_readable_by_nobody_else_whatever_a_crash_left(tmp_path: Path) -> None:
    left = tmp_path / "page.new"
    left.write_bytes(b"half of it, and longer than the whole")
    left.chmod(0o644)
    write_whole(tmp_path / "page", b"all of it")
    write_first(tmp_path / "key", b"secret")
    assert (tmp_path / "page").read_bytes() == b"all of it"
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {
        "page": 0o600,
        "key": 0o600,
    }
