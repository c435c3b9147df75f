"""What a server needs of its next host is read when it claims one: from its flavor, image and hints, and its group."""

from typing import Any

import pytest

from renova.model.group import GroupPolicy, ServerGroup
from renova.model.ids import GroupId, HostId, ImageId, ProjectId, ServerId
from renova.model.server import TaskState, VmState
from renova.operations.parts.needs import needs, of_image
from renova.scheduling.request import GroupPlaces, Request
from renova.store import aggregates, rights, server_groups, servers
from renova.store.database import Tx
from tests.unit.store.tables import ONE, PROJECT, TWO, USER, A, B, C, a_server, add_server, prove

from .small_cloud import SmallCloud

THREE, GROUP = ServerId("server-3"), GroupId("group")


@pytest.fixture(autouse=True)
def three_hosts(small: SmallCloud) -> None:
    for host in (A, B, C):
        small.have_host(host)


def have(small: SmallCloud, server: ServerId, host: HostId | None = None, **values: Any) -> None:
    """Have a server that lives on this host."""

    def work(tx: Tx) -> None:
        add_server(tx, server, host=host, **{"image": ImageId("image"), **values})
        if host is not None:
            rights.grant(tx, server, host)

    small.tables.do(work)


def have_group(small: SmallCloud, policy: GroupPolicy, most: int | None = None) -> None:
    group = ServerGroup(id=GROUP, project=PROJECT, user=USER, name="g", policy=policy, max_server_per_host=most)
    small.tables.do(lambda tx: server_groups.add(tx, group))


def needed(small: SmallCloud, server: ServerId = ONE, **wish: Any) -> Request:
    def work(tx: Tx) -> Request:
        row = servers.get(tx, server)
        assert row is not None
        return needs(small.cloud, tx, row, **wish)

    return small.tables.do(work)


def places(small: SmallCloud, **wish: Any) -> GroupPlaces:
    found = needed(small, **wish).group
    assert found is not None
    return found


def test_a_server_without_wishes_needs_what_its_flavor_says(small: SmallCloud) -> None:
    have(small, ONE)
    request = needed(small)
    assert request.resources == {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}
    assert (request.group, request.beside, request.apart_from, request.zone) == (None, None, frozenset(), None)
    assert (request.capabilities, request.aggregate_specs, request.marks) == ({}, {}, frozenset())


def test_extra_specs_are_told_apart_by_their_scope(small: SmallCloud) -> None:
    specs = {
        "capabilities:cpu_info:model": "x",
        "vcpus_total": ">= 4",
        "hypervisor_type": "QEMU",
        "colour": "red",
        "aggregate_instance_extra_specs:ssd": "true",
        "hw:cpu_policy": "shared",
    }
    flavor = a_server(ONE).flavor
    have(small, ONE, flavor=type(flavor)(id="1", name="f", vcpus=1, memory_mb=1, root_gb=1, extra_specs=specs))
    request = needed(small)
    assert request.capabilities == {"cpu_info:model": "x", "vcpus_total": ">= 4", "hypervisor_type": "QEMU"}
    assert request.aggregate_specs == {"ssd": "true"}


@pytest.mark.parametrize(
    ("properties", "architecture", "kind", "mode"),
    [
        ({}, None, None, None),
        ({"hw_architecture": "AMD64", "img_hv_type": "QEMU", "hw_vm_mode": "hv"}, "x86_64", "qemu", "hvm"),
        ({"architecture": "i386", "hypervisor_type": "kvm", "vm_mode": "xen"}, "i686", "kvm", "xen"),
        ({"hw_architecture": "aarch64", "architecture": "x86_64"}, "aarch64", None, None),
        ({"hw_architecture": ""}, None, None, None),
    ],
)
def test_an_image_says_what_it_needs_by_its_old_names_and_its_new_ones(
    properties: dict[str, str], architecture: str | None, kind: str | None, mode: str | None
) -> None:
    fields = of_image(None, properties)
    assert (fields["architecture"], fields["hypervisor_type"], fields["vm_mode"]) == (architecture, kind, mode)


def test_a_member_counts_where_it_lives_and_where_it_may_run(small: SmallCloud) -> None:
    """One that is being evacuated does on both: it may fail, and be at home again."""
    have_group(small, GroupPolicy.ANTI_AFFINITY, most=2)
    have(small, ONE, group=GROUP)
    have(small, TWO, A, group=GROUP)
    have(small, THREE, A, group=GROUP)
    small.tables.do(lambda tx: prove(tx, A))
    small.tables.do(lambda tx: rights.grant(tx, TWO, B))
    assert (places(small).on, places(small).most) == ({A: 2, B: 1}, 2)
    small.tables.do(lambda tx: servers.change(tx, THREE, deleted=True))
    assert places(small).on == {A: 1, B: 1}
    small.tables.do(lambda tx: server_groups.remove(tx, GROUP))
    assert needed(small).group is None


