"""A server is shown as its microversion has it, and no more of it than the caller may see."""

import hashlib
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from renova.api.compute.server_status import states, status
from renova.api.compute.server_view import ServerViews
from renova.api.compute.service import POLICY
from renova.api.http import Call
from renova.api.policy import Policy
from renova.model.server import Fault, KeyPair, TaskState, VmState
from renova.store import hosts

from .compute_cloud import IMAGE, ComputeApi

BASIC = {
    "id",
    "name",
    "status",
    "tenant_id",
    "user_id",
    "metadata",
    "hostId",
    "image",
    "flavor",
    "created",
    "updated",
} | {"addresses", "accessIPv4", "accessIPv6", "links", "OS-DCF:diskConfig", "progress"}
FULL = (
    BASIC
    | {"OS-EXT-AZ:availability_zone", "config_drive", "key_name", "security_groups"}
    | {"OS-SRV-USG:launched_at", "OS-SRV-USG:terminated_at", "os-extended-volumes:volumes_attached"}
    | {"OS-EXT-STS:task_state", "OS-EXT-STS:vm_state", "OS-EXT-STS:power_state"}
)
SINCE = {
    (2, 9): {"locked"},
    (2, 19): {"description"},
    (2, 26): {"tags"},
    (2, 63): {"trusted_image_certificates"},
    (2, 71): {"server_groups"},
    (2, 73): {"locked_reason"},
    (2, 90): {"OS-EXT-SRV-ATTR:hostname"},
    (2, 96): {"pinned_availability_zone"},
    (2, 100): {"scheduler_hints"},
}
FOR_ADMINS = {
    (2, 1): {f"OS-EXT-SRV-ATTR:{name}" for name in ("host", "hypervisor_hostname", "instance_name")},
    (2, 3): {
        f"OS-EXT-SRV-ATTR:{name}"
        for name in ("reservation_id", "launch_index", "kernel_id", "ramdisk_id", "root_device_name", "user_data")
    }
    | {"OS-EXT-SRV-ATTR:hostname"},
    (2, 16): {"host_status"},
}
VERSIONS = ["2.1", "2.3", "2.9", "2.16", "2.19", "2.26", "2.47", "2.63", "2.71", "2.73", "2.90", "2.96", "2.100"]


def added(table: dict[tuple[int, int], set[str]], version: str) -> set[str]:
    major, _, minor = version.partition(".")
    return {name for since, names in table.items() if since <= (int(major), int(minor)) for name in names}


@pytest.mark.parametrize("version", [*VERSIONS, "2.104"])
async def test_show_has_the_fields_of_its_microversion(api: ComputeApi, version: str) -> None:
    server = await api.have_server()
    shown = (await api.got("demo", f"GET /servers/{server.id}", version=version))["server"]
    assert set(shown) == FULL | added(SINCE, version)
    full = (await api.got("admin", f"GET /servers/{server.id}", version=version))["server"]
    assert set(full) == FULL | added(SINCE, version) | added(FOR_ADMINS, version)
    (listed,) = (await api.got("demo", "GET /servers/detail", version=version))["servers"]
    assert listed == {name: value for name, value in shown.items() if name != "server_groups"}


