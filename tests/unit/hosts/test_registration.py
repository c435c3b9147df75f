"""How a host gets its place: what it forgot raises its epoch, and what it owes it pays before it is up."""

from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from renova.hosts.registration import Place, cleaned, duty, enrol, give_token, spend_token, welcome
from renova.model.errors import Conflict, Invalid
from renova.model.guest import PowerState
from renova.model.host import HostState
from renova.model.ids import HostId, ServerId
from renova.store import hosts, migrations, rights, servers
from renova.store.database import Tx
from renova.store.placement import allocations, claims, inventories
from renova.wire.duties import Duty
from tests.unit.store.tables import ONE, PROJECT, TWO, USER, A, B, Tables, add_server, lease, prove

from .hellos import FACTS, TIMES, a_hello, found


@pytest.fixture(autouse=True)
def enrolled(tables: Tables) -> None:
    for host in (A, B):
        tables.do(partial(enrol, host=host, name=f"name-of-{host}", certificate="certificate"))


def greet(tables: Tables, host: HostId = A, **changes: Any) -> Place:
    """Have the host say hello with what it saw last."""
    known = tables.do(lambda tx: hosts.lease(tx, host))
    seen = {"era": 1, "epoch": known.epoch} if known else {}
    hello = a_hello(host, **seen | changes)
    return tables.do(lambda tx: welcome(tx, host, hello, TIMES))


def state(tables: Tables, host: HostId = A) -> HostState:
    row = tables.do(lambda tx: hosts.get(tx, host))
    assert row is not None
    return row.state


def epoch(tables: Tables, host: HostId = A) -> int:
    return tables.do(lambda tx: lease(tx, host)).epoch


def claim(tx: Tx, server: ServerId, host: HostId) -> None:
    claims.claim(tx, server, PROJECT, USER, host, {"VCPU": 1})


# --- joining ---------------------------------------------------------------------------------------------------------


def test_a_token_is_kept_as_its_hash_and_good_once(tables: Tables) -> None:
    tables.do(lambda tx: give_token(tx, "the secret", 1.0))
    kept = tables.do(lambda tx: tx.execute(hosts.join_tokens.select()).one())
    assert "the secret" not in str(kept)
    tables.do(lambda tx: spend_token(tx, "the secret", "host1"))
    for secret, name in (("the secret", "host2"), ("another", "host1"), ("", "host1")):
        with pytest.raises(Invalid, match="make a new one"):
            tables.do(partial(spend_token, secret=secret, name=name))


def test_a_host_that_was_never_up_may_enrol_again_and_keeps_its_id(tables: Tables) -> None:
    assert tables.do(lambda tx: enrol(tx, HostId("fresh"), f"name-of-{A}", "new certificate")) == A
    host = tables.do(lambda tx: hosts.get(tx, A))
    assert host is not None
    assert host.certificate == "new certificate"


def test_the_name_of_a_host_that_was_up_is_taken(tables: Tables) -> None:
    greet(tables)
    with pytest.raises(Invalid, match="enrolled already; remove its compute service first"):
        tables.do(lambda tx: enrol(tx, HostId("fresh"), f"name-of-{A}", "a thief's certificate"))


@pytest.mark.parametrize("name", ["", "-rf", "a/b", "two words", "tab\tbed", "nul\0", "x" * 256, "ä", ".hidden"])
def test_a_host_needs_a_name_that_can_be_one(tables: Tables, name: str) -> None:
    """It is an argument of the operator's power command, and stands in tables and logs."""
    with pytest.raises(Invalid, match="cannot be a host's name"):
        tables.do(lambda tx: enrol(tx, HostId("fresh"), name, "certificate"))


@pytest.mark.parametrize("name", ["a", "host1", "host-1.example.org", "Rack_3", "10.0.0.1"])
def test_names_that_hosts_have_are_fine(tables: Tables, name: str) -> None:
    assert tables.do(lambda tx: enrol(tx, HostId("fresh"), name, "certificate")) == "fresh"


# --- hello -----------------------------------------------------------------------------------------------------------


