"""Snapshots, types, services, versions (Block Storage API v3)."""

from typing import Any

import pytest

from tests.api.service_cloud import Api
from tests.api.volume.volume_api import ask, make, settle, status


async def take(api: Api, volume: str, version: str = "3.0", **given: Any) -> tuple[int, str]:
    body = {"snapshot": {"volume_id": volume, "name": "before", **given}}
    answer = await ask(api, "demo", "POST /snapshots", body, version)
    await settle(api)
    return answer.status_code, answer.json().get("snapshot", {}).get("id", "")


async def test_a_snapshot_from_its_taking_to_its_end(api: Api) -> None:
    volume = (await make(api, size=2))["id"]
    code, snapshot = await take(api, volume, metadata={"a": "1"})
    assert code == 202
    found = (await ask(api, "demo", f"GET /snapshots/{snapshot}", version="3.41")).json()["snapshot"]
    assert (found["status"], found["size"], found["volume_id"], found["metadata"]) == (
        "available",
        2,
        volume,
        {"a": "1"},
    )
    assert found["os-extended-snapshot-attributes:progress"] == "100%"
    assert (await ask(api, "demo", f"DELETE /volumes/{volume}")).status_code == 400
    changed = await ask(api, "demo", f"PUT /snapshots/{snapshot}", {"snapshot": {"name": "after"}})
    assert changed.json()["snapshot"]["name"] == "after"
    small = await ask(api, "demo", "POST /volumes", {"volume": {"size": 1, "snapshot_id": snapshot}})
    assert small.status_code == 400
    copy = await make(api, size=None, snapshot_id=snapshot)
    assert (copy["size"], copy["snapshot_id"]) == (2, snapshot)
    listed = (await ask(api, "demo", f"GET /snapshots/detail?volume_id={volume}")).json()["snapshots"]
    assert [each["id"] for each in listed] == [snapshot]
    assert (await ask(api, "admin", f"GET /snapshots/{snapshot}")).status_code == 200
    assert (await ask(api, "demo", f"DELETE /snapshots/{snapshot}")).status_code == 202
    await settle(api)
    assert (await ask(api, "demo", f"GET /snapshots/{snapshot}")).status_code == 404
    assert (await ask(api, "demo", f"DELETE /volumes/{volume}")).status_code == 202


async def test_a_volume_in_use_is_snapshot_only_by_force_or_from_3_66_on(api: Api) -> None:
    volume = (await make(api))["id"]
    body = {"os-attach": {"instance_uuid": volume, "mountpoint": "/dev/vdb"}}
    assert (await ask(api, "demo", f"POST /volumes/{volume}/action", body)).status_code == 202
    assert (await take(api, volume))[0] == 400
    assert (await take(api, volume, force=True))[0] == 202
    assert (await take(api, volume, "3.66"))[0] == 202
    assert (await take(api, volume, "3.66", force=False))[0] == 400
    assert await status(api, volume) == "in-use"


async def test_a_cascade_takes_the_snapshots_along(api: Api) -> None:
    volume = (await make(api))["id"]
    await take(api, volume)
    assert (await ask(api, "demo", f"DELETE /volumes/{volume}?cascade=true")).status_code == 202
    await settle(api)
    assert await status(api, volume) is None
    assert (await ask(api, "demo", "GET /snapshots")).json() == {"snapshots": []}
    assert api.storage.volumes.snapshots == {}


async def test_snapshots_have_metadata_and_a_status_for_administrators(api: Api) -> None:
    volume = (await make(api))["id"]
    _, snapshot = await take(api, volume)
    path = f"/snapshots/{snapshot}"
    assert (await ask(api, "demo", f"POST {path}/metadata", {"metadata": {"a": "1"}})).json()["metadata"] == {"a": "1"}
    reset = {"os-reset_status": {"status": "error"}}
    assert (await ask(api, "demo", f"POST {path}/action", reset)).status_code == 403
    assert (await ask(api, "admin", f"POST {path}/action", reset)).status_code == 202
    assert (await ask(api, "demo", f"GET {path}")).json()["snapshot"]["status"] == "error"
    assert (await ask(api, "admin", f"POST {path}/action", {"os-reset_status": {"status": "x"}})).status_code == 400
    assert (await ask(api, "admin", f"POST {path}/action", {"os-force_delete": None})).status_code == 202


