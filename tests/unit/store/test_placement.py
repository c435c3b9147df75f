"""Nobody ever holds more of a host than it has, and what is counted is what is held."""

from contextlib import nullcontext, suppress
from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from renova.model.errors import Conflict
from renova.model.ids import HostId, ServerId
from renova.store import providers
from renova.store.database import Tx
from renova.store.picture import Picture
from renova.store.placement import allocations, claims, host_provider, inventories, removal
from renova.store.placement.allocations import Allocation
from renova.store.placement.holdings import Holding, replace_all
from renova.store.placement.inventories import Inventory

from .tables import ONE, PROJECT, TWO, USER, A, B, Tables


def offer(host: HostId, **totals: int) -> list[Inventory]:
    return [Inventory(host, name, total, 0, 1.0) for name, total in totals.items()]


def provide(tx: Tx, host: HostId, **totals: int) -> None:
    host_provider.provide(tx, host, f"name-of-{host}", offer(host, **totals))


def claim(tx: Tx, server: ServerId, host: HostId, **amounts: int) -> None:
    claims.claim(tx, server, PROJECT, USER, host, amounts)


def used(tx: Tx, host: HostId) -> dict[str, int]:
    return {item.resource_class: item.used for item in inventories.inventory(tx, host)}


@pytest.fixture(autouse=True)
def two_hosts(tables: Tables) -> None:
    tables.do(lambda tx: provide(tx, A, VCPU=4, MEMORY_MB=1000))
    tables.do(lambda tx: provide(tx, B, VCPU=4, MEMORY_MB=1000))


def test_a_claim_is_all_or_nothing(tables: Tables) -> None:
    with pytest.raises(Conflict, match="no room for 1001 MEMORY_MB"):
        tables.do(lambda tx: claim(tx, ONE, A, VCPU=1, MEMORY_MB=1001))
    assert tables.do(lambda tx: (used(tx, A), allocations.held(tx, ONE))) == ({"VCPU": 0, "MEMORY_MB": 0}, [])
    tables.do(lambda tx: claim(tx, ONE, A, VCPU=1, MEMORY_MB=1000))
    assert tables.do(lambda tx: used(tx, A)) == {"VCPU": 1, "MEMORY_MB": 1000}


def test_the_last_place_is_taken_once(tables: Tables) -> None:
    tables.do(lambda tx: claim(tx, ONE, A, MEMORY_MB=600))
    with pytest.raises(Conflict):
        tables.do(lambda tx: claim(tx, TWO, A, MEMORY_MB=600))
    tables.do(lambda tx: claims.release(tx, ONE))
    tables.do(lambda tx: claim(tx, TWO, A, MEMORY_MB=600))


def test_what_a_host_does_not_offer_cannot_be_claimed(tables: Tables) -> None:
    with pytest.raises(Conflict, match="DISK_GB"):
        tables.do(lambda tx: claim(tx, ONE, A, DISK_GB=1))
    with pytest.raises(Conflict):
        tables.do(lambda tx: claim(tx, ONE, HostId("nobody"), VCPU=1))


def test_a_ratio_stretches_the_whole_and_a_reserve_shortens_it_but_none_gets_more_than_there_is(tables: Tables) -> None:
    offered = [Inventory(A, "VCPU", 4, 1, 4.0, max_unit=4)]
    tables.do(lambda tx: host_provider.provide(tx, A, "a", offered))
    with pytest.raises(Conflict):
        tables.do(lambda tx: claim(tx, ServerId("wide"), A, VCPU=5))
    for number in range(3):
        tables.do(partial(claim, server=ServerId(f"server-{number}"), host=A, VCPU=4))
    with pytest.raises(Conflict):
        tables.do(lambda tx: claim(tx, ServerId("last"), A, VCPU=1))
    assert tables.do(lambda tx: inventories.inventory(tx, A))[0].capacity == 12


def test_a_claim_may_be_repeated_and_changed(tables: Tables) -> None:
    for amount in (600, 600, 700, 100):
        tables.do(partial(claim, server=ONE, host=A, MEMORY_MB=amount))
        assert tables.do(lambda tx: used(tx, A))["MEMORY_MB"] == amount


