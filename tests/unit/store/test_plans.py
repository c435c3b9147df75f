"""What is asked again and again looks at the rows that it is about, however many others there are."""

import pytest
from sqlalchemy import Select, text

from renova.model.clock import SystemClock
from renova.store import recoveries, residents
from renova.store.database import Tx
from renova.store.everything import open_database


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        pytest.param(recoveries._UNPLANNED, {"ids": ["a", "b"], "proofs": [1]}, id="whether a plan lacks a server"),
        pytest.param(residents._OF_HOSTS, {"ids": ["a", "b"]}, id="servers of hosts"),
    ],
)
async def test_no_table_is_gone_through(statement: "Select[tuple[object]]", values: dict[str, list[object]]) -> None:
    database = open_database(None, SystemClock())

    def plan(tx: Tx) -> list[str]:
        written = statement.params(values).compile(compile_kwargs={"literal_binds": True})
        return [row.detail for row in tx.execute(text(f"EXPLAIN QUERY PLAN {written}"))]

    steps = await database.transact(plan)
    database.close()
    assert any("SEARCH" in step for step in steps)
    assert not [step for step in steps if step.startswith("SCAN") and "SUBQUERY" not in step], steps
