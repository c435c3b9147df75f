"""A host's lease is renewed only as it stands, and its death is written only if nothing moved meanwhile."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from renova.model.clock import later
from renova.model.host import HostState
from renova.store import cluster, hosts
from renova.store.database import Tx

from .tables import A, B, Tables, add_host, lease, prove


@pytest.fixture(autouse=True)
def two_hosts(tables: Tables) -> None:
    def work(tx: Tx) -> None:
        add_host(tx, A)
        add_host(tx, B)

    tables.do(work)


def test_a_renewal_raises_the_counter_of_this_host_only(tables: Tables) -> None:
    assert [tables.do(lambda tx: hosts.renew(tx, A, 1, "boot")) for _ in range(3)] == [1, 2, 3]
    assert [each.counter for each in tables.do(hosts.all_leases)] == [3, 0]


@pytest.mark.parametrize(("epoch", "boot"), [(0, "boot"), (2, "boot"), (1, "another boot"), (1, "")])
def test_what_renews_another_lease_renews_nothing(tables: Tables, epoch: int, boot: str) -> None:
    assert tables.do(lambda tx: hosts.renew(tx, A, epoch, boot)) is None
    assert tables.do(lambda tx: lease(tx, A)).counter == 0


def test_a_death_is_proven_under_a_higher_epoch(tables: Tables) -> None:
    observed = tables.do(lambda tx: lease(tx, A))
    readings = {"reading_1": "off", "reading_2": "off"}
    assert tables.do(lambda tx: hosts.prove_dead(tx, observed, "power_off", readings, "power switch"))
    proof = tables.do(lambda tx: hosts.proof(tx, A))
    assert proof is not None
    assert (proof.kind, proof.epoch, proof.readings, proof.who) == ("power_off", 2, readings, "power switch")
    host = tables.do(lambda tx: hosts.get(tx, A))
    assert host is not None
    assert host.state is HostState.DEAD
    assert tables.do(lambda tx: hosts.renew(tx, A, 1, "boot")) is None, "its old lease is over"
    assert tables.do(lambda tx: hosts.proof(tx, B)) is None


@pytest.mark.parametrize("moved", ["epoch", "counter", "ttl", "margin"])
def test_a_lease_that_moved_since_it_was_observed_proves_nothing(tables: Tables, moved: str) -> None:
    observed = tables.do(lambda tx: lease(tx, A))
    changes: dict[str, dict[str, Any]] = {
        "epoch": {"epoch": 0},
        "counter": {},
        "ttl": {"ttl": 15.0},
        "margin": {"margin": 11.0},
    }
    stale = replace(observed, **changes[moved])
    if moved == "counter":
        tables.do(lambda tx: hosts.renew(tx, A, 1, "boot"))
    assert not tables.do(lambda tx: hosts.prove_dead(tx, stale, "power_off", {}, "x"))
    assert tables.do(lambda tx: hosts.proof(tx, A)) is None
    host = tables.do(lambda tx: hosts.get(tx, A))
    assert host is not None
    assert host.state is HostState.UP
    assert tables.do(lambda tx: lease(tx, A)).epoch == 1


def test_of_two_proofs_at_once_one_is_written(tables: Tables) -> None:
    observed = tables.do(lambda tx: lease(tx, A))
    assert tables.do(lambda tx: hosts.prove_dead(tx, observed, "power_off", {}, "x"))
    assert not tables.do(lambda tx: hosts.prove_dead(tx, observed, "operator", {}, "x"))
    assert tables.do(lambda tx: lease(tx, A)).epoch == 2


def test_a_proof_holds_while_the_host_is_dead_under_the_epoch_it_made(tables: Tables) -> None:
    tables.do(lambda tx: prove(tx, A))
    assert tables.do(lambda tx: hosts.proof(tx, A)) is not None
    tables.do(lambda tx: hosts.begin_lease(tx, A, 3, "next boot", 20.0, 12.0))
    assert tables.do(lambda tx: hosts.proof(tx, A)) is None


def test_a_removed_host_leaves_no_lease_and_no_proof(tables: Tables) -> None:
    tables.do(lambda tx: prove(tx, A))
    tables.do(lambda tx: hosts.remove(tx, A))
    assert tables.do(lambda tx: (hosts.get(tx, A), hosts.lease(tx, A), hosts.proof(tx, A))) == (None, None, None)
    assert [host.id for host in tables.do(hosts.every)] == [B]


def test_the_first_era_begins_with_the_first_look(tables: Tables) -> None:
    assert tables.do(cluster.get) == cluster.Cluster(era=1)
    tables.do(cluster.tick)
    assert tables.do(cluster.get) == cluster.Cluster(era=1, tick=1)


def test_addresses_are_of_those_hosts_that_told_theirs(tables: Tables) -> None:
    tables.do(lambda tx: hosts.change(tx, A, address=""))
    assert tables.do(hosts.addresses) == {B: "10.1.0.1"}


def test_a_join_token_is_good_for_one_host_until_it_expires(tables: Tables) -> None:
    tables.do(lambda tx: hosts.add_join_token(tx, "hash", "2026-01-01T00:01:00.000000"))
    assert not tables.do(lambda tx: hosts.use_join_token(tx, "another hash", "host1"))
    assert tables.do(lambda tx: hosts.use_join_token(tx, "hash", "host1"))
    assert tables.do(lambda tx: hosts.use_join_token(tx, "hash", "host1")), "its answer may have been lost"
    assert not tables.do(lambda tx: hosts.use_join_token(tx, "hash", "host2"))
    tables.now += timedelta(minutes=1)
    assert not tables.do(lambda tx: hosts.use_join_token(tx, "hash", "host1"))


def test_a_host_that_is_cut_off_is_not_dead_and_may_be_proven_so(tables: Tables) -> None:
    observed = tables.do(lambda tx: lease(tx, A))
    assert tables.do(lambda tx: hosts.prove_cut(tx, observed, {"guard": "B"}, "x"))
    cut = tables.do(lambda tx: hosts.cut_proof(tx, A))
    assert cut is not None
    assert (cut.kind, cut.epoch, cut.readings) == ("storage_cut", 2, {"guard": "B"})
    host, now = tables.do(lambda tx: hosts.get(tx, A)), tables.do(lambda tx: lease(tx, A))
    assert host is not None
    assert (host.state, now.cut, now.revoked, now.to_show) == (HostState.UP, True, 1, False)
    assert tables.do(lambda tx: hosts.renew(tx, A, 1, "boot")) is None, "its old lease is over"
    assert not tables.do(lambda tx: hosts.prove_cut(tx, observed, {}, "x")), "as it was observed it is no more"
    tables.do(lambda tx: prove(tx, A))
    assert tables.do(lambda tx: hosts.cut_proof(tx, A)) is None
    whole = tables.do(lambda tx: hosts.proof_of_some(tx, A))
    assert whole is not None
    assert (whole.kind, whole.epoch) == ("power_off", 3)


def test_nothing_is_cut_off_by_a_database_that_may_be_wrong_nor_stays_so_in_a_new_era(tables: Tables) -> None:
    def held(tx: Tx) -> None:
        cluster.begin_hold(tx, "commits were lost")

    assert tables.do(lambda tx: hosts.prove_cut(tx, lease(tx, A), {}, "x"))
    tables.do(held)
    assert not tables.do(lambda tx: hosts.prove_cut(tx, lease(tx, B), {}, "x"))
    tables.do(hosts.forget_guards)
    assert tables.do(hosts.lost) == []
    assert not tables.do(lambda tx: lease(tx, A)).to_show


def test_a_host_that_was_cut_off_is_not_to_be_heard_and_counts_only_as_long_as_it_is_condemned(tables: Tables) -> None:
    def work(tx: Tx) -> None:
        hosts.condemn(tx, A)
        assert hosts.prove_cut(tx, lease(tx, A), {}, "a test")

    others = tables.do(lambda tx: hosts.members(tx, tx.now, tx.now)) - 1
    tables.do(work)
    assert tables.do(lambda tx: hosts.members(tx, later(tx.now, -60), tx.now)) == others + 1
    assert tables.do(lambda tx: hosts.members(tx, tx.now, tx.now)) == others
