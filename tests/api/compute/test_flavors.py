"""Administrators make flavors; everybody sees those that are for them."""

from typing import Any

import pytest

from renova.api.compute.flavors import SORT_KEYS

from .compute_cloud import ComputeApi

FLAVOR: dict[str, Any] = {"name": "m1", "ram": 512, "vcpus": 1, "disk": 1}


async def test_a_flavor_is_shown_as_its_microversion_has_it(api: ComputeApi) -> None:
    await api.got("admin", "POST /flavors", {"flavor": {**FLAVOR, "id": "1"}})
    old = (await api.got("demo", "GET /flavors/1"))["flavor"]
    assert old == {
        "id": "1",
        "name": "m1",
        "ram": 512,
        "vcpus": 1,
        "disk": 1,
        "swap": "",
        "OS-FLV-EXT-DATA:ephemeral": 0,
        "OS-FLV-DISABLED:disabled": False,
        "os-flavor-access:is_public": True,
        "rxtx_factor": 1.0,
        "links": [
            {"rel": "self", "href": "http://cloud.example/compute/v2.1/flavors/1"},
            {"rel": "bookmark", "href": "http://cloud.example/compute/flavors/1"},
        ],
    }
    assert "description" in (await api.got("demo", "GET /flavors/1", version="2.55"))["flavor"]
    assert (await api.got("demo", "GET /flavors/1", version="2.61"))["flavor"]["extra_specs"] == {}
    assert (await api.got("demo", "GET /flavors/1", version="2.75"))["flavor"]["swap"] == 0
    new = (await api.got("demo", "GET /flavors/1", version="2.102"))["flavor"]
    assert not {"rxtx_factor", "OS-FLV-DISABLED:disabled"} & set(new)


async def test_a_flavor_without_an_id_gets_one(api: ComputeApi) -> None:
    made = await api.got("admin", "POST /flavors", {"flavor": {**FLAVOR, "id": None}})
    assert len(made["flavor"]["id"]) == 36


@pytest.mark.parametrize(
    ("change", "version", "names"),
    [
        ({"ram": 0}, "2.1", "ram"),
        ({"ram": "many"}, "2.1", "ram"),
        ({"vcpus": None}, "2.1", "vcpus"),
        ({"disk": -1}, "2.1", "disk"),
        ({"disk": 2**31}, "2.1", "disk"),
        ({"name": ""}, "2.1", "name"),
        ({"name": " m1"}, "2.1", "name"),
        ({"name": "m\n1"}, "2.1", "name"),
        ({"name": "m1\n"}, "2.1", "name"),
        ({"name": "m" * 256}, "2.1", "name"),
        ({"id": "a/b"}, "2.1", "id"),
        ({"rxtx_factor": 0}, "2.1", "rxtx_factor"),
        ({"rxtx_factor": 1}, "2.102", "rxtx_factor"),
        ({"description": "x"}, "2.54", "description"),
        ({"os-flavor-access:is_public": "perhaps"}, "2.1", "is_public"),
        ({"colour": "red"}, "2.1", "colour"),
    ],
)
async def test_a_wrong_field_is_named(api: ComputeApi, change: dict[str, Any], version: str, names: str) -> None:
    message = await api.refused("admin", "POST /flavors", 400, {"flavor": {**FLAVOR, **change}}, version)
    assert names in message


async def test_texts_that_mean_numbers_and_truth_are_taken(api: ComputeApi) -> None:
    texts = {**FLAVOR, "ram": "512", "vcpus": "2", "disk": "0", "os-flavor-access:is_public": "False"}
    made = (await api.got("admin", "POST /flavors", {"flavor": texts}))["flavor"]
    assert (made["ram"], made["vcpus"], made["os-flavor-access:is_public"]) == (512, 2, False)


async def test_names_and_ids_are_given_once(api: ComputeApi) -> None:
    await api.got("admin", "POST /flavors", {"flavor": {**FLAVOR, "id": "1"}})
    same_name = await api.refused("admin", "POST /flavors", 409, {"flavor": {**FLAVOR, "id": "2"}})
    assert same_name == "Flavor with name m1 already exists."
    same_id = await api.refused("admin", "POST /flavors", 409, {"flavor": {**FLAVOR, "id": "1", "name": "m2"}})
    assert same_id == "Flavor with ID 1 already exists."