def test_a_host_is_up_at_its_first_hello_with_what_it_offers(tables: Tables) -> None:
    place = greet(tables)
    assert (place.state, place.era, place.lease.epoch, place.duties, place.booted) == (HostState.UP, 1, 1, (), False)
    assert (place.lease.ttl, place.lease.margin) == (TIMES.ttl, TIMES.margin)
    offered = {item.resource_class: item.capacity for item in tables.do(lambda tx: inventories.inventory(tx, A))}
    assert offered == {"VCPU": 32.0, "MEMORY_MB": 16384 - 512, "DISK_GB": 100.0}


def test_a_hello_tells_what_the_host_is_now(tables: Tables) -> None:
    greet(tables)
    greet(tables, address="10.1.0.9", facts=replace(FACTS, vcpus=4))
    host = tables.do(lambda tx: hosts.get(tx, A))
    assert host is not None
    assert (host.address, host.facts and host.facts.vcpus, host.last_seen) == ("10.1.0.9", 4, host.updated_at)


def test_that_a_host_has_other_storage_is_said(tables: Tables) -> None:
    with capture_logs() as logs:
        for storage in ("", "first", "first", "second"):
            greet(tables, facts=replace(FACTS, storage_id=storage))
    assert [(each["old"], each["new"]) for each in logs if each["event"] == "host on other storage"] == [
        ("first", "second")
    ]


def test_a_host_that_was_renamed_is_not_let_in(tables: Tables) -> None:
    with pytest.raises(Conflict, match=f"enrolled as name-of-{A}, and calls itself 'name-of-{B}'"):
        greet(tables, name=f"name-of-{B}")
    assert [host.name for host in tables.do(hosts.every)] == [f"name-of-{A}", f"name-of-{B}"]
    assert (state(tables, A), state(tables, B)) == (HostState.ENROLLED, HostState.ENROLLED)


@pytest.mark.parametrize(
    ("changes", "raised"),
    [
        ({}, False),
        ({"address": "10.1.0.2"}, False),
        ({"boot": "next boot"}, True),
        ({"journal": "a fresh journal"}, True),
        ({"boot": "next boot", "journal": "a fresh journal", "epoch": 0, "era": 0}, True),
    ],
    ids=["reconnect", "another address", "boot", "lost journal", "all lost"],
)
def test_the_epoch_rises_when_the_host_may_have_forgotten_something(
    tables: Tables, changes: dict[str, Any], raised: bool
) -> None:
    greet(tables)
    tables.do(lambda tx: hosts.renew(tx, A, 1, "boot"))
    place = greet(tables, **changes)
    assert (place.lease.epoch, place.lease.counter) == ((2, 0) if raised else (1, 1))
    assert place.booted == ("boot" in changes)
    assert place.state is HostState.UP


def test_a_proof_of_death_has_raised_the_epoch_already(tables: Tables) -> None:
    greet(tables)
    tables.do(lambda tx: prove(tx, A))
    place = greet(tables, epoch=1, boot="next boot")
    assert (place.lease.epoch, place.state) == (2, HostState.UP)
    assert tables.do(lambda tx: hosts.proof(tx, A)) is None


@pytest.mark.parametrize("boot", ["boot", "next boot"])
def test_a_host_that_was_cut_off_cleans_up_what_has_left_it_and_is_cut_off_no_more(tables: Tables, boot: str) -> None:
    greet(tables)
    tables.do(lambda tx: rights.owe(tx, A, ONE, 2))
    assert tables.do(lambda tx: hosts.prove_cut(tx, lease(tx, A), {"guard": "B"}, "a test"))
    assert tables.do(lambda tx: hosts.renew(tx, A, 1, "boot")) is None, "its old lease is over"
    place = greet(tables, epoch=1, boot=boot)
    assert place.state is HostState.RETURNING
    assert [each.server for each in place.duties] == [ONE]
    assert tables.do(lambda tx: hosts.proof_of_some(tx, A)) is None
    assert not tables.do(lambda tx: lease(tx, A)).cut


def test_after_a_boot_only_guests_that_the_host_has_found_run(tables: Tables) -> None:
    for server in (ONE, TWO):
        tables.do(
            partial(
                add_server, server=server, host=A, launched_at="2026-01-01T00:00:00", power_state=PowerState.RUNNING
            )
        )

    def powers(tx: Tx) -> list[PowerState]:
        return [each.power_state for each in servers.standings(tx, A)]

    greet(tables)
    tables.do(lambda tx: rights.grant(tx, ONE, A))
    assert tables.do(powers) == [PowerState.RUNNING, PowerState.RUNNING]
    greet(tables, boot="another", guests=(found(ONE),))
    assert tables.do(powers) == [PowerState.RUNNING, PowerState.SHUTDOWN]


