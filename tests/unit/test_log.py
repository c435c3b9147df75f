"""A log line is one event that a machine can read, and no secret is in it, however deep it lies. One that cannot be
written is lost, and nothing else."""

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

import renova
from renova import log as logs

SECRET = "opensesame"


class Personal(msgspec.Struct, frozen=True):
    hostname: str
    admin_pass: str | None


@dataclass
class Login:
    user: str
    password: str


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()


class Lines:
    """What a process logs to its standard error."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def of(self, level: str, *lines: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
        logs.set_up(level, process="controller")
        log = structlog.get_logger()
        for event, fields in lines:
            log.warning(event, **fields)
        return [json.loads(line) for line in self._capsys.readouterr().err.splitlines()]

    def one(self, **fields: Any) -> dict[str, Any]:
        (line,) = self.of("info", ("event", fields))
        return line


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    return Lines(capsys)


def test_a_line_is_a_sentence_with_its_fields_level_time_and_process(lines: Lines) -> None:
    with structlog.contextvars.bound_contextvars(server="5e00", operation=7):
        logs.set_up("info", process="controller")
        (line,) = lines.of("info", ("host claimed", {"host": "host1", "amount": 3}))
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "host claimed",
        "level": "warning",
        "process": "controller",
        "server": "5e00",
        "operation": 7,
        "host": "host1",
        "amount": 3,
    }


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "admin_pass",
        "adminPass",
        "token",
        "X-Auth-Token",
        "secret",
        "join_secret",
        "private_key",
        "PASSWORD",
    ],
)
def test_what_is_named_like_a_secret_is_blanked(lines: Lines, name: str) -> None:
    assert lines.one(**{name: SECRET})[name] == "***"


@pytest.mark.parametrize(
    "value",
    [
        {"auth": {"identity": {"password": {"user": {"password": SECRET}}}}},
        [{"adminPass": SECRET}],
        ({"a": ({"token": SECRET},)},),
        Personal("vm", SECRET),
        {"guests": [Personal("vm", SECRET)]},
        Login("admin", SECRET),
        {1: {"secret": SECRET}},
    ],
    ids=["dict", "list", "tuple", "struct", "struct in list", "dataclass", "odd key"],
)
def test_a_secret_inside_of_something_is_blanked_too(lines: Lines, value: Any) -> None:
    line = json.dumps(lines.one(body=value))
    assert SECRET not in line
    assert "***" in line


def test_what_is_no_secret_is_told_whole(lines: Lines) -> None:
    line = lines.one(body=[Personal("vm", None), {"name": "a", "numbers": (1, 2.5, None, True)}], hosts={"b"})
    assert line["body"] == [{"hostname": "vm", "admin_pass": None}, {"name": "a", "numbers": [1, 2.5, None, True]}]
    assert "b" in line["hosts"]


def test_what_was_logged_stays_as_it_is_for_whoever_uses_it(lines: Lines) -> None:
    body = {"user": {"password": SECRET}}
    lines.one(body=body)
    assert body == {"user": {"password": SECRET}}


def test_an_error_is_told_with_its_whole_chain(lines: Lines) -> None:
    logs.set_up("info", process="controller")
    try:
        try:
            raise KeyError("the cause")
        except KeyError as cause:
            raise ValueError("the error") from cause
    except ValueError:
        line = lines.one(exc_info=True)
    assert "KeyError: 'the cause'" in line["exception"]
    assert "ValueError: the error" in line["exception"]


@pytest.mark.parametrize(("level", "told"), [("debug", 1), ("WARNING", 1), ("error", 0), ("critical", 0)])
def test_only_what_is_as_grave_as_the_level_is_told(lines: Lines, level: str, told: int) -> None:
    assert len(lines.of(level, ("event", {}))) == told


def test_what_json_cannot_hold_is_told_as_text(lines: Lines) -> None:
    assert "object" in lines.one(thing=object())["thing"]
    assert lines.one(thing=b"\xff")["thing"]
    assert lines.one(thing={("a", 1): 2})["thing"] == {"('a', 1)": 2}


class Disk(io.RawIOBase):
    """A file on a disk with room for so many bytes more."""

    def __init__(self) -> None:
        self.content = b""
        self.room = 1 << 20

    def write(self, content: Any) -> int:
        taken = bytes(content)[: self.room]
        if not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.content += taken
        self.room -= len(taken)
        return len(taken)


def test_lines_that_cannot_be_written_are_counted_and_told_once_they_can() -> None:
    disk = Disk()
    stream = logs.Enduring(disk, lambda count: f"lost {count}\n".encode())
    stream.write(b"one\n")
    disk.room = 2
    for line in (b"two\n", b"three\n", b"four\n"):
        assert stream.write(line) == len(line)
    disk.room = 100
    stream.write(b"five\n")
    stream.write(b"six\n")
    assert disk.content.splitlines() == [b"one", b"tw", b"lost 3", b"five", b"six"]


def test_a_line_that_found_no_room_for_its_report_either_is_counted_too() -> None:
    disk = Disk()
    stream = logs.Enduring(disk, lambda count: f"lost {count}\n".encode())
    disk.room = 0
    stream.write(b"one\n")
    disk.room = len(b"lost 1\n")
    stream.write(b"two\n")
    disk.room = 100
    stream.write(b"three\n")
    assert disk.content.splitlines() == [b"lost 1", b"lost 1", b"three"]


REFUSED = """
import asyncio, sys
from renova import log
from renova.model.errors import NotNow, whole
from renova.store.session import Trouble
from renova.store.writer import Writer

class Refusing:
    execute = demand = None
    def begin(self): return "now"
    def mark(self): return 0
    def settle(self): pass
    def commit(self): raise OSError("refused")
    def rollback(self): pass
    def trouble(self, error): return Trouble.NONE
    def close(self): pass

async def main():
    log.set_up(process="controller")
    writer = Writer(Refusing())
    for _ in range(3):
        try:
            await asyncio.wait_for(writer.transact(lambda tx: 1), 10)
        except NotNow as error:
            print(whole(error))
    writer.close()

asyncio.run(main())
"""


@pytest.mark.parametrize("where", ["a full disk", "a pipe that nobody reads"])
def test_who_waits_for_the_database_is_answered_though_no_line_can_be_written(where: str) -> None:
    if where == "a full disk":
        stderr = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, stderr = os.pipe()
        os.close(reader)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", REFUSED],
            env={"PATH": os.defpath, "PYTHONPATH": str(Path(renova.__file__).parents[1])},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        os.close(stderr)
    assert ended.stdout.splitlines() == ["the database could not commit (refused)"] * 3
    assert ended.returncode == 0


def test_lost_lines_are_told_as_an_event_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    monkeypatch.setattr(sys, "stderr", os.fdopen(writer, "w"))
    logs.set_up("info", process="controller")
    log = structlog.get_logger()
    with sys.stderr:
        for _ in range(1000):
            log.warning("x" * 1000)
        os.set_blocking(reader, False)
        while True:
            try:
                os.read(reader, 1 << 20)
            except BlockingIOError:
                break
        log.warning("heard again")
        told = [json.loads(line) for line in os.read(reader, 1 << 20).splitlines() if line]
    os.close(reader)
    assert [(each["event"], each["process"], each["level"]) for each in told] == [
        ("log lines lost", "controller", "error"),
        ("heard again", "controller", "warning"),
    ]
    assert 900 < told[0]["lines"] < 1000
    assert told[0]["timestamp"].endswith("Z")
