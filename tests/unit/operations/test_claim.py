"""A host is claimed whole or not at all, from a picture that may be old but is never believed."""

from functools import partial
from typing import Any

import msgspec
import pytest

from renova.model.errors import Conflict, NotNow, OnHold
from renova.model.flavor import Flavor
from renova.model.host import HostState
from renova.model.ids import HostId, ServerId
from renova.operations.parts.claim import Claim, claim, give_claim_back
from renova.operations.parts.fleet import FRESH
from renova.operations.parts.needs import needs
from renova.scheduling.request import Request
from renova.store import cluster, hosts, providers, rights, servers
from renova.store.database import Tx
from renova.store.placement import allocations, claims, host_provider, inventories, removal
from tests.unit.hosts.hellos import TIMES
from tests.unit.store.tables import ONE, PROJECT, TWO, USER, A, B, C, add_server, come_back, prove

from .small_cloud import SmallCloud


@pytest.fixture(autouse=True)
def three_hosts(small: SmallCloud) -> None:
    """A is the best, C the worst."""
    for host, memory_mb in ((A, 8192), (B, 4096), (C, 2048)):
        small.have_host(host, memory_mb=memory_mb, storage_id=f"storage-of-{host}")
    for server in (ONE, TWO):
        small.tables.do(partial(add_server, server=server))


def take(small: SmallCloud, server: ServerId = ONE, memory_mb: int = 512, **wish: Any) -> Claim:
    def work(tx: Tx) -> Claim:
        row = servers.get(tx, server)
        assert row is not None
        request = Request(**{"resources": {"VCPU": 1, "MEMORY_MB": memory_mb}} | wish)
        return claim(small.work(server), tx, row, request)

    return small.tables.do(work)


def held(small: SmallCloud, server: ServerId = ONE) -> dict[HostId, dict[str, int]]:
    found: dict[HostId, dict[str, int]] = {}
    for each in small.tables.do(lambda tx: allocations.held(tx, server)):
        found.setdefault(each.provider, {})[each.resource_class] = each.amount
    return found


def test_the_best_host_is_claimed_and_granted_in_one(small: SmallCloud) -> None:
    assert take(small) == Claim(A, "name-of-host-a", 1, "storage-of-host-a")
    assert held(small) == {A: {"VCPU": 1, "MEMORY_MB": 512}}
    assert small.tables.do(lambda tx: rights.right(tx, ONE)) is not None


def test_the_next_claim_does_not_aim_at_the_same_free_place(small: SmallCloud) -> None:
    assert take(small, ONE, 7000).host == A
    assert take(small, TWO, 3000).host == B


def test_what_a_transaction_saw_and_did_not_commit_is_seen_by_no_other(small: SmallCloud) -> None:
    """Of claims that were undone, nothing is left in the picture; and what was done stays in it."""

    def undone(tx: Tx) -> None:
        claims.claim(tx, TWO, PROJECT, USER, A, {"MEMORY_MB": 680})
        hosts.change(tx, B, disabled=True)
        seen = small.fleet.views(tx)
        assert seen[0].used["MEMORY_MB"] >= 680
        assert seen[1].disabled
        raise RuntimeError

    before = small.tables.do(small.fleet.views)
    with pytest.raises(RuntimeError):
        small.tables.do(undone)
    assert small.tables.do(small.fleet.views) == before
    take(small, ONE, 7000)
    assert small.tables.do(small.fleet.views)[0].used["MEMORY_MB"] == 7000
    with pytest.raises(RuntimeError):
        small.tables.do(undone)
    assert [(view.used["MEMORY_MB"], view.disabled) for view in small.tables.do(small.fleet.views)] == [
        (7000, False),
        (0, False),
        (0, False),
    ]


def test_hosts_that_come_and_go_do_so_in_the_picture(small: SmallCloud) -> None:
    small.tables.do(small.fleet.views)
    small.tables.do(lambda tx: hosts.remove(tx, A))
    small.tables.do(lambda tx: removal.withdraw(tx, A))
    assert {view.id for view in small.tables.do(small.fleet.views)} == {B, C}
    small.have_host(HostId("host-d"), memory_mb=9000)
    assert {view.id for view in small.tables.do(small.fleet.views)} == {B, C, "host-d"}
    assert take(small).host == "host-d"


