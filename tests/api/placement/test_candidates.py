"""Allocation candidates, as each version asks for them and shows them."""

import pytest

from tests.api.service_cloud import Api

from .script import A, B, C, D, E, group, have, held, play, show


@pytest.fixture(autouse=True)
async def three_providers(api: Api) -> None:
    """A is large, B small, and C a processor below B."""
    await have(api, A, "large", VCPU=8, MEMORY_MB=1000, DISK_GB=100)
    await have(api, B, "small", VCPU=2, MEMORY_MB=500)
    await have(api, C, "below", B, VGPU=4)
    await show(api, A, "HW_CPU_X86_VMX")
    await show(api, B, "HW_CPU_X86_SSE")


async def found(api: Api, query: str, version: str = "1.39") -> list[dict[str, dict[str, int]]]:
    headers = {"openstack-api-version": f"placement {version}"}
    answer = await api.ask("admin", f"GET /placement/allocation_candidates?{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    requests = answer.json()["allocation_requests"]
    return [{provider: of["resources"] for provider, of in each["allocations"].items()} for each in requests]


async def test_each_version_shows_what_it_knows(api: Api) -> None:
    await play(api, (f"1.39 PUT /allocations/{E}", held({A: {"VCPU": 3}}), 204, None))
    path = "GET /allocation_candidates?resources=VCPU:1,DISK_GB:10"
    amounts = {"VCPU": 1, "DISK_GB": 10}
    vcpu, disk = {"capacity": 8, "used": 3}, {"capacity": 100, "used": 0}
    memory = {"capacity": 1000, "used": 0}
    old = {"allocations": [{"resource_provider": {"uuid": A}, "resources": amounts}]}
    traits = {"traits": ["HW_CPU_X86_VMX"]}
    tree = {"parent_provider_uuid": None, "root_provider_uuid": A}
    asked, whole = (
        {"resources": {"VCPU": vcpu, "DISK_GB": disk}},
        {"resources": {"VCPU": vcpu, "DISK_GB": disk, "MEMORY_MB": memory}},
    )
    new = {"allocations": {A: {"resources": amounts}}}
    shown = {
        "1.10": ([old], asked),
        "1.12": ([new], asked),
        "1.17": ([new], asked | traits),
        "1.27": ([new], whole | traits),
        "1.29": ([new], whole | traits | tree),
        "1.34": ([{**new, "mappings": {"": [A]}}], whole | traits | tree),
    }
    for version, (requests, summary) in shown.items():
        headers = {"openstack-api-version": f"placement {version}"}
        answer = await api.ask("admin", f"GET /placement/{path.removeprefix('GET /')}", headers=headers)
        assert answer.json() == {"allocation_requests": requests, "provider_summaries": {A: summary}}, version
    assert answer.headers["content-type"] == "application/json"
    await play(api, (f"1.9 {path}", None, 404, None))


async def test_candidates_are_current_and_no_more_than_asked_for(api: Api) -> None:
    both = await found(api, "resources=VCPU:2")
    assert {provider: of for each in both for provider, of in each.items()} == {A: {"VCPU": 2}, B: {"VCPU": 2}}
    assert len(await found(api, "resources=VCPU:2&limit=1")) == 1
    await play(api, (f"1.39 PUT /allocations/{E}", held({B: {"VCPU": 1}}), 204, None))
    assert await found(api, "resources=VCPU:2") == [{A: {"VCPU": 2}}]
    await play(api, (f"1.39 DELETE /allocations/{E}", None, 204, None))
    assert len(await found(api, "resources=VCPU:2")) == 2
    await play(api, (f"1.39 DELETE /resource_providers/{A}", None, 204, None))
    assert await found(api, "resources=VCPU:2") == [{B: {"VCPU": 2}}]


async def test_what_is_asked_of_traits_aggregates_and_trees(api: Api) -> None:
    await group(api, D, A)
    large, small = [{A: {"VCPU": 1}}], [{B: {"VCPU": 1}}]
    for query, version, expected in (
        ("required=HW_CPU_X86_VMX", "1.17", large),
        ("required=!HW_CPU_X86_VMX", "1.22", small),
        ("required=in:HW_CPU_X86_VMX,HW_CPU_X86_AVX", "1.39", large),
        (f"member_of={D}", "1.21", large),
        (f"member_of=!{D}", "1.32", small),
        (f"in_tree={C}", "1.31", small),
        (f"in_tree={D}", "1.31", []),
        ("root_required=HW_CPU_X86_SSE", "1.35", small),
    ):
        assert await found(api, f"resources=VCPU:1&{query}", version) == expected, query


async def test_groups_are_met_together_by_one_tree(api: Api) -> None:
    spread = {B: {"VCPU": 1}, C: {"VGPU": 1}}
    assert await found(api, "resources=VCPU:1,VGPU:1") == [spread]
    assert await found(api, "resources=VCPU:1,VGPU:1", "1.28") == []
    assert await found(api, "resources=VCPU:1&resources_GPU=VGPU:1", "1.33") == [spread]
    assert await found(api, "resources1=VGPU:2&resources2=VGPU:2&group_policy=none") == [{C: {"VGPU": 4}}]
    assert await found(api, "resources1=VGPU:2&resources2=VGPU:2&group_policy=isolate") == []
    assert await found(api, "resources1=VCPU:1&resources2=VGPU:1&group_policy=isolate&same_subtree=1,2") == [spread]
    assert await found(api, "resources1=VGPU:1&required2=HW_CPU_X86_SSE&same_subtree=1,2&group_policy=none") == [
        {C: {"VGPU": 1}}
    ]
    headers = {"openstack-api-version": "placement 1.36"}
    path = "/placement/allocation_candidates?resources_A=VCPU:1&resources_B=VGPU:1&group_policy=none"
    answer = (await api.ask("admin", f"GET {path}", headers=headers)).json()
    assert answer["allocation_requests"][0]["mappings"] == {"_A": [B], "_B": [C]}
    assert answer["provider_summaries"][C]["root_provider_uuid"] == B


@pytest.mark.parametrize(
    ("query", "version", "code"),
    [
        ("", "1.39", "placement.query.missing_value"),
        ("resources=", "1.39", None),
        ("resources=VCPU", "1.39", None),
        ("resources=VCPU:0", "1.39", None),
        ("resources=CABBAGE:1", "1.39", None),
        ("resources=VCPU:1&limit=0", "1.39", None),
        ("resources=VCPU:1&limit=1", "1.15", None),
        ("resources=VCPU:1&required=HW_CPU_X86_VMX", "1.16", None),
        ("resources=VCPU:1&required=CUSTOM_NONE", "1.39", None),
        ("resources=VCPU:1&required=A,!A", "1.39", "placement.query.bad_value"),
        ("required=HW_CPU_X86_VMX", "1.39", "placement.query.missing_value"),
        ("resources=VCPU:1&required1=HW_CPU_X86_VMX", "1.39", "placement.query.missing_value"),
        ("resources1=VCPU:1&resources2=VCPU:1", "1.39", "placement.query.missing_value"),
        ("resources1=VCPU:1", "1.24", None),
        ("resources_A=VCPU:1", "1.32", None),
        ("resources1=VCPU:1&group_policy=perhaps", "1.39", None),
        ("resources1=VCPU:1&same_subtree=1,2", "1.39", "placement.query.bad_value"),
        ("resources=VCPU:1&member_of=cabbage", "1.39", None),
        ("resources=VCPU:1&in_tree=cabbage", "1.39", None),
        ("resources=VCPU:1&root_required=in:HW_CPU_X86_VMX,HW_CPU_X86_SSE", "1.39", "placement.query.bad_value"),
        ("resources=VCPU:1&cabbage=1", "1.39", None),
    ],
)
async def test_nonsense_is_refused(api: Api, query: str, version: str, code: str | None) -> None:
    problem = {"errors": [{"status": 400} | ({"code": code} if code else {})]}
    await play(api, (f"{version} GET /allocation_candidates?{query}", None, 400, problem))
