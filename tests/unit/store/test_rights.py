"""A server is given to a host only where nobody else may run it any more, and never under a number used before."""

from collections.abc import Callable

import pytest

from renova.model.errors import Conflict
from renova.model.host import HostState, Right
from renova.store import hosts, rights
from renova.store.database import Tx

from .tables import ONE, TWO, A, B, C, Tables, add_host, come_back, lease, prove


@pytest.fixture(autouse=True)
def three_hosts(tables: Tables) -> None:
    def work(tx: Tx) -> None:
        for host in (A, B, C):
            add_host(tx, host)

    tables.do(work)


def test_a_server_nobody_has_is_given_under_its_first_number(tables: Tables) -> None:
    assert tables.do(lambda tx: rights.right(tx, ONE)) is None
    assert tables.do(lambda tx: rights.incarnation(tx, ONE)) == 0
    assert tables.do(lambda tx: rights.grant(tx, ONE, A)) == Right(A, 1, 1)
    assert tables.do(lambda tx: rights.right(tx, ONE)) == Right(A, 1, 1)
    assert tables.do(lambda tx: rights.of_host(tx, A)) == {ONE: 1}


@pytest.mark.parametrize(
    "unfit",
    [
        lambda tx: hosts.change(tx, B, forced_down=True),
        lambda tx: hosts.change(tx, B, state=HostState.ENROLLED),
        lambda tx: hosts.change(tx, B, state=HostState.RETURNING),
        lambda tx: prove(tx, B),
        lambda tx: hosts.remove(tx, B),
    ],
    ids=["forced down", "enrolled", "returning", "dead", "removed"],
)
def test_nothing_is_given_to_a_host_that_is_not_up(tables: Tables, unfit: Callable[[Tx], None]) -> None:
    tables.do(unfit)
    with pytest.raises(Conflict, match="is not up"):
        tables.do(lambda tx: rights.grant(tx, ONE, B))
    assert tables.do(lambda tx: rights.right(tx, ONE)) is None


def never(_tx: Tx) -> None:
    """Nothing is known of the former host."""


def only_silent(tx: Tx) -> None:
    hosts.change(tx, A, forced_down=True)


def came_back(tx: Tx) -> None:
    prove(tx, A)
    come_back(tx, A)


def is_still_returning(tx: Tx) -> None:
    prove(tx, A)
    hosts.change(tx, A, state=HostState.RETURNING)


def withdrawn(tx: Tx) -> None:
    prove(tx, A)
    tx.execute(hosts.proofs.update().values(withdrawn="seen alive"))


def other_host(tx: Tx) -> None:
    prove(tx, C)


def epoch_went_on(tx: Tx) -> None:
    prove(tx, A)
    tx.execute(hosts.leases.update().where(hosts.leases.c.host == A).values(epoch=hosts.leases.c.epoch + 1))


@pytest.mark.parametrize(
    "known", [never, only_silent, came_back, is_still_returning, withdrawn, other_host, epoch_went_on]
)
def test_another_hosts_server_is_not_given_away_without_a_proof_that_holds_now(
    tables: Tables, known: Callable[[Tx], None]
) -> None:
    right = tables.do(lambda tx: rights.grant(tx, ONE, A))
    tables.do(known)
    with pytest.raises(Conflict, match="not proven dead"):
        tables.do(lambda tx: rights.grant(tx, ONE, B))
    assert tables.do(lambda tx: rights.right(tx, ONE)) == right
    assert tables.do(lambda tx: rights.debts_of(tx, A)) == []


