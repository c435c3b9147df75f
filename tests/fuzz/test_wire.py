"""The server stands what no client library would send: it stays up, and understands each request in one way only."""

from pathlib import Path

import pytest

from tests.fuzz import wire
from tests.fuzz.wire import ODD, SMUGGLING, Play


@pytest.mark.slow
def test_bytes_that_no_client_sends_harm_nobody(tmp_path: Path) -> None:
    found = wire.run(3, 120, tmp_path)
    assert found.faults == []
    assert found.plays == 120
    assert 0 < found.slowest_s < wire.BYSTANDER_S


def test_a_play_is_kept_as_it_was(tmp_path: Path) -> None:
    for play in (*SMUGGLING, *ODD):
        assert Play.read(play.write(tmp_path / "play.json")) == play


def test_a_play_is_shown_as_a_command() -> None:
    play = Play("x", (b"GET /'%\r\n", 0.5, b"\xff", None))
    commands = "printf %b 'GET /\\0047\\0045\\0015\\0012'; sleep 0.5; printf %b '\\0377'"
    assert play.shown == f"{{ {commands}; }} | nc -q 5 127.0.0.1 8774"