def test_a_server_on_its_way_holds_of_both_hosts_and_gives_back_each_alone(tables: Tables) -> None:
    tables.do(lambda tx: claim(tx, ONE, A, VCPU=1, MEMORY_MB=100))
    tables.do(lambda tx: claim(tx, ONE, B, VCPU=1, MEMORY_MB=100))
    assert {each.provider for each in tables.do(lambda tx: allocations.held(tx, ONE))} == {A, B}
    for _ in range(2):
        tables.do(lambda tx: claims.release(tx, ONE, A))
    assert tables.do(lambda tx: allocations.held_of(tx, A)) == []
    left = {each.resource_class: each.amount for each in tables.do(lambda tx: allocations.held_of(tx, B))}
    assert left == {"VCPU": 1, "MEMORY_MB": 100}
    tables.do(lambda tx: claims.release(tx, ONE))
    assert tables.do(lambda tx: (used(tx, A), used(tx, B))) == ({"VCPU": 0, "MEMORY_MB": 0},) * 2


def test_who_holds_something_is_a_consumer_and_nobody_else(tables: Tables) -> None:
    tables.do(lambda tx: claim(tx, ONE, A, VCPU=1))
    tables.do(lambda tx: claim(tx, ONE, B, VCPU=1))
    consumer = tables.do(lambda tx: allocations.consumer(tx, ONE))
    assert consumer == allocations.Consumer(ONE, PROJECT, USER, 2, claims.SERVER)
    tables.do(lambda tx: claims.release(tx, ONE, A))
    assert tables.do(lambda tx: allocations.consumer(tx, ONE)) is not None
    tables.do(lambda tx: claims.release(tx, ONE, B))
    assert tables.do(lambda tx: allocations.consumer(tx, ONE)) is None


def test_what_is_used_stays_used_when_less_is_offered(tables: Tables) -> None:
    tables.do(lambda tx: claim(tx, ONE, A, VCPU=3, MEMORY_MB=900))
    tables.do(lambda tx: provide(tx, A, VCPU=2, MEMORY_MB=500))
    assert tables.do(lambda tx: used(tx, A)) == {"VCPU": 3, "MEMORY_MB": 900}
    with pytest.raises(Conflict):
        tables.do(lambda tx: claim(tx, TWO, A, VCPU=1))


def test_what_is_used_stays_used_when_it_is_not_offered_for_a_while(tables: Tables) -> None:
    tables.do(lambda tx: claim(tx, ONE, A, VCPU=3, MEMORY_MB=900))
    tables.do(lambda tx: provide(tx, A, VCPU=4))
    tables.do(lambda tx: provide(tx, A, VCPU=4, MEMORY_MB=1000))
    assert tables.do(lambda tx: used(tx, A)) == {"VCPU": 3, "MEMORY_MB": 900}
    assert tables.do(inventories.miscounted) == []


def test_a_providers_generation_tells_of_every_change_and_of_nothing_else(tables: Tables) -> None:
    def generation() -> int:
        return next(each.generation for each in tables.do(providers.every) if each.id == A)

    before = generation()
    tables.do(lambda tx: provide(tx, A, VCPU=4, MEMORY_MB=1000))
    assert generation() == before
    tables.do(lambda tx: provide(tx, A, VCPU=5, MEMORY_MB=1000))
    tables.do(lambda tx: claim(tx, ONE, A, VCPU=1))
    tables.do(lambda tx: claims.release(tx, ONE))
    assert generation() == before + 3


def test_what_a_host_offers_anew_leaves_to_operators_what_is_theirs(tables: Tables) -> None:
    def mark(tx: Tx) -> None:
        providers.create_class(tx, "CUSTOM_IRON")
        providers.create_trait(tx, "CUSTOM_OAK")
        inventories.set_inventories(tx, A, [*offer(A, VCPU=4, MEMORY_MB=1000), Inventory(A, "CUSTOM_IRON", 3, 0, 1.0)])
        providers.set_traits(tx, A, {"CUSTOM_OAK", "HW_CPU_X86_VMX"})

    tables.do(mark)
    tables.do(lambda tx: host_provider.provide(tx, A, "a", offer(A, VCPU=8), frozenset({"COMPUTE_NODE"})))
    assert tables.do(lambda tx: used(tx, A)) == {"VCPU": 0, "CUSTOM_IRON": 0}
    assert tables.do(lambda tx: providers.traits_of(tx, A)) == {"CUSTOM_OAK", "COMPUTE_NODE"}