def test_a_proof_ends_older_rights_only(tables: Tables) -> None:
    """What was given to the host after its death was proven, it may still run."""
    tables.do(lambda tx: rights.grant(tx, ONE, A))
    tables.do(lambda tx: prove(tx, A))
    tables.do(lambda tx: come_back(tx, A))
    younger = tables.do(lambda tx: rights.grant(tx, TWO, A))
    assert younger.host_epoch == 2
    tables.do(lambda tx: hosts.change(tx, A, state=HostState.DEAD))  # as if the old proof were taken for a new one
    assert tables.do(lambda tx: hosts.proof(tx, A)) is not None
    assert tables.do(lambda tx: rights.grant(tx, ONE, B)).incarnation == 2
    with pytest.raises(Conflict, match="not proven dead"):
        tables.do(lambda tx: rights.grant(tx, TWO, B))


def test_a_dead_hosts_server_is_given_on_and_the_dead_host_owes_the_clean_up(tables: Tables) -> None:
    tables.do(lambda tx: rights.grant(tx, ONE, A))
    tables.do(lambda tx: prove(tx, A))
    assert tables.do(lambda tx: rights.grant(tx, ONE, B, migration=5)) == Right(B, 2, 1)
    assert tables.do(lambda tx: rights.debts_of(tx, A)) == [rights.Debt(A, ONE, 2, 5)]
    assert tables.do(lambda tx: rights.owes(tx, A, ONE))
    assert tables.do(lambda tx: rights.of_host(tx, A)) == {}


def test_a_released_server_is_given_on_without_a_proof_and_nobody_owes(tables: Tables) -> None:
    tables.do(lambda tx: rights.grant(tx, ONE, A))
    tables.do(lambda tx: rights.release(tx, ONE))
    assert tables.do(lambda tx: rights.right(tx, ONE)) is None
    assert tables.do(lambda tx: rights.incarnation(tx, ONE)) == 1
    assert tables.do(lambda tx: rights.grant(tx, ONE, B)) == Right(B, 2, 1)
    assert tables.do(lambda tx: rights.debts_of(tx, A)) == []


def test_the_same_host_gets_its_server_again_under_a_higher_number(tables: Tables) -> None:
    for number in (1, 2, 3):
        assert tables.do(lambda tx: rights.grant(tx, ONE, A)).incarnation == number
    assert tables.do(lambda tx: rights.debts_of(tx, A)) == []


def test_a_right_has_the_epoch_of_the_lease_under_which_it_was_given(tables: Tables) -> None:
    tables.do(lambda tx: prove(tx, A))
    tables.do(lambda tx: come_back(tx, A))
    assert tables.do(lambda tx: rights.grant(tx, ONE, A)).host_epoch == tables.do(lambda tx: lease(tx, A)).epoch == 2


def test_a_higher_debt_replaces_a_lower_one_and_a_lower_one_changes_nothing(tables: Tables) -> None:
    tables.do(lambda tx: rights.owe(tx, A, ONE, 3, migration=1))
    tables.do(lambda tx: rights.owe(tx, A, ONE, 2))
    assert tables.do(lambda tx: rights.debts_of(tx, A)) == [rights.Debt(A, ONE, 3, 1)]
    tables.do(lambda tx: rights.owe(tx, A, ONE, 4))
    assert tables.do(lambda tx: rights.debts_of(tx, A)) == [rights.Debt(A, ONE, 4, 1)]


def test_only_the_debt_that_was_paid_is_gone(tables: Tables) -> None:
    tables.do(lambda tx: rights.owe(tx, A, ONE, 3, migration=9))
    tables.do(lambda tx: rights.owe(tx, A, TWO, 2))
    tables.do(lambda tx: rights.owe(tx, B, ONE, 3))
    owed = tables.do(lambda tx: rights.debt(tx, A, ONE))
    assert owed == rights.Debt(A, ONE, 3, 9)
    tables.do(lambda tx: rights.pay(tx, owed))
    assert tables.do(lambda tx: rights.debt(tx, A, ONE)) is None
    assert tables.do(lambda tx: rights.debts_of(tx, A)) == [rights.Debt(A, TWO, 2, None)]
    assert tables.do(lambda tx: rights.owes(tx, B, ONE))
