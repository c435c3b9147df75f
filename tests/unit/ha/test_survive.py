"""Whether any N hosts may fail is answered as if each failure had been planned; most of them need no plan."""

from itertools import combinations
from math import comb

from hypothesis import given, settings
from hypothesis import strategies as st

from renova.ha.picture import FleetView
from renova.ha.plan import place
from renova.ha.rehearse import rehearse
from renova.ha.survive import Survival, survivable
from renova.model.ids import HostId
from renova.model.place import Place
from renova.settings import SchedulerSettings

from .fleets import DEAD, LIMITS, TIMES, a_fleet, a_group, a_host, a_server, fleets, host_id, server_id

ENOUGH = 10_000


def broken(fleet: FleetView, failures: int) -> set[tuple[HostId, ...]]:
    """Return every failure that leaves a server without a place, by planning each."""
    already = set(place(fleet, fleet.dead).refusals)
    alive = sorted(view.id for view in fleet.board.views if view.id not in fleet.dead)
    return {
        failed
        for count in range(1, failures + 1)
        for failed in combinations(alive, count)
        if set(place(fleet, fleet.dead | set(failed)).refusals) - already
    }


@settings(max_examples=settings().max_examples * 3 // 2)
@given(fleet=fleets(most_hosts=5), failures=st.integers(1, 3))
def test_the_answer_is_that_of_planning_every_failure(fleet: FleetView, failures: int) -> None:
    found = survivable(fleet, failures, most_plans=ENOUGH)
    breaking = broken(fleet, failures)
    assert found.survived is not bool(breaking)
    if breaking:
        assert tuple(sorted(found.hosts)) in breaking
        placed = place(fleet, fleet.dead | set(found.hosts))
        assert found.server is not None
        assert placed.refusals[found.server] == found.reason
    else:
        assert found.proven + found.planned == found.of, "each failure was looked at, or proven harmless"


@settings(max_examples=settings().max_examples * 3 // 2)
@given(data=st.data(), failures=st.integers(1, 3))
def test_the_answer_is_so_too_where_much_is_proven(data: st.DataObject, failures: int) -> None:
    """Hosts with much room and servers without hints, but with groups that are to be apart, zones, a limit a host."""
    limit = data.draw(st.sampled_from([0, 0, 6]))
    hosts = [
        a_host(
            nth,
            total={"VCPU": float(data.draw(st.integers(3, 16))), "MEMORY_MB": 1024.0 * data.draw(st.integers(3, 16))},
            zone=data.draw(st.sampled_from(["nova", "attic"])),
        )
        for nth in range(6)
    ]
    servers = [
        a_server(
            nth,
            data.draw(st.integers(0, 5)),
            vcpus=data.draw(st.integers(1, 3)),
            memory_mb=1024 * data.draw(st.integers(1, 3)),
            group=data.draw(st.sampled_from([None, None, "apart"])),
            request={
                "zone": data.draw(st.sampled_from([None, "nova"])),
                "settings": SchedulerSettings(max_instances_per_host=limit),
            },
        )
        for nth in range(data.draw(st.integers(0, 12)))
    ]
    fleet = a_fleet(hosts, servers, a_group("apart", "anti-affinity", servers, most=data.draw(st.integers(1, 2))))
    found = survivable(fleet, failures, most_plans=ENOUGH)
    assert found.survived is not bool(broken(fleet, failures))


def test_room_for_any_one_of_them_is_not_room_for_two() -> None:
    room = {"VCPU": 4.0, "MEMORY_MB": 4096.0}
    hosts = [a_host(nth, total=room) for nth in range(4)]
    fleet = a_fleet(hosts, [a_server(nth, nth, vcpus=2) for nth in range(4)] + [a_server(9, 3, vcpus=1)])
    assert survivable(fleet, 1, most_plans=ENOUGH).survived
    found = survivable(fleet, 2, most_plans=ENOUGH)
    assert (found.survived, found.of) == (False, 4 + 6)
    assert (found.hosts, found.name) == ((host_id(3), host_id(0)), "s9"), "the heaviest are looked at first"
    assert found.reason == (
        "No valid host was found. 2 hosts: needs 1 VCPU, 0 free; 1 host: down; "
        "1 host: the server's former host, or it failed there."
    )


def test_a_server_that_has_no_place_as_things_are_is_broken_by_no_failure() -> None:
    hosts = [a_host(0), a_host(1), a_host(2)]
    fleet = a_fleet(hosts, [a_server(0, 0, vcpus=99), a_server(1, 1)], dead=[0])
    assert survivable(fleet, 1, most_plans=ENOUGH).survived


def test_a_server_whose_only_other_host_fails_with_its_own_breaks_it() -> None:
    servers = [a_server(0, 0, request={"traits": frozenset({"CUSTOM_SSD"})})]
    ssd = frozenset({"CUSTOM_SSD"})
    fleet = a_fleet([a_host(0, traits=ssd), a_host(1, traits=ssd), *(a_host(nth) for nth in range(2, 6))], servers)
    assert survivable(fleet, 1, most_plans=ENOUGH).survived
    found = survivable(fleet, 2, most_plans=ENOUGH)
    assert (found.survived, set(found.hosts), found.name) == (False, {host_id(0), host_id(1)}, "s0")


def test_room_for_each_of_them_is_not_room_for_all() -> None:
    hosts = [a_host(0), a_host(1, total={"VCPU": 3.0, "MEMORY_MB": 99_999.0})]
    fleet = a_fleet(hosts, [a_server(0, 0, vcpus=2), a_server(1, 0, vcpus=2)])
    assert survivable(fleet, 1, most_plans=ENOUGH).name == "s1"


def test_hosts_may_be_filled_each_by_another_resource() -> None:
    few_cpus, little_memory = {"VCPU": 8.0, "MEMORY_MB": 65536.0}, {"VCPU": 64.0, "MEMORY_MB": 8192.0}
    hosts = [
        a_host(0, total={"VCPU": 99.0, "MEMORY_MB": 99_999.0}, disabled=True),
        a_host(1, total=few_cpus),
        a_host(2, total=little_memory),
        a_host(3, total={"VCPU": 20.0, "MEMORY_MB": 20480.0}, zone="attic"),
    ]
    servers = [a_server(0, 0, request={"zone": "nova"}), a_server(1, 0, vcpus=8), a_server(2, 0, memory_mb=8192)]
    assert survivable(a_fleet(hosts, servers), 1, most_plans=ENOUGH).name == "s0"


def test_a_member_on_its_way_takes_two_hosts_from_those_that_are_to_be_apart() -> None:
    on_its_way = a_server(1, 1, group="g", place=Place(server_id(1), host_id(1), host_id(2)))
    servers = [a_server(0, 0, group="g"), on_its_way]
    fleet = a_fleet([a_host(0), a_host(1), a_host(2)], servers, a_group("g", "anti-affinity", servers))
    assert survivable(fleet, 1, most_plans=ENOUGH).name == "s0"


def test_a_fleet_with_room_needs_no_plan_at_all() -> None:
    hosts = [a_host(nth, total={"VCPU": 64.0, "MEMORY_MB": 65536.0}) for nth in range(60)]
    servers = [a_server(nth, nth % 60, vcpus=1 + nth % 3) for nth in range(240)]
    fleet = a_fleet(hosts, servers)
    found = survivable(fleet, 3, most_plans=0)
    assert found == Survival(
        failures=3, survived=True, of=comb(60, 1) + comb(60, 2) + comb(60, 3), proven=found.of, planned=0
    )


def test_what_was_not_planned_for_is_not_known() -> None:
    hosts = [a_host(nth) for nth in range(4)]
    servers = [a_server(nth, nth % 2, group="g") for nth in range(4)]
    fleet = a_fleet(hosts, servers, a_group("g", "affinity", servers[::2]))
    assert survivable(fleet, 1, most_plans=ENOUGH).planned > 0
    found = survivable(fleet, 1, most_plans=0)
    assert (found.survived, found.planned) == (None, 0)
    assert found.proven < found.of


@given(fleet=fleets(), failures=st.integers(1, 3), time=st.integers(0, 30))
def test_what_there_was_no_time_for_is_not_known(fleet: FleetView, failures: int, time: int) -> None:
    asked = iter(range(10_000))
    found = survivable(fleet, failures, most_plans=ENOUGH, go_on=lambda: next(asked) < time)
    whole = survivable(fleet, failures, most_plans=ENOUGH)
    assert found.survived in (None, whole.survived)
    assert next(asked) <= time + 1, "told that there is none, it looks no further"
    assert found.survived is not True or found.proven + found.planned == found.of


@given(fleet=fleets(), dead=DEAD)
def test_a_rehearsal_is_the_plan_in_figures(fleet: FleetView, dead: set[HostId]) -> None:
    found = rehearse(fleet, dead, LIMITS, TIMES)
    total = found.summary
    assert total.servers == len(found.plan.steps) == total.placed + total.unplaceable + total.left + total.stopped
    assert total.disks_kept + total.disks_lost <= total.placed
    assert (total.all_done_s is None) == (total.placed == 0) == (total.waves == 0)
    assert total.first_up_s is None or total.first_up_s <= (total.all_done_s or 0)