@pytest.mark.parametrize(("amount", "given"), [(5, False), (10, True), (15, False), (30, True), (40, False)])
def test_only_amounts_of_its_units_are_claimed(tables: Tables, amount: int, given: bool) -> None:
    coarse = [Inventory(A, "DISK_GB", 100, 0, 1.0, min_unit=10, max_unit=30, step_size=10)]
    tables.do(lambda tx: inventories.set_inventories(tx, A, coarse))
    with nullcontext() if given else pytest.raises(Conflict):
        tables.do(lambda tx: claim(tx, ONE, A, DISK_GB=amount))
    assert tables.do(lambda tx: used(tx, A)) == {"DISK_GB": amount if given else 0}


def test_a_claim_that_is_refused_tells_that_the_former_one_is_gone(tables: Tables) -> None:
    def claim_another(tx: Tx) -> None:
        with suppress(Conflict):
            claim(tx, ONE, A, MEMORY_MB=2000)
        claims.release(tx, ONE, A)

    tables.do(lambda tx: claim(tx, ONE, A, VCPU=1))
    before = tables.do(lambda tx: providers.get(tx, A)).generation
    tables.do(claim_another)
    assert tables.do(lambda tx: providers.get(tx, A)).generation > before
    assert tables.do(lambda tx: allocations.consumer(tx, ONE)) is None


def test_every_change_of_what_a_server_holds_makes_it_another_generation(tables: Tables) -> None:
    def generation() -> int | None:
        consumer = tables.do(lambda tx: allocations.consumer(tx, ONE))
        return consumer.generation if consumer else None

    found = [generation()]
    for change in (
        lambda tx: claim(tx, ONE, A, VCPU=1),
        lambda tx: claim(tx, ONE, B, VCPU=1),
        lambda tx: claims.release(tx, ONE, A),
        lambda tx: claims.release(tx, ONE, A),
        lambda tx: claims.release(tx, ONE),
    ):
        tables.do(change)
        found.append(generation())
    assert found == [None, 1, 2, 3, 3, None]


def test_a_withdrawn_provider_holds_nothing_for_anybody(tables: Tables) -> None:
    tables.do(lambda tx: claim(tx, ONE, A, VCPU=1))
    tables.do(lambda tx: removal.withdraw(tx, A))
    assert tables.do(lambda tx: allocations.held(tx, ONE)) == []
    assert [each.id for each in tables.do(providers.every)] == [B]


def test_a_count_that_is_wrong_is_found(tables: Tables) -> None:
    tables.do(lambda tx: claim(tx, ONE, A, VCPU=3))
    table = inventories.inventories
    tables.do(lambda tx: tx.execute(table.update().where(table.c.resource_class == "VCPU").values(used=2)))
    assert sorted(tables.do(inventories.miscounted)) == [(A, "VCPU", 2, 3), (B, "VCPU", 2, 0)]


_machine_tables = Tables()
HOSTS = st.sampled_from([A, B])
SERVERS = st.sampled_from([ServerId(f"server-{number}") for number in range(4)])
CLASSES = st.sampled_from(["VCPU", "MEMORY_MB"])
TOTALS = st.dictionaries(CLASSES, st.integers(6, 20), min_size=1)
AMOUNTS = st.dictionaries(CLASSES, st.integers(1, 8), min_size=1)


