"""Volumes and ports of servers at the Compute API, at each microversion that changes them."""

from typing import Any

import pytest

from renova.model.block_device import BlockDevice
from renova.model.ids import AttachmentId, HostId, ServerId, VolumeId
from renova.model.server import Server, TaskState, VmState
from renova.model.storage import Blank
from renova.store import block_devices, operations, servers, volumes
from renova.store.volumes import StoredVolume

from .compute_cloud import IMAGE, NETWORK, OTHER_IMAGE, ComputeApi, an_image

VOLUME = VolumeId("3c1fba0e-08a3-4c6a-8b0f-4a9c1d7a5b10")
OTHER = VolumeId("7d2d3f34-6a7c-4b36-9d0e-5c8a2a5b1e22")


async def have_volume(api: ComputeApi, volume: VolumeId = VOLUME, who: str = "demo", **values: Any) -> VolumeId:
    """Have a volume of the user's project, available where nothing else is said."""
    usual: dict[str, Any] = {
        "id": volume,
        "name": "data",
        "project": await api.project(who),
        "user": "u",
        "size_gb": 2,
        "status": "available",
        "host": "storage",
        "source": Blank(),
        "zone": "nova",
        "type": "t",
    }
    now = "2026-01-01T00:00:00.000000"
    row = StoredVolume(**{**usual, "created_at": now, "updated_at": now, **values})
    await api.cloud.database.transact(lambda tx: volumes.add(tx, row))
    return volume


async def with_volume(api: ComputeApi, volume: VolumeId = VOLUME, **values: Any) -> Server:
    """Have a server on a host that is up, with this volume."""
    host = await api.have_host("compute1")
    server = await api.have_server(host=host, host_name="compute1")
    await have_volume(api, volume, status="in-use")
    await add(api, server.id, volume, **values)
    return server


async def add(api: ComputeApi, server: ServerId, volume: VolumeId, **values: Any) -> None:
    usual = {"id": f"bdm-{volume[:8]}", "source": "volume", "destination": "volume", "device": "vdb"}
    device = BlockDevice(
        server=server, volume=volume, **{**usual, "attachment": AttachmentId("an-attachment"), **values}
    )
    await api.cloud.database.transact(lambda tx: block_devices.add(tx, device))


@pytest.mark.parametrize(
    ("version", "fields"),
    [
        ("2.1", {"id", "volumeId", "serverId", "device"}),
        ("2.69", {"id", "volumeId", "serverId", "device"}),
        ("2.70", {"id", "volumeId", "serverId", "device", "tag"}),
        ("2.79", {"id", "volumeId", "serverId", "device", "tag", "delete_on_termination"}),
        ("2.88", {"id", "volumeId", "serverId", "device", "tag", "delete_on_termination"}),
        (
            "2.89",
            {"volumeId", "serverId", "device", "tag", "delete_on_termination", "attachment_id", "bdm_uuid"},
        ),
    ],
)
async def test_an_attachment_is_shown_as_each_microversion_has_it(
    api: ComputeApi, version: str, fields: set[str]
) -> None:
    server = await with_volume(api, tag="db")
    path = f"/servers/{server.id}/os-volume_attachments"
    (listed,) = (await api.got("demo", f"GET {path}", version=version))["volumeAttachments"]
    shown = (await api.got("demo", f"GET {path}/{VOLUME}", version=version))["volumeAttachment"]
    assert set(shown) == fields
    assert listed == shown
    assert (shown["volumeId"], shown["serverId"], shown["device"]) == (VOLUME, server.id, "/dev/vdb")


async def test_a_servers_volumes_are_shown_with_it(api: ComputeApi) -> None:
    server = await with_volume(api, delete_on_termination=True)
    old = (await api.got("demo", f"GET /servers/{server.id}", version="2.1"))["server"]
    assert old["os-extended-volumes:volumes_attached"] == [{"id": VOLUME}]
    (new,) = (await api.got("demo", "GET /servers/detail", version="2.3"))["servers"]
    assert new["os-extended-volumes:volumes_attached"] == [{"id": VOLUME, "delete_on_termination": True}]


