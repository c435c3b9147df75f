"""What an alarm about a host comes to."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renova.ha.heed import GIVE_UP_S, PATIENCE_S, Known, Task, heed
from renova.model.alarm import OPEN, AlarmStatus

NEW, RUNNING, ERROR = AlarmStatus.NEW, AlarmStatus.RUNNING, AlarmStatus.ERROR
IGNORED, FAILED, FINISHED = AlarmStatus.IGNORED, AlarmStatus.FAILED, AlarmStatus.FINISHED


def known(**values: Any) -> Known:
    usual: dict[str, Any] = {"age_s": 3.0, "heard": False, "contradicts_after_s": 7.0, "proven": False}
    return Known(**usual | values)


@pytest.mark.parametrize(
    ("values", "status", "seeks"),
    [
        ({"heard": True}, RUNNING, True),
        ({"heard": True, "age_s": 7.1}, IGNORED, False),
        ({}, RUNNING, True),
        ({"age_s": PATIENCE_S + 1}, ERROR, True),
        ({"age_s": GIVE_UP_S + 1}, FAILED, False),
        ({"proven": True, "heard": True}, FINISHED, False),
        ({"proven": True, "left": "the setting is off"}, FINISHED, False),
        ({"proven": True, "under_way": 1, "failed": 1}, RUNNING, False),
        ({"proven": True, "failed": 1, "moved": 2}, ERROR, False),
        ({"proven": True, "failed": 1, "age_s": GIVE_UP_S + 1}, FAILED, False),
        ({"proven": True, "moved": 2, "age_s": GIVE_UP_S + 1}, FINISHED, False),
    ],
)
def test_where_an_alarm_stands(values: dict[str, Any], status: AlarmStatus, seeks: bool) -> None:
    heeded = heed(known(**values))
    assert (heeded.status, heeded.seek) == (status, seeks)


def test_it_is_said_what_a_proof_is_lacking_once_it_takes_long() -> None:
    assert "in 7 s" not in heed(known(why_no_proof="It counts in 7 s.")).message, "which is another number every second"
    for age_s in (PATIENCE_S + 1, GIVE_UP_S + 1):
        assert heed(known(age_s=age_s, why_no_proof="Switch it off.")).message.endswith("Switch it off.")


@given(
    age_s=st.floats(0, 10_000),
    heard=st.booleans(),
    proven=st.booleans(),
    left=st.sampled_from(["", "why"]),
    under_way=st.integers(0, 3),
    failed=st.integers(0, 3),
)
def test_an_alarm_alone_never_moves_a_server(
    age_s: float, heard: bool, proven: bool, left: str, under_way: int, failed: int
) -> None:
    heeded = heed(known(age_s=age_s, heard=heard, proven=proven, left=left, under_way=under_way, failed=failed))
    assert heeded.task is (Task.RECOVER if proven else Task.PROVE)
    assert not (heeded.seek and proven)
    if heeded.status is FINISHED:
        assert proven
    if age_s > GIVE_UP_S and not under_way:
        assert heeded.status not in OPEN, "it comes to an end"
