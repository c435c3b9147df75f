"""What is wished for a server is read where its owner and the operator write it; the nearest word counts."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renova.ha.wishes import Policy, Wishes, wishes


def read(
    metadata: dict[str, str] | None = None,
    specs: dict[str, str] | None = None,
    image: dict[str, str] | None = None,
    marks: dict[str, frozenset[str]] | None = None,
    default: Policy = Policy.RECOVER,
) -> Wishes:
    return wishes(metadata or {}, specs or {}, image or {}, marks or {}, default)


def test_without_a_word_the_default_counts() -> None:
    assert read() == Wishes(policy=Policy.RECOVER, said_by="by default", priority=500)
    assert read(default=Policy.LEAVE).policy is Policy.LEAVE


@pytest.mark.parametrize(
    ("said", "policy", "by"),
    [
        ({"metadata": {"renova:recovery": "stop"}}, Policy.STOP, "renova:recovery=stop (metadata)"),
        ({"specs": {"renova:recovery": " Leave "}}, Policy.LEAVE, "renova:recovery= Leave  (flavor)"),
        # Masakari's, with the words that oslo.utils takes.
        ({"metadata": {"HA_Enabled": "True"}}, Policy.RECOVER, "HA_Enabled=True (metadata)"),
        ({"metadata": {"HA_Enabled": "no"}}, Policy.LEAVE, "HA_Enabled=no (metadata)"),
        # InstanceHA's.
        ({"specs": {"evacuable": "true"}}, Policy.RECOVER, "evacuable=true (flavor)"),
        ({"image": {"evacuable": "false"}}, Policy.LEAVE, "evacuable=false (image)"),
        ({"marks": {"evacuable": frozenset({"true", "false"})}}, Policy.RECOVER, "evacuable=true (aggregate)"),
        ({"marks": {"evacuable": frozenset({"false"})}}, Policy.LEAVE, "evacuable=false (aggregate)"),
        # The nearest.
        (
            {"metadata": {"renova:recovery": "recover", "HA_Enabled": "0"}, "specs": {"renova:recovery": "stop"}},
            Policy.RECOVER,
            "renova:recovery=recover (metadata)",
        ),
        ({"metadata": {"HA_Enabled": "1"}, "specs": {"renova:recovery": "stop"}}, Policy.RECOVER, "HA_Enabled=1 (met"),
        ({"specs": {"evacuable": "yes"}, "image": {"evacuable": "no"}}, Policy.RECOVER, "evacuable=yes (flavor)"),
        ({"image": {"evacuable": "no"}, "marks": {"evacuable": frozenset({"yes"})}}, Policy.LEAVE, "evacuable=no (im"),
    ],
)
@pytest.mark.parametrize("default", [Policy.RECOVER, Policy.LEAVE])
def test_the_nearest_word_counts(said: dict[str, Any], policy: Policy, by: str, default: Policy) -> None:
    found = read(**said, default=default)
    assert (found.policy, found.unread) == (policy, ())
    assert found.said_by.startswith(by)


@pytest.mark.parametrize(
    ("metadata", "specs", "priority"),
    [
        ({"renova:priority": "7"}, {"renova:priority": "8"}, 7),
        ({}, {"renova:priority": "8"}, 8),
        ({"instanceha:restart_priority": "9"}, {"renova:priority": "8"}, 9),
        ({"renova:priority": "7", "instanceha:restart_priority": "9"}, {}, 7),
        ({"HA_Enabled": "True"}, {}, 600),
        ({"HA_Enabled": "True", "renova:priority": "100"}, {}, 100),
        ({"HA_Enabled": "False"}, {}, 500),
        ({"renova:priority": "0"}, {}, 1),
        ({"renova:priority": "1001"}, {}, 1000),
        ({"renova:priority": "9999999999999"}, {"renova:priority": "8"}, 8),
    ],
)
def test_the_highest_priority_is_a_thousand(metadata: dict[str, str], specs: dict[str, str], priority: int) -> None:
    assert read(metadata, specs).priority == priority


def test_dependencies_are_ids_between_commas_or_blanks_each_once() -> None:
    assert read({"renova:after": "A-1, b-2 a-1,,C"}).after == ("a-1", "b-2", "c")


def test_a_word_that_means_nothing_is_passed_over_and_told() -> None:
    found = read({"renova:recovery": "maybe", "renova:priority": "high"}, {"evacuable": "no", "renova:priority": "²"})
    assert (found.policy, found.priority) == (Policy.LEAVE, 500)
    assert found.unread == (
        "renova:recovery=maybe (metadata)",
        "renova:priority=high (metadata)",
        "renova:priority=² (flavor)",
    )


@given(
    texts=st.dictionaries(
        st.sampled_from(["renova:recovery", "renova:priority", "renova:after", "HA_Enabled", "evacuable"]), st.text()
    ),
    marks=st.frozensets(st.text()),
)
def test_whatever_users_write_is_read(texts: dict[str, str], marks: frozenset[str]) -> None:
    found = read(texts, texts, texts, {"evacuable": marks})
    assert found.policy in set(Policy)
    assert 1 <= found.priority <= 1000