@pytest.mark.parametrize(
    ("version", "status", "fields"),
    [
        ("2.1", 200, {"id", "volumeId", "serverId", "device"}),
        ("2.70", 200, {"id", "volumeId", "serverId", "device", "tag"}),
        ("2.79", 200, {"id", "volumeId", "serverId", "device", "tag", "delete_on_termination"}),
        ("2.100", 200, {"id", "volumeId", "serverId", "device", "tag", "delete_on_termination"}),
        ("2.101", 202, None),
    ],
)
async def test_attaching_answers_as_each_microversion_has_it(
    api: ComputeApi, version: str, status: int, fields: set[str] | None
) -> None:
    server = await api.have_server(host=await api.have_host("compute1"), host_name="compute1")
    await have_volume(api)
    body = {"volumeAttachment": {"volumeId": VOLUME}}
    answer = await api.got("demo", f"POST /servers/{server.id}/os-volume_attachments", body, version, status)
    assert (set(answer["volumeAttachment"]) if answer else None) == fields
    held = await api.cloud.database.read(lambda tx: operations.active(tx, server.id))
    assert held is not None
    assert held.story == "attach_volume"
    shown = (await api.got("demo", f"GET /servers/{server.id}", version="2.1"))["server"]
    assert shown["OS-EXT-STS:task_state"] is None


@pytest.mark.parametrize(
    ("version", "change", "field"),
    [
        ("2.1", {"volumeId": "no-uuid"}, "volumeId"),
        ("2.1", {}, "volumeId"),
        ("2.1", {"volumeId": VOLUME, "device": "vdb"}, "device"),
        ("2.1", {"volumeId": VOLUME, "more": 1}, "more"),
        ("2.48", {"volumeId": VOLUME, "tag": "db"}, "tag"),
        ("2.49", {"volumeId": VOLUME, "tag": "a/b"}, "tag"),
        ("2.78", {"volumeId": VOLUME, "delete_on_termination": True}, "delete_on_termination"),
        ("2.79", {"volumeId": VOLUME, "delete_on_termination": "maybe"}, "delete_on_termination"),
    ],
)
async def test_a_wrong_field_is_named(api: ComputeApi, version: str, change: dict[str, Any], field: str) -> None:
    server = await api.have_server(host=await api.have_host("compute1"), host_name="compute1")
    await have_volume(api)
    body = {"volumeAttachment": change}
    assert field in await api.refused("demo", f"POST /servers/{server.id}/os-volume_attachments", 400, body, version)
    assert await api.cloud.database.read(lambda tx: block_devices.by_volume(tx, VOLUME)) is None


async def test_what_cannot_be_attached_is_refused_with_novas_code(api: ComputeApi) -> None:
    server = await with_volume(api)
    path = f"POST /servers/{server.id}/os-volume_attachments"

    async def refuse(status: int, volume: str, who: str = "demo") -> str:
        return await api.refused(who, path, status, {"volumeAttachment": {"volumeId": volume}})

    assert "could not be found" in await refuse(404, OTHER)
    assert "attached" in await refuse(400, VOLUME)
    await have_volume(api, OTHER, status="error")
    assert "must be 'available'" in await refuse(400, OTHER)
    theirs = await have_volume(api, VolumeId("99999999-0000-4000-8000-000000000000"), who="admin")
    await refuse(404, theirs)
    await refuse(404, VOLUME, who="reader")
    await api.cloud.database.transact(lambda tx: servers.change(tx, server.id, task_state=TaskState.REBOOTING))
    assert "task_state rebooting" in await refuse(409, OTHER)
    await api.cloud.database.transact(lambda tx: servers.change(tx, server.id, task_state=None, vm_state=VmState.ERROR))
    assert "vm_state error" in await refuse(409, OTHER)
    await api.cloud.database.transact(
        lambda tx: servers.change(tx, server.id, vm_state=VmState.ACTIVE, locked_by="owner")
    )
    assert "locked" in await refuse(409, OTHER)


