"""Allocations: written whole, by who knows the newest generation, and never more than there is."""

import pytest

from renova.store.placement import claims, inventories
from tests.api.service_cloud import Api

from .script import CONCURRENT, A, B, C, D, E, have, held, play


@pytest.fixture(autouse=True)
async def two_providers(api: Api) -> None:
    await have(api, A, "one", VCPU=8, MEMORY_MB=1000)
    await have(api, B, "two", VCPU=8, DISK_GB=100)


async def all_is_counted(api: Api) -> bool:
    return not await api.cloud.database.read(inventories.miscounted)


async def test_allocations_replace_all_that_was_held(api: Api) -> None:
    shown = {A: {"resources": {"VCPU": 2, "MEMORY_MB": 100}}, B: {"resources": {"DISK_GB": 10}}}
    await play(
        api,
        (f"1.39 PUT /allocations/{C}", held({A: {"VCPU": 2, "MEMORY_MB": 100}, B: {"DISK_GB": 10}}), 204, None),
        (
            f"1.39 GET /allocations/{C}",
            None,
            200,
            {
                "allocations": shown,
                "project_id": "p",
                "user_id": "u",
                "consumer_generation": 1,
                "consumer_type": "INSTANCE",
            },
        ),
        (
            f"1.39 GET /resource_providers/{A}/allocations",
            None,
            200,
            {"allocations": {C: {"resources": {"VCPU": 2, "MEMORY_MB": 100}, "consumer_generation": 1}}},
        ),
        (f"1.39 PUT /allocations/{C}", held({B: {"VCPU": 1}}, 1, project_id="q", consumer_type="OTHER"), 204, None),
        (
            f"1.39 GET /allocations/{C}",
            None,
            200,
            {"project_id": "q", "consumer_generation": 2, "consumer_type": "OTHER"},
        ),
        (f"1.39 GET /resource_providers/{A}/usages", None, 200, {"usages": {"VCPU": 0, "MEMORY_MB": 0}}),
        (f"1.39 GET /resource_providers/{B}/usages", None, 200, {"usages": {"VCPU": 1, "DISK_GB": 0}}),
        (f"1.39 PUT /allocations/{C}", held({}, 2), 204, None),
        (f"1.39 GET /allocations/{C}", None, 200, {"allocations": {}}),
        (f"1.39 DELETE /allocations/{C}", None, 404, None),
    )
    assert await all_is_counted(api)


async def test_a_consumer_is_written_by_who_knows_its_generation(api: Api) -> None:
    conflict = {
        "errors": [
            {"code": "placement.concurrent_update", "detail": "consumer generation conflict - expected 1 but got null"}
        ]
    }
    one = {A: {"VCPU": 1}}
    await play(
        api,
        (f"1.28 PUT /allocations/{C}", held(one, 1), 400, None),
        (f"1.39 PUT /allocations/{C}", held(one, 1), 409, CONCURRENT),
        (f"1.39 PUT /allocations/{C}", held(one), 204, None),
        (f"1.39 PUT /allocations/{C}", held(one), 409, conflict),
        (f"1.39 PUT /allocations/{C}", held(one, 7), 409, CONCURRENT),
        (f"1.39 PUT /allocations/{C}", held({A: {"VCPU": 3}}, 1), 204, None),
        (f"1.39 DELETE /allocations/{C}", None, 204, None),
        (f"1.39 PUT /allocations/{C}", held(one, 2), 409, CONCURRENT),
        (f"1.39 PUT /allocations/{C}", held(one), 204, None),
    )


async def test_a_consumer_that_a_claim_has_changed_is_another_one(api: Api) -> None:
    """What operations claim raises the same generation: who read before must read again."""
    await play(api, (f"1.39 PUT /allocations/{C}", held({A: {"VCPU": 1}}), 204, None))
    claim = {"VCPU": 2}
    await api.cloud.database.transact(lambda tx: claims.claim(tx, C, "p", "u", B, claim))  # type: ignore[arg-type]
    both = {A: {"resources": {"VCPU": 1}}, B: {"resources": {"VCPU": 2}}}
    await play(
        api,
        (f"1.39 PUT /allocations/{C}", held({}, 1), 409, CONCURRENT),
        (f"1.39 GET /allocations/{C}", None, 200, {"allocations": both, "consumer_generation": 2}),
    )
    await api.cloud.database.transact(lambda tx: claims.release(tx, C, B))  # type: ignore[arg-type]
    await play(
        api,
        (f"1.39 PUT /allocations/{C}", held({}, 2), 409, CONCURRENT),
        (f"1.39 PUT /allocations/{C}", held({}, 3), 204, None),
    )


