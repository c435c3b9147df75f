"""A host is chosen only where every rule lets it, always the same one, and the others are explained."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renova.model.host import HostView
from renova.model.ids import HostId
from renova.scheduling.board import Board
from renova.scheduling.choose import Ranking
from renova.scheduling.choose import rank as rank_board
from renova.scheduling.request import Request
from renova.scheduling.rules import ALL

ROOM = {"VCPU": 16.0, "MEMORY_MB": 4096.0, "DISK_GB": 100.0}


def view(name: str, **changes: Any) -> HostView:
    fields: dict[str, Any] = {
        "id": HostId(f"id-of-{name}"),
        "name": name,
        "up": True,
        "disabled": False,
        "zone": "nova",
        "storage": "",
        "architecture": "x86_64",
        "total": ROOM,
        "used": {},
        "servers": 0,
    }
    return HostView(**fields | changes)


def rank(request: Request, hosts: list[HostView]) -> Ranking:
    return rank_board(request, Board(hosts))


def wanted(**changes: Any) -> Request:
    return Request(**{"resources": {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}} | changes)


@pytest.mark.parametrize(
    ("request_", "host", "reason"),
    [
        ({}, {}, None),
        ({"only": "a"}, {}, None),
        ({"only": "b"}, {}, "not b, the host asked for"),
        ({"not_on": frozenset({HostId("id-of-a")})}, {}, "the server's former host, or it failed there"),
        ({"not_on": frozenset({HostId("id-of-b")})}, {}, None),
        ({}, {"up": False}, "down"),
        ({}, {"disabled": True}, "disabled"),
        ({"zone": "nova"}, {}, None),
        ({"zone": "attic"}, {}, "not in zone attic"),
        ({"architecture": "x86_64"}, {}, None),
        ({"architecture": "aarch64"}, {}, "cannot run aarch64"),
        ({}, {"used": {"MEMORY_MB": 3584}}, None),
        ({}, {"used": {"MEMORY_MB": 3585}}, "needs 512 MEMORY_MB, 511 free"),
        ({"traits": frozenset({"CUSTOM_A"})}, {}, "lacks the trait CUSTOM_A"),
        ({"not_traits": frozenset({"CUSTOM_A"})}, {"traits": frozenset({"CUSTOM_A"})}, "has the trait CUSTOM_A"),
        ({"traits": frozenset({"CUSTOM_A"})}, {"traits": frozenset({"CUSTOM_A", "CUSTOM_B"})}, None),
        ({}, {"units": {"MEMORY_MB": (1, 511, 1)}}, "gives 1 to 511 MEMORY_MB to a server"),
        ({}, {"units": {"MEMORY_MB": (64, 4096, 100)}}, "gives 64 to 4096 MEMORY_MB to a server, in steps of 100"),
        ({}, {"units": {"MEMORY_MB": (512, 512, 128)}}, None),
        ({"resources": {"PCI_DEVICE": 1}}, {}, "needs 1 PCI_DEVICE, 0 free"),
        ({"resources": {}}, {"total": {}}, None),
        ({}, {"used": {"VCPU": 15}, "total": {**ROOM, "VCPU": 15.5}}, "needs 1 VCPU, 0.5 free"),
        # The first rule that refuses gives the reason, in the order in which a person would ask.
        ({"only": "b", "zone": "attic"}, {"up": False, "disabled": True}, "not b, the host asked for"),
        ({"zone": "attic"}, {"up": False, "disabled": True}, "down"),
        # Forced is stronger than an administrator's wish, and never than what is so.
        ({"only": "a", "forced": True, "zone": "attic"}, {"disabled": True}, None),
        ({"only": "a", "forced": True}, {"up": False}, "down"),
        ({"only": "a", "forced": True}, {"used": {"VCPU": 16}}, "needs 1 VCPU, 0 free"),
        ({"only": "a", "forced": True, "not_on": frozenset({HostId("id-of-a")})}, {}, "the server's former host, or"),
    ],
)
def test_each_rule_says_why_it_refuses(request_: dict[str, Any], host: dict[str, Any], reason: str | None) -> None:
    ranking = rank(wanted(**request_), [view("a", **host)])
    if reason is None:
        assert ([each.name for each in ranking.hosts], ranking.refusals) == (["a"], {})
    else:
        assert ranking.hosts == ()
        (said,) = ranking.refusals
        assert said.startswith(reason)


def test_the_explanation_counts_hosts_by_reason_the_most_frequent_first() -> None:
    hosts = [view("a", up=False), view("b", up=False), view("c", disabled=True), view("d", used={"VCPU": 16})]
    ranking = rank(wanted(), hosts)
    assert ranking.explanation() == "2 hosts: down; 1 host: disabled; 1 host: needs 1 VCPU, 0 free"
    assert rank(wanted(), []).explanation() == "there are no hosts"


def test_servers_are_spread_over_what_is_free() -> None:
    hosts = [view("full", used={"MEMORY_MB": 3000}), view("empty"), view("half", used={"MEMORY_MB": 1000})]
    assert [host.name for host in rank(wanted(), hosts).hosts] == ["empty", "half", "full"]


def test_every_resource_weighs_alike_whatever_its_unit() -> None:
    """A host with much memory and no processors left is not better than the reverse."""
    hosts = [
        view("a", used={"MEMORY_MB": 3000}),
        view("b", used={"VCPU": 12}),
        view("c", used={"VCPU": 12, "MEMORY_MB": 3000}),
    ]
    assert [host.name for host in rank(wanted(), hosts).hosts] == ["a", "b", "c"]


def test_fewer_servers_and_then_the_name_break_ties() -> None:
    hosts = [view("c"), view("b"), view("a", servers=1)]
    assert [host.name for host in rank(wanted(), hosts).hosts] == ["b", "c", "a"]


CLASSES = st.sampled_from(["VCPU", "MEMORY_MB", "DISK_GB"])
VIEWS = st.lists(
    st.builds(
        view,
        st.sampled_from("abcdefgh"),
        up=st.booleans(),
        disabled=st.booleans(),
        zone=st.sampled_from(["nova", "attic"]),
        architecture=st.sampled_from(["x86_64", "aarch64"]),
        total=st.dictionaries(CLASSES, st.floats(0, 10_000)),
        used=st.dictionaries(CLASSES, st.integers(0, 10_000)),
        units=st.dictionaries(CLASSES, st.sampled_from([(1, 8000, 1), (2, 100, 2)])),
        servers=st.integers(0, 3),
        traits=st.frozensets(st.sampled_from(["CUSTOM_A", "CUSTOM_B"])),
        hypervisor_types=st.sampled_from([frozenset({"qemu"}), frozenset({"qemu", "kvm"})]),
    ),
    unique_by=lambda host: host.id,
    max_size=8,
)
TRAITS = st.sampled_from(["CUSTOM_A", "CUSTOM_B"])
IDS = st.sampled_from([HostId("id-of-a"), HostId("id-of-b"), HostId("id-of-c")])
REQUESTS = st.builds(
    Request,
    resources=st.dictionaries(CLASSES, st.integers(1, 8000)),
    architecture=st.sampled_from([None, "x86_64"]),
    zone=st.sampled_from([None, "nova"]),
    only=st.sampled_from([None, "a"]),
    forced=st.booleans(),
    not_on=st.frozensets(IDS),
    apart_from=st.frozensets(IDS),
    beside=st.none() | st.frozensets(IDS),
    hypervisor_type=st.sampled_from([None, "kvm"]),
    traits=st.frozensets(TRAITS, max_size=1),
    not_traits=st.frozensets(TRAITS, max_size=1),
)


@given(hosts=VIEWS, request=REQUESTS, data=st.data())
def test_every_ranked_host_satisfies_every_rule_and_every_other_is_counted(
    hosts: list[HostView], request: Request, data: st.DataObject
) -> None:
    ranking = rank(request, hosts)
    assert all(rule(request, host) is None for host in ranking.hosts for rule in ALL)
    assert len(ranking.hosts) + sum(ranking.refusals.values()) == len(hosts)
    for host in ranking.hosts:
        assert all(
            host.used.get(name, 0) + amount <= host.total.get(name, 0) for name, amount in request.resources.items()
        )
    shuffled = data.draw(st.permutations(hosts))
    again = rank(request, shuffled)
    assert (again.hosts, again.refusals) == (ranking.hosts, ranking.refusals), "the order of reading must not matter"
    assert tuple(ranking.best()) == ranking.hosts
