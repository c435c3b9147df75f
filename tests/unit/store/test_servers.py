"""Requests race by one compare-and-swap, numbers only rise, and a deleted server is seen by those who ask for it."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from renova.model.flavor import Flavor
from renova.model.ids import ServerId
from renova.model.server import Fault, TaskState, VmState
from renova.store import migrations, servers

from .tables import ONE, PROJECT, TWO, A, B, Tables, a_server, add_server

REBOOTING, DELETING = TaskState.REBOOTING, TaskState.DELETING


@pytest.fixture(autouse=True)
def two_servers(tables: Tables) -> None:
    tables.do(lambda tx: add_server(tx, ONE))
    tables.do(lambda tx: add_server(tx, TWO))


def task(tables: Tables, server: ServerId = ONE) -> TaskState | None:
    found = tables.do(lambda tx: servers.get(tx, server, deleted=True))
    assert found is not None
    return found.task_state


def test_a_server_is_read_as_it_was_written(tables: Tables) -> None:
    written = a_server(
        ServerId("server-3"),
        description="d",
        metadata={"k": "v"},
        tags=("a", "b"),
        fault=Fault(500, "m", "2026", "d"),
        task_state=REBOOTING,
        flavor=Flavor("2", "n", 2, 1024, 5, extra_specs={"a": "b"}),
    )
    tables.do(lambda tx: servers.add(tx, written))
    found = tables.do(lambda tx: servers.get(tx, written.id))
    assert found is not None
    assert found.serial > 0
    assert replace(found, serial=0) == written
    assert found.domain == f"instance-{found.serial:08x}"


@pytest.mark.parametrize(
    ("now", "expected", "swapped"),
    [
        (None, [None], True),
        (None, [REBOOTING], False),
        (None, [], False),
        (REBOOTING, [None], False),
        (REBOOTING, [None, REBOOTING], True),
        (REBOOTING, [REBOOTING], True),
        (DELETING, [None, REBOOTING], False),
    ],
)
def test_the_task_state_is_swapped_only_from_what_was_expected(
    tables: Tables, now: TaskState | None, expected: Sequence[TaskState | None], swapped: bool
) -> None:
    tables.do(lambda tx: servers.change(tx, ONE, task_state=now))
    wanted = TaskState.REBOOTING_HARD
    assert tables.do(lambda tx: servers.swap_task(tx, ONE, expected, wanted, progress=7)) == swapped
    assert task(tables) == (wanted if swapped else now)
    assert task(tables, TWO) is None


def test_a_deleted_server_takes_no_task_and_hides(tables: Tables) -> None:
    tables.do(lambda tx: servers.change(tx, ONE, deleted=True, host=A))
    assert not tables.do(lambda tx: servers.swap_task(tx, ONE, [None], REBOOTING))
    assert tables.do(lambda tx: servers.get(tx, ONE)) is None
    assert tables.do(lambda tx: servers.get(tx, ONE, deleted=True)) is not None
    assert tables.do(lambda tx: servers.on_host(tx, A)) == []
    assert tables.do(servers.count_on_hosts) == {}


def test_operation_numbers_rise_server_by_server(tables: Tables) -> None:
    assert [tables.do(lambda tx: servers.next_number(tx, ONE)) for _ in range(3)] == [1, 2, 3]
    assert tables.do(lambda tx: servers.next_number(tx, TWO)) == 1


def test_the_newest_servers_are_listed_first(tables: Tables) -> None:
    tables.do(lambda tx: add_server(tx, ServerId("server-3"), created_at="2026-02-01T00:00:00.000000"))
    assert [server.id for server in tables.do(servers.find)] == ["server-3", TWO, ONE]
    assert [server.id for server in tables.do(lambda tx: servers.find(tx, limit=1))] == ["server-3"]


def test_a_projects_use_is_the_sum_of_its_servers(tables: Tables) -> None:
    big = Flavor(id="2", name="big", vcpus=8, memory_mb=4096, root_gb=1)
    tables.do(lambda tx: add_server(tx, ServerId("server-3"), flavor=big))
    tables.do(lambda tx: add_server(tx, ServerId("server-4"), project="another"))
    tables.do(lambda tx: servers.change(tx, TWO, deleted=True))
    assert tables.do(lambda tx: servers.usage(tx, PROJECT)) == (2, 9, 4608)


def test_servers_are_counted_where_they_live(tables: Tables) -> None:
    tables.do(lambda tx: servers.change(tx, ONE, host=A))
    tables.do(lambda tx: servers.change(tx, TWO, host=A, vm_state=VmState.ERROR))
    tables.do(lambda tx: add_server(tx, ServerId("server-3"), host=B))
    assert tables.do(servers.count_on_hosts) == {A: 2, B: 1}
    assert [server.id for server in tables.do(lambda tx: servers.on_host(tx, A))] == [ONE, TWO]


def migrate(tables: Tables, **values: Any) -> int:
    fields = {
        "uuid": f"uuid-{tables.now}",
        "server": ONE,
        "type": "evacuation",
        "status": "accepted",
        "source": A,
        "source_name": "a",
        "user": "u",
        "project": "p",
    }
    return tables.do(lambda tx: migrations.add(tx, **fields | values))


def test_a_migration_moves_only_from_the_status_that_was_expected(tables: Tables) -> None:
    migration = migrate(tables)
    assert not tables.do(lambda tx: migrations.move(tx, migration, ("pre-migrating", "done"), "completed"))
    assert tables.do(lambda tx: migrations.move(tx, migration, migrations.ACTIVE, "pre-migrating", destination=B))
    found = tables.do(lambda tx: migrations.get(tx, migration))
    assert found is not None
    assert (found.status, found.destination, found.updated_at is not None) == ("pre-migrating", B, True)


def test_a_server_has_its_active_migration_and_a_source_its_unfinished_ones(tables: Tables) -> None:
    for status, active, unfinished in (
        ("accepted", True, 0),
        ("pre-migrating", True, 0),
        ("done", False, 1),
        ("completed", False, 1),
        ("failed", False, 1),
        ("error", False, 1),
    ):
        migration = migrate(tables, status=status)
        found = tables.do(lambda tx: migrations.active(tx, ONE))
        assert (found is not None) == active
        assert tables.do(lambda tx: migrations.unfinished_from(tx, A)) == unfinished
        if active:
            tables.do(partial(migrations.move, migration=migration, expected=migrations.ACTIVE, status="error"))
    assert tables.do(lambda tx: migrations.unfinished_from(tx, B)) == 0
    assert len(tables.do(migrations.find)) == 6