@pytest.mark.parametrize("newer", [{"era": 2}, {"epoch": 5}])
def test_a_host_that_knows_more_than_the_database_is_not_let_in(tables: Tables, newer: dict[str, Any]) -> None:
    greet(tables)
    with pytest.raises(Conflict, match="the database lost commits"):
        greet(tables, **newer)


def test_a_host_whose_whole_lease_is_lost_is_not_let_in(tables: Tables) -> None:
    """The database is as it was right after the host enrolled; the host has been up since."""
    with pytest.raises(Conflict, match="the database lost commits"):
        greet(tables, era=1, epoch=3)
    assert state(tables) is HostState.ENROLLED


def test_a_host_that_was_removed_is_told_so(tables: Tables) -> None:
    tables.do(lambda tx: hosts.remove(tx, A))
    with pytest.raises(Conflict, match="not enrolled here any more"):
        greet(tables)


# --- duties ----------------------------------------------------------------------------------------------------------


def test_a_guest_that_the_host_has_the_right_to_run_is_left_alone(tables: Tables) -> None:
    greet(tables)
    tables.do(lambda tx: add_server(tx, ONE, host=A))
    tables.do(lambda tx: rights.grant(tx, ONE, A))
    assert greet(tables, guests=(found(ONE, 1),)).duties == ()


def test_a_guest_of_no_known_server_is_left_alone(tables: Tables) -> None:
    """Nothing is destroyed on a guess."""
    greet(tables)
    place = greet(tables, guests=(found(ServerId("a stranger's"), 7),))
    assert (place.duties, place.state) == ((), HostState.UP)
    assert tables.do(lambda tx: rights.debts_of(tx, A)) == []


def test_a_guest_goes_of_a_server_that_was_deleted_before_a_restored_database_knew_it_had_been_started(
    tables: Tables,
) -> None:
    greet(tables)
    tables.do(lambda tx: add_server(tx, ONE, host=A))
    tables.do(lambda tx: servers.change(tx, ONE, deleted=True))
    place = greet(tables, guests=(found(ONE, 7),))
    assert place.duties == (Duty(ONE, 8, disks=True),)


def test_an_older_incarnation_of_its_own_server_is_to_go(tables: Tables) -> None:
    greet(tables)
    tables.do(lambda tx: add_server(tx, ONE, host=A, launched_at=tx.now))
    for _ in range(2):
        tables.do(lambda tx: rights.grant(tx, ONE, A))
    assert greet(tables, guests=(found(ONE, 1),)).duties == (Duty(ONE, 2, disks=False),)


def test_a_guest_whose_right_was_released_is_to_go(tables: Tables) -> None:
    greet(tables)
    tables.do(lambda tx: add_server(tx, ONE, host=A, launched_at=tx.now))
    tables.do(lambda tx: rights.grant(tx, ONE, A))
    tables.do(lambda tx: rights.release(tx, ONE))
    assert greet(tables, guests=(found(ONE, 1),)).duties == (Duty(ONE, 2, disks=False),)


def test_the_only_disk_of_a_server_that_has_not_moved_is_never_to_go(tables: Tables) -> None:
    greet(tables, A, facts=replace(FACTS, storage_id="of a"))
    greet(tables, B, facts=replace(FACTS, storage_id="of b"))

    def evacuation_that_did_not_end(tx: Tx) -> None:
        add_server(tx, ONE, host=A, launched_at=tx.now)
        rights.grant(tx, ONE, A)
        prove(tx, A)
        rights.grant(tx, ONE, B)

    tables.do(evacuation_that_did_not_end)
    duties = greet(tables, A, facts=replace(FACTS, storage_id="of a"), epoch=1).duties
    assert duties == (Duty(ONE, 2, disks=False),)


