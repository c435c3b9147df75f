"""What hosts have and servers hold, read as Placement shows it."""

from renova.model.ids import HostId, ProjectId, ServerId, UserId
from renova.store import hosts
from renova.store.database import Tx
from renova.store.placement import claims, host_provider, inventories
from tests.api.service_cloud import Api

from .script import A, play

HOST = HostId("7c1f1d2e-2f0e-4f43-9d55-0a1f5d3c9a11")
SERVER = ServerId("2f6a3a1e-9d0f-4d0c-8f5b-6a7c1e2d3f40")
LATEST = {"openstack-api-version": "placement latest"}


def claim(tx: Tx) -> None:
    offered = [
        inventories.Inventory(HOST, "VCPU", 4, 0, 4.0, max_unit=4),
        inventories.Inventory(HOST, "MEMORY_MB", 8192, 512, 1.0, max_unit=8192),
    ]
    hosts.add(tx, HOST, "h1", "10.1.0.1", "certificate")
    host_provider.provide(tx, HOST, "h1", offered)
    claims.claim(tx, SERVER, ProjectId("p"), UserId("u"), HOST, {"VCPU": 2, "MEMORY_MB": 1024})


async def test_providers_and_allocations(api: Api) -> None:
    await api.cloud.database.transact(claim)
    provider = f"/resource_providers/{HOST}"
    vcpu = {"total": 4, "reserved": 0, "min_unit": 1, "max_unit": 4, "step_size": 1, "allocation_ratio": 4.0}
    held = {"resources": {"VCPU": 2, "MEMORY_MB": 1024}}
    missing = {"errors": [{"status": 404, "title": "Not Found"}]}
    await api.play(
        "/placement",
        [
            ("admin", "GET /resource_providers", None, 200, {"resource_providers": [{"uuid": HOST, "name": "h1"}]}),
            ("admin", "GET /resource_providers?name=h1", None, 200, {"resource_providers": [{"uuid": HOST}]}),
            ("admin", "GET /resource_providers?name=h2", None, 200, {"resource_providers": []}),
            ("admin", f"GET /resource_providers?uuid={HOST}", None, 200, {"resource_providers": [{"name": "h1"}]}),
            ("admin", f"GET {provider}", None, 200, {"generation": 2}),
            ("admin", f"GET {provider}/inventories", None, 200, {"inventories": {"VCPU": vcpu}}),
            ("admin", f"GET {provider}/inventories/VCPU", None, 200, {**vcpu, "resource_provider_generation": 2}),
            ("admin", f"GET {provider}/inventories/DISK_GB", None, 404, missing),
            ("admin", f"GET {provider}/usages", None, 200, {"usages": {"VCPU": 2, "MEMORY_MB": 1024}}),
            ("admin", f"GET {provider}/allocations", None, 200, {"allocations": {SERVER: held}}),
            ("admin", f"GET /allocations/{SERVER}", None, 200, {"allocations": {HOST: {**held, "generation": 2}}}),
            ("admin", f"GET /allocations/{HOST}", None, 200, {"allocations": {}}),
            ("admin", "GET /resource_providers/gone", None, 404, missing),
            ("demo", "GET /resource_providers", None, 403, {"errors": [{"status": 403}]}),
            ("admin", f"GET {provider}/traits", None, 404, missing),
            ("admin", "POST /resource_providers", {}, 400, {"errors": [{"status": 400}]}),
            ("admin", "PATCH /resource_providers", {}, 405, {"errors": [{"status": 405}]}),
            (None, "GET /resource_providers", None, 401, {"errors": [{"status": 401}]}),
        ],
    )


async def test_newer_versions_show_more(api: Api) -> None:
    await api.cloud.database.transact(claim)
    shown = await api.ask("admin", f"GET /placement/resource_providers/{HOST}", headers=LATEST)
    assert shown.headers["openstack-api-version"] == "placement 1.39"
    assert (shown.headers["cache-control"], shown.headers["last-modified"]) == (
        "no-cache",
        "Fri, 02 Jan 2026 03:04:05 GMT",
    )
    assert shown.json().items() >= {"parent_provider_uuid": None, "root_provider_uuid": HOST}.items()
    held = (await api.ask("admin", f"GET /placement/allocations/{SERVER}", headers=LATEST)).json()
    assert (held["project_id"], held["user_id"], held["consumer_generation"]) == ("p", "u", 1)
    assert held["consumer_type"] == "INSTANCE"
    for asked, status in (("1.99", 406), ("newest", 400), ("1.0", 200)):
        headers = {"openstack-api-version": f"placement {asked}"}
        assert (await api.ask("admin", "GET /placement/resource_providers", headers=headers)).status_code == status


async def test_a_host_stays_a_provider_as_long_as_it_is_a_host(api: Api) -> None:
    await api.cloud.database.transact(claim)
    await api.cloud.database.transact(lambda tx: claims.release(tx, SERVER))
    refusal = {
        "errors": [
            {
                "detail": f"Unable to delete resource provider {HOST}: it is the host h1. "
                "Delete its compute service instead."
            }
        ]
    }
    await play(
        api,
        (f"1.39 DELETE /resource_providers/{HOST}", None, 409, refusal),
        (f"1.39 GET /resource_providers/{HOST}", None, 200, {"name": "h1"}),
        (f"1.39 GET /resource_providers/{HOST}?what=1", None, 400, None),
        (f"1.39 GET /allocations/{A}", None, 200, {"allocations": {}}),
    )