def test_only_amounts_that_the_host_gives_at_once_are_claimed(small: SmallCloud) -> None:
    def coarse(tx: Tx) -> None:
        known = inventories.inventory(tx, A)
        offered = [
            msgspec.structs.replace(each, step_size={"MEMORY_MB": 1024}.get(each.resource_class, 1)) for each in known
        ]
        inventories.set_inventories(tx, A, offered)

    small.tables.do(coarse)
    with pytest.raises(Conflict, match="gives 1 to 8192 MEMORY_MB to a server, in steps of 1024"):
        take(small, memory_mb=512, only="name-of-host-a")
    with pytest.raises(Conflict, match="no room for 512 MEMORY_MB"):
        small.tables.do(lambda tx: claims.claim(tx, ONE, PROJECT, USER, A, {"MEMORY_MB": 512}))


def test_a_host_that_filled_up_since_is_passed_over(small: SmallCloud) -> None:
    small.tables.do(small.fleet.views)
    full = {"MEMORY_MB": 7680}
    small.tables.do(lambda tx: claims.claim(tx, TWO, PROJECT, USER, A, full))
    assert take(small, ONE, 1000).host == B
    assert set(held(small)) == {B}


@pytest.mark.parametrize("state", [HostState.RETURNING, HostState.DEAD])
def test_a_host_that_is_up_in_the_picture_only_is_passed_over(small: SmallCloud, state: HostState) -> None:
    small.tables.do(small.fleet.views)
    small.tables.do(lambda tx: hosts.change(tx, A, state=state))
    assert take(small).host == B
    assert set(held(small)) == {B}
    assert small.tables.do(inventories.miscounted) == []


def test_who_finds_no_host_is_told_why_and_holds_nothing(small: SmallCloud) -> None:
    small.wait()
    small.hear(A, B)
    with pytest.raises(Conflict) as error:
        take(small, memory_mb=100_000)
    assert str(error.value) == (
        "No valid host was found. 1 host: down; 1 host: needs 100000 MEMORY_MB, 3584 free; "
        "1 host: needs 100000 MEMORY_MB, 7680 free."
    )
    assert held(small) == {}


def test_a_server_that_may_still_run_elsewhere_is_given_to_nobody(small: SmallCloud) -> None:
    take(small)
    before = held(small)
    with pytest.raises(Conflict, match="not proven dead"):
        take(small, not_on=frozenset({A}))
    assert held(small) == before
    small.tables.do(lambda tx: prove(tx, A))
    small.fleet.stale()
    assert take(small, not_on=frozenset({A})).host == B
    assert set(held(small)) == {A, B}, "the dead host's allocation stays until it has cleaned up"


def test_a_controller_that_has_just_begun_asks_for_patience(small: SmallCloud) -> None:
    small.wait()
    small.executor.steady_since = small.clock.now
    with pytest.raises(NotNow, match="not heard all hosts yet"):
        take(small)
    small.wait()
    with pytest.raises(Conflict, match="3 hosts: down"):
        take(small)


def test_a_claim_that_fails_has_the_picture_read_anew(small: SmallCloud) -> None:
    small.wait()
    with pytest.raises(Conflict):
        take(small)
    small.hear(A)
    assert take(small).host == A


def test_who_is_heard_is_looked_at_every_moment_and_what_is_written_at_once(small: SmallCloud) -> None:
    small.wait(TIMES.suspect_after - FRESH / 2)
    small.hear(A, C)
    small.tables.do(small.fleet.views)
    small.tables.do(lambda tx: hosts.change(tx, A, disabled=True))
    small.wait(FRESH / 2)
    assert [(view.disabled, view.up) for view in small.tables.do(small.fleet.views)] == [
        (True, True),
        (False, True),
        (False, True),
    ]
    small.wait(FRESH / 2)
    assert [view.up for view in small.tables.do(small.fleet.views)] == [True, False, True]


