"""What comes over the wire is believed no further than its sender may be: hosts that lie, and controllers that do."""

from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renova.agent import orders
from renova.hosts import connections, registration
from renova.model.errors import Broken
from renova.operations import report
from renova.wire.frames import (
    FromAgent,
    FromController,
    decode_from_agent,
    decode_from_controller,
    decode_from_new_host,
    decode_to_new_host,
    encode,
)
from tests.fuzz import lying_controller, lying_host
from tests.fuzz.wire_values import Known, Messages, encoded, kinds_never

DECODERS = (decode_from_agent, decode_from_controller, decode_from_new_host, decode_to_new_host)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(frame=st.binary() | PLAIN.map(msgspec.msgpack.encode))
def test_what_is_no_message_is_said_to_be_none_and_nothing_else(frame: bytes) -> None:
    for decode in DECODERS:
        with pytest.raises(Broken):
            decode(frame)


@given(random=st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_every_message_that_can_be_made_is_taken_or_refused_and_told_again_the_same(random: Random) -> None:
    for union, decode in ((FromAgent, decode_from_agent), (FromController, decode_from_controller)):
        frame = encoded(Messages(union, random, Known(["id"], [7])).one())
        try:
            message = decode(frame)
        except Broken:
            continue
        again = decode(encode(message))
        assert again == message or "nan" in repr(again)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_host_that_lies_harms_only_itself(seed: int) -> None:
    played = lying_host.play(Random(seed), 80)
    assert played.faults == []
    assert played.welcomed > 10
    assert played.malformed > 10


@given(seed=st.integers(0, 2**32))
@settings(max_examples=10)
def test_an_agent_does_nothing_for_what_is_stale_or_no_message(seed: int) -> None:
    assert lying_controller.play(Random(seed), 60, anything=False).faults == []


@given(seed=st.integers(0, 2**32))
@settings(max_examples=10)
def test_an_agent_lives_through_whatever_a_controller_says_and_comes_back(seed: int) -> None:
    assert lying_controller.play(Random(seed), 60, anything=True).faults == []


def test_every_kind_of_message_is_said() -> None:
    played = lying_host.Played()
    for seed in range(10):
        for anything in (True, False):
            played.add(lying_controller.play(Random(seed), 60, anything=anything))
    assert kinds_never(Messages(FromController, Random(1), Known()).kinds, played.sent) == []


# What would be seen if one believed too much.


def test_orders_that_are_obeyed_though_stale_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "_check_place", lambda *_: None)
    assert any(lying_controller.play(Random(seed), 60, anything=False).faults for seed in range(5))


def test_a_report_of_another_hosts_server_that_is_followed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def anybodys(tx: object, _host: object, change: object) -> object:
        return report.servers.get(tx, change.server)  # type: ignore[attr-defined]

    monkeypatch.setattr(report, "_idle_here", anybodys)
    assert any(lying_host.play(Random(seed), 100).faults for seed in range(5))


def test_a_clean_up_of_anothers_that_is_believed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def believed(tx: object, _host: object, duty: object) -> None:
        registration.rights.release(tx, duty.server)  # type: ignore[attr-defined]

    monkeypatch.setattr(connections, "cleaned", believed)
    assert any(lying_host.play(Random(seed), 100).faults for seed in range(5))
