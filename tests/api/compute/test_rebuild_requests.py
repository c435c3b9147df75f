"""Every field of a rebuild at every microversion, and every check before it is accepted (spec: rebuild)."""

from base64 import b64encode
from typing import Any

import msgspec
import pytest

from renova.model.flavor import Flavor
from renova.model.guest import PersonalFile
from renova.model.server import KeyPair, Server, TaskState, VmState
from renova.operations.rebuild import RebuildServer
from renova.store import personal_files, quotas, servers

from .compute_cloud import IMAGE, OTHER_IMAGE, ComputeApi
from .test_actions import refuse, row
from .test_keypairs import ED25519

NEWEST = "2.104"
SMALL = Flavor(id="small", name="small", vcpus=1, memory_mb=512, root_gb=1)


async def rebuildable(api: ComputeApi, **values: Any) -> Server:
    host = values["host"] if "host" in values else await api.have_host("compute1")
    usual = {
        "host": host,
        "host_name": "compute1",
        "key": KeyPair("old", "ssh-rsa AAAA"),
        "metadata": {"old": "1"},
        "user_data": "aGk=",
        "description": "before",
        "access_ipv4": "192.0.2.7",
        "trusted_certs": ("one",),
    }
    return await api.have_server(**{**usual, **values})


async def rebuild(api: ComputeApi, server: Server, version: str, **fields: Any) -> Any:
    body = {"rebuild": {"imageRef": IMAGE, **fields}}
    answer = await api.got("demo", f"POST /servers/{server.id}/action", body, version, 202)
    return answer["server"]


# Field: a value, since when, until when.
FIELDS: dict[str, tuple[Any, str, str]] = {
    "name": ("new", "2.1", NEWEST),
    "adminPass": ("secret", "2.1", NEWEST),
    "metadata": ({"a": "b"}, "2.1", NEWEST),
    "preserve_ephemeral": (False, "2.1", NEWEST),
    "OS-DCF:diskConfig": ("AUTO", "2.1", NEWEST),
    "accessIPv4": ("192.0.2.1", "2.1", NEWEST),
    "accessIPv6": ("2001:db8::1", "2.1", NEWEST),
    "personality": ([{"path": "/etc/motd", "contents": "aGk="}], "2.1", "2.56"),
    "description": ("after", "2.19", NEWEST),
    "key_name": (None, "2.54", NEWEST),
    "user_data": ("aG8=", "2.57", NEWEST),
    "trusted_image_certificates": (["two"], "2.63", NEWEST),
    "hostname": ("new-name", "2.90", NEWEST),
}


def neighbour(version: str, step: int) -> str:
    return f"2.{int(version.partition('.')[2]) + step}"


@pytest.mark.parametrize("field", FIELDS)
async def test_a_field_is_known_from_its_first_to_its_last_microversion(api: ComputeApi, field: str) -> None:
    value, since, until = FIELDS[field]
    for version in {since, until}:
        await rebuild(api, await rebuildable(api, host=None), version, **{field: value})
    api.operations.started.clear()
    server = await rebuildable(api, host=None)
    outside = [neighbour(since, -1)] * (since != "2.1") + [neighbour(until, 1)] * (until != NEWEST)
    for version in outside:
        assert field in await refuse(api, server, {"rebuild": {"imageRef": IMAGE, field: value}}, 400, version)


