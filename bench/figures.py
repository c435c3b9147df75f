"""Figures: what was measured, how much of it there was, how much there may be; and how they are shown."""

import math
from collections.abc import Sequence
from statistics import median

import msgspec
from rich.table import Table


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """Something measured; the value is the median of the samples, which are one a round."""

    measure: str
    what: str
    unit: str  # ms, s, MB, /s, %
    samples: tuple[float, ...]
    most: float | None = None  # the target: no more than this
    least: float | None = None  # the target: no less than this
    note: str = ""

    @property
    def value(self) -> float:
        return median(self.samples)

    @property
    def reached(self) -> bool | None:
        """Say whether the target is reached; None without one."""
        if self.most is None and self.least is None:
            return None
        return (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)

    @property
    def target(self) -> str:
        """Return the target in words, "" without one."""
        if self.least is not None:
            return f"≥ {amount(self.least, self.unit)}"
        return "" if self.most is None else f"≤ {amount(self.most, self.unit)}"


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """Something that could not be measured here, and why."""

    measure: str
    reason: str


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of all values do not exceed: one of them, never in between."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def table(figures: Sequence[Figure]) -> Table:
    """Return the figures as people read them."""
    shown = Table("Measure", "What", "", "Target", "", "Samples")
    for name in ("", "Target"):
        next(column for column in shown.columns if column.header == name).justify = "right"
    last = ""
    for figure in figures:
        if last and figure.measure != last:
            shown.add_section()
        shown.add_row(
            figure.measure if figure.measure != last else "",
            figure.what + (f" ({figure.note})" if figure.note else ""),
            amount(figure.value, figure.unit),
            figure.target,
            {None: "", True: "reached", False: "[bold]missed[/bold]"}[figure.reached],
            _range(figure),
        )
        last = figure.measure
    return shown


def amount(value: float, unit: str) -> str:
    """Write a value with three digits that count."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f} {unit}"


def _range(figure: Figure) -> str:
    if len(figure.samples) == 1:
        return "1"
    low, high = amount(min(figure.samples), ""), amount(max(figure.samples), "")
    return f"{len(figure.samples)}: {low.strip()} … {high.strip()}"


def as_json(figures: Sequence[Figure], skipped: Sequence[Skipped], about: dict[str, object]) -> bytes:
    """Return everything, each figure with its samples."""
    found = [{**msgspec.structs.asdict(figure), "value": figure.value, "reached": figure.reached} for figure in figures]
    whole = {"about": about, "figures": found, "skipped": [msgspec.structs.asdict(each) for each in skipped]}
    return msgspec.json.format(msgspec.json.encode(whole)) + b"\n"