async def test_what_cannot_be_detached_is_refused_with_novas_code(api: ComputeApi) -> None:
    server = await with_volume(api)
    path = f"DELETE /servers/{server.id}/os-volume_attachments"
    await api.refused("demo", f"{path}/{OTHER}", 404)
    await have_volume(api, OTHER)
    await api.refused("demo", f"{path}/{OTHER}", 404)
    await add(api, server.id, OTHER, boot_index=0, device="vda")
    assert "root device volume" in await api.refused("demo", f"{path}/{OTHER}", 400)
    await api.cloud.database.transact(lambda tx: volumes.change(tx, VOLUME, status="detaching"))
    assert "must be 'in-use'" in await api.refused("demo", f"{path}/{VOLUME}", 400)
    await api.cloud.database.transact(lambda tx: volumes.change(tx, VOLUME, status="in-use"))
    api.hosts.alive.clear()
    assert "is down" in await api.refused("demo", f"{path}/{VOLUME}", 409)
    api.hosts.alive.add(HostId(server.host or ""))
    await api.got("demo", f"{path}/{VOLUME}", status=202)


async def test_whether_a_volume_goes_with_its_server_may_be_changed_from_2_85_on(api: ComputeApi) -> None:
    server = await with_volume(api, tag="db")
    path = f"PUT /servers/{server.id}/os-volume_attachments/{VOLUME}"
    body = {"volumeId": VOLUME, "delete_on_termination": True}
    await api.refused("demo", path, 400, {"volumeAttachment": body}, "2.84")
    await api.got("demo", path, {"volumeAttachment": body}, "2.85", 202)
    shown = (await api.got("demo", f"GET /servers/{server.id}", version="2.3"))["server"]
    assert shown["os-extended-volumes:volumes_attached"] == [{"id": VOLUME, "delete_on_termination": True}]
    same = {"id": VOLUME, "serverId": server.id, "device": "/dev/vdb", "tag": "db"}
    await api.got("demo", path, {"volumeAttachment": {**body, **same}}, "2.85", 202)
    for name, other in (("serverId", OTHER), ("device", "/dev/vdc"), ("tag", "x"), ("id", OTHER)):
        message = await api.refused("demo", path, 400, {"volumeAttachment": {**body, name: other}}, "2.85")
        assert message == f"The {name} property is not mutable"
    missing = f"PUT /servers/{server.id}/os-volume_attachments/{OTHER}"
    await api.refused("demo", missing, 404, {"volumeAttachment": {"volumeId": OTHER}}, "2.85")


async def test_a_volume_is_swapped_by_nobody(api: ComputeApi) -> None:
    server = await with_volume(api)
    path = f"PUT /servers/{server.id}/os-volume_attachments/{VOLUME}"
    await have_volume(api, OTHER)
    body = {"volumeAttachment": {"volumeId": OTHER}}
    await api.refused("demo", path, 403, body, "2.85")
    assert "is not being migrated" in await api.refused("admin", path, 409, body)
    gone = {"volumeAttachment": {"volumeId": "99999999-0000-4000-8000-000000000000"}}
    await api.refused("admin", path, 400, gone)


DATA = {"uuid": VOLUME, "source_type": "volume", "destination_type": "volume"}
FROM_IMAGE = {"uuid": IMAGE, "source_type": "image", "boot_index": 0}
BLANK = {"source_type": "blank", "destination_type": "volume", "volume_size": 1}


