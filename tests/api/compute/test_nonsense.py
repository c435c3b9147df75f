"""Whatever is sent, the answer is a refusal or does what was asked; never an error of ours."""

from collections.abc import Iterator
from typing import Any

import pytest

from .compute_cloud import IMAGE, NETWORK, OTHER_IMAGE, ComputeApi

WEIRD: list[Any] = [
    None,
    "9" * 5000,
    True,
    0,
    -1,
    10**30,
    1.5,
    1e308,
    "",
    " ",
    "\x00",
    "\n",
    "None",
    "x" * 70_000,
    "é\U0001f600",
    [],
    [None],
    [[]],
    ["a", "a"],
    [{}],
    {},
    {"": ""},
    {"a": None},
]

SERVER: dict[str, Any] = {
    "name": "vm",
    "imageRef": IMAGE,
    "flavorRef": "small",
    "adminPass": "x",
    "metadata": {"a": "b"},
    "networks": [{"uuid": NETWORK, "fixed_ip": "10.0.0.9"}],
    "OS-DCF:diskConfig": "AUTO",
    "accessIPv4": "192.0.2.1",
    "accessIPv6": "2001:db8::1",
    "availability_zone": "nova",
    "block_device_mapping_v2": [{"uuid": IMAGE, "boot_index": 0, "source_type": "image"}],
    "config_drive": True,
    "key_name": "mine",
    "min_count": 1,
    "max_count": 1,
    "return_reservation_id": False,
    "security_groups": [{"name": "default"}],
    "user_data": "aGk=",
    "description": "x",
    "tags": ["a"],
    "trusted_image_certificates": None,
    "host": "compute1",
    "hostname": "vm",
}
FLAVOR = {"name": "f", "ram": 1, "vcpus": 1, "disk": 1, "id": "f", "swap": 0, "rxtx_factor": 1, "description": "x"}
REBUILD = {
    name: SERVER[name]
    for name in ("name", "adminPass", "metadata", "accessIPv4", "key_name", "user_data", "description", "hostname")
} | {"imageRef": OTHER_IMAGE, "preserve_ephemeral": False, "OS-DCF:diskConfig": "AUTO"}

