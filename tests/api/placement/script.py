"""Scripts of requests to Placement: one line each, "1.39 GET /path", its body, the status and what is answered.

`{name}` stands for a value that was kept, as in `service_cloud`; A to F for providers' and others' ids.
"""

from typing import Any

from tests.api.service_cloud import Api

Line = tuple[str, Any, int, Any]

IDS = {letter: f"{number:08x}-0000-4000-8000-000000000000" for number, letter in enumerate("ABCDEF", 10)}
A, B, C, D, E, F = IDS.values()
CONCURRENT = {"errors": [{"status": 409, "code": "placement.concurrent_update"}]}


async def play(api: Api, *lines: Line, who: str = "admin") -> None:
    """Send the requests one after the other, each at its version, and check every answer."""
    for request, body, status, expected in lines:
        version, _, rest = request.partition(" ")
        headers = {"openstack-api-version": f"placement {version}"}
        await api.play("/placement", [(who, rest, body, status, expected)], headers)


async def have(api: Api, provider: str, name: str, parent: str | None = None, **totals: int) -> None:
    """Have a provider with these totals."""
    body = {"name": name, "uuid": provider, "parent_provider_uuid": parent}
    inventories = {each: {"total": total} for each, total in totals.items()}
    await play(
        api,
        ("1.39 POST /resource_providers", body, 200, {"uuid": provider, "generation": 0}),
        (
            f"1.39 PUT /resource_providers/{provider}/inventories",
            {"resource_provider_generation": 0, "inventories": inventories},
            200,
            {"resource_provider_generation": 1},
        ),
    )


async def show(api: Api, provider: str, *traits: str) -> None:
    """Have the provider show these traits."""
    path = f"/placement/resource_providers/{provider}/traits"
    headers = {"openstack-api-version": "placement 1.39"}
    generation = (await api.ask("admin", f"GET {path}", headers=headers)).json()["resource_provider_generation"]
    await play(
        api,
        (
            f"1.39 PUT {path.removeprefix('/placement')}",
            {"traits": traits, "resource_provider_generation": generation},
            200,
            None,
        ),
    )


async def group(api: Api, aggregate: str, *providers: str) -> None:
    """Have these providers in this aggregate."""
    for provider in providers:
        await play(
            api, (f"1.1 PUT /resource_providers/{provider}/aggregates", [aggregate], 200, {"aggregates": [aggregate]})
        )


def held(amounts: dict[str, dict[str, int]], generation: int | None = None, **changes: Any) -> dict[str, Any]:
    """Return the body by which a consumer is to hold this."""
    body: dict[str, Any] = {
        "allocations": {provider: {"resources": resources} for provider, resources in amounts.items()},
        "project_id": "p",
        "user_id": "u",
        "consumer_generation": generation,
        "consumer_type": "INSTANCE",
    }
    return body | changes
