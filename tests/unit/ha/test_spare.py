"""What is proven without a plan rests on rules that say the same whoever has claimed; the others are known."""

from typing import Any

import pytest
from msgspec.structs import replace

from renova.ha.spare import CLAIMED
from renova.scheduling import rules
from renova.scheduling.board import Board
from renova.scheduling.capabilities import CHANGING
from renova.scheduling.rules import Rule
from tests.unit.scheduling.test_choose import view, wanted
from tests.unit.scheduling.test_rules import ROWS

EVERY_ROW = [
    *ROWS,
    (rules.asked_for, {"only": "b"}, {}, ""),
    (rules.up, {}, {"up": False}, ""),
    (rules.enabled, {}, {"disabled": True}, ""),
    (rules.in_zone, {"zone": "attic"}, {}, ""),
    (rules.runs_architecture, {"architecture": "aarch64"}, {}, ""),
    (rules.has_traits, {"traits": frozenset({"CUSTOM_A"})}, {}, ""),
    (rules.shares_storage, {"storage": "x"}, {}, ""),
    (rules.evacuates, {"evacuated": True}, {"evacuates": False}, ""),
    (rules.receives_live, {"live": True}, {"receives_live": False}, ""),
    (rules.claimable, {}, {"units": {"VCPU": (2, 4, 1)}}, ""),
]


@pytest.mark.parametrize(("rule", "request_", "host", "_reason"), EVERY_ROW)
def test_a_rule_that_is_not_named_says_the_same_after_claims(
    rule: Rule, request_: dict[str, Any], host: dict[str, Any], _reason: str | None
) -> None:
    asked = wanted(**request_, marks=frozenset(host.get("marks", ())))
    if rule in CLAIMED or not CHANGING.isdisjoint(asked.capabilities):
        return
    seen = replace(view("a"), **host)
    board = Board([seen])
    for _ in range(3):
        board.claim(seen.id, {"VCPU": 5, "MEMORY_MB": 1024, "DISK_GB": 30})
    assert rule(asked, board.views[0]) == rule(asked, seen)


def test_every_rule_is_tried() -> None:
    """A new one has its row among those of its own test; whether it changes with claims is seen here."""
    assert set(rules.ALL) - CLAIMED <= {row[0] for row in EVERY_ROW}


@pytest.mark.parametrize("rule", sorted(CLAIMED - {rules.not_excluded}, key=str))
def test_those_that_are_named_do_change(rule: Rule) -> None:
    asked = wanted()
    seen = view("a", marks={rules.MOST_SERVERS: frozenset({"1"})})
    board = Board([seen])
    board.claim(seen.id, {"VCPU": 16})
    assert rule(asked, seen) is None
    assert rule(asked, board.views[0]) is not None
