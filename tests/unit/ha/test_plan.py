"""One plan for all servers of dead hosts: nobody is forgotten, nothing overcommitted, and why is always said."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from renova.ha.order import in_order
from renova.ha.picture import FleetView, ServerView
from renova.ha.plan import Disks, Outcome, Plan, Step, plan
from renova.ha.wishes import Policy
from renova.model.group import GroupPolicy
from renova.model.host import HostView
from renova.model.ids import HostId, ServerId
from renova.model.place import Place
from renova.scheduling.board import Board
from renova.scheduling.choose import rank
from renova.scheduling.company import group_places
from renova.scheduling.request import Request

from .fleets import DEAD, LIMITS, TIMES, a_fleet, a_group, a_host, a_server, fleets, host_id, server_id


def planned(fleet: FleetView, *dead: int) -> Plan:
    return plan(fleet, {host_id(nth) for nth in dead}, LIMITS, TIMES)


def steps_of(made: Plan) -> dict[str, Step]:
    return {step.name: step for step in made.steps}


def targets(made: Plan) -> dict[str, str | None]:
    return {step.name: step.target and step.target.removeprefix("id-of-") for step in made.steps}


def view_of(fleet: FleetView, host: HostId | None) -> HostView:
    view = fleet.board.view(host) if host else None
    assert view is not None
    return view


# What holds of every plan


@given(fleet=fleets(), dead=DEAD)
def test_every_server_of_a_dead_host_is_told_of_once_and_no_other(fleet: FleetView, dead: set[HostId]) -> None:
    made = plan(fleet, dead, LIMITS, TIMES)
    touched = [server.id for server in fleet.servers if server.place.hosts & (dead | fleet.dead)]
    assert sorted(step.server for step in made.steps) == sorted(touched)
    for step in made.steps:
        assert (step.outcome is Outcome.PLACED) == (step.target is not None) == (step.done_s is not None)
        assert bool(step.reason) == (step.outcome is not Outcome.PLACED), "and why it is not placed"


@given(fleet=fleets(), dead=DEAD)
def test_no_host_has_more_than_its_capacity(fleet: FleetView, dead: set[HostId]) -> None:
    taken: dict[HostId, Counter[str]] = defaultdict(Counter)
    for step in plan(fleet, dead, LIMITS, TIMES).of(Outcome.PLACED):
        assert step.target is not None
        taken[step.target].update(fleet.known[step.server].request.resources)
    for host, amounts in taken.items():
        view = view_of(fleet, host)
        assert view.up
        assert not view.disabled
        assert host not in dead | fleet.dead
        assert all(view.used[name] + amount <= view.total[name] for name, amount in amounts.items())


@given(fleet=fleets(), dead=DEAD)
def test_a_group_is_kept_apart_or_together_as_its_policy_says(fleet: FleetView, dead: set[HostId]) -> None:
    made = plan(fleet, dead, LIMITS, TIMES)
    gone = dead | fleet.dead
    now = {step.server: step.target for step in made.of(Outcome.PLACED)}
    for each in fleet.groups.values():
        placed = {member: target for member in each.members if (target := now.get(member))}
        alive = [host for member in each.members if member not in placed for host in fleet.known[member].place.hosts]
        if each.group.policy is GroupPolicy.ANTI_AFFINITY:
            on = Counter([*placed.values(), *alive])
            assert all(on[target] <= each.group.most_on_a_host for target in placed.values())
        if each.group.policy is GroupPolicy.AFFINITY:
            homes = {fleet.known[member].place.home for member in each.members} - gone
            assert len(set(placed.values())) <= 1 or set(placed.values()) <= homes
            assert not homes or set(placed.values()) <= homes


@given(fleet=fleets(), dead=DEAD)
def test_the_urgent_go_first_and_nobody_before_one_he_depends_on(fleet: FleetView, dead: set[HostId]) -> None:
    made = plan(fleet, dead, LIMITS, TIMES)
    order = [step for step in made.steps if step.outcome in (Outcome.PLACED, Outcome.UNPLACEABLE)]
    assert [step.priority for step in order] == sorted((step.priority for step in order), reverse=True)
    at = {step.server: nth for nth, step in enumerate(order)}
    in_circles = [set(circle) for circle in made.circles]
    for step in order:
        assert step.priority >= fleet.known[step.server].wishes.priority
        for other in fleet.known[step.server].wishes.after:
            if other not in at or any({other, step.server} <= circle for circle in in_circles):
                continue
            assert at[other] < at[step.server]
            before = order[at[other]]
            if before.done_s is not None and step.begun_s is not None:
                assert before.done_s <= step.begun_s, "and is not begun before that one is up"


@given(fleet=fleets(), dead=DEAD)
def test_whoever_is_more_urgent_than_he_asked_is_so_for_another_who_needs_him(
    fleet: FleetView, dead: set[HostId]
) -> None:
    made = plan(fleet, dead, LIMITS, TIMES)
    order = {step.server: step for step in made.steps if step.outcome in (Outcome.PLACED, Outcome.UNPLACEABLE)}
    affine = {each.group.id for each in fleet.groups.values() if each.group.policy is GroupPolicy.AFFINITY}
    for server, step in order.items():
        own = fleet.known[server]
        for_whom = [
            other
            for other in order
            if server in fleet.known[other].wishes.after
            or (own.group in affine and fleet.known[other].group == own.group)
        ]
        assert step.priority == max([own.wishes.priority, *(order[other].priority for other in for_whom)])


@given(fleet=fleets(), dead=DEAD)
def test_circles_are_told_and_hold_nobody_up(fleet: FleetView, dead: set[HostId]) -> None:
    made = plan(fleet, dead, LIMITS, TIMES)
    known = {step.server for step in made.steps if step.outcome in (Outcome.PLACED, Outcome.UNPLACEABLE)}

    def reached(server: ServerId) -> set[ServerId]:
        found: set[ServerId] = set()
        to_look_at = [server]
        while to_look_at:
            for other in fleet.known[to_look_at.pop()].wishes.after:
                if other in known and other not in found:
                    found.add(other)
                    to_look_at.append(other)
        return found

    circling = {server for server in known if server in reached(server)}
    assert {server for circle in made.circles for server in circle} == circling
    for circle in made.circles:
        assert all(set(circle) <= reached(server) for server in circle)


@given(fleet=fleets(), dead=DEAD, data=st.data())
def test_the_same_picture_gives_the_same_plan_in_whatever_order_it_was_read(
    fleet: FleetView, dead: set[HostId], data: st.DataObject
) -> None:
    again = FleetView(
        Board(data.draw(st.permutations(fleet.board.views))),
        tuple(data.draw(st.permutations(fleet.servers))),
        dead=fleet.dead,
        groups=fleet.groups,
    )
    assert plan(again, dead, LIMITS, TIMES) == plan(fleet, dead, LIMITS, TIMES)


@given(fleet=fleets(), dead=DEAD)
def test_to_plan_changes_nothing(fleet: FleetView, dead: set[HostId]) -> None:
    before = list(fleet.board.views)
    plan(fleet, dead, LIMITS, TIMES)
    assert fleet.board.views == before


@given(fleet=fleets(), dead=DEAD)
def test_the_targets_are_those_of_claims_made_one_after_another(fleet: FleetView, dead: set[HostId]) -> None:
    """Each target is the best, each refusal the sentence, on boards made anew of what was claimed until then."""
    gone = dead | fleet.dead
    views = {view.id: replace(view, up=view.up and view.id not in gone) for view in fleet.board.views}
    places = {server.id: server.place for server in fleet.servers}
    for step in plan(fleet, dead, LIMITS, TIMES).steps:
        if step.outcome not in (Outcome.PLACED, Outcome.UNPLACEABLE):
            continue
        server = fleet.known[step.server]
        ranking = rank(_as_it_is_now(fleet, server, places, gone), Board(views.values()))
        assert step.target == (ranking.hosts[0].id if ranking.hosts else None)
        if step.target is None:
            assert step.reason == f"No valid host was found. {ranking.explanation()}."
            continue
        host = views[step.target]
        used = {name: amount + server.request.resources.get(name, 0) for name, amount in host.used.items()}
        views[host.id] = replace(host, used=used, servers=host.servers + 1)
        places[server.id] = Place(server.id, server.place.host, host.id)


def _as_it_is_now(fleet: FleetView, server: ServerView, places: dict[ServerId, Place], gone: set[HostId]) -> Request:
    group = fleet.groups.get(server.group) if server.group else None
    others = [places[each] for each in group.members if each != server.id] if group else []

    def together(company: Sequence[ServerId]) -> dict[str, int]:
        amounts: Counter[str] = Counter()
        for each in [server.id, *company]:
            amounts.update(fleet.known[each].request.resources)
        return dict(amounts)

    near = None if server.beside is None else {places[each].home for each in server.beside} - {None}
    return replace(
        server.request,
        not_on=frozenset({server.place.host} - {None}),
        group=group_places(group.group, others, gone, fleet.name, together) if group else None,
        apart_from=frozenset(host for each in server.apart_from for host in places[each].hosts),
        beside=None if near is None or (near and near <= gone) else frozenset(near - gone),
    )


@given(fleet=fleets(), dead=DEAD)
def test_whoever_finds_no_place_finds_none_in_the_end_either(fleet: FleetView, dead: set[HostId]) -> None:
    """Nobody is refused for want of room that is still there once all are placed."""
    made = plan(fleet, dead, LIMITS, TIMES)
    board = fleet.board.copy()
    for host in dead | fleet.dead:
        if (view := board.view(host)) is not None:
            board.put(replace(view, up=False))
    for step in made.of(Outcome.PLACED):
        assert step.target is not None
        board.claim(step.target, fleet.known[step.server].request.resources)
    for step in made.of(Outcome.UNPLACEABLE):
        server = fleet.known[step.server]
        if server.group is None and not server.apart_from and server.beside is None:
            assert not rank(server.request, board).hosts


@given(data=st.data())
def test_at_least_as_many_are_placed_as_there_are_places_for_the_biggest(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=12))
    rooms = data.draw(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=5))
    whole = {"VCPU": 99.0, "MEMORY_MB": 99_000.0}
    hosts = [a_host(0, total=whole)]
    for nth, (vcpus, memory) in enumerate(rooms):
        hosts.append(a_host(nth + 1, total={"VCPU": float(vcpus), "MEMORY_MB": 1000.0 * memory}))
    servers = [a_server(nth, 0, vcpus=vcpus, memory_mb=1000 * memory) for nth, (vcpus, memory) in enumerate(sizes)]
    made = planned(a_fleet(hosts, servers), 0)
    most_vcpus, most_memory = (max(size) for size in zip(*sizes, strict=True))
    places = sum(min(vcpus // most_vcpus, memory // most_memory) for vcpus, memory in rooms)
    assert len(made.of(Outcome.PLACED)) >= min(places, len(servers))


# Stories


def test_the_plan_deducts_what_its_earlier_servers_claim() -> None:
    small = {"VCPU": 2.0, "MEMORY_MB": 2048.0}
    hosts = [a_host(0), a_host(1, total=small), a_host(2, total=small)]
    made = planned(a_fleet(hosts, [a_server(nth, 0, vcpus=2) for nth in range(3)]), 0)
    assert targets(made) == {"s0": "h1", "s1": "h2", "s2": None}
    assert steps_of(made)["s2"].reason == (
        "No valid host was found. 2 hosts: needs 2 VCPU, 0 free; 1 host: the server's former host, or it failed there."
    )


def test_the_big_go_before_the_small_and_what_runs_before_what_is_stopped() -> None:
    hosts = [a_host(0), a_host(1)]
    servers = [
        a_server(0, 0, vcpus=1),
        a_server(1, 0, vcpus=2),
        a_server(2, 0, vcpus=3, runs=False),
        a_server(3, 0, wishes={"priority": 501}),
    ]
    assert [step.name for step in planned(a_fleet(hosts, servers), 0).steps] == ["s3", "s1", "s0", "s2"]


def test_whom_the_urgent_wait_for_is_as_urgent() -> None:
    servers = [
        a_server(0, 0, wishes={"priority": 900, "after": (server_id(1),)}),
        a_server(1, 0),
        a_server(2, 0, wishes={"priority": 600}),
    ]
    made = planned(a_fleet([a_host(0), a_host(1)], servers), 0)
    assert [(step.name, step.priority) for step in made.steps] == [("s1", 900), ("s0", 900), ("s2", 600)]
    s0, s1 = steps_of(made)["s0"], steps_of(made)["s1"]
    assert (s1.begun_s, s1.done_s) == (8, 21)
    assert (s0.begun_s, s0.done_s, s0.wave) == (21, 34, 2), "it waits until the other is up"


def test_who_waits_for_one_that_is_not_brought_up_does_not_wait() -> None:
    servers = [
        a_server(0, 0, wishes={"after": (server_id(1), server_id(2), server_id(9))}),
        a_server(1, 0, wishes={"policy": Policy.LEAVE}),
        a_server(2, 0, vcpus=99),
    ]
    step = steps_of(planned(a_fleet([a_host(0), a_host(1)], servers), 0))["s0"]
    assert (step.outcome, step.begun_s) == (Outcome.PLACED, 8)
    assert step.notes == (
        "does not wait for server-01, which is not brought up",
        "does not wait for server-02, which is not brought up",
    )


def test_servers_that_wait_for_each_other_are_told_and_go_on() -> None:
    servers = [
        a_server(0, 0, wishes={"after": (server_id(1),)}),
        a_server(1, 0, wishes={"after": (server_id(0),)}),
        a_server(2, 0, wishes={"after": (server_id(2),)}),
        a_server(3, 0, wishes={"after": (server_id(0),)}),
    ]
    made = planned(a_fleet([a_host(0), a_host(1)], servers), 0)
    assert made.circles == ((server_id(0), server_id(1)), (server_id(2),))
    assert steps_of(made)["s0"].notes == ("does not wait for server-01: they wait for each other in a circle",)
    assert steps_of(made)["s3"].begun_s == 21, "who is outside the circle waits"


def test_a_group_with_affinity_gets_its_room_in_one_go() -> None:
    """Between its members no other server takes what the first has found for all of them."""
    hosts = [
        a_host(0),
        a_host(1, total={"VCPU": 4.0, "MEMORY_MB": 8192.0}),
        a_host(2, total={"VCPU": 3.0, "MEMORY_MB": 8192.0}),
    ]
    servers = [a_server(nth, 0, vcpus=2, group="g") for nth in (0, 1)] + [a_server(nth, 0, vcpus=3) for nth in (2, 3)]
    made = planned(a_fleet(hosts, servers, a_group("g", "affinity", servers)), 0)
    assert targets(made) == {"s0": "h1", "s1": "h1", "s2": "h2", "s3": None}


def test_members_that_live_elsewhere_bind_those_that_come() -> None:
    hosts = [a_host(0), a_host(1), a_host(2, total={"VCPU": 64.0, "MEMORY_MB": 99_000.0})]
    servers = [a_server(0, 0, group="g"), a_server(1, 1, group="g")]
    assert targets(planned(a_fleet(hosts, servers, a_group("g", "affinity", servers)), 0)) == {"s0": "h1"}
    assert targets(planned(a_fleet(hosts, servers, a_group("g", "anti-affinity", servers)), 0)) == {"s0": "h2"}


def test_anti_affinity_with_too_little_room_says_so() -> None:
    servers = [a_server(nth, 0, group="g") for nth in range(3)]
    made = planned(a_fleet([a_host(0), a_host(1), a_host(2)], servers, a_group("g", "anti-affinity", servers)), 0)
    assert targets(made) == {"s0": "h1", "s1": "h2", "s2": None}
    assert "2 hosts: has 1 of its server group already (anti-affinity)" in steps_of(made)["s2"].reason


def test_a_hint_is_kept_and_binds_to_nothing_that_is_dead() -> None:
    hosts = [a_host(nth) for nth in range(3)]
    together = [a_server(0, 0, beside=(server_id(1),)), a_server(1, 0, vcpus=2)]
    assert targets(planned(a_fleet(hosts, together), 0)) == {"s1": "h1", "s0": "h1"}
    apart = [a_server(0, 0, apart_from=(server_id(1),)), a_server(1, 0, vcpus=7)]
    assert targets(planned(a_fleet(hosts, apart), 0)) == {"s1": "h1", "s0": "h2"}


def test_what_becomes_of_local_disks_is_said() -> None:
    hosts = [a_host(0, storage="x"), a_host(1, storage="x", total={"VCPU": 3.0, "MEMORY_MB": 9999.0}), a_host(2)]
    servers = [
        a_server(0, 0, vcpus=3, local_disks=("root",), request={"storage": "x"}),
        a_server(1, 0, vcpus=2, local_disks=("root", "swap")),
        a_server(2, 0),
    ]
    made = steps_of(planned(a_fleet(hosts, servers), 0))
    assert [made[name].disks for name in ("s0", "s1", "s2")] == [Disks.KEPT, Disks.LOST, Disks.NONE]
    assert (made["s1"].local_disks, made["s1"].done_s, made["s0"].done_s) == (("root", "swap"), 26, 21)


def test_wishes_are_respected_and_say_whose_they_were() -> None:
    servers = [
        a_server(0, 0, wishes={"policy": Policy.LEAVE, "said_by": "HA_Enabled=False (metadata)"}),
        a_server(1, 0, wishes={"policy": Policy.STOP, "said_by": "renova:recovery=stop (flavor)"}),
        a_server(2, 0, refused="Cannot 'evacuate' instance server-02 while it is in vm_state paused"),
        a_server(3, 0, place=Place(server_id(3), host_id(0), host_id(1))),
        a_server(4, 1, place=Place(server_id(4), host_id(1), host_id(0))),
        a_server(5, 0, wishes={"unread": ("renova:recovery=x (flavor)",)}),
    ]
    made = steps_of(planned(a_fleet([a_host(0), a_host(1)], servers), 0))
    assert {name: (step.outcome, step.reason) for name, step in made.items() if step.reason} == {
        "s0": (Outcome.LEFT, "it waits for its host: HA_Enabled=False (metadata)"),
        "s1": (Outcome.STOPPED, "it is to be stopped: renova:recovery=stop (flavor)"),
        "s2": (Outcome.LEFT, "Cannot 'evacuate' instance server-02 while it is in vm_state paused"),
        "s3": (Outcome.LEFT, "it is on its way to h1 already"),
        "s4": (Outcome.LEFT, "it was on its way from h1, and that has to end first"),
    }
    assert made["s5"].notes == ("not understood: renova:recovery=x (flavor)",)


def test_servers_of_hosts_that_are_dead_already_need_their_place_too() -> None:
    hosts = [a_host(0), a_host(1), a_host(2, total={"VCPU": 2.0, "MEMORY_MB": 9999.0})]
    servers = [a_server(0, 0, vcpus=2), a_server(1, 1, vcpus=2)]
    made = planned(a_fleet(hosts, servers, dead=[0]), 1)
    assert (targets(made), made.dead) == ({"s0": "h2", "s1": None}, (host_id(0), host_id(1)))


def test_of_a_host_that_is_only_cut_off_servers_with_disks_of_its_own_stay_until_it_is_proven_dead() -> None:
    hosts = [a_host(0), a_host(1)]
    servers = [
        a_server(0, 0),
        a_server(1, 0, local_disks=("root", "swap")),
        a_server(2, 0, local_disks=("root",), wishes={"policy": Policy.STOP, "said_by": "x"}),
    ]
    fleet = a_fleet(hosts, servers, cut_off=[0])
    made = steps_of(planned(fleet))
    assert (made["s0"].outcome, made["s0"].target) == (Outcome.PLACED, host_id(1))
    reason = "h0 is not proven dead: it could write to the server's disks (root, swap), which storage does not cut off"
    assert (made["s1"].outcome, made["s1"].reason) == (Outcome.LEFT, reason)
    assert made["s2"].outcome is Outcome.LEFT
    made = steps_of(planned(fleet, 0))
    assert {name: step.outcome for name, step in made.items()} == {
        "s0": Outcome.PLACED,
        "s1": Outcome.PLACED,
        "s2": Outcome.STOPPED,
    }


def test_thousands_that_wait_for_each_other_take_no_time() -> None:
    """Users write dependencies: neither a long chain nor a great circle may hold anybody up."""
    count = 3000
    chain = [
        a_server(nth, 0, id=ServerId(f"{nth:05}"), wishes={"after": (ServerId(f"{nth + 1:05}"),)})
        for nth in range(count)
    ]
    ordered = in_order(chain, lambda _server: None, lambda _server: 0.0)
    assert [server.id for server in ordered.servers] == [ServerId(f"{nth:05}") for nth in reversed(range(count))]
    circle = [*chain[:-1], replace(chain[-1], wishes=chain[0].wishes)]
    assert len(in_order(circle, lambda _server: None, lambda _server: 0.0).circles[0]) == count - 1


@pytest.mark.parametrize("limits", [{"at_once": 0, "at_once_per_host": 1}, {"at_once": 1, "at_once_per_host": 0}])
def test_limits_that_let_nobody_through_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="below 1"):
        type(LIMITS)(**limits)