async def create(
    api: ComputeApi, devices: list[dict[str, Any]], status: int = 202, version: str = "2.67", **more: Any
) -> Any:
    """Ask for a server with these devices, and return the answer."""
    named = {"name": "vm", "flavorRef": "small", "networks": [{"uuid": NETWORK}], **more}
    body = {"server": {**named, "block_device_mapping_v2": devices}}
    answer = await api.compute("demo", "POST /servers", body, version)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("devices", "image", "made"),
    [
        ([FROM_IMAGE, {**DATA, "boot_index": -1}], IMAGE, 0),
        ([{**DATA, "boot_index": 0, "uuid": OTHER}], None, 0),
        ([{**FROM_IMAGE, "destination_type": "volume", "volume_size": 1}], None, 1),
        ([FROM_IMAGE, BLANK, BLANK], IMAGE, 2),
    ],
)
async def test_a_server_is_created_with_what_is_asked_for(
    api: ComputeApi, devices: list[dict[str, Any]], image: str | None, made: int
) -> None:
    await api.have_host("compute1")
    await api.have_flavor()
    await have_volume(api)
    await have_volume(api, OTHER, bootable=True, image_properties={"image_id": IMAGE, "hw_machine_type": "pc"})
    server = ServerId((await create(api, devices))["server"]["id"])
    row = await api.cloud.database.read(lambda tx: servers.get(tx, server))
    assert row is not None
    assert row.image == image
    rows = await api.cloud.database.read(lambda tx: block_devices.volumes_of(tx, server))
    assert sum(device.made for device in rows) == made
    assert [device.device for device in rows if device.boots] == ([] if image else ["vda"])
    shown = (await api.got("demo", f"GET /servers/{server}"))["server"]
    assert shown["image"] == "" if image is None else shown["image"]["id"] == image


@pytest.mark.parametrize(
    ("devices", "message", "more"),
    [
        ([DATA], "Boot sequence", {}),
        ([FROM_IMAGE, {**DATA, "boot_index": 2}], "Boot sequence", {}),
        ([{**DATA, "boot_index": 0}], "is not bootable", {}),
        ([FROM_IMAGE, {**DATA, "uuid": OTHER}], "failed to get volume", {}),
        ([FROM_IMAGE, DATA, DATA], "named twice", {}),
        ([FROM_IMAGE, {**BLANK, "volume_size": 0}], "non-zero size", {}),
        ([FROM_IMAGE, {**BLANK, "uuid": VOLUME}], "Invalid device UUID", {}),
        ([FROM_IMAGE, {"source_type": "volume"}], "Missing device UUID", {}),
        ([FROM_IMAGE, {"source_type": "snapshot", "uuid": OTHER}], "failed to get snapshot", {}),
        ([FROM_IMAGE, {"source_type": "blank", "guest_format": "swap"}], "Swap drive", {}),
        ([FROM_IMAGE, {"source_type": "blank", "volume_size": 5}], "Ephemeral disks", {}),
        ([{**FROM_IMAGE, "destination_type": "volume"}], "non-zero size", {}),
        ([FROM_IMAGE, DATA], "multiple instances", {"max_count": 2}),
        ([FROM_IMAGE, {**DATA, "volume_type": "fast"}], "volume type to existing volume", {}),
        ([FROM_IMAGE, {**DATA, "source_type": "image", "uuid": IMAGE}], "non-zero size", {}),
        ([FROM_IMAGE, {**FROM_IMAGE, "boot_index": 1}], "Mapping image to local", {}),
        ([{"source_type": "tape"}], "source_type", {}),
    ],
)
async def test_devices_that_cannot_be_are_refused_and_nothing_is_made(
    api: ComputeApi, devices: list[dict[str, Any]], message: str, more: dict[str, Any]
) -> None:
    await api.have_flavor()
    await have_volume(api)
    answer = await create(api, devices, 400, **more)
    assert message in answer["badRequest"]["message"]
    assert await api.cloud.database.read(servers.find) == []