def test_the_server_itself_is_none_of_the_others(small: SmallCloud) -> None:
    have_group(small, GroupPolicy.ANTI_AFFINITY)
    have(small, ONE, A, group=GROUP)
    assert places(small).on == {}


def test_members_on_the_host_that_is_left_bind_to_nothing_and_come_along(small: SmallCloud) -> None:
    have_group(small, GroupPolicy.AFFINITY)
    for server in (ONE, TWO, THREE):
        have(small, server, A, group=GROUP)
    assert places(small).bound == {A: "name-of-host-a"}, "who is new has to go where the others are"
    leaving = places(small, leaving=A)
    assert (leaving.bound, leaving.company) == ({}, {"VCPU": 3, "MEMORY_MB": 1536, "DISK_GB": 3})
    small.tables.do(lambda tx: prove(tx, A))
    small.tables.do(lambda tx: rights.grant(tx, TWO, C))
    follower = places(small, leaving=A)
    assert (follower.bound, follower.company) == ({C: "name-of-host-c"}, {}), "the first has claimed a host"
    small.tables.do(lambda tx: rights.release(tx, TWO))
    assert places(small, leaving=A).bound == {}, "and could not have it"


def test_members_that_are_still_being_built_bind_only_until_they_fail(small: SmallCloud) -> None:
    have_group(small, GroupPolicy.AFFINITY)
    have(small, ONE, group=GROUP)
    have(small, TWO, A, group=GROUP, vm_state=VmState.BUILDING, task_state=TaskState.SPAWNING)
    assert (places(small).bound, places(small).unsettled) == ({A: "name-of-host-a"}, True)
    have(small, THREE, A, group=GROUP)
    assert not places(small).unsettled, "one of them lives there"
    small.tables.do(lambda tx: servers.change(tx, THREE, deleted=True))
    small.tables.do(lambda tx: rights.release(tx, TWO))
    assert (places(small).bound, places(small).on) == ({}, {}), "its row still names the host that could not build it"


def test_members_on_another_dead_host_bind_to_nothing_either(small: SmallCloud) -> None:
    have_group(small, GroupPolicy.AFFINITY)
    have(small, ONE, A, group=GROUP)
    have(small, TWO, B, group=GROUP)
    assert places(small, leaving=A).bound == {B: "name-of-host-b"}
    small.tables.do(lambda tx: prove(tx, B))
    assert (places(small, leaving=A).bound, places(small, leaving=A).company["VCPU"]) == ({}, 2)
    assert places(small).bound == {B: "name-of-host-b"}, "who is new goes where they may come back"


def test_hints_name_servers_and_mean_their_hosts(small: SmallCloud) -> None:
    have(small, TWO, A)
    have(small, THREE, B)
    have(small, ONE, scheduler_hints={"different_host": [TWO, THREE], "same_host": TWO})
    request = needed(small)
    assert (request.apart_from, request.beside) == (frozenset({A, B}), frozenset({A}))
    assert needed(small, leaving=B).beside == frozenset({A})
    assert needed(small, leaving=A).beside is None, "what it was to be beside is on the host that is being left"


def test_a_hint_that_names_nobody_who_is_there_is_satisfied_by_nothing(small: SmallCloud) -> None:
    have(small, TWO, A, project=ProjectId("another"))
    have(small, ONE, scheduler_hints={"same_host": [TWO, "gone"], "different_host": TWO})
    request = needed(small)
    assert request.beside == frozenset()
    assert request.apart_from == frozenset(), "where another project's servers are is not told"


def test_what_aggregates_say_is_known_of_their_hosts_at_once(small: SmallCloud) -> None:
    have(small, ONE)
    assert needed(small).marks == frozenset()
    made = small.tables.do(lambda tx: aggregates.add(tx, "uuid", "rack", {"ssd": "a, b", "availability_zone": "attic"}))
    small.tables.do(lambda tx: aggregates.add_host(tx, made, B))
    assert needed(small).marks == {"ssd", "availability_zone"}
    (view,) = [view for view in small.tables.do(small.fleet.views) if view.id == B]
    assert (view.zone, view.marks["ssd"]) == ("attic", frozenset({"a", "b"}))
    small.tables.do(lambda tx: aggregates.change(tx, made, values={}))
    assert needed(small).marks == frozenset()
    (view,) = [view for view in small.tables.do(small.fleet.views) if view.id == B]
    assert view.zone == "nova"