async def test_what_is_shown_is_what_is_kept(api: ComputeApi) -> None:
    host = await api.have_host("compute1")
    server = await api.have_server(
        host=host,
        host_name="compute1",
        key=KeyPair("mine", "ssh-rsa AAAA"),
        tags=("blue",),
        metadata={"role": "db"},
        locked_by="owner",
        locked_reason="mine",
        description="ours",
        reservation="r-1",
        user_data="aGk=",
        pinned_zone="nova",
        scheduler_hints={"same": "thing"},
        access_ipv4="192.0.2.7",
        config_drive="True",
    )
    shown = (await api.got("admin", f"GET /servers/{server.id}", version="2.104"))["server"]
    project = api.kept["demo_project"]
    expected: dict[str, Any] = {
        "id": server.id,
        "status": "ACTIVE",
        "tenant_id": project,
        "hostId": hashlib.sha224(f"{project}compute1".encode()).hexdigest(),
        "image": {
            "id": IMAGE,
            "links": [{"rel": "bookmark", "href": f"http://cloud.example/compute/images/{IMAGE}"}],
            "properties": {"hw_machine_type": "q35"},
        },
        "flavor": {
            "vcpus": 1,
            "ram": 512,
            "disk": 1,
            "ephemeral": 0,
            "swap": 0,
            "original_name": "small",
            "extra_specs": {"a": "b"},
        },
        "created": "2026-01-02T03:04:06Z",
        "updated": "2026-01-02T03:04:06Z",
        "addresses": {
            "private": [
                {
                    "version": 4,
                    "addr": "10.0.0.5",
                    "OS-EXT-IPS:type": "fixed",
                    "OS-EXT-IPS-MAC:mac_addr": "fa:16:3e:00:00:05",
                }
            ]
        },
        "accessIPv4": "192.0.2.7",
        "accessIPv6": "",
        "links": [
            {"rel": "self", "href": f"http://cloud.example/compute/v2.1/servers/{server.id}"},
            {"rel": "bookmark", "href": f"http://cloud.example/compute/servers/{server.id}"},
        ],
        "OS-DCF:diskConfig": "MANUAL",
        "OS-SRV-USG:launched_at": "2026-01-02T03:04:06.000000",
        "OS-SRV-USG:terminated_at": None,
        "OS-EXT-STS:task_state": None,
        "OS-EXT-STS:vm_state": "active",
        "OS-EXT-STS:power_state": 1,
        "OS-EXT-SRV-ATTR:host": "compute1",
        "OS-EXT-SRV-ATTR:instance_name": "instance-00000001",
        "OS-EXT-SRV-ATTR:user_data": "aGk=",
        "host_status": "UP",
        "key_name": "mine",
        "locked": True,
        "locked_reason": "mine",
        "description": "ours",
        "tags": ["blue"],
        "metadata": {"role": "db"},
        "security_groups": [{"name": "default"}],
        "pinned_availability_zone": "nova",
        "scheduler_hints": {"same": "thing"},
    }
    assert expected.items() <= shown.items()


async def test_old_clients_get_the_flavor_as_a_link(api: ComputeApi) -> None:
    server = await api.have_server()
    shown = (await api.got("demo", f"GET /servers/{server.id}", version="2.46"))["server"]
    assert shown["flavor"] == {
        "id": "small",
        "links": [{"rel": "bookmark", "href": "http://cloud.example/compute/flavors/small"}],
    }


@pytest.mark.parametrize(
    ("change", "alive", "expected"),
    [
        ({}, True, "UP"),
        ({}, False, "UNKNOWN"),
        ({"disabled": True}, True, "MAINTENANCE"),
        ({"forced_down": True, "disabled": True}, True, "DOWN"),
    ],
)
async def test_administrators_see_how_the_host_is(
    api: ComputeApi, change: dict[str, Any], alive: bool, expected: str
) -> None:
    host = await api.have_host("compute1", alive=alive)
    await api.cloud.database.transact(lambda tx: hosts.change(tx, host, **change))
    server = await api.have_server(host=host, host_name="compute1")
    shown = (await api.got("admin", f"GET /servers/{server.id}", version="2.16"))["server"]
    assert shown["host_status"] == expected


async def test_a_server_without_a_host_has_no_host_status(api: ComputeApi) -> None:
    server = await api.have_server(host=None)
    shown = (await api.got("admin", f"GET /servers/{server.id}", version="2.16"))["server"]
    assert (shown["host_status"], shown["hostId"]) == ("", "")


