"""createImage and createBackup: the image is there when the answer comes, and not at all when there is a refusal."""

from typing import Any

import msgspec
import pytest

from renova.model.server import Server, TaskState, VmState
from renova.operations.create_image import CreateImage
from renova.store import actions

from .compute_cloud import IMAGE, OTHER_IMAGE, ComputeApi
from .test_actions import refuse, row

BACKUP = {"name": "b", "backup_type": "daily", "rotation": 2}


async def idle(api: ComputeApi, **values: Any) -> Server:
    host = await api.have_host("compute1")
    return await api.have_server(host=host, host_name="compute1", **values)


@pytest.mark.parametrize("state", [VmState.ACTIVE, VmState.PAUSED, VmState.SUSPENDED, VmState.STOPPED])
async def test_an_image_is_described_before_the_answer(api: ComputeApi, state: VmState) -> None:
    server = await idle(api, vm_state=state)
    body = {"createImage": {"name": "mine", "metadata": {"colour": "red"}}}
    answer = await api.got("demo", f"POST /servers/{server.id}/action", body, "2.45", 202)
    image = api.images[answer["image_id"]]
    assert (image.name, image.status, image.visibility, image.owner) == ("mine", "queued", "private", server.project)
    assert image.properties["colour"] == "red"
    assert image.properties["base_image_ref"] == IMAGE
    assert (await row(api, server)).task_state is TaskState.IMAGE_SNAPSHOT_PENDING
    (held,) = api.operations.started
    assert msgspec.json.decode(held.want, type=CreateImage).image == image.id
    (action,) = await api.cloud.database.read(lambda tx: actions.of_server(tx, server.id))
    assert action.action == "createImage"


async def test_old_clients_are_told_where_the_image_is(api: ComputeApi) -> None:
    server = await idle(api)
    answer = await api.compute("demo", f"POST /servers/{server.id}/action", {"createImage": {"name": "x"}}, "2.44")
    assert (answer.status_code, answer.content) == (202, b"")
    assert answer.headers["location"].rpartition("/images/")[2] in api.images


async def test_a_backup_has_its_kind_and_is_announced_if_it_is_kept(api: ComputeApi) -> None:
    server = await idle(api)
    answer = await api.got("demo", f"POST /servers/{server.id}/action", {"createBackup": BACKUP}, "2.45", 202)
    properties = api.images[answer["image_id"]].properties
    assert (properties["image_type"], properties["backup_type"]) == ("backup", "daily")
    assert (await row(api, server)).task_state is TaskState.IMAGE_BACKUP
    another = await idle_again(api)
    silent = {"createBackup": {**BACKUP, "rotation": "0"}}
    answer = await api.compute("demo", f"POST /servers/{another.id}/action", silent, "2.44")
    assert (answer.status_code, "location" in answer.headers) == (202, False)


async def idle_again(api: ComputeApi) -> Server:
    return await api.have_server(host=await api.have_host("compute2"), host_name="compute2")


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"createImage": None}, 400, "createImage"),
        ({"createImage": {}}, 400, "name"),
        ({"createImage": {"name": ""}}, 400, "name"),
        ({"createImage": {"name": "x", "metadata": {"a": 1}}}, 400, "metadata"),
        ({"createImage": {"name": "x", "metadata": {"status": "active"}}}, 400, "metadata.status"),
        ({"createImage": {"name": "x", "colour": "red"}}, 400, "colour"),
        ({"createImage": {"name": "x", "metadata": {f"k{n}": "" for n in range(129)}}}, 403, "metadata"),
        ({"createBackup": {"name": "x", "backup_type": "daily"}}, 400, "rotation"),
        ({"createBackup": {**BACKUP, "rotation": -1}}, 400, "rotation"),
        ({"createBackup": {**BACKUP, "rotation": "many"}}, 400, "rotation"),
        ({"createBackup": {**BACKUP, "backup_type": 1}}, 400, "backup_type"),
    ],
)
async def test_what_is_refused_leaves_no_image(api: ComputeApi, body: Any, status: int, message: str) -> None:
    server = await idle(api)
    assert message in await refuse(api, server, body, status)
    assert set(api.images) == {IMAGE, OTHER_IMAGE}


async def test_state_and_rights_are_asked_first(api: ComputeApi) -> None:
    server = await idle(api, vm_state=VmState.ERROR)
    wanted = {"createImage": {"name": "x"}}
    assert "vm_state error" in await refuse(api, server, wanted, 409)
    other = await api.have_server("admin", host=server.host)
    await refuse(api, other, wanted, 404)
    volume_backed = await api.have_server(host=server.host, image=None)
    assert "volume-backed" in await refuse(api, volume_backed, wanted, 400)
    assert set(api.images) == {IMAGE, OTHER_IMAGE}


async def test_a_lock_does_not_keep_from_making_an_image(api: ComputeApi) -> None:
    server = await idle(api, locked_by="owner")
    await api.got("demo", f"POST /servers/{server.id}/action", {"createImage": {"name": "x"}}, "2.45", 202)
