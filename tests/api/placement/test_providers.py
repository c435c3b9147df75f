"""Resource providers that operators add, change and take away."""

from tests.api.service_cloud import Api, Keep, Like

from .script import CONCURRENT, A, B, C, D, group, have, held, play, show


async def test_a_provider_comes_changes_and_goes(api: Api) -> None:
    await play(
        api,
        ("1.0 POST /resource_providers", {"name": "one", "uuid": A}, 201, None),
        ("1.0 POST /resource_providers", {"name": "one", "uuid": B}, 409, {"errors": [{"title": "Conflict"}]}),
        ("1.23 POST /resource_providers", {"name": "one"}, 409, {"errors": [{"code": "placement.duplicate_name"}]}),
        ("1.23 POST /resource_providers", {"name": "two", "uuid": A}, 409, None),
        ("1.20 POST /resource_providers", {"name": "two", "uuid": B.replace("-", "")}, 200, {"uuid": B}),
        ("1.20 POST /resource_providers", {"name": "any"}, 200, {"uuid": Like("[0-9a-f-]{36}")}),
        ("1.0 POST /resource_providers", {"name": ""}, 400, None),
        ("1.0 POST /resource_providers", {"name": "x", "uuid": "y"}, 400, None),
        ("1.0 POST /resource_providers", {"name": "x", "cabbage": "y"}, 400, None),
        ("1.13 POST /resource_providers", {"name": "x", "parent_provider_uuid": A}, 400, None),
        (f"1.0 PUT /resource_providers/{A}", {"name": "first"}, 200, {"name": "first", "generation": 0}),
        (f"1.0 PUT /resource_providers/{A}", {"name": "two"}, 409, None),
        (f"1.0 GET /resource_providers/{A}", None, 200, {"name": "first"}),
        (f"1.0 DELETE /resource_providers/{A}", None, 204, None),
        (f"1.0 DELETE /resource_providers/{A}", None, 404, None),
    )


async def test_providers_stand_in_trees(api: Api) -> None:
    for provider, name, parent in ((A, "root", None), (B, "child", A), (C, "grandchild", B), (D, "other", None)):
        await have(api, provider, name, parent)
    in_use = {"errors": [{"code": "placement.resource_provider.cannot_delete_parent"}]}
    await play(
        api,
        (f"1.14 GET /resource_providers/{C}", None, 200, {"parent_provider_uuid": B, "root_provider_uuid": A}),
        (
            f"1.14 GET /resource_providers?in_tree={C}",
            None,
            200,
            {"resource_providers": [{"uuid": B}, {"uuid": C}, {"uuid": A}]},
        ),
        (f"1.13 GET /resource_providers?in_tree={C}", None, 400, None),
        (f"1.23 DELETE /resource_providers/{A}", None, 409, in_use),
        (f"1.36 PUT /resource_providers/{B}", {"name": "child", "parent_provider_uuid": D}, 400, None),
        (f"1.37 PUT /resource_providers/{A}", {"name": "root", "parent_provider_uuid": C}, 400, None),
        (f"1.37 PUT /resource_providers/{A}", {"name": "root", "parent_provider_uuid": A}, 400, None),
        (
            f"1.37 PUT /resource_providers/{B}",
            {"name": "child", "parent_provider_uuid": D},
            200,
            {"root_provider_uuid": D},
        ),
        (f"1.37 GET /resource_providers/{C}", None, 200, {"parent_provider_uuid": B, "root_provider_uuid": D}),
        (f"1.36 PUT /resource_providers/{B}", {"name": "kid"}, 200, {"parent_provider_uuid": D}),
        (
            f"1.37 PUT /resource_providers/{B}",
            {"name": "kid", "parent_provider_uuid": None},
            200,
            {"root_provider_uuid": B},
        ),
        ("1.39 POST /resource_providers", {"name": "x", "parent_provider_uuid": A.replace("a", "f")}, 400, None),
        (f"1.39 DELETE /resource_providers/{A}", None, 204, None),
    )