async def test_a_failed_server_says_why(api: ComputeApi) -> None:
    fault = Fault(500, "No valid host", "2026-01-02T03:04:05.000000", "Traceback")
    server = await api.have_server(vm_state=VmState.ERROR, fault=fault)
    shown = (await api.got("demo", f"GET /servers/{server.id}"))["server"]
    assert shown["fault"] == {"code": 500, "message": "No valid host", "created": "2026-01-02T03:04:05Z"}
    assert "progress" not in shown
    assert (await api.got("admin", f"GET /servers/{server.id}"))["server"]["fault"]["details"] == "Traceback"
    healthy = await api.have_server(fault=fault)
    assert "fault" not in (await api.got("demo", f"GET /servers/{healthy.id}"))["server"]


async def test_another_projects_server_is_not_there(api: ComputeApi) -> None:
    server = await api.have_server("admin")
    assert await api.refused("demo", f"GET /servers/{server.id}", 404) == f"Instance {server.id} could not be found."
    for request in ("DELETE /servers/{}", "PUT /servers/{}"):
        await api.refused("demo", request.format(server.id), 404, {"server": {"name": "x"}})
    await api.refused("demo", f"POST /servers/{server.id}/action", 404, {"os-stop": None})


@pytest.mark.parametrize(
    ("vm_state", "task_state", "shown"),
    [
        (VmState.ACTIVE, None, "ACTIVE"),
        (VmState.ACTIVE, TaskState.POWERING_OFF, "ACTIVE"),
        (VmState.ACTIVE, TaskState.REBOOT_STARTED, "REBOOT"),
        (VmState.ACTIVE, TaskState.REBOOT_PENDING_HARD, "HARD_REBOOT"),
        (VmState.STOPPED, TaskState.REBOOTING_HARD, "SHUTOFF"),
        (VmState.STOPPED, TaskState.REBUILDING, "REBUILD"),
        (VmState.ERROR, TaskState.REBUILD_SPAWNING, "REBUILD"),
        (VmState.ERROR, None, "ERROR"),
        (VmState.BUILDING, TaskState.SPAWNING, "BUILD"),
        (VmState.STOPPED, None, "SHUTOFF"),
    ],
)
def test_the_status_follows_from_the_states(vm_state: VmState, task_state: TaskState | None, shown: str) -> None:
    assert status(vm_state, task_state) == shown


def test_a_status_stands_for_exactly_the_states_that_have_it() -> None:
    pairs = [(vm_state, task_state) for vm_state in VmState for task_state in (None, *TaskState)]
    for name in {status(*pair) for pair in pairs}:
        found = [pair for pair in pairs if any(one.fit(*pair) for one in states(name.lower()) or ())]
        assert found == [pair for pair in pairs if status(*pair) == name]


def test_what_is_no_status_stands_for_nothing() -> None:
    assert states("SLEEPY") is None
    assert states("REVERT_RESIZE") == []


async def _nothing() -> AsyncIterator[bytes]:
    pieces: tuple[bytes, ...] = ()
    for piece in pieces:
        yield piece


async def test_a_long_list_takes_microseconds_a_server(api: ComputeApi) -> None:
    """15 µs are promised, some 5 usual; the best of several tries counts, for others work on this machine too."""
    server = await api.have_server(host_name="compute1", key=KeyPair("mine", "ssh-rsa AAAA"))
    many = [msgspec.structs.replace(server) for _ in range(1000)]
    await api.sign_in("admin")
    caller = await api.cloud.identity.caller(api.tokens["admin"])
    call = Call(
        cloud=api.cloud,
        policy=Policy(POLICY),
        method="GET",
        url_path="/compute/v2.1/servers/detail",
        path={},
        query=[],
        headers={},
        body=b"",
        stream=_nothing,
        version=(2, 104),
        request_id="req-1",
        base_url="http://cloud.example/compute/v2.1",
        signed_in=caller,
    )

    def once() -> float:
        views = ServerViews(call, {})
        began = time.thread_time()
        for each in many:
            views.detailed(each)
        return (time.thread_time() - began) / len(many)

    assert min(once() for _ in range(10)) < 15e-6
