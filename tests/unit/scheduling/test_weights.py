"""How much each wish counts is set, and may be turned around; a group's wish counts beside the others."""

from typing import Any

import pytest

from renova.model.group import GroupPolicy
from renova.model.host import HostView
from renova.model.ids import HostId
from renova.scheduling.board import Board
from renova.scheduling.choose import rank
from renova.scheduling.request import GroupPlaces, Request
from renova.settings import SchedulerSettings

from .test_choose import view, wanted

EMPTY, HALF, FULL = view("empty"), view("half", used={"MEMORY_MB": 1000}), view("full", used={"MEMORY_MB": 3000})


def order(request: Request, *hosts: HostView) -> list[str]:
    return [host.name for host in rank(request, Board(hosts)).hosts]


def settings(**values: float) -> SchedulerSettings:
    return SchedulerSettings(**values)  # type: ignore[arg-type]


def test_a_negative_multiplier_packs() -> None:
    assert order(wanted(settings=settings(ram_weight_multiplier=-1.0)), HALF, EMPTY, FULL) == ["full", "half", "empty"]


def test_a_multiplier_of_none_leaves_the_wish_out() -> None:
    assert order(wanted(settings=settings(ram_weight_multiplier=0.0)), HALF, FULL, EMPTY) == ["empty", "full", "half"]


def test_multipliers_weigh_one_wish_against_another() -> None:
    hosts = [view("memory", used={"VCPU": 12}), view("processors", used={"MEMORY_MB": 3000})]
    assert order(wanted(settings=settings(cpu_weight_multiplier=2.0)), *hosts) == ["processors", "memory"]
    assert order(wanted(settings=settings(ram_weight_multiplier=2.0)), *hosts) == ["memory", "processors"]


@pytest.mark.parametrize(("said", "first"), [("-1", "full"), ("-1,5", "full"), ("1", "empty"), ("lots", "empty")])
def test_an_aggregate_overrides_a_multiplier_for_its_hosts(said: str, first: str) -> None:
    """The smallest of several counts; what is no number is passed over."""
    marks: dict[str, Any] = {"ram_weight_multiplier": frozenset(said.split(","))}
    hosts = [view("full", used={"MEMORY_MB": 3000}, marks=marks), view("empty", marks=marks)]
    assert order(wanted(marks=frozenset(marks)), *hosts)[0] == first


@pytest.mark.parametrize(
    ("policy", "first"), [(GroupPolicy.SOFT_AFFINITY, "full"), (GroupPolicy.SOFT_ANTI_AFFINITY, "empty")]
)
def test_a_soft_group_prefers_and_never_refuses(policy: GroupPolicy, first: str) -> None:
    group = GroupPlaces(policy=policy, on={HostId("id-of-full"): 2, HostId("id-of-half"): 1})
    strong = settings(soft_affinity_weight_multiplier=10.0, soft_anti_affinity_weight_multiplier=10.0)
    assert order(wanted(group=group, settings=strong), HALF, EMPTY, FULL)[0] == first
    assert len(order(wanted(group=group), HALF, EMPTY, FULL)) == 3


def test_hosts_with_room_for_the_whole_group_come_first() -> None:
    hosts = [view("roomy", used={"MEMORY_MB": 1000}), view("fast", used={"VCPU": 15})]
    group = GroupPlaces(policy=GroupPolicy.AFFINITY, company={"VCPU": 2, "MEMORY_MB": 1024})
    assert order(wanted(settings=settings(cpu_weight_multiplier=0.0)), *hosts)[0] == "fast"
    assert order(wanted(group=group, settings=settings(cpu_weight_multiplier=0.0)), *hosts)[0] == "roomy"
    too_much = GroupPlaces(policy=GroupPolicy.AFFINITY, company={"VCPU": 999})
    assert len(order(wanted(group=too_much), *hosts)) == 2, "the first goes, and the others as far as there is room"