async def test_providers_are_found_by_what_they_have_and_are(api: Api) -> None:
    await have(api, A, "big", VCPU=8, MEMORY_MB=1000)
    await have(api, B, "small", VCPU=2)
    await show(api, A, "HW_CPU_X86_VMX", "HW_CPU_X86_SSE")
    await show(api, B, "HW_CPU_X86_SSE")
    await group(api, C, A)
    await group(api, D, B)
    big, small = [{"uuid": A}], [{"uuid": B}]
    both, none = [*big, *small], list[dict[str, str]]()
    for query, version, found in (
        ("resources=VCPU:4", "1.4", big),
        ("resources=VCPU:1", "1.4", both),
        ("resources=VCPU:1,MEMORY_MB:1", "1.4", big),
        (f"member_of={C}", "1.3", big),
        (f"member_of=in:{C},{D}", "1.3", both),
        (f"member_of={C}&member_of={D}", "1.24", none),
        (f"member_of=!{C}", "1.32", small),
        (f"member_of=!in:{C},{D}", "1.32", none),
        ("required=HW_CPU_X86_VMX", "1.18", big),
        ("required=HW_CPU_X86_SSE,!HW_CPU_X86_VMX", "1.22", small),
        ("required=in:HW_CPU_X86_VMX,HW_CPU_X86_SSE", "1.39", both),
        ("required=in:HW_CPU_X86_VMX,HW_CPU_X86_AVX&required=HW_CPU_X86_SSE", "1.39", big),
        ("name=small&resources=VCPU:1", "1.4", small),
    ):
        await play(api, (f"{version} GET /resource_providers?{query}", None, 200, {"resource_providers": found}))
    for query, version in (
        ("resources=VCPU:1", "1.3"),
        ("resources=VCPU", "1.4"),
        ("resources=", "1.4"),
        ("resources=VCPU:0", "1.4"),
        ("resources=CUSTOM_NONE:1", "1.4"),
        (f"member_of={C}", "1.2"),
        (f"member_of={C},{D}", "1.24"),
        (f"member_of={C}&member_of={D}", "1.23"),
        (f"member_of=!{C}", "1.31"),
        ("member_of=nothing", "1.39"),
        ("required=CUSTOM_NONE", "1.18"),
        ("required=!HW_CPU_X86_SSE", "1.21"),
        ("required=HW_CPU_X86_SSE,!HW_CPU_X86_SSE", "1.22"),
        ("required=in:HW_CPU_X86_SSE,HW_CPU_X86_VMX", "1.38"),
        ("cabbage=1", "1.39"),
    ):
        await play(api, (f"{version} GET /resource_providers?{query}", None, 400, None))


async def test_inventories_are_written_by_who_knows_the_newest_generation(api: Api) -> None:
    await have(api, A, "one")
    inventories, vcpu = f"/resource_providers/{A}/inventories", f"/resource_providers/{A}/inventories/VCPU"
    whole = {"total": 8, "reserved": 0, "min_unit": 1, "max_unit": 2147483647, "step_size": 1, "allocation_ratio": 1.0}
    await play(
        api,
        (
            f"1.0 POST {inventories}",
            {"resource_class": "VCPU", "total": 8},
            201,
            {**whole, "resource_provider_generation": 2},
        ),
        (f"1.23 POST {inventories}", {"resource_class": "VCPU", "total": 8}, 409, CONCURRENT),
        (f"1.0 POST {inventories}", {"resource_class": "CUSTOM_NONE", "total": 8}, 400, None),
        (f"1.0 PUT {vcpu}", {"total": 16, "resource_provider_generation": 2}, 200, {"total": 16}),
        (f"1.23 PUT {vcpu}", {"total": 32, "resource_provider_generation": 2}, 409, CONCURRENT),
        (f"1.0 PUT {inventories}/DISK_GB", {"total": 1, "resource_provider_generation": 3}, 400, None),
        (f"1.0 GET {vcpu}", None, 200, {"total": 16, "resource_provider_generation": 3}),
        (f"1.25 PUT {vcpu}", {"total": 4, "reserved": 4, "resource_provider_generation": 3}, 400, None),
        (f"1.26 PUT {vcpu}", {"total": 4, "reserved": 5, "resource_provider_generation": 3}, 400, None),
        (f"1.26 PUT {vcpu}", {"total": 4, "reserved": 4, "resource_provider_generation": 3}, 200, {"reserved": 4}),
        (f"1.0 PUT {vcpu}", {"total": 0, "resource_provider_generation": 4}, 400, None),
        (f"1.0 PUT {vcpu}", {"total": 1, "colour": "red", "resource_provider_generation": 4}, 400, None),
        (f"1.0 PUT {vcpu}", {"total": 1}, 400, None),
        (
            f"1.0 PUT {inventories}",
            {"resource_provider_generation": 4, "inventories": {"DISK_GB": {"total": 5, "step_size": 5}}},
            200,
            {"inventories": {"DISK_GB": {"total": 5, "step_size": 5}}, "resource_provider_generation": 5},
        ),
        (f"1.0 GET {vcpu}", None, 404, None),
        (f"1.0 DELETE {inventories}/DISK_GB", None, 204, None),
        (f"1.0 DELETE {inventories}/DISK_GB", None, 404, None),
        (f"1.4 DELETE {inventories}", None, 405, None),
        (f"1.5 DELETE {inventories}", None, 204, None),
        (f"1.0 GET {inventories}", None, 200, {"inventories": {}}),
    )


