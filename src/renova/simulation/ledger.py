"""Follows what a simulated database commits, row by row: the invariants rest on it, and trust no part of the product.

Triggers write each changed row of the tables below into a table of this connection only. It rolls back with the
transaction or savepoint that changed the row, so what is taken after a commit is just what was committed.
"""

from typing import Any, NamedTuple

import msgspec

FOLLOWED: dict[str, tuple[str, ...]] = {
    "rights": ("server", "host", "incarnation"),
    "debts": ("host", "server", "below"),
    "hosts": ("id", "state", "disabled", "forced_down", "power_barred", "condemned_at"),
    "leases": ("host", "epoch", "counter", "boot", "ttl"),
    "proofs": ("id", "host", "kind", "epoch", "readings", "who", "withdrawn", "created_at"),
    "operations": ("id", "server", "number", "state", "executor", "epoch", "undoing", "story", "want"),
    "steps": ("operation", "place", "step"),
    "executors": ("id",),
    "servers": ("id", "host", "vm_state", "task_state", "launched_at", "root_generation", "deleted"),
    "recoveries": ("id", "server", "host", "proof", "state", "target", "reached", "reason"),
    "notices": ("number", "id", "server"),
    "cluster": ("era", "hold", "brake", "brake_lifted_until"),
    "inventories": ("provider", "resource_class", "total", "reserved", "allocation_ratio", "used"),
}

Row = dict[str, Any]


class Change(NamedTuple):
    """A row as it was and as it is; None: it was not there, or is no more."""

    table: str
    old: Row | None
    new: Row | None


class Ledger:
    """What was committed on one SQLite connection and not taken yet."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        raw.execute("CREATE TEMP TABLE IF NOT EXISTS ledger (place INTEGER PRIMARY KEY, what TEXT, old TEXT, new TEXT)")
        for table, columns in FOLLOWED.items():
            old, new = (f"json_array({', '.join(_value(row, name) for name in columns)})" for row in ("old", "new"))
            for event, values in {
                "INSERT": f"NULL, {new}",
                "UPDATE": f"{old}, {new}",
                "DELETE": f"{old}, NULL",
            }.items():
                when = f"CREATE TEMP TRIGGER IF NOT EXISTS ledger_{table}_{event} AFTER {event} ON main.{table}"
                note = f"INSERT INTO ledger (what, old, new) VALUES ('{table}', {values})"  # noqa: S608  (names of ours)
                raw.execute(f"{when} BEGIN {note}; END")

    def take(self) -> list[Change]:
        """Return what was committed since, in its order."""
        rows = self._raw.execute("SELECT what, old, new FROM ledger ORDER BY place").fetchall()
        if rows:
            self._raw.execute("DELETE FROM ledger")
        return [Change(table, _row(table, old), _row(table, new)) for table, old, new in rows]

    def everything(self) -> dict[str, list[Row]]:
        """Return all rows of the followed tables, as they are now: for whoever begins to follow."""
        return {
            table: [
                dict(zip(columns, row, strict=True))
                for row in self._raw.execute(f"SELECT {', '.join(columns)} FROM main.{table}").fetchall()  # noqa: S608
            ]
            for table, columns in FOLLOWED.items()
        }


def _value(row: str, column: str) -> str:
    """Return how a column is read for JSON, which holds no bytes."""
    return f"CAST({row}.want AS TEXT)" if column == "want" else f"{row}.{column}"


def _row(table: str, values: str | None) -> Row | None:
    return None if values is None else dict(zip(FOLLOWED[table], msgspec.json.decode(values), strict=True))