async def test_only_administrators_change_flavors(api: ComputeApi) -> None:
    await api.have_flavor()
    await api.refused("demo", "POST /flavors", 403, {"flavor": FLAVOR})
    await api.refused("demo", "DELETE /flavors/small", 403)
    await api.got("admin", "DELETE /flavors/small", status=202)
    assert await api.refused("admin", "DELETE /flavors/small", 404) == "Flavor small could not be found."


async def test_a_private_flavor_is_there_for_its_projects_only(api: ComputeApi) -> None:
    await api.have_flavor("private", **{"os-flavor-access:is_public": False})
    await api.refused("demo", "GET /flavors/private", 404)
    tenant = await api.project("demo")
    given = await api.got("admin", "POST /flavors/private/action", {"addTenantAccess": {"tenant": tenant}})
    assert given == {"flavor_access": [{"flavor_id": "private", "tenant_id": tenant}]}
    await api.refused("admin", "POST /flavors/private/action", 409, {"addTenantAccess": {"tenant": tenant}})
    await api.refused("admin", "POST /flavors/private/action", 400, {"addTenantAccess": {"tenant": "nobody"}})
    assert (await api.got("admin", "GET /flavors/private/os-flavor-access")) == given
    assert [each["id"] for each in (await api.got("demo", "GET /flavors"))["flavors"]] == ["private"]
    assert (await api.got("admin", "GET /flavors"))["flavors"] == []
    assert len((await api.got("admin", "GET /flavors?is_public=None"))["flavors"]) == 1
    await api.got("admin", "POST /flavors/private/action", {"removeTenantAccess": {"tenant": tenant}})
    await api.refused("demo", "GET /flavors/private", 404)


async def test_lists_are_filtered_sorted_and_paged(api: ComputeApi) -> None:
    for name, ram in (("b", 1024), ("a", 2048), ("c", 512)):
        await api.have_flavor(name, ram=ram)

    async def names(query: str, version: str = "2.1") -> list[str]:
        return [each["id"] for each in (await api.got("demo", f"GET /flavors?{query}", version=version))["flavors"]]

    assert await names("") == ["a", "b", "c"]
    assert await names("minRam=1000") == ["a", "b"]
    assert await names("minDisk=2") == []
    assert await names("sort_key=memory_mb&sort_dir=desc") == ["a", "b", "c"]
    assert await names("sort_key=memory_mb") == ["c", "b", "a"]
    assert await names("limit=1") == ["a"]
    assert await names("marker=a&limit=1") == ["b"]
    assert await names("sort_key=memory_mb&marker=b") == ["a"]
    assert await names("name=b", "2.102") == ["b"]
    page = await api.got("demo", "GET /flavors?limit=2")
    assert page["flavors_links"] == [
        {"rel": "next", "href": "http://cloud.example/compute/v2.1/flavors?limit=2&marker=b"}
    ]
    assert await api.refused("demo", "GET /flavors?marker=z", 400) == "marker [z] not found"
    for query in ("limit=-1", "limit=x", "minRam=x", "sort_key=x", "sort_dir=up"):
        await api.refused("demo", f"GET /flavors?{query}", 400)
    assert (await api.compute("demo", "GET /flavors?x=1", version="2.74")).status_code == 200
    await api.refused("demo", "GET /flavors?x=1", 400, version="2.75")


@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize("key", sorted(SORT_KEYS))
async def test_pages_in_any_order_follow_each_other_to_the_end(api: ComputeApi, key: str, direction: str) -> None:
    for name in ("b", "a", "d", "c"):
        await api.have_flavor(name, **{"os-flavor-access:is_public": name in "ab"})
    query, told = f"?is_public=None&limit=1&sort_key={key}&sort_dir={direction}", list[str]()
    while query:
        page = await api.got("admin", f"GET /flavors{query}")
        told += [each["id"] for each in page["flavors"]]
        link = next((each["href"] for each in page.get("flavors_links", [])), "")
        query = link and "?" + link.partition("?")[2]
    assert sorted(told) == ["a", "b", "c", "d"]


async def test_extra_specs_are_kept(api: ComputeApi) -> None:
    await api.have_flavor()
    path = "/flavors/small/os-extra_specs"
    specs = {"hw:cpu_policy": "shared", "quota": 1}
    await api.got("admin", f"POST {path}", {"extra_specs": specs})
    assert (await api.got("demo", f"GET {path}")) == {"extra_specs": {"hw:cpu_policy": "shared", "quota": "1"}}
    assert await api.got("admin", f"PUT {path}/quota", {"quota": "2"}) == {"quota": "2"}
    assert await api.got("demo", f"GET {path}/quota") == {"quota": "2"}
    await api.refused("admin", f"PUT {path}/quota", 400, {"other": "2"})
    await api.got("admin", f"DELETE {path}/quota")
    await api.refused("demo", f"GET {path}/quota", 404)
    await api.refused("admin", f"DELETE {path}/quota", 404)
    await api.refused("demo", f"POST {path}", 403, {"extra_specs": {"a": "b"}})
    await api.refused("admin", f"POST {path}", 400, {"extra_specs": {}})