WRONG: list[tuple[str, Any, str]] = [
    ("imageRef", None, NEWEST),
    ("imageRef", "", NEWEST),
    ("imageRef", "not-a-uuid", NEWEST),
    ("imageRef", 5, NEWEST),
    ("name", "", NEWEST),
    ("name", " x", NEWEST),
    ("name", "x" * 256, NEWEST),
    ("name", None, NEWEST),
    ("adminPass", None, NEWEST),
    ("adminPass", 1, NEWEST),
    ("metadata", None, NEWEST),
    ("metadata", {"a" * 256: "x"}, NEWEST),
    ("metadata", {"a": "x" * 256}, NEWEST),
    ("metadata", {"a/b": "x"}, NEWEST),
    ("metadata", {"a": 1}, NEWEST),
    ("preserve_ephemeral", "perhaps", NEWEST),
    ("preserve_ephemeral", None, NEWEST),
    ("OS-DCF:diskConfig", "auto", NEWEST),
    ("OS-DCF:diskConfig", None, NEWEST),
    ("accessIPv4", "2001:db8::1", NEWEST),
    ("accessIPv4", "somewhere", NEWEST),
    ("accessIPv6", "192.0.2.1", NEWEST),
    ("personality", None, "2.56"),
    ("personality", [{"path": "/a"}], "2.56"),
    ("personality", [{"contents": "aGk="}], "2.56"),
    ("personality", [{"path": "/a", "contents": "aGk=", "mode": 1}], "2.56"),
    ("personality", [{"path": "/a", "contents": "not base64!"}], "2.56"),
    ("description", "a\x00b", NEWEST),
    ("description", "x" * 256, NEWEST),
    ("key_name", "", NEWEST),
    ("key_name", 5, NEWEST),
    ("user_data", "no!", NEWEST),
    ("user_data", "A" * 65536, NEWEST),
    ("trusted_image_certificates", [], NEWEST),
    ("trusted_image_certificates", [""], NEWEST),
    ("trusted_image_certificates", ["a", "a"], NEWEST),
    ("trusted_image_certificates", [str(number) for number in range(51)], NEWEST),
    ("trusted_image_certificates", "one", NEWEST),
    ("hostname", None, NEWEST),
    ("hostname", "", NEWEST),
    ("hostname", "a b", NEWEST),
    ("hostname", "a" * 256, NEWEST),
    ("hostname", "a.b", "2.93"),
    ("hostname", "a", "2.93"),
    ("hostname", "-a", "2.93"),
    ("hostname", "a" * 64, "2.93"),
    ("colour", "red", NEWEST),
]


@pytest.mark.parametrize(("field", "value", "version"), WRONG)
async def test_a_wrong_value_is_refused_by_the_fields_name(
    api: ComputeApi, field: str, value: Any, version: str
) -> None:
    server = await rebuildable(api)
    message = await refuse(api, server, {"rebuild": {"imageRef": IMAGE, field: value}}, 400, version)
    assert field in message or field.replace("metadata", "rebuild") in message, message


@pytest.mark.parametrize(
    ("version", "hostname"),
    [("2.90", "ab"), ("2.93", "a" * 63), ("2.94", "a"), ("2.94", "web.example.org"), ("2.104", "a" * 255)],
)
async def test_a_hostname_follows_the_rules_of_its_microversion(api: ComputeApi, version: str, hostname: str) -> None:
    server = await rebuildable(api)
    shown = await rebuild(api, server, version, hostname=hostname)
    assert shown["OS-EXT-SRV-ATTR:hostname"] == hostname


def with_image(**values: Any) -> dict[str, Any]:
    return {"image": values}


def with_flavor(**values: Any) -> dict[str, Any]:
    return {"flavor": values}