async def test_what_is_held_is_not_taken_away(api: Api) -> None:
    await have(api, A, "one", VCPU=8, MEMORY_MB=1000)
    in_use = {"errors": [{"code": "placement.inventory.inuse"}]}
    inventories = f"/resource_providers/{A}/inventories"
    only = {"resource_provider_generation": 2, "inventories": {"MEMORY_MB": {"total": 1}}}
    less = {"resource_provider_generation": 2, "inventories": {"VCPU": {"total": 1}}}
    await play(
        api,
        (f"1.39 PUT /allocations/{B}", held({A: {"VCPU": 4}}), 204, None),
        (f"1.39 DELETE {inventories}/VCPU", None, 409, in_use),
        (f"1.39 DELETE {inventories}", None, 409, in_use),
        (f"1.39 PUT {inventories}", only, 409, in_use),
        (
            f"1.39 DELETE /resource_providers/{A}",
            None,
            409,
            {"errors": [{"code": "placement.resource_provider.inuse"}]},
        ),
        # Less than is held is taken; nothing more is given then.
        (f"1.39 PUT {inventories}", less, 200, None),
        (f"1.39 GET /resource_providers/{A}/usages", None, 200, {"usages": {"VCPU": 4}}),
        (f"1.39 PUT /allocations/{C}", held({A: {"VCPU": 1}}), 409, None),
        (f"1.39 DELETE /allocations/{B}", None, 204, None),
        (f"1.39 DELETE /resource_providers/{A}", None, 204, None),
    )


async def test_aggregates_of_a_provider(api: Api) -> None:
    await have(api, A, "one")
    path = f"/resource_providers/{A}/aggregates"
    await play(
        api,
        (f"1.1 GET {path}", None, 200, {"aggregates": []}),
        (f"1.1 PUT {path}", [C, B], 200, {"aggregates": [B, C]}),
        (f"1.1 PUT {path}", [C, C], 400, None),
        (f"1.1 PUT {path}", ["cabbage"], 400, None),
        (f"1.19 PUT {path}", [C], 400, None),
        (f"1.19 GET {path}", None, 200, {"aggregates": [B, C], "resource_provider_generation": 1}),
        (
            f"1.19 PUT {path}",
            {"aggregates": [D], "resource_provider_generation": 1},
            200,
            {"aggregates": [D], "resource_provider_generation": 2},
        ),
        (f"1.23 PUT {path}", {"aggregates": [], "resource_provider_generation": 1}, 409, CONCURRENT),
        (f"1.1 GET {path.replace(A, B)}", None, 404, None),
        (f"1.0 GET {path}", None, 404, None),
    )