BODIES: dict[str, dict[str, Any]] = {
    "POST /servers": {"server": SERVER, "os:scheduler_hints": {"a": "b"}},
    "POST /servers#1": {
        "server": {"name": "vm", "imageRef": IMAGE, "flavorRef": "small", "availability_zone": "nova:compute1"},
        "os:scheduler_hints": {"group": "{group}", "different_host": ["{server}"], "same_host": "{server}"},
    },
    "POST /os-server-groups": {"server_group": {"name": "g", "policies": ["affinity"]}},
    "POST /os-server-groups#1": {
        "server_group": {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": 2}}
    },
    "POST /os-aggregates": {"aggregate": {"name": "a", "availability_zone": "z"}},
    "PUT /os-aggregates/{aggregate}": {"aggregate": {"name": "a", "availability_zone": "z"}},
    "POST /os-aggregates/{aggregate}/action": {"add_host": {"host": "compute1"}},
    "POST /os-aggregates/{aggregate}/action#1": {"remove_host": {"host": "compute1"}},
    "POST /os-aggregates/{aggregate}/action#2": {"set_metadata": {"metadata": {"availability_zone": "z", "a": None}}},
    "POST /os-aggregates/{aggregate}/images": {"cache": [{"id": IMAGE}]},
    "PUT /servers/{server}": {"server": {"name": "x", "description": "x", "hostname": "xy", "accessIPv4": ""}},
    "PUT /servers/{server}#1": {"server": {"pinned_availability_zone": "nova"}},
    "POST /servers/{server}/action": {"rebuild": REBUILD},
    "POST /servers/{server}/action#1": {"evacuate": {"host": "compute1", "adminPass": "x"}},
    "POST /servers/{server}/action#2": {"reboot": {"type": "HARD"}},
    "POST /servers/{server}/action#3": {"os-getConsoleOutput": {"length": 1}},
    "POST /servers/{server}/action#4": {"os-resetState": {"state": "active"}},
    "POST /servers/{server}/action#5": {"lock": {"locked_reason": "x"}},
    "POST /servers/{server}/metadata": {"metadata": {"a": "b"}},
    "PUT /servers/{server}/metadata/a": {"meta": {"a": "b"}},
    "PUT /servers/{server}/tags": {"tags": ["a"]},
    "POST /flavors": {"flavor": FLAVOR},
    "POST /flavors/small/os-extra_specs": {"extra_specs": {"a": "b"}},
    "POST /flavors/small/action": {"addTenantAccess": {"tenant": "x"}},
    "POST /os-keypairs": {"keypair": {"name": "k", "public_key": "ssh-rsa AAAA", "type": "ssh", "user_id": "x"}},
    "PUT /os-services/{host}": {"status": "disabled", "disabled_reason": "x", "forced_down": False},
    "PUT /os-quota-sets/{demo_project}": {"quota_set": {"instances": 1, "force": True, "tenant_id": "x"}},
}

QUERIES = {
    "/servers/detail": (
        *("limit", "marker", "sort_key", "sort_dir", "name", "status", "image", "flavor", "ip", "ip6", "host", "uuid"),
        *("all_tenants", "project_id", "deleted", "changes-since", "changes-before", "tags", "not-tags-any", "locked"),
        *("power_state", "progress", "vm_state", "task_state", "launched_at", "soft_deleted", "config_drive"),
    ),
    "/flavors/detail": ("limit", "marker", "is_public", "minRam", "minDisk", "sort_key", "sort_dir", "name"),
    "/os-keypairs": ("limit", "marker", "user_id"),
    "/os-server-groups": ("limit", "offset", "all_projects"),
    "/os-hypervisors": ("limit", "marker", "hypervisor_hostname_pattern", "with_servers"),
    "/os-migrations": ("limit", "marker", "changes-since", "status", "host", "project_id"),
    "/os-simple-tenant-usage": ("limit", "marker", "start", "end", "detailed"),
    "/servers/{server}/os-instance-actions": ("limit", "marker", "changes-since", "changes-before"),
}
TEXTS = ["", " ", "%00", "-1", "1", "9" * 30, "1e9", "%C3%28", "true", "*", "(", "[", "%5C", "^$", ".*" * 60, "x" * 300]
TEXTS += ["9" * 5000, "2026-01-01", "2026-13-01", "0001-01-01T00:00:00-23:59", "9999-12-31T23:59:59-23:59"]

pytestmark = pytest.mark.slow


def spoiled(body: Any) -> Iterator[Any]:
    """Give the body with each of its parts, one at a time, replaced by each of the weird values."""
    yield from WEIRD
    parts: list[tuple[Any, Any]] = []
    if isinstance(body, dict):
        parts = list(body.items())
    elif isinstance(body, list):
        parts = list(enumerate(body))
    for name, part in parts:
        for other in spoiled(part) if isinstance(part, dict | list) else WEIRD:
            changed = body.copy()
            changed[name] = other
            yield changed


@pytest.mark.parametrize("version", ["2.1", "2.104"])
@pytest.mark.parametrize("request_", BODIES)
async def test_no_body_is_an_error_of_ours(api: ComputeApi, request_: str, version: str) -> None:
    host = await api.have_host("compute1")
    await api.have_flavor()
    await api.project("demo")
    api.kept["host"] = host
    group = {"server_group": {"name": "g", "policies": ["affinity"]}}
    api.kept["group"] = (await api.got("admin", "POST /os-server-groups", group))["server_group"]["id"]
    aggregate = {"aggregate": {"name": "kept"}}
    api.kept["aggregate"] = (await api.got("admin", "POST /os-aggregates", aggregate))["aggregate"]["id"]
    for body in spoiled(BODIES[request_]):
        server = await api.have_server("admin", host=host, host_name="compute1")
        api.kept["server"] = server.id
        answer = await api.compute("admin", request_.partition("#")[0], body, version)
        assert answer.status_code < 500, f"{request_} {str(body)[:200]}: {answer.text}"


@pytest.mark.parametrize("version", ["2.1", "2.104"])
@pytest.mark.parametrize("path", QUERIES)
async def test_no_query_is_an_error_of_ours(api: ComputeApi, path: str, version: str) -> None:
    await api.have_host("compute1")
    await api.have_flavor()
    server = await api.have_server("admin")
    for name in QUERIES[path]:
        for text in TEXTS:
            answer = await api.compute("admin", f"GET {path.format(server=server.id)}?{name}={text}", None, version)
            assert answer.status_code < 500, f"{path}?{name}={text}: {answer.text}"


@pytest.mark.parametrize("value", [b'"\xb0"', b"1e999999", b"[" * 5000, b'"\\ud800"', b'{"type": "\xff"}', b"9" * 5000])
@pytest.mark.parametrize("action", ["lock", "reboot", "unlock", "createImage"])
async def test_what_is_no_text_behind_an_action_is_a_bad_request(api: ComputeApi, action: str, value: bytes) -> None:
    server = await api.have_server()
    body = b'{"' + action.encode() + b'": ' + value + b"}"
    await api.refused("demo", f"POST /servers/{server.id}/action", 400, body, "2.90")
