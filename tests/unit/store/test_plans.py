"""What is asked again and again looks at the rows that it is about, however many others there are."""

from typing import Any

import pytest
from sqlalchemy import Select, select, text
from sqlalchemy.dialects import sqlite

from renova.model.clock import SystemClock
from renova.store import actions, recoveries, residents, servers
from renova.store.database import Tx
from renova.store.everything import open_database

of_it, mine = servers.servers.c.deleted.is_(False), servers.servers.c.project == "p"
NEWEST_FIRST = (servers.servers.c.created_at.desc(), servers.servers.c.serial.desc())


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


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (servers._USAGE.params(project="p"), "servers_of_project (project=? AND deleted=?)"),
        (servers._STANDINGS, "servers_living"),
        (select(servers.servers.c.id).where(of_it).order_by(*NEWEST_FIRST), "servers_living"),
        (select(servers.servers.c.id).where(of_it, mine).order_by(*NEWEST_FIRST), "servers_of_project"),
        (select(actions.events.c.action).where(actions.events.c.finished_at.is_(None)), "events_open"),
    ],
    ids=["quota", "standings", "list of all", "list of a project", "open events"],
)
async def test_deleted_servers_and_what_has_ended_are_not_gone_through(statement: "Select[Any]", index: str) -> None:
    database = open_database(None, SystemClock())
    written = statement.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
    found = await database.transact(lambda tx: tx.execute(text(f"EXPLAIN QUERY PLAN {written}")).all())
    database.close()
    assert any(index in row.detail for row in found), found
