"""Figures: how they are made of samples, judged and shown."""

import io

import msgspec
import pytest
from bench.figures import Figure, Skipped, amount, as_json, percentile, table
from rich.console import Console


def figure(*samples: float, most: float | None = None) -> Figure:
    return Figure(measure="show", what="CPU", unit="ms", samples=samples, most=most)


def test_a_figure_is_the_median_of_its_rounds() -> None:
    assert figure(0.4, 9.0, 0.5).value == 0.5


@pytest.mark.parametrize(("most", "reached"), [(None, None), (0.5, True), (0.49, False)])
def test_a_target_is_reached_when_the_figure_is_no_more(most: float | None, reached: bool | None) -> None:
    assert figure(0.5, most=most).reached is reached


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_a_percentile_is_a_value_that_was_there(share: float, value: float) -> None:
    assert percentile(range(100, 0, -1), share) == value


@pytest.mark.parametrize(
    ("value", "text"), [(0.41234, "0.412 s"), (4.1234, "4.12 s"), (41.2, "41.2 s"), (412.3, "412 s")]
)
def test_an_amount_shows_what_counts(value: float, text: str) -> None:
    assert amount(value, "s") == text


def test_the_table_tells_what_was_missed() -> None:
    out = io.StringIO()
    Console(file=out, width=120).print(table([figure(0.4, most=0.5), figure(40.0, most=0.5), figure(1.0)]))
    rows = [line for line in out.getvalue().splitlines() if "CPU" in line]
    assert ["reached" in row for row in rows] == [True, False, False]
    assert ["missed" in row for row in rows] == [False, True, False]


def test_json_holds_every_sample() -> None:
    text = as_json([figure(1.0, 2.0, 4.0, most=3.0)], [Skipped(measure="agent", reason="no root")], {"cores": 2})
    whole = msgspec.json.decode(text)
    assert whole["about"] == {"cores": 2}
    assert whole["skipped"] == [{"measure": "agent", "reason": "no root"}]
    (only,) = whole["figures"]
    assert (only["value"], only["reached"], only["samples"]) == (2.0, True, [1.0, 2.0, 4.0])
