"""Sums up, at the end of the tests, how many points there were and what came to them."""

from collections import Counter
from typing import Any

import pytest


@pytest.fixture
def turn(pytestconfig: pytest.Config) -> int:
    """The number that says which of the faults are told; given again, it tells the same ones."""
    number: int = pytestconfig.getoption("--turn")
    return number


def pytest_terminal_summary(terminalreporter: Any) -> None:
    points, fired, told = 0, Counter[str](), 0
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            noted = dict(getattr(report, "user_properties", ()))
            if "points" in noted:
                told += 1
                points += noted["points"]
                fired += Counter(noted["fired"])
    if told:
        each = ", ".join(f"{count} {name}" for name, count in sorted(fired.items()))
        terminalreporter.write_line(f"{told} tellings of cases, {points} points, {fired.total()} faults fired: {each}")
        terminalreporter.write_line(f"told again by --turn {terminalreporter.config.getoption('--turn')}")
