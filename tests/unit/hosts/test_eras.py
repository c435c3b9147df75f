"""A database that lost commits is noticed; nothing is given before every host is accounted for; hosts are believed."""

from functools import partial
from typing import Any

import pytest
from sqlalchemy import update

from renova.hosts import eras
from renova.hosts.registration import Place, cleaned, enrol, welcome
from renova.model.errors import Conflict, NotFound, OnHold, Refused
from renova.model.guest import FoundGuest, PowerState
from renova.model.host import HostState, Right
from renova.model.ids import HostId, ServerId
from renova.model.server import VmState
from renova.store import cluster, hosts, rights, servers, strangers
from renova.store.database import Tx
from renova.store.placement import allocations, claims, inventories
from renova.wire.duties import Duty
from tests.unit.store.tables import ONE, PROJECT, TWO, USER, A, B, C, Tables, add_server, lease, prove

from .hellos import TIMES, a_hello, found


@pytest.fixture
def two(tables: Tables) -> Tables:
    """Two hosts that are up in the first era, and server ONE at A."""
    for host in (A, B):
        tables.do(partial(enrol, host=host, name=f"name-of-{host}", certificate="certificate"))
        greet(tables, host)
    tables.do(lambda tx: add_server(tx, ONE, host=A, host_name=f"name-of-{A}", launched_at=tx.now))
    tables.do(lambda tx: rights.grant(tx, ONE, A))
    return tables


def greet(tables: Tables, host: HostId, **changes: Any) -> Place:
    changes = {"era": 1, "epoch": 1, **changes} if tables.do(lambda tx: hosts.lease(tx, host)) else changes
    return tables.do(lambda tx: welcome(tx, host, a_hello(host, **changes), TIMES))


def lost(tables: Tables, host: HostId, **changes: Any) -> str | None:
    row = tables.do(lambda tx: hosts.get(tx, host))
    assert row is not None
    hello = a_hello(host, **{"era": 1, "epoch": 1, **changes})
    return tables.do(lambda tx: eras.loss(tx, row, hello))


def standing(tables: Tables) -> cluster.Cluster:
    return tables.do(cluster.get)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"era": 2}, "has seen era 2, the database is at era 1"),
        ({"epoch": 2}, "has seen epoch 2 of its lease, the database is at epoch 1"),
        ({"guests": (found(ONE, 1),)}, None),
        ({"guests": (found(ONE, 2),)}, "has incarnation 2 of server server-1, the database is at incarnation 1"),
        ({"guests": (found(TWO, 7),)}, None),  # of no known server: it may have been deleted
    ],
)
def test_a_host_that_knows_more_than_the_database_shows_that_commits_were_lost(
    two: Tables, changes: dict[str, Any], said: str | None
) -> None:
    reason = lost(two, A, **changes)
    assert (reason is None) if said is None else (reason is not None and said in reason)


@pytest.mark.parametrize(
    "changes",
    [
        {"era": 2 + eras.MOST_ERAS},
        {"era": 1, "epoch": 2 + eras.GAP},
        {"era": 1, "epoch": 1, "guests": (found(ONE, 2 + eras.GAP),)},
    ],
    ids=["era", "epoch", "incarnation"],
)
def test_what_no_loss_explains_turns_away_who_says_it_and_holds_nobody(two: Tables, changes: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="cannot have"):
        lost(two, A, **changes)
    assert standing(two).hold is None


def test_a_guest_of_a_server_that_the_database_forgot_keeps_no_host_out(two: Tables) -> None:
    assert lost(two, A, era=1, epoch=1, guests=(found(ServerId("forgotten"), 2 * eras.GAP),)) is None
    two.do(lambda tx: eras.begin(tx, "me"))
    for host in (A, B):
        greet(two, host)
    two.do(eras.try_end)
    granted = two.do(lambda tx: rights.grant(tx, ONE, A)).incarnation
    assert "has incarnation" in (lost(two, A, era=2, epoch=1, guests=(found(ONE, granted + 1),)) or "")


def test_while_on_hold_nothing_is_granted_proven_or_cleaned_up(two: Tables) -> None:
    two.do(lambda tx: rights.owe(tx, B, ONE, 1))
    two.do(lambda tx: eras.hold(tx, "somebody knows more", 4))
    assert "somebody knows more" in (standing(two).hold or "")
    with pytest.raises(OnHold, match="renova database restored"):
        two.do(lambda tx: rights.grant(tx, ONE, A))
    assert not two.do(lambda tx: hosts.prove_dead(tx, lease(tx, A), "power_off", {}, "x"))
    assert greet(two, B).duties == ()
    assert two.do(eras.try_end) is None