async def test_more_than_there_is_is_given_to_nobody(api: Api) -> None:
    coarse = {"resource_provider_generation": 1, "total": 100, "min_unit": 10, "max_unit": 40, "step_size": 10}
    await play(
        api,
        (f"1.39 PUT /allocations/{C}", held({A: {"VCPU": 9}}), 409, {"errors": [{"code": "placement.undefined_code"}]}),
        (f"1.39 PUT /allocations/{C}", held({A: {"VCPU": 1}, B: {"VCPU": 9}}), 409, None),
        (f"1.39 PUT /allocations/{C}", held({A: {"DISK_GB": 1}}), 409, None),
        (f"1.39 PUT /resource_providers/{B}/inventories/DISK_GB", coarse, 200, None),
        (f"1.39 PUT /allocations/{C}", held({B: {"DISK_GB": 5}}), 409, None),
        (f"1.39 PUT /allocations/{C}", held({B: {"DISK_GB": 50}}), 409, None),
        (f"1.39 PUT /allocations/{C}", held({B: {"DISK_GB": 15}}), 409, None),
        (f"1.39 GET /allocations/{C}", None, 200, {"allocations": {}}),
        (f"1.39 PUT /allocations/{C}", held({B: {"DISK_GB": 40}}), 204, None),
    )
    assert await all_is_counted(api)


async def test_what_one_gives_back_another_takes_in_the_same_request(api: Api) -> None:
    """As a move does: the server's hold of its source goes to its migration."""
    await play(
        api,
        (f"1.39 PUT /allocations/{C}", held({A: {"VCPU": 8}}), 204, None),
        (
            "1.39 POST /allocations",
            {C: held({B: {"VCPU": 8}}, 1), D: held({A: {"VCPU": 8}}, None, consumer_type="MIGRATION")},
            204,
            None,
        ),
        (f"1.39 GET /resource_providers/{A}/allocations", None, 200, {"allocations": {D: {"resources": {"VCPU": 8}}}}),
        # All or nothing: the second does not fit, so the first keeps what it has.
        ("1.39 POST /allocations", {C: held({}, 2), E: held({A: {"VCPU": 1}})}, 409, None),
        (f"1.39 GET /allocations/{C}", None, 200, {"allocations": {B: {"resources": {"VCPU": 8}}}}),
        ("1.39 POST /allocations", {C: held({A: {"VCPU": 8}}, 2), D: held({}, 1)}, 204, None),
        (f"1.39 GET /resource_providers/{B}/usages", None, 200, {"usages": {"VCPU": 0}}),
        ("1.39 POST /allocations", {}, 400, None),
        ("1.12 POST /allocations", {C: held({})}, 404, None),
    )
    assert await all_is_counted(api)


async def test_older_versions_write_as_they_did(api: Api) -> None:
    old = {"allocations": [{"resource_provider": {"uuid": A}, "resources": {"VCPU": 1}}]}
    named = {"project_id": "p", "user_id": "u"}
    new = {"allocations": {A: {"resources": {"VCPU": 2}, "generation": 5}}, **named}
    await play(
        api,
        (f"1.0 PUT /allocations/{C}", old, 204, None),
        (f"1.0 GET /allocations/{C}", None, 200, {"allocations": {A: {"resources": {"VCPU": 1}, "generation": 2}}}),
        (f"1.7 PUT /allocations/{C}", {**old, **named}, 400, None),
        (f"1.8 PUT /allocations/{C}", old, 400, None),
        (f"1.8 PUT /allocations/{C}", {**old, **named}, 204, None),
        (f"1.12 PUT /allocations/{C}", {**old, **named}, 400, None),
        (f"1.12 PUT /allocations/{C}", new, 204, None),
        (f"1.12 GET /allocations/{C}", None, 200, {**named, "allocations": {A: {"resources": {"VCPU": 2}}}}),
        (f"1.12 PUT /allocations/{C}", {**new, "allocations": {}}, 400, None),
        (f"1.27 PUT /allocations/{C}", {**new, "consumer_generation": 3}, 400, None),
        (f"1.28 PUT /allocations/{C}", new, 400, None),
        (f"1.28 PUT /allocations/{C}", {**new, "consumer_generation": 3}, 204, None),
        (f"1.33 PUT /allocations/{C}", {**new, "consumer_generation": 4, "mappings": {"": [A]}}, 400, None),
        (f"1.34 PUT /allocations/{C}", {**new, "consumer_generation": 4, "mappings": {"": [A]}}, 204, None),
        (f"1.38 PUT /allocations/{C}", {**new, "consumer_generation": 5}, 400, None),
        (f"1.38 GET /allocations/{C}", None, 200, {"consumer_type": "unknown"}),
    )