def dead_and_evacuated(tables: Tables, *, shared: bool) -> int:
    """Have a server moved from A, which is proven dead, to B; return the migration."""
    greet(tables, A, facts=replace(FACTS, storage_id="common" if shared else "of a"))
    greet(tables, B, facts=replace(FACTS, storage_id="common" if shared else "of b"))

    def work(tx: Tx) -> int:
        add_server(tx, ONE, host=A, launched_at=tx.now)
        rights.grant(tx, ONE, A)
        claim(tx, ONE, A)
        prove(tx, A)
        migration = migrations.add(
            tx, uuid="m", server=ONE, type="evacuation", status="done", source=A, source_name="a", user="", project=""
        )
        rights.grant(tx, ONE, B, migration)
        claim(tx, ONE, B)
        servers.change(tx, ONE, host=B)
        return migration

    return tables.do(work)


@pytest.mark.parametrize("shared", [True, False])
def test_a_returning_host_owes_the_guests_it_lost_and_sets_disks_aside_only_where_they_are_its_own(
    tables: Tables, shared: bool
) -> None:
    dead_and_evacuated(tables, shared=shared)
    own = replace(FACTS, storage_id="common" if shared else "of a")
    place = greet(tables, epoch=1, boot="next boot", facts=own, guests=(found(ONE, 1),))
    assert place.duties == (Duty(ONE, 2, disks=not shared, aside=not shared),)
    assert (place.state, state(tables)) == (HostState.RETURNING, HostState.RETURNING)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("released", [True, False])
def test_a_host_to_which_an_evacuation_failed_keeps_no_disks_of_its_own(
    tables: Tables, shared: bool, released: bool
) -> None:
    dead_and_evacuated(tables, shared=shared)
    tables.do(lambda tx: servers.change(tx, ONE, host=A))  # where it still lives
    tables.do(lambda tx: rights.owe(tx, B, ONE, 3))
    if released:
        tables.do(lambda tx: rights.release(tx, ONE))
    (owed,) = tables.do(lambda tx: rights.debts_of(tx, B))
    at_b = tables.do(lambda tx: duty(tx, owed))
    assert at_b == Duty(ONE, 3, disks=not shared, aside=not shared)


def test_a_former_destination_leaves_the_disks_alone_that_it_shares_with_the_host_where_the_server_lives(
    tables: Tables,
) -> None:
    dead_and_evacuated(tables, shared=False)  # to B, whose storage is another
    c = HostId("host-c")
    tables.do(lambda tx: hosts.add(tx, c, f"name-of-{c}", "", "certificate"))
    greet(tables, c, facts=replace(FACTS, storage_id="of a"))
    tables.do(lambda tx: servers.change(tx, ONE, host=A))  # where it still lives
    tables.do(lambda tx: rights.owe(tx, c, ONE, 2))
    (owed,) = tables.do(lambda tx: rights.debts_of(tx, c))
    assert tables.do(lambda tx: duty(tx, owed)) == Duty(ONE, 2, disks=False)


def test_disks_stay_where_nobody_knows_whose_storage_it_is(tables: Tables) -> None:
    dead_and_evacuated(tables, shared=False)
    place = greet(tables, epoch=1, facts=replace(FACTS, storage_id=""))
    assert [duty.disks for duty in place.duties] == [False]


def test_a_deleted_servers_disks_go(tables: Tables) -> None:
    greet(tables)
    tables.do(lambda tx: add_server(tx, ONE, host=A))
    tables.do(lambda tx: rights.grant(tx, ONE, A))
    tables.do(lambda tx: rights.owe(tx, A, ONE, 2))
    tables.do(lambda tx: rights.release(tx, ONE))
    tables.do(lambda tx: servers.change(tx, ONE, deleted=True))
    assert greet(tables).duties == (Duty(ONE, 2, disks=True),)


def test_a_host_is_up_only_when_it_has_paid_its_last_debt(tables: Tables) -> None:
    migration = dead_and_evacuated(tables, shared=True)
    tables.do(lambda tx: rights.owe(tx, A, TWO, 5))
    one, two = greet(tables, epoch=1).duties
    with pytest.raises(Conflict, match="is not up"):
        tables.do(lambda tx: rights.grant(tx, ServerId("server-3"), A))
    assert tables.do(lambda tx: cleaned(tx, A, one)) is HostState.RETURNING
    assert state(tables) is HostState.RETURNING
    assert {each.provider for each in tables.do(lambda tx: allocations.held(tx, ONE))} == {B}
    done = tables.do(lambda tx: migrations.get(tx, migration))
    assert done is not None
    assert done.status == "completed"
    assert tables.do(lambda tx: cleaned(tx, A, two)) is HostState.UP
    assert state(tables) is HostState.UP