async def test_a_description_may_be_changed_from_2_55(api: ComputeApi) -> None:
    await api.have_flavor()
    changed = await api.got("admin", "PUT /flavors/small", {"flavor": {"description": "ours"}}, "2.55")
    assert changed["flavor"]["description"] == "ours"
    assert (await api.got("demo", "GET /flavors/small", version="2.55"))["flavor"]["description"] == "ours"
    await api.refused("admin", "PUT /flavors/small", 400, {"flavor": {"description": "x", "ram": 1}}, "2.55")


async def test_an_administrators_list_has_what_is_given_to_the_own_project(api: ComputeApi) -> None:
    await api.have_flavor("public")
    for name, whose in (("mine", "admin"), ("theirs", "demo")):
        await api.have_flavor(name, **{"os-flavor-access:is_public": False})
        given = {"addTenantAccess": {"tenant": await api.project(whose)}}
        await api.got("admin", f"POST /flavors/{name}/action", given)

    async def ids(query: str) -> set[str]:
        return {each["id"] for each in (await api.got("admin", f"GET /flavors{query}"))["flavors"]}

    assert await ids("") == await ids("?is_public=true") == {"public", "mine"}
    assert await ids("?is_public=false") == {"mine", "theirs"}
    assert await ids("?is_public=none") == {"public", "mine", "theirs"}


SPECS = "/flavors/small/os-extra_specs"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hw:cpu_policy", "sharedd"),
        ("hw:cpu_polcy", "shared"),
        ("hw:watchdog_action", "bark"),
        ("hw:tpm_version", "2.0"),
        ("hw:numa_nodes", "0"),
        ("hw:mem_page_size", "huge"),
        ("hw:boot_menu", "perhaps"),
        ("hw_rng:rate", "1"),
        ("quota:vif_burst", "1"),
        ("quota:disk_read_iops_sec", "many"),
        ("os:secure_boot", "yes"),
        ("capabilities:color", "red"),
        ("resources:VCPUS", "1"),
        ("resources1:CUSTOM_GOLD", "much"),
        ("trait:HW_CPU_X86_AVX3", "required"),
        ("trait:CUSTOM_GOLD", "wanted"),
        ("group_policy", "alone"),
    ],
)
async def test_extra_specs_that_nobody_knows_are_refused_from_2_86(api: ComputeApi, name: str, value: str) -> None:
    await api.have_flavor()
    specs = {"extra_specs": {"a": "b", name: value}}
    assert name in await api.refused("admin", f"POST {SPECS}", 400, specs, "2.86")
    assert name in await api.refused("admin", f"PUT {SPECS}/{name}", 400, {name: value}, "2.86")
    assert await api.got("admin", f"GET {SPECS}") == {"extra_specs": {}}
    await api.got("admin", f"POST {SPECS}", specs, "2.85")
    assert await api.got("admin", f"GET {SPECS}") == specs


async def test_extra_specs_that_mean_something_are_taken(api: ComputeApi) -> None:
    await api.have_flavor()
    known = {
        "hw:cpu_policy": "dedicated",
        "hw:cpu_dedicated_mask": "0-3,^2",
        "hw:numa_mem.1": "512",
        "hw:watchdog_action": "reset",
        "hw:mem_page_size": "2MB",
        "hw:machine_type": "q35",
        "quota:cpu_quota": "-1",
        "capabilities:cpu_info:arch": "<in> x86",
        "aggregate_instance_extra_specs:ssd": "true",
        "resources:VCPU": "0",
        "resources_GOLD:CUSTOM_GOLD": "1",
        "trait:HW_CPU_X86_AVX2": "required",
        "trait1:CUSTOM_GOLD": "forbidden",
        "renova:recovery": "leave",
        "own:anything": "",
        "without a namespace": "too",
    }
    await api.got("admin", f"POST {SPECS}", {"extra_specs": known}, "2.86")
    assert await api.got("admin", f"GET {SPECS}") == {"extra_specs": known}