class Claims(RuleBasedStateMachine):
    """Claims, releases and changing offers in any order; each is a transaction, as the writer serves them."""

    def teardown(self) -> None:
        _machine_tables.forget()

    @initialize(totals=TOTALS)
    def begin(self, totals: dict[str, int]) -> None:
        self.picture = Picture()
        for host in (A, B):
            self.offer(host, totals)

    @rule(host=HOSTS, totals=TOTALS)
    def offer(self, host: HostId, totals: dict[str, int]) -> None:
        _machine_tables.do(lambda tx: provide(tx, host, **totals))

    @rule(server=SERVERS, host=HOSTS, amounts=AMOUNTS)
    def claim(self, server: ServerId, host: HostId, amounts: dict[str, int]) -> None:
        before = _machine_tables.do(lambda tx: used(tx, host))
        try:
            _machine_tables.do(lambda tx: claim(tx, server, host, **amounts))
        except Conflict:
            assert _machine_tables.do(lambda tx: used(tx, host)) == before
        else:
            held = {each.resource_class: each.amount for each in self.held(server) if each.provider == host}
            assert held == amounts
            for item in _machine_tables.do(lambda tx: inventories.inventory(tx, host)):
                assert item.resource_class not in amounts or item.used <= item.capacity

    @rule(server=SERVERS, host=HOSTS, amounts=AMOUNTS)
    def claim_as_operations_do(self, server: ServerId, host: HostId, amounts: dict[str, int]) -> None:
        """Go on in the same transaction after a refusal: what was taken so far is given back."""

        def work(tx: Tx) -> None:
            with suppress(Conflict):
                claim(tx, server, host, **amounts)
                return
            claims.release(tx, server, host)

        _machine_tables.do(work)

    @rule(host=HOSTS, traits=st.sets(st.sampled_from(["HW_CPU_X86_VMX", "HW_CPU_X86_SSE"])), near=st.sets(HOSTS))
    def mark(self, host: HostId, traits: set[str], near: set[HostId]) -> None:
        _machine_tables.do(lambda tx: providers.set_traits(tx, host, traits))
        if _machine_tables.do(lambda tx: providers.find(tx, host)):
            _machine_tables.do(lambda tx: providers.set_aggregates(tx, host, sorted(near)))

    @rule(host=HOSTS)
    def come_and_go(self, host: HostId) -> None:
        _machine_tables.do(lambda tx: removal.withdraw(tx, host))
        _machine_tables.do(lambda tx: provide(tx, host, VCPU=8))

    @rule(holdings=st.dictionaries(SERVERS, st.dictionaries(HOSTS, AMOUNTS), min_size=1))
    def replace(self, holdings: dict[ServerId, dict[HostId, dict[str, int]]]) -> None:
        """Have several hold something else at once: all of them, or everything stays as it was."""
        before = {server: self.held(server) for server in holdings}
        wanted = [
            Holding(
                consumer=server, amounts={str(host): of for host, of in amounts.items()}, project=PROJECT, user=USER
            )
            for server, amounts in holdings.items()
        ]
        try:
            _machine_tables.do(lambda tx: replace_all(tx, wanted))
        except Conflict:
            assert {server: self.held(server) for server in holdings} == before
        else:
            for server, amounts in holdings.items():
                held = {(each.provider, each.resource_class): each.amount for each in self.held(server)}
                assert held == {(host, name): amount for host, of in amounts.items() for name, amount in of.items()}

    @rule(server=SERVERS, host=HOSTS, amounts=AMOUNTS)
    def claim_in_vain(self, server: ServerId, host: HostId, amounts: dict[str, int]) -> None:
        """Look at the picture in a transaction that is then undone."""

        def work(tx: Tx) -> None:
            claims.release(tx, server)
            with suppress(Conflict):
                claim(tx, server, host, **amounts)
            self.picture.refresh(tx)
            raise RuntimeError

        with suppress(RuntimeError):
            _machine_tables.do(work)

    @rule(server=SERVERS, host=st.none() | HOSTS)
    def release(self, server: ServerId, host: HostId | None) -> None:
        _machine_tables.do(lambda tx: claims.release(tx, server, host))
        assert not [each for each in self.held(server) if host in (None, each.provider)]

    @invariant()
    def the_count_is_right(self) -> None:
        assert _machine_tables.do(inventories.miscounted) == []

    @invariant()
    def the_picture_is_current(self) -> None:
        _machine_tables.do(self.picture.refresh)
        fresh = Picture()
        _machine_tables.do(fresh.refresh)
        assert self.picture.views == fresh.views

    def held(self, server: ServerId) -> list[Allocation]:
        return _machine_tables.do(lambda tx: allocations.held(tx, server))


TestClaimsInAnyOrder = Claims.TestCase
TestClaimsInAnyOrder.settings = settings(max_examples=settings().max_examples // 3, stateful_step_count=25)
