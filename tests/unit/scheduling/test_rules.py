"""Each rule: a host that will do, one that will not, and the reason in words; and which rules a request needs."""

from typing import Any

import msgspec
import pytest

from renova.model.group import GroupPolicy
from renova.model.host import HostView
from renova.model.ids import HostId, ImageId, ProjectId
from renova.scheduling import rules
from renova.scheduling.request import GroupPlaces, Request
from renova.scheduling.rules import Rule, rules_for
from renova.settings import SchedulerSettings

from .test_choose import view, wanted

A = HostId("id-of-a")  # of the host called a
IMAGE, OTHER = ImageId("image-1"), ImageId("image-2")


def group(policy: str, **changes: Any) -> GroupPlaces:
    return GroupPlaces(policy=GroupPolicy(policy), **changes)


def marked(**values: str) -> dict[str, Any]:
    return {"marks": {key: frozenset(text.split(",")) for key, text in values.items()}}


def settings(**values: Any) -> dict[str, Any]:
    return {"settings": SchedulerSettings(**values)}


ISOLATED = settings(isolated_hosts=("a",), isolated_images=(IMAGE,))
LENIENT = settings(isolated_hosts=("a",), isolated_images=(IMAGE,), restrict_isolated_hosts_to_isolated_images=False)
KVM = {"hypervisor_types": frozenset({"qemu", "kvm"})}

ROWS: list[tuple[Rule, dict[str, Any], dict[str, Any], str | None]] = [
    (rules.runs_hypervisor_type, {"hypervisor_type": "kvm"}, KVM, None),
    (rules.runs_hypervisor_type, {"hypervisor_type": "xen"}, KVM, "cannot run guests of xen"),
    (rules.runs_vm_mode, {"vm_mode": "hvm"}, {}, None),
    (rules.runs_vm_mode, {"vm_mode": "xen"}, {}, "cannot run vm mode xen"),
    (rules.has_capabilities, {"capabilities": {"cpu_info:model": "qemu64"}}, {"cpu_info": {"model": "qemu64"}}, None),
    (
        rules.has_capabilities,
        {"capabilities": {"cpu_info:model": "s!= qemu64"}},
        {"cpu_info": {"model": "qemu64"}},
        "its cpu_info:model is not s!= qemu64",
    ),
    (rules.has_capabilities, {"capabilities": {"vcpus_total": ">= 16"}}, {}, None),
    (rules.has_capabilities, {"capabilities": {"free_ram_mb": ">= 4097"}}, {}, "its free_ram_mb is not >= 4097"),
    (
        rules.has_capabilities,
        {"capabilities": {"hypervisor_version": "= 7002000"}},
        {"hypervisor_version": 8000000},
        None,
    ),
    (rules.has_capabilities, {"capabilities": {"gpu": "1"}}, {}, "its gpu is not 1"),
    (rules.has_capabilities, {"capabilities": {"cpu_info:vendor:x": "1"}}, {}, "its cpu_info:vendor:x is not 1"),
    (rules.in_aggregates_with_specs, {"aggregate_specs": {"ssd": "true"}}, marked(ssd="true"), None),
    (rules.in_aggregates_with_specs, {"aggregate_specs": {"ssd": "<or> a <or> b"}}, marked(ssd="b,c"), None),
    (
        rules.in_aggregates_with_specs,
        {"aggregate_specs": {"ssd": "true"}},
        marked(ssd="false"),
        "in no aggregate whose ssd is true",
    ),
    (rules.in_aggregates_with_specs, {"aggregate_specs": {"ssd": "true"}}, {}, "in no aggregate whose ssd is true"),
    (rules.for_project, {"project": ProjectId("p")}, {}, None),
    (rules.for_project, {"project": ProjectId("p")}, marked(filter_tenant_id="p,q"), None),
    (rules.for_project, {"project": ProjectId("p")}, marked(filter_tenant_id="q", filter_tenant_id_2="p"), None),
    (rules.for_project, {"project": ProjectId("p")}, marked(filter_tenant_id="q"), "kept for other projects"),
    (rules.for_image, {"image_properties": {"os_distro": "debian"}}, marked(os_distro="debian,ubuntu"), None),
    (rules.for_image, {"image_properties": {}}, marked(os_distro="windows"), None),
    (
        rules.for_image,
        {"image_properties": {"os_distro": "debian"}},
        marked(os_distro="windows"),
        "kept for images of another os_distro",
    ),
    (rules.isolated_as_image, {"image": IMAGE, **ISOLATED}, {}, None),
    (rules.isolated_as_image, {"image": OTHER, **ISOLATED}, {}, "kept for isolated images"),
    (rules.isolated_as_image, {"image": OTHER, **LENIENT}, {}, None),
    (rules.isolated_as_image, {"image": IMAGE, **ISOLATED}, {"name": "b"}, "not isolated, as its image must be"),
    (rules.isolated_as_image, {"image": IMAGE, **LENIENT}, {"name": "b"}, "not isolated, as its image must be"),
    (rules.isolated_as_image, {"image": OTHER, **ISOLATED}, {"name": "b"}, None),
    (rules.few_enough, settings(max_instances_per_host=2), {"servers": 1}, None),
    (rules.few_enough, settings(max_instances_per_host=2), {"servers": 2}, "has 2 servers or more"),
    (rules.few_enough, {}, {"servers": 2000}, None),
    (
        rules.few_enough,
        settings(max_instances_per_host=9),
        {"servers": 2, **marked(max_instances_per_host="3,2")},
        "has 2 servers or more",
    ),
    (rules.few_enough, {}, {"servers": 2, **marked(max_instances_per_host="3")}, None),
    (rules.few_enough, {}, {"servers": 2, **marked(max_instances_per_host="many")}, None),
    (rules.few_enough, {}, {"servers": 0, **marked(max_instances_per_host="0")}, "has 0 servers or more"),
    (rules.apart_as_hinted, {"apart_from": frozenset({A})}, {}, "has a server that different_host names"),
    (rules.apart_as_hinted, {"apart_from": frozenset({HostId("other")})}, {}, None),
    (rules.beside_as_hinted, {"beside": frozenset({A})}, {}, None),
    (rules.beside_as_hinted, {"beside": frozenset()}, {}, "has no server that same_host names"),
    (rules.apart_from_group, {"group": group("anti-affinity")}, {}, None),
    (
        rules.apart_from_group,
        {"group": group("anti-affinity", on={A: 1})},
        {},
        "has 1 of its server group already (anti-affinity)",
    ),
    (rules.apart_from_group, {"group": group("anti-affinity", on={A: 2}, most=3)}, {}, None),
    (
        rules.apart_from_group,
        {"group": group("anti-affinity", on={A: 3}, most=3)},
        {},
        "has 3 of its server group already (anti-affinity)",
    ),
    (rules.apart_from_group, {"group": group("soft-anti-affinity", on={A: 3})}, {}, None),
    (rules.beside_group, {"group": group("affinity")}, {}, None),
    (rules.beside_group, {"group": group("affinity", bound={A: "a"})}, {}, None),
    (
        rules.beside_group,
        {"group": group("affinity", bound={HostId("c"): "c", HostId("b"): "b"})},
        {},
        "not where its server group is (affinity)",
    ),
    (rules.beside_group, {"group": group("soft-affinity", bound={HostId("b"): "b"})}, {}, None),
]


