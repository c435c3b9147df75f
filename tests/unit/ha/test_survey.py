"""The picture that is planned from says what claims will find: the plan's targets are those of the claims."""

import random
from functools import partial
from typing import Any

import pytest

from renova.ha.picture import FleetView, ServerView
from renova.ha.plan import Outcome, plan
from renova.ha.survey import expected_times, limits, picture
from renova.ha.waves import Limits, StageTimes
from renova.ha.wishes import Policy
from renova.model.errors import Conflict
from renova.model.flavor import Flavor
from renova.model.group import GroupPolicy, ServerGroup
from renova.model.ids import GroupId, HostId, ImageId, ServerId
from renova.model.place import Place
from renova.model.server import VmState
from renova.operations.evacuate import evacuated
from renova.operations.parts.claim import claim
from renova.operations.parts.needs import amounts, needs
from renova.settings import ControllerSettings, RecoverySettings
from renova.store import aggregates, hosts, rights, server_groups, servers
from renova.store.database import Tx
from renova.store.placement import claims
from tests.unit.operations.conftest import small
from tests.unit.operations.small_cloud import SmallCloud
from tests.unit.store.tables import ONE, PROJECT, TWO, USER, A, B, add_server, prove

assert small, "a fixture"

SETTINGS = ControllerSettings()
GROUPS = [GroupId(policy.value) for policy in GroupPolicy]


def have_group(small: SmallCloud, policy: GroupPolicy) -> None:
    group = ServerGroup(id=GroupId(policy.value), project=PROJECT, user=USER, name="g", policy=policy)
    small.tables.do(lambda tx: server_groups.add(tx, group))


def have_server(small: SmallCloud, server: ServerId, host: HostId | None, **values: Any) -> None:
    """Have a server that has been launched there; none, where the host has no room for it."""

    def work(tx: Tx) -> None:
        fields = {"image": ImageId("image"), "launched_at": tx.now, "host": host, **values}
        add_server(tx, server, **fields)
        row = servers.get(tx, server)
        assert row is not None
        if host is not None:
            claims.claim(tx, server, PROJECT, USER, host, amounts(row))
            rights.grant(tx, server, host)

    try:
        small.tables.do(work)
    except Conflict:
        pass


def taken(small: SmallCloud, *those: HostId, settings: ControllerSettings = SETTINGS) -> FleetView:
    return small.tables.do(lambda tx: picture(tx, small.fleet.board(tx).copy(), settings, set(those)))


def of(fleet: FleetView, server: ServerId) -> ServerView:
    return fleet.known[server]


@pytest.mark.parametrize("seed", range(40))
def test_servers_that_claim_in_the_plans_order_get_what_it_says(small: SmallCloud, seed: int) -> None:
    chance = random.Random(seed)
    names = [HostId(f"host-{nth}") for nth in range(6)]
    for host in names:
        size = {"vcpus": chance.randint(6, 16), "memory_mb": chance.choice([4096, 8192, 16384])}
        small.have_host(host, **size, storage_id=chance.choice(["shared", f"of-{host}"]))
        small.tables.do(partial(hosts.change, host=host, disabled=chance.random() < 0.1))
    small.tables.do(lambda tx: _have_aggregates(tx, names, chance))
    for policy in GroupPolicy:
        have_group(small, policy)
    ids = [ServerId(f"5e000000-0000-4000-8000-{nth:012}") for nth in range(30)]
    for nth, server in enumerate(ids):
        hint = chance.choice(["same_host", "different_host"]) if chance.random() < 0.2 else None
        specs = {"aggregate_instance_extra_specs:ssd": "true"} if chance.random() < 0.1 else {}
        sizes: dict[str, Any] = {"vcpus": chance.randint(1, 4), "memory_mb": 512 * chance.randint(1, 4), "root_gb": 1}
        have_server(
            small,
            server,
            chance.choice(names),
            flavor=Flavor(id="1", name="f", **sizes, extra_specs=specs),
            group=chance.choice([None, *GROUPS]),
            scheduler_hints={hint: chance.choice(ids[: nth + 1])} if hint else {},
            pinned_zone="attic" if chance.random() < 0.1 else None,
            vm_state=chance.choice([VmState.ACTIVE, VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED]),
            metadata={"renova:priority": str(chance.randint(1, 3)), "renova:after": chance.choice(ids)},
        )
    keeping = ControllerSettings(evacuate_keeping_disks_only=chance.random() < 0.3)
    dead = chance.sample(names, 2)
    for host in dead:
        small.tables.do(partial(prove, host=host))
    fleet = taken(small, settings=keeping)
    assert fleet.dead == set(dead)
    steps = plan(fleet, set(), limits(RecoverySettings()), expected_times(RecoverySettings())).steps
    outcomes: dict[ServerId, HostId | str] = {}
    for step in steps:
        if step.outcome in (Outcome.PLACED, Outcome.UNPLACEABLE):
            outcomes[step.server] = _claimed(small, step.server, keeping)
    assert outcomes == {step.server: step.target or step.reason for step in steps if step.server in outcomes}
    assert outcomes or not any(each.place.host in dead and not each.refused for each in fleet.servers)