def test_a_duty_that_grew_while_it_was_done_is_not_paid(tables: Tables) -> None:
    dead_and_evacuated(tables, shared=True)
    greet(tables, epoch=1)
    tables.do(lambda tx: rights.owe(tx, A, ONE, 4))
    assert tables.do(lambda tx: cleaned(tx, A, Duty(ONE, 2, disks=False))) is HostState.RETURNING
    assert state(tables) is HostState.RETURNING
    assert [debt.below for debt in tables.do(lambda tx: rights.debts_of(tx, A))] == [4]


def test_who_cleans_up_what_another_host_runs_changes_nothing_there(tables: Tables) -> None:
    dead_and_evacuated(tables, shared=True)
    right = tables.do(lambda tx: rights.right(tx, ONE))
    for below in (2, 3, 99):
        tables.do(partial(cleaned, host_id=A, duty_done=Duty(ONE, below, disks=False)))
    assert tables.do(lambda tx: rights.right(tx, ONE)) == right
    assert {each.provider for each in tables.do(lambda tx: allocations.held(tx, ONE))} == {B}


def test_a_debt_of_a_host_that_is_up_does_not_take_it_down(tables: Tables) -> None:
    greet(tables)
    tables.do(lambda tx: rights.owe(tx, A, ONE, 2))
    place = greet(tables)
    assert (place.state, len(place.duties)) == (HostState.UP, 1)


def test_a_host_that_says_hello_again_while_it_cleans_up_hears_what_is_left(tables: Tables) -> None:
    dead_and_evacuated(tables, shared=True)
    tables.do(lambda tx: rights.owe(tx, A, TWO, 5))
    one, _ = greet(tables, epoch=1).duties
    tables.do(lambda tx: cleaned(tx, A, one))
    again = greet(tables)
    assert (again.duties, again.state) == ((Duty(TWO, 5, disks=True),), HostState.RETURNING)


def test_the_last_holder_that_has_nothing_left_makes_the_server_nobodys(tables: Tables) -> None:
    greet(tables)
    tables.do(lambda tx: add_server(tx, ONE, host=A, launched_at=tx.now))
    tables.do(lambda tx: rights.grant(tx, ONE, A))
    tables.do(lambda tx: claim(tx, ONE, A))
    tables.do(lambda tx: rights.owe(tx, A, ONE, 2))
    tables.do(lambda tx: cleaned(tx, A, Duty(ONE, 2, disks=False)))
    assert tables.do(lambda tx: (rights.right(tx, ONE), rights.incarnation(tx, ONE))) == (None, 1)
    assert len(tables.do(lambda tx: allocations.held(tx, ONE))) == 1, "the server still lives here"


def test_a_create_that_failed_here_leaves_the_host_when_it_is_cleaned_up(tables: Tables) -> None:
    greet(tables)
    tables.do(lambda tx: add_server(tx, ONE, host=A, host_name="a", launched_at=None))
    tables.do(lambda tx: rights.grant(tx, ONE, A))
    tables.do(lambda tx: claim(tx, ONE, A))
    tables.do(lambda tx: rights.owe(tx, A, ONE, 2))
    tables.do(lambda tx: cleaned(tx, A, Duty(ONE, 2, disks=True)))
    server = tables.do(lambda tx: servers.get(tx, ONE))
    assert server is not None
    assert (server.host, server.host_name) == (None, None)
    assert tables.do(lambda tx: allocations.held(tx, ONE)) == []


@pytest.mark.parametrize(
    "address",
    ["", "not-an-address", "0.0.0.0", "224.0.0.1", "10.0.0.1/8", "10.0.0.300", "fe80::1%eth0"],
)
def test_what_all_hosts_would_be_told_to_send_to_is_an_address(tables: Tables, address: str) -> None:
    with pytest.raises(Invalid):
        greet(tables, address=address)
    assert state(tables) is HostState.ENROLLED


def test_a_host_without_memory_to_spare_offers_at_least_one(tables: Tables) -> None:
    greet(tables, facts=replace(FACTS, memory_mb=256))
    (memory,) = [
        item for item in tables.do(lambda tx: inventories.inventory(tx, A)) if item.resource_class == "MEMORY_MB"
    ]
    assert memory.capacity == 1