async def test_the_former_form_of_devices_is_read_too(api: ComputeApi) -> None:
    await api.have_flavor()
    await have_volume(api, bootable=True)
    former = [{"device_name": "vda", "volume_id": VOLUME, "delete_on_termination": "1"}]
    body = {"server": {"name": "vm", "flavorRef": "small", "block_device_mapping": former}}
    server = ServerId((await api.got("demo", "POST /servers", body, status=202))["server"]["id"])
    (row,) = await api.cloud.database.read(lambda tx: block_devices.volumes_of(tx, server))
    assert (row.boots, row.device, row.delete_on_termination) == (True, "vda", True)


async def test_fields_of_devices_are_known_since_their_microversions(api: ComputeApi) -> None:
    await api.have_flavor()
    await have_volume(api)
    await create(api, [FROM_IMAGE, {**DATA, "tag": "db"}], 400, "2.41")
    await create(api, [FROM_IMAGE, {**BLANK, "volume_type": "x"}], 400, "2.66")
    await create(api, [FROM_IMAGE, {**DATA, "tag": "db"}], 202, "2.42")


async def test_what_cannot_be_a_port_of_a_server_is_refused_with_novas_code(api: ComputeApi) -> None:
    server = await api.have_server(host=await api.have_host("compute1"), host_name="compute1")
    path = f"POST /servers/{server.id}/os-interface"

    async def refuse(status: int, version: str = "2.49", **wanted: Any) -> str:
        return await api.refused("demo", path, status, {"interfaceAttachment": wanted}, version)

    await refuse(400, net_id=NETWORK, port_id=OTHER)
    await refuse(400, fixed_ips=[{"ip_address": "10.0.0.9"}])
    await refuse(400, net_id=NETWORK, fixed_ips=[{"ip_address": "10.9.0.9"}])
    await refuse(400, "2.48", net_id=NETWORK, tag="nic")
    await refuse(404, net_id=OTHER)
    await refuse(404, port_id=OTHER)
    await api.refused("demo", f"DELETE /servers/{server.id}/os-interface/{OTHER}", 404)
    await api.cloud.database.transact(lambda tx: servers.change(tx, server.id, vm_state=VmState.SUSPENDED))
    assert "vm_state suspended" in await refuse(409, net_id=NETWORK)


async def test_each_event_of_another_service_is_answered_by_itself(api: ComputeApi) -> None:
    placed = (await api.have_server(host=await api.have_host("compute1"), host_name="compute1")).id
    nowhere = (await api.have_server()).id

    async def codes(status: int, version: str, *events: tuple[str, str, str | None]) -> list[int]:
        named = [{"name": name, "server_uuid": server, **({"tag": tag} if tag else {})} for name, server, tag in events]
        answer = await api.got("admin", "POST /os-server-external-events", {"events": named}, version, status)
        return [event["code"] for event in answer["events"]]

    plugged = ("network-vif-plugged", placed, "port")
    assert await codes(200, "2.1", plugged, ("network-changed", placed, None)) == [200, 200]
    assert await codes(207, "2.1", plugged, ("network-changed", nowhere, None)) == [200, 422]
    assert await codes(207, "2.51", plugged, ("volume-extended", placed, None)) == [200, 400]
    assert await codes(207, "2.93", ("volume-reimaged", placed, VOLUME), ("network-changed", VOLUME, None)) == [
        200,
        404,
    ]
    path, none = "POST /os-server-external-events", {"events": [{"name": "network-changed", "server_uuid": VOLUME}]}
    assert "No instances found" in await api.refused("admin", path, 404, none)
    early = {"events": [{"name": "volume-reimaged", "server_uuid": placed, "tag": VOLUME}]}
    await api.refused("admin", path, 400, early, "2.92")
    await api.refused("demo", path, 403, none)
    await api.refused("admin", path, 400, {"events": []})


