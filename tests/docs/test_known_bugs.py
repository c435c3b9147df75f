"""The table of others' bugs is whole: each row once, in order, kept by a test that exists or for a reason."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAST = {"A": 17, "B": 27, "C": 15, "D": 13, "E": 10, "F": 6}
ROWS = [f"{letter}{number}" for letter, last in LAST.items() for number in range(1, last + 1)]

ROW = re.compile(r"^\| ([A-Z]\d+) \| (.+) \| (.+) \|$", re.MULTILINE)
# `test_a1_…`, `test_b3_b26_…` in `tests/one.py`, `tests/other.py`
KEPT = re.compile(r"((?:`test_\w+…?`(?:, )?)+) in ((?:`tests/[\w/]+\.py`(?:, )?)+)")
TEST = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)
OF_ROWS = re.compile(r"test_((?:[a-f]\d+_)+)")

LISTED = [(found[1], found[3]) for found in ROW.finditer((ROOT / "docs" / "known-bugs.md").read_text())]


def names_in(file: str) -> list[str]:
    path = ROOT / file
    return TEST.findall(path.read_text()) if path.is_file() else []


def kept_by(cell: str) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return what a cell refers to: names of tests, or how they begin, and the files that have them."""
    return [
        (tuple(re.findall(r"`(test_\w+)…?`", names)), tuple(re.findall(r"`(\S+)`", files)))
        for names, files in KEPT.findall(cell)
    ]


def test_every_row_is_there_once_and_in_order() -> None:
    assert [row for row, _ in LISTED] == ROWS


@pytest.mark.parametrize(("row", "cell"), LISTED, ids=[row for row, _ in LISTED])
def test_a_row_is_kept_by_tests_that_exist_or_for_a_reason(row: str, cell: str) -> None:
    named = kept_by(cell)
    assert named or cell.startswith("does not arise: "), f"{row} names no test, and gives no reason"
    for names, files in named:
        for name in names:
            known = [test for file in files for test in names_in(file)]
            assert any(test.startswith(name) for test in known), f"{row}: there is no {name}… in {files}"
        for file in files:
            assert any(test.startswith(names) for test in names_in(file)), f"{row}: {file} has none of {names}"


def test_every_test_that_bears_a_rows_name_is_listed_with_it() -> None:
    listed = {(row, file) for row, cell in LISTED for _, files in kept_by(cell) for file in files}
    bearing = {
        (row.upper(), str(path.relative_to(ROOT)))
        for path in ROOT.glob("tests/**/test_*.py")
        for test in TEST.findall(path.read_text())
        if (rows := OF_ROWS.match(test))
        for row in rows[1].strip("_").split("_")
    }
    assert bearing - listed == set()