# In Nova's order: what is in the way, the fields asked for, the code, and what the message says.
CHECKS: list[tuple[str, dict[str, Any], dict[str, Any], int, str]] = [
    ("locked", {"server": {"locked_by": "admin"}}, {}, 409, "is locked"),
    ("vm_state", {"server": {"vm_state": VmState.PAUSED}}, {}, 409, "vm_state paused"),
    ("rescued", {"server": {"vm_state": VmState.RESCUED}}, {}, 409, "vm_state rescued"),
    ("building", {"server": {"vm_state": VmState.BUILDING}}, {}, 409, "vm_state building"),
    ("task_state", {"server": {"task_state": TaskState.REBOOTING}}, {}, 409, "task_state rebooting"),
    ("rebuilding", {"server": {"task_state": TaskState.REBUILDING}}, {}, 409, "task_state rebuilding"),
    ("never launched", {"server": {"launched_at": None}}, {}, 409, "invalid state"),
    ("key_name", {}, {"key_name": "none"}, 400, "Invalid key_name provided."),
    ("image", {}, {"imageRef": "0d7c1e5c-94a5-4d4a-9d5c-0bd4c1a1a9a1"}, 400, "Cannot find image for rebuild"),
    (
        "auto_disk_config",
        with_image(properties={"auto_disk_config": "False"}),
        {"OS-DCF:diskConfig": "AUTO"},
        400,
        "diskConfig AUTO",
    ),
    ("hw_architecture", with_image(properties={"hw_architecture": "z80"}), {}, 400, "hw_architecture"),
    ("metadata", {}, {"metadata": {f"k{number}": "" for number in range(129)}}, 403, "too many metadata items"),
    ("encrypted", with_image(properties={"cinder_encryption_key_id": "x"}), {}, 400, "encrypted volume"),
    ("queued", with_image(status="queued"), {}, 400, "is not active"),
    ("deactivated", with_image(status="deactivated"), {}, 400, "is not active"),
    ("disk_format", with_image(disk_format="vmdk"), {}, 400, "disk format is vmdk"),
    ("config drive", with_image(properties={"img_config_drive": "never"}), {}, 400, "img_config_drive"),
    ("min_ram", with_image(min_ram=513), {}, 400, "memory is too small"),
    ("size", with_image(virtual_size=(1 << 30) + 1), {}, 400, "disk is too small"),
    ("min_disk", with_image(min_disk=2), {}, 400, "minimum size"),
    ("zero disk", with_flavor(root_gb=0), {}, 403, "zero disk"),
    ("vTPM", with_flavor(extra_specs={"hw:tpm_version": "2.0"}), {}, 400, "hw:tpm_version"),
    ("vTPM image", with_image(properties={"hw_tpm_model": "tpm-tis"}), {}, 400, "hw_tpm_model"),
    (
        "cpu policy",
        {
            "flavor": {"extra_specs": {"hw:cpu_policy": "shared"}},
            "image": {"properties": {"hw_cpu_policy": "dedicated"}},
        },
        {},
        400,
        "hw_cpu_policy",
    ),
    ("watchdog word", with_image(properties={"hw_watchdog_action": "bark"}), {}, 400, "hw_watchdog_action"),
    ("watchdog", with_flavor(extra_specs={"hw:watchdog_action": "bark"}), {}, 400, "hw:watchdog_action"),
    ("cpu policy word", with_image(properties={"hw_cpu_policy": "odd"}), {}, 400, "hw_cpu_policy"),
    ("page size", with_image(properties={"hw_mem_page_size": "2048"}), {}, 400, "hw_mem_page_size"),
    (
        "machine type",
        {"flavor": {"extra_specs": {"hw:machine_type": "pc"}}, "image": {"properties": {"hw_machine_type": "q35"}}},
        {},
        400,
        "hw_machine_type",
    ),
    (
        "numa",
        {"flavor": {"extra_specs": {"hw:numa_nodes": "1"}}, "image": {"properties": {"hw_numa_nodes": "2"}}},
        {},
        400,
        "hw:numa_",
    ),
    ("boot volume", {"server": {"image": None}}, {}, 409, "boots from a volume that is gone"),
    ("preserve_ephemeral", {}, {"preserve_ephemeral": True}, 400, "preserve_ephemeral"),
]


@pytest.mark.parametrize(("case", "world", "fields", "status", "message"), CHECKS, ids=[case[0] for case in CHECKS])
async def test_what_cannot_be_rebuilt_is_refused_and_left_alone(
    api: ComputeApi, case: str, world: dict[str, Any], fields: dict[str, Any], status: int, message: str
) -> None:
    flavor = msgspec.structs.replace(SMALL, **world.get("flavor", {}))
    server = await rebuildable(api, flavor=flavor, **world.get("server", {}))
    api.images[OTHER_IMAGE] = msgspec.structs.replace(api.images[OTHER_IMAGE], **world.get("image", {}))
    body = {"rebuild": {"imageRef": OTHER_IMAGE, **fields}}
    assert message in await refuse(api, server, body, status, NEWEST), case


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([("/a", 1)] * 6, "file limit exceeded"),
        ([("/" + "a" * 255, 1)], "path exceeds maximum 255"),
        ([("/a", 10241)], "content exceeds maximum 10240"),
    ],
)
async def test_files_beyond_the_quota_are_refused(api: ComputeApi, files: list[tuple[str, int]], message: str) -> None:
    server = await rebuildable(api)
    wanted = [{"path": path, "contents": b64encode(b"x" * size).decode()} for path, size in files]
    body = {"rebuild": {"imageRef": IMAGE, "personality": wanted}}
    assert message in await refuse(api, server, body, 403, "2.56")


