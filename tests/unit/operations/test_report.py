"""What a host says of its guests counts only where that host may run them, and where no task is under way."""

from functools import partial
from typing import Any

import pytest

from renova.model.guest import GuestChanged, PowerState
from renova.model.server import TaskState, VmState
from renova.operations.report import take_report
from renova.store import rights, servers
from renova.store.database import Tx
from tests.unit.store.tables import ONE, TWO, A, B, add_server

from .small_cloud import SmallCloud

ACTIVE, STOPPED = VmState.ACTIVE, VmState.STOPPED
RUNNING, SHUTDOWN = PowerState.RUNNING, PowerState.SHUTDOWN


@pytest.mark.parametrize(
    ("server", "reported", "after"),
    [
        ({}, SHUTDOWN, (STOPPED, SHUTDOWN)),
        ({}, PowerState.CRASHED, (STOPPED, PowerState.CRASHED)),
        ({}, RUNNING, (ACTIVE, RUNNING)),
        ({}, PowerState.PAUSED, (ACTIVE, PowerState.PAUSED)),
        ({"vm_state": STOPPED, "power_state": SHUTDOWN}, RUNNING, (STOPPED, RUNNING)),
        ({"vm_state": STOPPED, "power_state": SHUTDOWN}, SHUTDOWN, (STOPPED, SHUTDOWN)),
        ({"vm_state": VmState.ERROR}, SHUTDOWN, (VmState.ERROR, SHUTDOWN)),
        # A task's own end says the truth about its guest.
        ({"task_state": TaskState.REBOOTING_HARD}, SHUTDOWN, (ACTIVE, RUNNING)),
        ({"task_state": TaskState.POWERING_OFF}, SHUTDOWN, (ACTIVE, RUNNING)),
    ],
)
def test_the_database_follows_what_guests_do_by_themselves(
    small: SmallCloud, server: dict[str, Any], reported: PowerState, after: tuple[VmState, PowerState]
) -> None:
    small.have_host(A)
    small.tables.do(lambda tx: add_server(tx, ONE, host=A, **server))
    small.tables.do(lambda tx: rights.grant(tx, ONE, A))
    small.tables.do(lambda tx: take_report(small.cloud, tx, A, [GuestChanged(ONE, 1, reported)]))
    row = small.tables.do(lambda tx: servers.get(tx, ONE))
    assert row is not None
    assert (row.vm_state, row.power_state) == after


@pytest.mark.parametrize(
    "reporter",
    ["another host", "an older guest", "a newer guest", "a host that gave it back", "a guest of nobody"],
)
def test_who_may_not_run_a_server_has_no_say_in_it(small: SmallCloud, reporter: str) -> None:
    small.have_host(A)
    small.have_host(B)

    def begin(tx: Tx) -> None:
        add_server(tx, ONE, host=A)
        rights.grant(tx, ONE, A)
        rights.grant(tx, ONE, A)
        if reporter == "a host that gave it back":
            rights.release(tx, ONE)

    small.tables.do(begin)
    host = B if reporter == "another host" else A
    incarnation = {"an older guest": 1, "a newer guest": 3}.get(reporter, 2)
    server = TWO if reporter == "a guest of nobody" else ONE
    before = small.tables.do(lambda tx: servers.get(tx, ONE))
    small.tables.do(lambda tx: take_report(small.cloud, tx, host, [GuestChanged(server, incarnation, SHUTDOWN)]))
    assert small.tables.do(lambda tx: servers.get(tx, ONE)) == before


def test_one_report_tells_of_several_guests_and_the_last_word_counts(small: SmallCloud) -> None:
    small.have_host(A)
    for server in (ONE, TWO):
        small.tables.do(partial(add_server, server=server, host=A))
        small.tables.do(partial(rights.grant, server=server, target=A))
    changes = [GuestChanged(ONE, 1, PowerState.PAUSED), GuestChanged(TWO, 1, SHUTDOWN), GuestChanged(ONE, 1, RUNNING)]
    small.tables.do(lambda tx: take_report(small.cloud, tx, A, changes))
    states = [small.tables.do(partial(servers.get, server=server)) for server in (ONE, TWO)]
    assert [(s.vm_state, s.power_state) for s in states if s] == [(ACTIVE, RUNNING), (STOPPED, SHUTDOWN)]


def test_nothing_new_is_not_written(small: SmallCloud) -> None:
    small.have_host(A)
    small.tables.do(lambda tx: add_server(tx, ONE, host=A))
    small.tables.do(lambda tx: rights.grant(tx, ONE, A))
    before = small.tables.do(lambda tx: servers.get(tx, ONE))
    small.tables.do(lambda tx: take_report(small.cloud, tx, A, [GuestChanged(ONE, 1, RUNNING)]))
    assert small.tables.do(lambda tx: servers.get(tx, ONE)) == before