def test_a_hold_keeps_its_first_reason(two: Tables) -> None:
    two.do(lambda tx: eras.hold(tx, "first"))
    two.do(lambda tx: eras.hold(tx, "second"))
    assert "first" in (standing(two).hold or "")


def test_an_era_that_was_there_before_and_was_lost_is_not_begun_once_more(two: Tables) -> None:
    assert two.do(lambda tx: eras.begin(tx, "me")) == 2
    assert "has been in era 2" in (lost(two, A, era=2) or "")
    two.do(lambda tx: eras.hold(tx, "somebody knows more", 2))
    for host in (A, B):
        greet(two, host, epoch=9)
    assert two.do(eras.try_end) is None, "the operator has not said so of this database"
    assert two.do(lambda tx: eras.begin(tx, "me")) == 3
    assert lost(two, A, era=2, epoch=1) is None


def test_what_only_the_end_of_a_hold_could_grant_shows_that_it_ended_in_what_was_lost(two: Tables) -> None:
    two.do(lambda tx: eras.begin(tx, "me"))
    greet(two, A)
    granted = standing(two).floor + 1
    assert f"has incarnation {granted}" in (lost(two, A, era=2, epoch=2, guests=(found(ONE, granted),)) or "")


def test_a_new_era_is_above_every_one_that_was_ever_seen(two: Tables) -> None:
    two.do(lambda tx: eras.hold(tx, "x", 9))
    assert two.do(lambda tx: eras.begin(tx, "me")) == 10
    assert two.do(lambda tx: eras.begin(tx, "me")) == 11


def test_a_hold_ends_when_every_host_has_registered_is_dead_or_was_vouched_for(two: Tables) -> None:
    two.do(lambda tx: eras.begin(tx, "me"))
    assert two.do(eras.waiting).hosts == (f"name-of-{A}", f"name-of-{B}")
    place = greet(two, A, epoch=7, guests=(found(ONE, 1),))
    assert (place.era, place.lease.epoch) == (2, 8), "above what it has seen, and the database had lost"
    assert two.do(eras.try_end) is None
    two.do(lambda tx: prove(tx, B))
    assert two.do(eras.try_end) == []
    assert standing(two).hold is None
    assert two.do(lambda tx: rights.right(tx, ONE)).host == A  # type: ignore[union-attr]


def test_a_death_that_was_proven_before_the_loss_is_to_be_proven_anew(two: Tables) -> None:
    two.do(lambda tx: prove(tx, B))
    two.do(lambda tx: eras.begin(tx, "me"))
    greet(two, A)
    assert two.do(eras.waiting).hosts == (f"name-of-{B}",)
    assert two.do(lambda tx: hosts.get(tx, B)).state is HostState.RETURNING  # type: ignore[union-attr]


def test_a_hold_waits_for_a_host_that_knocks_and_is_not_known_until_somebody_has_looked(two: Tables) -> None:
    two.do(lambda tx: eras.begin(tx, "me"))
    for name in ("host-c", "host-c", "host-d"):
        two.do(partial(eras.turn_away, host=HostId(f"id-of-{name}"), name=name))
    for host in (A, B):
        greet(two, host)
    assert [each.name for each in two.do(eras.waiting).strangers] == ["host-c", "host-d"]
    two.do(lambda tx: eras.dismiss(tx, "host-c", "me"))
    two.do(partial(eras.turn_away, host=HostId("id-of-host-c"), name="host-c"))
    assert two.do(eras.try_end) is None, "the other knocks, too"
    two.do(lambda tx: eras.dismiss(tx, "id-of-host-d", "me"))
    assert two.do(eras.try_end) is not None
    with pytest.raises(NotFound, match="No host host-d"):
        two.do(lambda tx: eras.dismiss(tx, "host-d", "me"))


def test_a_host_that_has_joined_again_is_waited_for_until_it_has_said_what_it_runs(two: Tables) -> None:
    two.do(lambda tx: eras.begin(tx, "me"))
    two.do(partial(eras.turn_away, host=HostId("its-former-id"), name=f"name-of-{C}"))
    for host in (A, B):
        greet(two, host)
    two.do(partial(enrol, host=C, name=f"name-of-{C}", certificate="certificate"))
    waiting = two.do(eras.waiting)
    assert (waiting.hosts, [each.name for each in waiting.strangers]) == ((f"name-of-{C}",), [f"name-of-{C}"])
    greet(two, C, guests=(found(ONE, 7),))
    assert two.do(eras.try_end) is not None
    right = two.do(lambda tx: rights.right(tx, ONE))
    assert right is not None
    assert (right.host, right.incarnation) == (C, 7)