async def test_files_within_the_quota_are_kept_for_the_guest(api: ComputeApi) -> None:
    server = await rebuildable(api)
    contents = b64encode(b"x" * 10240).decode()
    wanted = [{"path": f"/{number}", "contents": contents} for number in range(5)]
    await rebuild(api, server, "2.56", personality=wanted)
    kept = await api.cloud.database.read(lambda tx: personal_files.of_server(tx, server.id))
    assert kept == tuple(PersonalFile(f"/{number}", contents) for number in range(5))


async def test_a_rebuild_without_files_drops_the_former_ones(api: ComputeApi) -> None:
    server = await rebuildable(api)
    await api.cloud.database.transact(lambda tx: personal_files.put(tx, server.id, (PersonalFile("/a", ""),)))
    await rebuild(api, server, NEWEST)
    assert await api.cloud.database.read(lambda tx: personal_files.of_server(tx, server.id)) == ()


async def test_a_quota_of_minus_one_has_no_end(api: ComputeApi) -> None:
    server = await rebuildable(api)
    limits = {"injected_files": -1, "injected_file_content_bytes": -1, "metadata_items": -1}
    await api.cloud.database.transact(lambda tx: quotas.change(tx, server.project, limits))
    wanted = [{"path": "/a", "contents": b64encode(b"x" * 20000).decode()}] * 9
    await rebuild(api, server, "2.56", personality=wanted, metadata={f"k{number}": "" for number in range(200)})


async def test_the_key_is_looked_for_with_who_asks_and_not_with_the_owner(api: ComputeApi) -> None:
    await api.got("admin", "POST /os-keypairs", {"keypair": {"name": "of-admin", "public_key": ED25519}})
    server = await rebuildable(api)
    body = {"rebuild": {"imageRef": IMAGE, "key_name": "of-admin"}}
    assert "Invalid key_name" in await refuse(api, server, body, 400, NEWEST)
    await api.got("admin", f"POST /servers/{server.id}/action", body, NEWEST, 202)
    assert (await row(api, server)).key is not None


NULLS = {"description": None, "key_name": None, "user_data": None, "trusted_image_certificates": None}


async def test_null_takes_away_and_absent_keeps(api: ComputeApi) -> None:
    server = await rebuildable(api)
    kept = await rebuild(api, server, NEWEST)
    assert {name: kept[name] for name in NULLS} == {
        "description": "before",
        "key_name": "old",
        "user_data": "aGk=",
        "trusted_image_certificates": ["one"],
    }
    assert (kept["metadata"], kept["accessIPv4"]) == ({"old": "1"}, "192.0.2.7")
    gone = await rebuild(api, await rebuildable(api, host=None), NEWEST, **NULLS)
    assert {name: gone[name] for name in NULLS} == NULLS


async def test_metadata_is_replaced_as_a_whole(api: ComputeApi) -> None:
    assert (await rebuild(api, await rebuildable(api), "2.1", metadata={"new": "2"}))["metadata"] == {"new": "2"}
    assert (await rebuild(api, await rebuildable(api, host=None), "2.1", metadata={}))["metadata"] == {}


@pytest.mark.parametrize(
    ("given", "said", "shown"),
    [(None, None, "MANUAL"), ("AUTO", None, "AUTO"), (None, "True", "AUTO"), ("MANUAL", "true", "MANUAL")],
)
async def test_the_disk_config_is_the_requests_or_the_images_or_stays(
    api: ComputeApi, given: str | None, said: str | None, shown: str
) -> None:
    properties = {"auto_disk_config": said} if said else {}
    api.images[IMAGE] = msgspec.structs.replace(api.images[IMAGE], properties=properties)
    fields = {"OS-DCF:diskConfig": given} if given else {}
    assert (await rebuild(api, await rebuildable(api), "2.1", **fields))["OS-DCF:diskConfig"] == shown