@pytest.mark.parametrize(
    ("version", "image", "status", "reimage"),
    [
        ("2.92", IMAGE, 202, False),
        ("2.92", OTHER_IMAGE, 400, None),
        ("2.93", IMAGE, 202, True),
        ("2.93", OTHER_IMAGE, 202, True),
    ],
)
async def test_a_rebuild_fills_a_boot_volume_anew_from_2_93_on(
    api: ComputeApi, version: str, image: str, status: int, reimage: bool | None
) -> None:
    server = await api.have_server(host=await api.have_host("compute1"), host_name="compute1", image=None)
    await have_volume(api, status="in-use", bootable=True, image_properties={"image_id": IMAGE})
    await add(api, server.id, VOLUME, boot_index=0, device="vda")
    path, body = f"POST /servers/{server.id}/action", {"rebuild": {"imageRef": image}}
    answer = await api.compute("demo", path, body, version)
    assert answer.status_code == status, answer.text
    held = await api.cloud.database.read(lambda tx: operations.active(tx, server.id))
    assert (b'"reimage":null' not in held.want if held else None) is reimage
    if status == 202:
        assert answer.json()["server"]["image"] == ""


@pytest.mark.parametrize(
    ("properties", "asked", "says"),
    [
        ({}, {"trusted_image_certificates": ["x"]}, "not supported when booting from volume"),
        ({"cinder_encryption_key_id": "key"}, {}, "encrypt"),
        ({"img_config_drive": "sometimes"}, {}, "img_config_drive"),
        ({"hw_cpu_policy": "nonsense"}, {}, "hw_cpu_policy"),
        ({"hw_numa_nodes": "2"}, {}, "NUMA topology cannot be changed"),
    ],
)
async def test_an_image_that_no_root_disk_could_be_made_of_does_not_get_into_a_boot_volume_either(
    api: ComputeApi, properties: dict[str, str], asked: dict[str, Any], says: str
) -> None:
    server = await api.have_server(host=await api.have_host("compute1"), host_name="compute1", image=None)
    await have_volume(api, status="in-use", bootable=True, image_properties={"image_id": IMAGE})
    await add(api, server.id, VOLUME, boot_index=0, device="vda")
    api.images[OTHER_IMAGE] = an_image(OTHER_IMAGE, properties=properties)
    rebuild = {"rebuild": {"imageRef": OTHER_IMAGE, **asked}}
    assert says in await api.refused("demo", f"POST /servers/{server.id}/action", 400, rebuild, "2.93")
    assert await api.cloud.database.read(lambda tx: operations.active(tx, server.id)) is None


@pytest.mark.parametrize(
    ("properties", "asked", "says"),
    [
        ({}, {"trusted_image_certificates": ["x"]}, "not supported when booting from volume"),
        ({"img_config_drive": "sometimes"}, {}, "img_config_drive"),
    ],
)
async def test_nor_does_it_when_the_server_is_created(
    api: ComputeApi, properties: dict[str, str], asked: dict[str, Any], says: str
) -> None:
    await api.have_flavor()
    api.images[OTHER_IMAGE] = an_image(OTHER_IMAGE, properties=properties)
    device = {"source_type": "image", "destination_type": "volume", "uuid": OTHER_IMAGE, "boot_index": 0}
    devices = {"block_device_mapping_v2": [{**device, "volume_size": 2}]}
    new = {"name": "vm", "flavorRef": "small", "networks": "none", **devices, **asked}
    assert says in await api.refused("demo", "POST /servers", 400, {"server": new}, "2.67")


async def test_a_rebuild_needs_every_volume_in_use(api: ComputeApi) -> None:
    server = await with_volume(api)
    await api.cloud.database.transact(lambda tx: volumes.change(tx, VOLUME, status="error"))
    path, body = f"POST /servers/{server.id}/action", {"rebuild": {"imageRef": IMAGE}}
    assert "must be in-use" in await api.refused("demo", path, 400, body)
