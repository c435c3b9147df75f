"""Projects have limits, which administrators change; usage is counted in hours."""

from typing import Any

import pytest

from renova.model.server import VmState

from .compute_cloud import ComputeApi

FILES = {"injected_files", "injected_file_content_bytes", "injected_file_path_bytes"}
NETWORK = {"fixed_ips", "floating_ips", "security_groups", "security_group_rules"}
OURS = {"instances", "cores", "ram", "metadata_items", "key_pairs", "server_groups", "server_group_members"}


@pytest.mark.parametrize(
    ("version", "names"), [("2.1", OURS | FILES | NETWORK), ("2.36", OURS | FILES), ("2.57", OURS)]
)
async def test_quotas_are_those_of_the_microversion(api: ComputeApi, version: str, names: set[str]) -> None:
    project = await api.project("demo")
    shown = (await api.got("demo", f"GET /os-quota-sets/{project}", version=version))["quota_set"]
    assert set(shown) == names | {"id"}
    assert (shown["instances"], shown["cores"], shown["ram"]) == (10, 20, 51200)
    assert (await api.got("demo", f"GET /os-quota-sets/{project}/defaults", version=version))["quota_set"] == shown


async def test_administrators_change_quotas(api: ComputeApi) -> None:
    project = await api.project("demo")
    path = f"/os-quota-sets/{project}"
    changed = (await api.got("admin", f"PUT {path}", {"quota_set": {"instances": 3, "ram": "-1"}}))["quota_set"]
    assert (changed["instances"], changed["ram"], changed["cores"]) == (3, -1, 20)
    limits = (await api.got("demo", "GET /limits"))["limits"]["absolute"]
    assert (limits["maxTotalInstances"], limits["maxTotalRAMSize"]) == (3, -1)
    await api.got("admin", f"DELETE {path}", status=202)
    assert (await api.got("demo", f"GET {path}"))["quota_set"]["instances"] == 10
    await api.refused("demo", f"PUT {path}", 403, {"quota_set": {"instances": 3}})


async def test_defaults_count_where_nothing_else_is_said(api: ComputeApi) -> None:
    project = await api.project("demo")
    await api.got("admin", "PUT /os-quota-class-sets/default", {"quota_class_set": {"cores": 5}})
    assert (await api.got("demo", f"GET /os-quota-sets/{project}"))["quota_set"]["cores"] == 5
    assert (await api.got("admin", "GET /os-quota-class-sets/default"))["quota_class_set"]["cores"] == 5
    await api.refused("admin", "PUT /os-quota-class-sets/other", 400, {"quota_class_set": {"cores": 5}})


async def test_a_quota_below_what_is_used_needs_force(api: ComputeApi) -> None:
    await api.have_server()
    await api.have_server()
    path = f"/os-quota-sets/{await api.project('demo')}"
    message = await api.refused("admin", f"PUT {path}", 400, {"quota_set": {"instances": 1}})
    assert "already used" in message
    await api.got("admin", f"PUT {path}", {"quota_set": {"instances": 1, "force": "True"}})
    detail = (await api.got("demo", f"GET {path}/detail"))["quota_set"]
    assert detail["instances"] == {"limit": 1, "in_use": 2, "reserved": 0}


@pytest.mark.parametrize(
    "body", [{"instances": -2}, {"instances": "many"}, {"instances": None}, {"colour": 1}, {"force": "perhaps"}]
)
async def test_a_wrong_quota_is_refused(api: ComputeApi, body: Any) -> None:
    await api.refused("admin", f"PUT /os-quota-sets/{await api.project('demo')}", 400, {"quota_set": body}, "2.57")
    await api.refused("admin", "PUT /os-quota-sets/nobody", 400, {"quota_set": {"cores": 1}})


async def test_limits_tell_what_is_used(api: ComputeApi) -> None:
    await api.have_server()
    absolute = (await api.got("demo", "GET /limits", version="2.57"))["limits"]["absolute"]
    assert (absolute["totalInstancesUsed"], absolute["totalCoresUsed"], absolute["totalRAMUsed"]) == (1, 1, 512)
    assert not {"maxImageMeta", "maxPersonality", "maxSecurityGroups"} & set(absolute)
    old = (await api.got("demo", "GET /limits"))["limits"]["absolute"]
    assert {"maxImageMeta", "maxPersonality", "maxSecurityGroups"} <= set(old)
    await api.sign_in("admin")
    await api.refused("demo", "GET /limits?tenant_id={admin_project}", 403)
    other = await api.got("admin", "GET /limits?tenant_id={demo_project}")
    assert other["limits"]["absolute"]["totalInstancesUsed"] == 1


async def test_usage_counts_the_hours_until_now(api: ComputeApi) -> None:
    first = await api.have_server(name="a")
    gone = "2026-01-02T04:04:06.000000"
    await api.have_server(name="b", vm_state=VmState.DELETED, deleted=True, terminated_at=gone)
    await api.have_server("admin")
    await api.clock.sleep(2 * 3600)
    project = await api.project("demo")
    period = "start=2026-01-01T00:00:00&end=2026-02-01T00:00:00"
    usage = (await api.got("demo", f"GET /os-simple-tenant-usage/{project}?{period}"))["tenant_usage"]
    hours = [round(each["hours"], 2) for each in usage["server_usages"]]
    assert hours == [2.0, 1.0]
    assert round(usage["total_memory_mb_usage"]) == round(512 * usage["total_hours"])
    assert [each["state"] for each in usage["server_usages"]] == ["active", "terminated"]
    usages = (await api.got("admin", f"GET /os-simple-tenant-usage?{period}"))["tenant_usages"]
    assert {each["tenant_id"] for each in usages} == {project, api.kept["admin_project"]}
    assert "server_usages" not in usages[0]
    for word in ("1", "True"):
        found = await api.got("admin", f"GET /os-simple-tenant-usage?{period}&detailed={word}")
        assert len(found["tenant_usages"][0]["server_usages"]) == 2
    page = await api.got("demo", f"GET /os-simple-tenant-usage/{project}?{period}&limit=1", version="2.40")
    assert [each["instance_id"] for each in page["tenant_usage"]["server_usages"]] == [first.id]
    assert page["tenant_usage_links"][0]["href"].endswith(f"marker={first.id}")
    rest = await api.got("demo", f"GET /os-simple-tenant-usage/{project}?{period}&marker={first.id}", version="2.40")
    assert [each["name"] for each in rest["tenant_usage"]["server_usages"]] == ["b"]


async def test_usage_of_another_project_is_not_told(api: ComputeApi) -> None:
    await api.sign_in("admin")
    await api.refused("demo", "GET /os-simple-tenant-usage", 403)
    await api.refused("demo", "GET /os-simple-tenant-usage/{admin_project}", 403)
    project = await api.project("demo")
    for query in ("start=x", "start=2026-02-01&end=2026-01-01"):
        await api.refused("demo", f"GET /os-simple-tenant-usage/{project}?{query}", 400)
    nothing = (await api.got("demo", f"GET /os-simple-tenant-usage/{project}"))["tenant_usage"]
    assert (nothing["total_hours"], nothing["server_usages"]) == (0, [])