def test_what_was_said_of_an_unknown_host_before_another_restore_is_to_be_said_again(two: Tables) -> None:
    two.do(lambda tx: eras.hold(tx, "commits are lost"))
    two.do(partial(eras.turn_away, host=C, name="host-c"))
    two.do(lambda tx: eras.dismiss(tx, "host-c", "me"))
    two.do(lambda tx: eras.begin(tx, "me"))
    assert [each.host for each in two.do(eras.waiting).strangers] == [C], "it need not knock again"


def test_of_two_unknown_hosts_of_one_name_each_is_named_by_its_id(two: Tables) -> None:
    two.do(lambda tx: eras.begin(tx, "me"))
    for host in ("one", "two"):
        two.do(partial(eras.turn_away, host=HostId(host), name="compute7"))
    with pytest.raises(Conflict, match="one or two"):
        two.do(lambda tx: eras.dismiss(tx, "compute7", "me"))
    two.do(lambda tx: eras.dismiss(tx, "two", "me"))
    assert [each.host for each in two.do(eras.waiting).strangers] == ["one"]


def test_unknown_hosts_are_noted_only_while_on_hold_and_not_without_end(
    two: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    two.do(partial(eras.turn_away, host=C, name="host-c"))
    two.do(lambda tx: eras.begin(tx, "me"))
    assert two.do(eras.waiting).strangers == ()
    monkeypatch.setattr(strangers, "MOST_WAITED_FOR", 2)
    for host, name in (("one", "a\0b"), ("two", "x" * 1000), ("three", "c")):
        two.do(partial(eras.turn_away, host=HostId(host), name=name))
    assert [(each.host, each.name) for each in two.do(eras.waiting).strangers] == [("one", "one"), ("two", "x" * 255)]


def test_a_death_after_the_hello_ends_what_was_found_there(two: Tables) -> None:
    two.do(lambda tx: eras.begin(tx, "me"))
    greet(two, A, guests=(found(ONE, 1),))
    two.do(lambda tx: prove(tx, A))
    greet(two, B)
    two.do(eras.try_end)
    greet(two, B, era=2, epoch=2)
    right = two.do(lambda tx: rights.grant(tx, ONE, B))
    assert right.host == B
    assert two.do(lambda tx: rights.debt(tx, A, ONE)) is not None


def test_a_death_before_the_hello_ends_nothing_that_was_found_there(two: Tables) -> None:
    two.do(lambda tx: eras.begin(tx, "me"))
    two.do(lambda tx: prove(tx, A))
    greet(two, A, guests=(found(ONE, 1),))
    greet(two, B)
    two.do(eras.try_end)
    greet(two, B, era=2, epoch=2)
    with pytest.raises(Conflict, match="may still run the server"):
        two.do(lambda tx: rights.grant(tx, ONE, B))


def test_a_guest_that_is_found_elsewhere_is_believed(two: Tables) -> None:
    two.do(lambda tx: eras.begin(tx, "me"))
    greet(two, A)
    greet(two, B, guests=(found(ONE, 5),))
    assert [(each.server, each.moved) for each in two.do(eras.try_end) or ()] == [(ONE, True)]
    right = two.do(lambda tx: rights.right(tx, ONE))
    server = two.do(lambda tx: servers.get(tx, ONE))
    assert right is not None
    assert server is not None
    assert (right.host, right.incarnation) == (B, 5)
    assert (server.host, server.host_name) == (B, f"name-of-{B}")
    assert greet(two, B, era=2, epoch=2, guests=(found(ONE, 5),)).duties == ()


@pytest.mark.parametrize("when", ["before the era", "before it was found", "after it was found"])
def test_a_guest_that_was_found_is_cleaned_up_though_its_server_was_deleted_before_it_was_believed(
    two: Tables, when: str
) -> None:
    def delete() -> None:
        two.do(lambda tx: servers.change(tx, ONE, vm_state=VmState.DELETED, deleted=True))

    two.do(lambda tx: rights.release(tx, ONE))  # the restored database knows of no guest, so no host was asked
    if when == "before the era":
        delete()
    two.do(lambda tx: eras.begin(tx, "me"))
    greet(two, A, guests=(found(ONE, 4),))
    if when == "before it was found":
        delete()
    greet(two, B, guests=(found(ONE, 5),))
    if when == "after it was found":
        delete()
    assert two.do(eras.waiting) == eras.Waiting((), {}), "nobody has to choose where it goes on"
    assert two.do(eras.try_end) == []
    assert two.do(rights.debtors) == [A, B]
    assert greet(two, B, era=2, epoch=2, guests=(found(ONE, 5),)).duties == (Duty(ONE, 6, disks=True),)


def test_who_is_found_where_there_is_no_room_for_it_holds_it_all_the_same(two: Tables) -> None:
    wanted = {"VCPU": 1, "MEMORY_MB": 512}  # its root disk is a volume
    full = {"MEMORY_MB": 15872}
    two.do(lambda tx: claims.claim(tx, ONE, PROJECT, USER, A, wanted))
    two.do(lambda tx: claims.claim(tx, TWO, PROJECT, USER, B, full))
    two.do(lambda tx: eras.begin(tx, "me"))
    greet(two, A)
    greet(two, B, guests=(found(ONE, 5),))
    two.do(eras.try_end)
    held = {(each.provider, each.resource_class): each.amount for each in two.do(lambda tx: allocations.held(tx, ONE))}
    assert held == {(B, name): amount for name, amount in wanted.items()}
    assert two.do(inventories.miscounted) == []
    with pytest.raises(Conflict, match="no room"):
        two.do(lambda tx: claims.claim(tx, TWO, PROJECT, USER, B, full))


def test_numbers_that_were_lost_are_never_granted_again(two: Tables) -> None:
    two.do(lambda tx: eras.begin(tx, "me"))
    for host in (A, B):
        greet(two, host)
    two.do(eras.try_end)
    assert two.do(lambda tx: rights.grant(tx, ONE, A)).incarnation > eras.GAP


def test_numbers_of_an_era_that_was_lost_as_a_whole_are_never_granted_again(two: Tables) -> None:
    before = standing(two)
    lost_era = two.do(lambda tx: eras.begin(tx, "me"))
    for host in (A, B):
        greet(two, host)
    two.do(eras.try_end)
    lost_number = two.do(lambda tx: rights.grant(tx, ONE, A)).incarnation

    def restore(tx: Tx) -> None:
        tx.execute(update(cluster.cluster).values(era=before.era, reported=lost_era, floor=before.floor))
        rights.put(tx, ONE, A, 1, 1)

    two.do(restore)
    two.do(lambda tx: eras.begin(tx, "me"))
    assert standing(two).floor >= lost_number


def test_a_server_that_runs_on_two_hosts_goes_on_where_the_operator_chooses(two: Tables) -> None:
    two.do(lambda tx: eras.begin(tx, "me"))
    greet(two, A, guests=(found(ONE, 1),))
    greet(two, B, guests=(found(ONE, 2),))
    assert two.do(eras.waiting).contested == {ONE: (f"name-of-{A}", f"name-of-{B}")}
    assert two.do(eras.try_end) is None
    with pytest.raises(NotFound, match="not on mars"):
        two.do(lambda tx: eras.choose(tx, ONE, "mars"))
    with pytest.raises(Conflict, match="does not run on several"):
        two.do(lambda tx: eras.choose(tx, TWO, f"name-of-{B}"))
    two.do(lambda tx: eras.choose(tx, ONE, f"name-of-{B}"))
    assert [(each.server, each.moved) for each in two.do(eras.try_end) or ()] == [(ONE, True)]
    assert [debt.below for debt in two.do(lambda tx: rights.debts_of(tx, A))] == [2]
    assert two.do(lambda tx: rights.right(tx, ONE)).host == B  # type: ignore[union-attr]


@pytest.mark.parametrize("incarnation", [1, 5])
def test_of_a_guest_that_is_found_running_it_is_known_though_the_server_was_off_before_the_loss(
    two: Tables, incarnation: int
) -> None:
    # An operation that goes on would give a guest that it takes for off a new number, and leave this one running.
    two.do(lambda tx: servers.change(tx, ONE, vm_state=VmState.STOPPED, power_state=PowerState.SHUTDOWN))
    two.do(lambda tx: eras.begin(tx, "me"))
    greet(two, A, guests=(found(ONE, incarnation),))
    greet(two, B)
    two.do(eras.try_end)
    row = two.do(lambda tx: servers.get(tx, ONE))
    assert row is not None
    assert (row.vm_state, row.power_state) == (VmState.STOPPED, PowerState.RUNNING)


def test_a_guest_that_is_only_defined_elsewhere_contests_nothing(two: Tables) -> None:
    two.do(lambda tx: eras.begin(tx, "me"))
    greet(two, A, guests=(found(ONE, 1),))
    greet(two, B, guests=(FoundGuest(ONE, 1, PowerState.SHUTDOWN),))
    assert two.do(eras.try_end) == []
    assert two.do(lambda tx: rights.right(tx, ONE)).host == A  # type: ignore[union-attr]


def test_a_guest_older_than_what_was_found_elsewhere_starts_anew(two: Tables) -> None:
    two.do(lambda tx: eras.begin(tx, "me"))
    greet(two, A, guests=(found(ONE, 1),))
    greet(two, B, guests=(FoundGuest(ONE, 3, PowerState.SHUTDOWN),))
    two.do(eras.try_end)

    right = two.do(lambda tx: rights.right(tx, ONE))
    assert right is not None
    assert (right.host, right.incarnation) == (A, 3), "nobody else is given it while the old guest may run"
    two.do(lambda tx: cleaned(tx, A, Duty(ONE, 4, disks=False)))
    assert two.do(lambda tx: (rights.right(tx, ONE), rights.incarnation(tx, ONE))) == (None, 3)


# --- hosts that come when the hold is over (decision 0023) ---


@pytest.fixture
def without_b(two: Tables) -> Tables:
    """The second era: B was proven dead when its hold ended."""
    two.do(lambda tx: eras.begin(tx, "me"))
    greet(two, A, guests=(found(ONE, 1),))
    two.do(lambda tx: prove(tx, B))
    assert two.do(eras.try_end) == []
    return two


def return_of_b(tables: Tables, guest: FoundGuest, *, era: int = 1) -> Place:
    """Have B say hello with a guest; it must not be taken for a new loss."""
    epoch = tables.do(lambda tx: lease(tx, B)).epoch
    assert lost(tables, B, era=era, epoch=epoch, guests=(guest,)) is None
    return greet(tables, B, era=era, epoch=epoch, guests=(guest,))


def test_a_newer_guest_than_known_is_to_go_where_its_server_has_gone_on_elsewhere(without_b: Tables) -> None:
    place = return_of_b(without_b, found(ONE, 5))
    assert (place.state, [each.below for each in place.duties]) == (HostState.RETURNING, [6])
    assert without_b.do(lambda tx: rights.right(tx, ONE)).host == A  # type: ignore[union-attr]
    again = return_of_b(without_b, found(ONE, 5), era=2)
    assert [each.below for each in again.duties] == [6], "nor is it news before that is done"
    assert standing(without_b).hold is None


def test_the_clean_up_of_a_newer_guest_than_known_never_hits_what_is_granted_since(without_b: Tables) -> None:
    return_of_b(without_b, found(ONE, 2 * eras.GAP))
    (debt,) = without_b.do(lambda tx: rights.debts_of(tx, B))
    without_b.do(lambda tx: rights.release(tx, ONE))
    without_b.do(lambda tx: cleaned(tx, B, Duty(ONE, debt.below, disks=False)))
    assert without_b.do(lambda tx: rights.grant(tx, ONE, B)).incarnation >= debt.below


def test_a_newer_guest_than_known_may_stay_where_its_host_has_the_right(without_b: Tables) -> None:
    without_b.do(lambda tx: rights.put(tx, ONE, B, 1, 1))
    assert return_of_b(without_b, found(ONE, 5)).duties == ()
    right = without_b.do(lambda tx: rights.right(tx, ONE))
    assert right == Right(B, 5, without_b.do(lambda tx: lease(tx, B)).epoch)


def test_a_newer_guest_than_known_is_to_go_where_its_server_was_given_elsewhere_since(without_b: Tables) -> None:
    granted = without_b.do(lambda tx: rights.grant(tx, ONE, A)).incarnation
    assert [each.below for each in return_of_b(without_b, found(ONE, 5)).duties] == [granted]


def test_a_number_above_all_that_was_lost_shows_a_new_loss(without_b: Tables) -> None:
    epoch = return_of_b(without_b, found(ONE, 1)).lease.epoch
    above = standing(without_b).floor + 1
    assert "has incarnation" in (lost(without_b, B, era=2, epoch=epoch, guests=(found(ONE, above),)) or "")


def test_within_an_epoch_the_counter_never_falls(two: Tables) -> None:
    two.do(lambda tx: hosts.renew(tx, A, 1, "boot"))
    greet(two, A, epoch=0)  # it never heard its welcome
    assert two.do(lambda tx: lease(tx, A)).counter == 1