async def test_traits_are_named_shown_and_forgotten(api: Api) -> None:
    await have(api, A, "one")
    of_a = f"/resource_providers/{A}/traits"
    await play(
        api,
        ("1.6 GET /traits/HW_CPU_X86_VMX", None, 204, None),
        ("1.6 GET /traits/CUSTOM_GOLD", None, 404, None),
        ("1.6 PUT /traits/CUSTOM_GOLD", None, 201, None),
        ("1.6 PUT /traits/CUSTOM_GOLD", None, 204, None),
        ("1.6 PUT /traits/GOLD", None, 400, None),
        ("1.6 PUT /traits/CUSTOM_gold", None, 400, None),
        (f"1.6 PUT /traits/CUSTOM_{'X' * 249}", None, 400, None),
        ("1.6 GET /traits?name=startswith:CUSTOM", None, 200, {"traits": ["CUSTOM_GOLD"]}),
        (
            "1.6 GET /traits?name=in:CUSTOM_GOLD,HW_CPU_X86_VMX,NO",
            None,
            200,
            {"traits": ["CUSTOM_GOLD", "HW_CPU_X86_VMX"]},
        ),
        ("1.6 GET /traits?name=CUSTOM", None, 400, None),
        ("1.6 GET /traits?associated=true", None, 200, {"traits": []}),
        ("1.6 GET /traits?associated=perhaps", None, 400, None),
        (
            f"1.6 PUT {of_a}",
            {"traits": ["CUSTOM_GOLD"], "resource_provider_generation": 1},
            200,
            {"traits": ["CUSTOM_GOLD"], "resource_provider_generation": 2},
        ),
        (f"1.23 PUT {of_a}", {"traits": [], "resource_provider_generation": 1}, 409, CONCURRENT),
        (f"1.6 PUT {of_a}", {"traits": ["CUSTOM_TIN"], "resource_provider_generation": 2}, 400, None),
        ("1.6 GET /traits?associated=true", None, 200, {"traits": ["CUSTOM_GOLD"]}),
        ("1.6 GET /traits?associated=false&name=startswith:CUSTOM", None, 200, {"traits": []}),
        ("1.6 DELETE /traits/CUSTOM_GOLD", None, 409, None),
        ("1.6 DELETE /traits/HW_CPU_X86_VMX", None, 400, None),
        ("1.6 DELETE /traits/CUSTOM_TIN", None, 404, None),
        (f"1.6 DELETE {of_a}", None, 204, None),
        (f"1.6 GET {of_a}", None, 200, {"traits": [], "resource_provider_generation": 3}),
        ("1.6 DELETE /traits/CUSTOM_GOLD", None, 204, None),
        ("1.5 GET /traits", None, 404, None),
    )


async def test_resource_classes_are_named_used_and_forgotten(api: Api) -> None:
    await have(api, A, "one")
    inventory = {"resource_class": "CUSTOM_IRON", "total": 3}
    await play(
        api,
        ("1.2 GET /resource_classes", None, 200, {"resource_classes": Keep("classes")}),
        ("1.2 POST /resource_classes", {"name": "CUSTOM_IRON"}, 201, None),
        ("1.2 POST /resource_classes", {"name": "CUSTOM_IRON"}, 409, None),
        ("1.2 POST /resource_classes", {"name": "IRON"}, 400, None),
        ("1.2 GET /resource_classes/CUSTOM_IRON", None, 200, {"name": "CUSTOM_IRON"}),
        ("1.2 GET /resource_classes/CUSTOM_TIN", None, 404, None),
        ("1.7 PUT /resource_classes/CUSTOM_IRON", None, 204, None),
        ("1.7 PUT /resource_classes/CUSTOM_TIN", None, 201, None),
        ("1.6 PUT /resource_classes/CUSTOM_TIN", {"name": "CUSTOM_LEAD"}, 200, {"name": "CUSTOM_LEAD"}),
        ("1.6 PUT /resource_classes/CUSTOM_LEAD", {"name": "CUSTOM_IRON"}, 409, None),
        ("1.2 DELETE /resource_classes/CUSTOM_LEAD", None, 204, None),
        ("1.2 DELETE /resource_classes/CUSTOM_LEAD", None, 404, None),
        ("1.2 DELETE /resource_classes/VCPU", None, 400, None),
        (f"1.2 POST /resource_providers/{A}/inventories", inventory, 201, None),
        ("1.2 DELETE /resource_classes/CUSTOM_IRON", None, 409, None),
        ("1.1 GET /resource_classes", None, 404, None),
    )
    assert {each["name"] for each in api.kept["classes"]} >= {"VCPU", "MEMORY_MB", "DISK_GB", "PCPU", "VGPU"}
