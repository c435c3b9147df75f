"""A machine that accepts or refuses a connection is alive; one that says nothing may be anything."""

import socket
import time
from collections.abc import Iterator

import pytest

from renova.drivers.network.sight import WAIT_S, answering


@pytest.fixture
def deaf() -> Iterator[int]:
    """Give a port of 127.0.0.2 at which nothing is answered: who listens there has a full queue."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.2", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.2", port))
        yield port
        for each in waiting:
            each.close()


@pytest.mark.slow
def test_who_accepts_or_refuses_is_seen_and_who_says_nothing_is_waited_for_a_while_only(deaf: int) -> None:
    with socket.create_server(("127.0.0.3", deaf)):
        began = time.monotonic()
        # 127.0.0.1 refuses; the last two can be nobody's address.
        everyone = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "255.255.255.255", "no address"]
        assert answering("", everyone, deaf) == ("127.0.0.1", "127.0.0.3")
        assert WAIT_S <= time.monotonic() - began < WAIT_S + 5


def test_who_is_asked_of_nobody_sees_nobody() -> None:
    assert answering("127.0.0.1", []) == ()