@pytest.mark.parametrize("given", [{"volume_id": "none"}, {"name": "x" * 256}, {"metadata": {"": ""}}])
async def test_what_cannot_be_taken_is_refused(api: Api, given: dict[str, Any]) -> None:
    volume = (await make(api))["id"]
    answer = await ask(api, "demo", "POST /snapshots", {"snapshot": {"volume_id": volume, **given}})
    assert answer.status_code == (404 if "volume_id" in given else 400)


async def test_types_are_for_everybody_to_see_and_for_administrators_to_make(api: Api) -> None:
    (usual,) = (await ask(api, "demo", "GET /types")).json()["volume_types"]
    assert usual["name"] == "__DEFAULT__"
    assert (await ask(api, "demo", "GET /types/default")).json()["volume_type"]["id"] == usual["id"]
    body = {"volume_type": {"name": "fast", "extra_specs": {"disk": "ssd"}}}
    assert (await ask(api, "demo", "POST /types", body)).status_code == 403
    made = (await ask(api, "admin", "POST /types", body)).json()["volume_type"]
    assert (await ask(api, "admin", "POST /types", body)).status_code == 409
    path = f"/types/{made['id']}"
    assert (await ask(api, "admin", f"POST {path}/extra_specs", {"extra_specs": {"a": "b"}})).status_code == 200
    specs = (await ask(api, "admin", f"GET {path}/extra_specs")).json()["extra_specs"]
    assert specs == {"disk": "ssd", "a": "b"}
    assert (await ask(api, "admin", f"DELETE {path}/extra_specs/a")).status_code == 202
    renamed = await ask(api, "admin", f"PUT {path}", {"volume_type": {"description": "fast ones"}})
    assert renamed.json()["volume_type"]["description"] == "fast ones"
    volume = await make(api, volume_type="fast")
    assert volume["volume_type"] == "fast"
    assert (await ask(api, "admin", f"DELETE {path}")).status_code == 400
    await ask(api, "demo", f"DELETE /volumes/{volume['id']}")
    await settle(api)
    assert (await ask(api, "admin", f"DELETE {path}")).status_code == 202
    assert (await ask(api, "admin", f"DELETE /types/{usual['id']}")).status_code == 400


async def test_storage_hosts_are_volume_services(api: Api) -> None:
    assert (await ask(api, "demo", "GET /os-services")).status_code == 403
    (service,) = (await ask(api, "admin", "GET /os-services")).json()["services"]
    assert (service["binary"], service["host"], service["state"]) == ("cinder-volume", "storage1", "up")
    body = {"host": "storage1", "binary": "cinder-volume"}
    assert (await ask(api, "admin", "PUT /os-services/disable", body)).json()["status"] == "disabled"
    assert (await ask(api, "demo", "POST /volumes", {"volume": {"size": 1}})).status_code == 503
    zone = {"zoneName": "nova", "zoneState": {"available": False}}
    assert (await ask(api, "demo", "GET /os-availability-zone")).json() == {"availabilityZoneInfo": [zone]}
    assert (await ask(api, "admin", "PUT /os-services/enable", body)).status_code == 200
    assert (await ask(api, "admin", "PUT /os-services/enable", {**body, "host": "x"})).status_code == 404
    (pool,) = (await ask(api, "admin", "GET /scheduler-stats/get_pools?detail=true")).json()["pools"]
    assert (pool["name"], pool["capabilities"]["total_capacity_gb"]) == ("storage1", 1000)
    assert (await ask(api, "demo", "GET /extensions")).json() == {"extensions": []}


async def test_versions_are_told_and_kept_to(api: Api) -> None:
    listed = await api.ask(None, "GET /volume/")
    assert listed.status_code == 300
    (version,) = (await api.ask(None, "GET /volume/v3/")).json()["versions"]
    assert (version["id"], version["min_version"], version["version"]) == ("v3.0", "3.0", "3.71")
    assert version["links"][0]["href"] == "http://cloud.example/volume/v3/"
    answer = await ask(api, "demo", "GET /volumes", version="latest")
    assert answer.headers["openstack-api-version"] == "volume 3.71"
    assert (await ask(api, "demo", "GET /volumes", version="3.72")).status_code == 406
    assert (await ask(api, "demo", "GET /volumes", version="three")).status_code == 400
    assert (await api.ask("demo", "GET /volume/v3/volumes")).status_code == 200
    assert (await api.ask(None, "GET /volume/v3/volumes")).status_code == 401