def _have_aggregates(tx: Tx, names: list[HostId], chance: random.Random) -> None:
    attic = aggregates.add(tx, "aggregate-attic", "attic", {"availability_zone": "attic"})
    ssd = aggregates.add(tx, "aggregate-ssd", "ssd", {"ssd": "true", "ram_weight_multiplier": "-1"})
    for host in names:
        for aggregate in (attic, ssd):
            if chance.random() < 0.3:
                aggregates.add_host(tx, aggregate, host)


def _claimed(small: SmallCloud, server: ServerId, settings: ControllerSettings) -> HostId | str:
    """Claim for the server as its evacuation does; return the host, or why there is none."""

    def work(tx: Tx) -> HostId:
        row = servers.get(tx, server)
        assert row is not None
        assert row.host is not None
        source = hosts.get(tx, row.host)
        assert source is not None
        assert source.facts is not None
        request = needs(small.cloud, tx, row, leaving=row.host, not_on=frozenset({row.host}))
        keeping = settings.evacuate_keeping_disks_only
        request = evacuated(request, row, source.facts.storage_id, keeping_disks_only=keeping)
        return claim(small.work(server), tx, row, request).host

    try:
        return small.tables.do(work)
    except Conflict as error:
        return str(error)


def test_a_server_is_seen_as_it_is_and_with_what_is_wished_for_it(small: SmallCloud) -> None:
    for host in (A, B):
        small.have_host(host)
    have_group(small, GroupPolicy.AFFINITY)
    flavor = Flavor(
        id="1", name="f", vcpus=1, memory_mb=512, root_gb=1, swap_mb=64, extra_specs={"renova:recovery": "stop"}
    )
    have_server(
        small, ONE, A, flavor=flavor, vm_state=VmState.STOPPED, group=GROUPS[0], metadata={"renova:priority": "7"}
    )
    have_server(small, TWO, B, image=None, vm_state=VmState.PAUSED, group=GROUPS[0], scheduler_hints={"same_host": ONE})
    fleet = taken(small, A)
    assert [server.id for server in fleet.servers] == [ONE], "of hosts that are not asked about, none"
    one = of(fleet, ONE)
    assert (one.place, one.runs, one.refused) == (Place(ONE, A, A), False, "")
    assert (one.wishes.policy, one.wishes.priority, one.local_disks) == (Policy.STOP, 7, ("root", "swap"))
    assert (one.request.resources["MEMORY_MB"], one.request.evacuated, one.request.storage) == (512, True, None)
    assert fleet.groups[GROUPS[0]].members == (ONE, TWO)
    assert fleet.place(TWO) == Place(TWO, B, B), "but where members of their groups are"
    both = taken(small, A, B)
    two = of(both, TWO)
    assert (two.local_disks, two.beside, two.apart_from) == ((), (ONE,), ())
    assert two.refused == f"Cannot 'evacuate' instance {TWO} while it is in vm_state paused"
    every = small.tables.do(lambda tx: picture(tx, small.fleet.board(tx).copy(), SETTINGS, None))
    assert every.servers == both.servers


def test_whoever_is_on_its_way_is_seen_on_both_hosts_and_deleted_ones_on_none(small: SmallCloud) -> None:
    for host in (A, B):
        small.have_host(host)
    have_server(small, ONE, A)
    have_server(small, TWO, A)
    small.tables.do(lambda tx: servers.change(tx, TWO, deleted=True))
    small.tables.do(lambda tx: prove(tx, A))
    small.tables.do(lambda tx: rights.grant(tx, ONE, B))
    fleet = taken(small, B)
    assert fleet.by_host == {A: [of(fleet, ONE)], B: [of(fleet, ONE)]}
    assert of(fleet, ONE).place == Place(ONE, A, B)


def test_who_says_nothing_gets_what_the_setting_says(small: SmallCloud) -> None:
    small.have_host(A)
    have_server(small, ONE, A)
    left = ControllerSettings(recovery=RecoverySettings(default="leave"))
    assert of(taken(small, A, settings=left), ONE).wishes.policy is Policy.LEAVE


def test_limits_and_times_are_the_settings() -> None:
    settings = RecoverySettings(at_once=3, at_once_per_host=2, detect=1, prove=2, plan=3, start=4, start_anew=5, up=6)
    assert limits(settings) == Limits(at_once=3, at_once_per_host=2)
    times = StageTimes(detect_s=1, prove_s=2, plan_s=3, start_s=4, start_anew_s=5, up_s=6)
    assert expected_times(settings) == times
