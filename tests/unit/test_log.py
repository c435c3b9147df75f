"""A log line is one event that a machine can read, and no secret is in it, however deep it lies."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
import structlog

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
