"""Leases of executors on a clock that people may set."""

from datetime import datetime, timedelta

from renova.model.clock import stamp
from renova.model.ids import ExecutorId
from renova.store import executors
from renova.store.database import Tx

from .tables import Tables

ONE, TWO = ExecutorId("one"), ExecutorId("two")
LEASE_S = 5.0


def test_a_dead_executor_is_buried_within_its_lease_though_the_clock_went_back(tables: Tables) -> None:
    def later(tx: Tx, seconds: float) -> None:
        tx.now = stamp(datetime.fromisoformat(f"{tx.now}+00:00") + timedelta(seconds=seconds))

    def story(tx: Tx) -> None:
        for executor in (ONE, TWO):
            executors.enlist(tx, executor, executors.Controller(), LEASE_S)
        later(tx, -7200)
        assert executors.lapsed(tx, TWO, LEASE_S)
        executors.bury(tx, TWO, LEASE_S)
        assert {each.id for each in executors.every(tx)} == {ONE, TWO}, "they may live: each has a lease left"
        assert not executors.lapsed(tx, TWO, LEASE_S)
        later(tx, LEASE_S - 1)
        assert executors.renew(tx, TWO, LEASE_S)
        later(tx, 1.1)
        assert executors.lapsed(tx, TWO, LEASE_S)
        executors.bury(tx, TWO, LEASE_S)
        assert [each.id for each in executors.every(tx)] == [TWO]

    tables.do(story)