# What each microversion adds to the answer.
ADDED = {
    "2.1": {"id", "name", "status", "image", "flavor", "addresses", "metadata", "links", "hostId", "created"}
    | {"updated", "tenant_id", "user_id", "accessIPv4", "accessIPv6", "OS-DCF:diskConfig", "progress", "adminPass"},
    "2.9": {"locked"},
    "2.19": {"description"},
    "2.26": {"tags"},
    "2.54": {"key_name"},
    "2.57": {"user_data"},
    "2.63": {"trusted_image_certificates"},
    "2.71": {"server_groups"},
    "2.73": {"locked_reason"},
    "2.75": {"OS-EXT-AZ:availability_zone", "config_drive", "OS-SRV-USG:launched_at", "OS-SRV-USG:terminated_at"}
    | {"OS-EXT-STS:task_state", "OS-EXT-STS:vm_state", "OS-EXT-STS:power_state"}
    | {"os-extended-volumes:volumes_attached", "security_groups"},
    "2.90": {"OS-EXT-SRV-ATTR:hostname"},
    "2.96": {"pinned_availability_zone"},
    "2.100": {"scheduler_hints"},
}


@pytest.mark.parametrize("version", [*ADDED, "2.8", "2.18", "2.53", "2.56", "2.74", "2.89", NEWEST])
async def test_the_answer_has_just_what_its_microversion_knows(api: ComputeApi, version: str) -> None:
    def number(text: str) -> int:
        return int(text.partition(".")[2])

    shown = await rebuild(api, await rebuildable(api), version)
    known = set().union(*(added for since, added in ADDED.items() if number(since) <= number(version)))
    assert set(shown) == known
    assert shown["status"] == "REBUILD"
    assert ("original_name" in shown["flavor"]) is (number(version) >= 47)
    assert ("properties" in shown["image"]) is (number(version) >= 98)


async def test_another_image_may_not_change_the_numa_shape(api: ComputeApi) -> None:
    server = await rebuildable(api, image_properties={"hw_numa_nodes": "2"})
    body = {"rebuild": {"imageRef": OTHER_IMAGE}}
    assert "NUMA topology cannot be changed" in await refuse(api, server, body, 400)
    properties = {"hw_numa_nodes": "2"}
    api.images[OTHER_IMAGE] = msgspec.structs.replace(api.images[OTHER_IMAGE], properties=properties)
    await rebuild(api, server, "2.1", imageRef=OTHER_IMAGE)


async def test_an_image_that_the_host_cannot_run_is_refused(api: ComputeApi) -> None:
    server = await rebuildable(api)
    properties = {"hw_architecture": "aarch64"}
    api.images[OTHER_IMAGE] = msgspec.structs.replace(api.images[OTHER_IMAGE], properties=properties)
    assert "No valid host" in await refuse(api, server, {"rebuild": {"imageRef": OTHER_IMAGE}}, 400)


async def test_of_two_rebuilds_at_once_one_is_refused(api: ComputeApi) -> None:
    server = await rebuildable(api)
    await rebuild(api, server, "2.1")
    body = {"rebuild": {"imageRef": IMAGE}}
    assert "task_state rebuilding" in await api.refused("demo", f"POST /servers/{server.id}/action", 409, body)


async def test_a_servers_secrets_are_not_in_its_row(api: ComputeApi) -> None:
    server = await rebuildable(api)
    await rebuild(api, server, "2.1", adminPass="a-secret-password")
    (held,) = api.operations.started
    assert msgspec.json.decode(held.want, type=RebuildServer).admin_pass == "a-secret-password"
    found = await api.cloud.database.read(lambda tx: servers.get(tx, server.id))
    assert "a-secret-password" not in str(found)