@pytest.mark.parametrize(("rule", "request_", "host", "reason"), ROWS)
def test_a_rule_says_why_a_host_will_not_do(
    rule: Rule, request_: dict[str, Any], host: dict[str, Any], reason: str | None
) -> None:
    asked = wanted(**request_, marks=frozenset(host.get("marks", ())))
    seen = msgspec.structs.replace(view("a"), **host)
    assert rule(asked, seen) == reason
    if reason is not None:
        assert rule in rules_for(asked), "it is one of those that this request needs"


def test_a_plain_request_needs_only_what_every_server_does() -> None:
    assert rules_for(wanted()) == (rules.up, rules.enabled, rules.has_room, rules.claimable)


def test_what_an_aggregate_says_matters_only_where_a_rule_reads_it() -> None:
    assert rules_for(wanted(marks=frozenset({"ssd", "availability_zone"}))) == rules_for(wanted())


def test_a_forced_host_is_still_asked_for_its_group() -> None:
    forced = wanted(only="a", forced=True, zone="attic", group=group("anti-affinity", on={A: 1}))
    assert rules_for(forced) == (rules.asked_for, rules.up, rules.apart_from_group, rules.has_room, rules.claimable)


def test_every_rule_has_its_place_in_the_order_once() -> None:
    assert len(set(rules.ALL)) == len(rules.ALL)
    assert set(rules.OF_IMAGE) < set(rules.ALL)


def test_the_rules_of_an_image_ask_for_no_resources_and_no_state() -> None:
    """A rebuild on a full, disabled host that is down breaks none of them."""
    host: HostView = view("a", up=False, disabled=True, total={})
    assert all(rule(Request(resources={"VCPU": 1}), host) is None for rule in rules.OF_IMAGE)