def dead_and_back(tx: Tx) -> None:
    prove(tx, A)
    come_back(tx, A)


@pytest.mark.parametrize(
    ("change", "up"),
    [
        (lambda _tx: None, True),
        (lambda tx: hosts.change(tx, A, forced_down=True), False),
        (lambda tx: hosts.change(tx, A, state=HostState.RETURNING), False),
        (lambda tx: prove(tx, A), False),
        (dead_and_back, True),
    ],
    ids=["as it was", "forced down", "returning", "dead", "back"],
)
def test_a_host_is_up_where_it_is_heard_and_nothing_speaks_against_it(small: SmallCloud, change: Any, up: bool) -> None:
    small.tables.do(change)
    view = next(view for view in small.tables.do(small.fleet.views) if view.id == A)
    assert view.up == up
    small.wait()
    small.fleet.stale()
    view = next(view for view in small.tables.do(small.fleet.views) if view.id == A)
    assert not view.up


def test_the_picture_shows_what_each_host_has_and_how_much_is_used(small: SmallCloud) -> None:
    take(small)
    small.tables.do(lambda tx: servers.change(tx, ONE, host=A))
    small.fleet.stale()
    view = small.tables.do(small.fleet.views)[0]
    assert (view.total["MEMORY_MB"], view.used["MEMORY_MB"], view.servers) == (8192 - 512, 512, 1)
    assert (view.storage, view.architecture, view.zone) == ("storage-of-host-a", "x86_64", "nova")


def test_a_flavor_says_what_its_servers_claim_instead_and_which_traits_their_hosts_must_have(small: SmallCloud) -> None:
    specs = {"resources:CUSTOM_IRON": "1", "resources:DISK_GB": "0", "trait:CUSTOM_OAK": "required"}
    flavor = Flavor(id="9", name="iron", vcpus=1, memory_mb=512, root_gb=10, extra_specs=specs)
    server = ServerId("server-9")

    def mark(tx: Tx) -> None:
        providers.create_class(tx, "CUSTOM_IRON")
        providers.create_trait(tx, "CUSTOM_OAK")
        iron = inventories.Inventory(B, "CUSTOM_IRON", 1, 0, 1.0)
        inventories.set_inventories(tx, B, [*inventories.inventory(tx, B), iron])
        add_server(tx, server, flavor=flavor)

    def take_as_needed(tx: Tx) -> Claim:
        row = servers.get(tx, server)
        assert row is not None
        return claim(small.work(server), tx, row, needs(small.cloud, tx, row))

    small.tables.do(mark)
    with pytest.raises(Conflict, match="3 hosts: lacks the trait CUSTOM_OAK"):
        small.tables.do(take_as_needed)
    small.tables.do(lambda tx: host_provider.show_trait(tx, B, "CUSTOM_OAK", shown=True))
    assert small.tables.do(take_as_needed).host == B
    assert held(small, server) == {B: {"VCPU": 1, "MEMORY_MB": 512, "CUSTOM_IRON": 1}}


def test_a_claim_that_is_given_back_frees_its_host_unless_commits_were_lost_since(small: SmallCloud) -> None:
    def give_back(tx: Tx) -> None:
        right = rights.right(tx, ONE)
        assert right is not None
        give_claim_back(small.work(ONE), tx, right, built=False)

    take(small)
    small.tables.do(give_back)
    assert held(small) == {}
    assert small.tables.do(lambda tx: rights.right(tx, ONE)) is None
    take(small)
    small.tables.do(lambda tx: cluster.begin_hold(tx, "commits were lost"))
    with pytest.raises(OnHold):
        small.tables.do(give_back)
    small.tables.do(lambda tx: cluster.begin_era(tx, "the operator", 1000))
    small.tables.do(cluster.end_hold)
    small.tables.do(give_back)
    assert held(small) == {A: {"VCPU": 1, "MEMORY_MB": 512}}, "a guest may have been built in what was lost"
    assert [debt.below for debt in small.tables.do(lambda tx: rights.debts_of(tx, A))] == [3]