@pytest.mark.parametrize(
    "body",
    [
        held({E: {"VCPU": 1}}),
        held({A: {"CUSTOM_NONE": 1}}),
        held({A: {"VCPU": 0}}),
        held({A: {"VCPU": -1}}),
        held({A: {}}),
        held({"cabbage": {"VCPU": 1}}),
        held({A: {"VCPU": 1}}, project_id=""),
        held({A: {"VCPU": 1}}, consumer_type="small"),
        held({A: {"VCPU": 1}}, colour="red"),
        {"allocations": {}},
        [],
    ],
)
async def test_nonsense_is_refused_and_changes_nothing(api: Api, body: object) -> None:
    await play(
        api,
        (f"1.39 PUT /allocations/{C}", body, 400, None),
        ("1.39 PUT /allocations/cabbage", held({A: {"VCPU": 1}}), 400, None),
        (f"1.39 GET /allocations/{C}", None, 200, {"allocations": {}}),
        (f"1.39 GET /resource_providers/{A}", None, 200, {"generation": 1}),
    )


async def test_usages_of_a_project_by_user_and_type(api: Api) -> None:
    await play(
        api,
        (f"1.39 PUT /allocations/{C}", held({A: {"VCPU": 2, "MEMORY_MB": 10}}), 204, None),
        (f"1.39 PUT /allocations/{D}", held({B: {"VCPU": 3}}, user_id="v", consumer_type="MIGRATION"), 204, None),
        (f"1.39 PUT /allocations/{E}", held({B: {"VCPU": 1}}, project_id="q"), 204, None),
        ("1.9 GET /usages?project_id=p", None, 200, {"usages": {"VCPU": 5, "MEMORY_MB": 10}}),
        ("1.9 GET /usages?project_id=p&user_id=v", None, 200, {"usages": {"VCPU": 3}}),
        ("1.9 GET /usages?project_id=nobody", None, 200, {"usages": {}}),
        (
            "1.38 GET /usages?project_id=p",
            None,
            200,
            {
                "usages": {
                    "INSTANCE": {"VCPU": 2, "MEMORY_MB": 10, "consumer_count": 1},
                    "MIGRATION": {"VCPU": 3, "consumer_count": 1},
                }
            },
        ),
        (
            "1.38 GET /usages?project_id=p&consumer_type=all",
            None,
            200,
            {"usages": {"all": {"VCPU": 5, "consumer_count": 2}}},
        ),
        ("1.38 GET /usages?project_id=p&consumer_type=MIGRATION", None, 200, {"usages": {"MIGRATION": {"VCPU": 3}}}),
        ("1.37 GET /usages?project_id=p&consumer_type=all", None, 400, None),
        ("1.9 GET /usages", None, 400, None),
        ("1.8 GET /usages?project_id=p", None, 404, None),
    )
    await api.sign_in("demo")
    await play(api, ("1.9 GET /usages?project_id={demo_project}", None, 200, {"usages": {}}), who="demo")
    await play(api, ("1.9 GET /usages?project_id=p", None, 403, None), who="demo")


async def test_inventories_move_with_what_is_held_of_them(api: Api) -> None:
    """As when a host's processors go to a provider of their own below it."""
    await have(api, D, "numa", A)
    await play(api, (f"1.39 PUT /allocations/{C}", held({A: {"VCPU": 8, "MEMORY_MB": 100}}), 204, None))
    moved = {
        "inventories": {
            A: {"resource_provider_generation": 2, "inventories": {"MEMORY_MB": {"total": 1000}}},
            D: {"resource_provider_generation": 1, "inventories": {"VCPU": {"total": 8}}},
        },
        "allocations": {C: held({A: {"MEMORY_MB": 100}, D: {"VCPU": 8}}, 1)},
    }
    lost = {**moved, "allocations": {}}
    await play(
        api,
        ("1.39 POST /reshaper", lost, 409, {"errors": [{"code": "placement.inventory.inuse"}]}),
        ("1.29 POST /reshaper", moved, 404, None),
        ("1.39 POST /reshaper", moved, 204, None),
        (f"1.39 GET /resource_providers/{A}/usages", None, 200, {"usages": {"MEMORY_MB": 100}}),
        (f"1.39 GET /resource_providers/{D}/usages", None, 200, {"usages": {"VCPU": 8}}),
        ("1.39 POST /reshaper", moved, 409, CONCURRENT),
    )
    assert await all_is_counted(api)
