"""A server is given to a host only where nobody else may run it any more, and never under a number used before."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from renova.model.block_device import BlockDevice
from renova.model.errors import Conflict
from renova.model.flavor import Flavor
from renova.model.host import HostState, Right
from renova.model.ids import HostId, ServerId, VolumeId
from renova.model.volume import Connection, NbdExport, VolumeFile
from renova.store import block_devices, hosts, rights
from renova.store.database import Tx

from .tables import ONE, TWO, A, B, C, Tables, add_host, add_server, come_back, lease, prove


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


EXPORT = NbdExport("10.0.0.9", 10809, "a name", tls=False)


def cut_off(tx: Tx, host: HostId) -> None:
    assert hosts.prove_cut(tx, lease(tx, host), {"guard": "B"}, "a test")


def on_a_volume(tx: Tx, server: ServerId, connection: Connection | None = EXPORT, **values: Any) -> None:
    """Have a server whose root disk is a volume."""
    add_server(tx, server, host=A, **values)
    volume = VolumeId(f"volume-of-{server}")
    root = BlockDevice(id=f"root-of-{server}", server=server, source="volume", destination="volume", boot_index=0)
    block_devices.add(tx, replace(root, volume=volume, connection=connection, host=A))
    rights.grant(tx, server, A)


def test_a_server_whose_disks_storage_cuts_off_leaves_a_host_that_is_not_proven_dead(tables: Tables) -> None:
    tables.do(lambda tx: on_a_volume(tx, ONE))
    tables.do(lambda tx: cut_off(tx, A))
    assert tables.do(lambda tx: hosts.proof(tx, A)) is None
    assert [host.id for host in tables.do(hosts.lost)] == [A]
    assert tables.do(lambda tx: rights.grant(tx, ONE, B)) == Right(B, 2, 1)
    assert tables.do(lambda tx: rights.debts_of(tx, A)) == [rights.Debt(A, ONE, 2, None)]


BLANK = {"flavor": Flavor(id="2", name="blank", vcpus=1, memory_mb=512, root_gb=0, ephemeral_gb=1)}
SWAP = {"flavor": Flavor(id="3", name="swap", vcpus=1, memory_mb=512, root_gb=0, swap_mb=64)}


@pytest.mark.parametrize(
    ("connection", "values"),
    [(EXPORT, {"image": "image"}), (EXPORT, BLANK), (EXPORT, SWAP), (VolumeFile("/volumes/1", "raw"), {})],
    ids=["a root disk", "an ephemeral disk", "swap", "a volume that is a file"],
)
def test_a_server_that_could_write_what_storage_does_not_cut_off_stays(
    tables: Tables, connection: Connection, values: dict[str, Any]
) -> None:
    tables.do(lambda tx: on_a_volume(tx, ONE, connection, **values))
    tables.do(lambda tx: cut_off(tx, A))
    with pytest.raises(Conflict, match="not proven dead"):
        tables.do(lambda tx: rights.grant(tx, ONE, B))
    tables.do(lambda tx: prove(tx, A))
    assert tables.do(lambda tx: rights.grant(tx, ONE, B)).incarnation == 2


def test_a_host_that_is_cut_off_is_given_nothing(tables: Tables) -> None:
    tables.do(lambda tx: cut_off(tx, A))
    with pytest.raises(Conflict, match="is not up"):
        tables.do(lambda tx: rights.grant(tx, ONE, A))


def test_who_was_given_to_the_host_after_it_was_cut_off_and_came_back_stays(tables: Tables) -> None:
    tables.do(lambda tx: cut_off(tx, A))
    tables.do(lambda tx: hosts.begin_lease(tx, A, 2, "boot", ttl=20.0, margin=12.0))  # as it says hello
    tables.do(lambda tx: on_a_volume(tx, ONE))
    assert tables.do(lambda tx: hosts.cut_proof(tx, A)) is None
    with pytest.raises(Conflict, match="not proven dead"):
        tables.do(lambda tx: rights.grant(tx, ONE, B))


def test_a_server_on_its_way_to_a_host_that_is_cut_off_is_resumed_where_it_lives(tables: Tables) -> None:
    def on_its_way(tx: Tx) -> None:
        on_a_volume(tx, ONE)
        rights.release(tx, ONE)
        rights.grant(tx, ONE, B)
        cut_off(tx, B)

    tables.do(on_its_way)
    assert tables.do(rights.to_resume) == [A]
    assert tables.do(lambda tx: rights.has_ended(tx, ONE, rights.right(tx, ONE)))


def test_a_server_that_lives_on_a_host_that_is_cut_off_is_not_resumed_there(tables: Tables) -> None:
    tables.do(lambda tx: on_a_volume(tx, ONE))
    tables.do(lambda tx: on_a_volume(tx, TWO))
    tables.do(lambda tx: rights.release(tx, TWO))
    tables.do(lambda tx: hosts.change(tx, A, resume=True))
    tables.do(lambda tx: cut_off(tx, A))
    assert tables.do(rights.to_resume) == []
