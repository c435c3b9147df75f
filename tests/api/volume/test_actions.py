"""What is done to volumes, and their attachments by hand (Block Storage API v3)."""

import asyncio
from typing import Any

import pytest

from renova.drivers.hypervisor import ImageSource
from renova.model.errors import CloudError, Conflict, NotNow, Refused
from renova.model.ids import AttachmentId, HostId, ProjectId, ServerId, VolumeId
from renova.model.storage import Export, WantedVolume
from renova.store import hosts
from tests.api.service_cloud import Api
from tests.api.volume.test_volumes import an_image
from tests.api.volume.volume_api import ask, make, settle, shown, status
from tests.unit.store.tables import add_server

SERVER = "00000000-0000-4000-8000-0000000000c1"
OTHER = "00000000-0000-4000-8000-0000000000c2"
NEW = "3.68"


async def act(api: Api, volume: str, action: str, given: Any = None, who: str = "demo", version: str = NEW) -> int:
    answer = await ask(api, who, f"POST /volumes/{volume}/action", {action: given}, version)
    await settle(api)
    return answer.status_code


async def quota(api: Api, **limits: int) -> None:
    await api.sign_in("demo")
    answer = await ask(api, "admin", f"PUT /os-quota-sets/{api.kept['demo_project']}", {"quota_set": limits})
    assert answer.status_code == 200, answer.text


async def test_a_volume_is_extended_while_it_is_available(api: Api) -> None:
    volume = (await make(api))["id"]
    assert await act(api, volume, "os-extend", {"new_size": 2}) == 202
    assert ((await shown(api, volume))["size"], await status(api, volume)) == (2, "available")
    assert api.storage.volumes.volumes[VolumeId(volume)].size_bytes == 2 << 30
    for size in (2, 1, "much", None):
        assert await act(api, volume, "os-extend", {"new_size": size}) == 400
    assert await act(api, volume, "os-extend", {"new_size": 2000}) == 413
    assert await act(api, volume, "os-reserve") == 202
    assert await act(api, volume, "os-extend", {"new_size": 3}) == 400


async def test_a_volume_is_extended_only_as_far_as_its_storage_host_has_room(api: Api) -> None:
    await quota(api, gigabytes=-1)
    volume = (await make(api))["id"]
    assert (await ask(api, "demo", "POST /volumes", {"volume": {"size": 20_000}})).status_code == 409
    for size in (20_001, 10**30):
        assert await act(api, volume, "os-extend", {"new_size": size}) == 409
    assert ((await shown(api, volume))["size"], await status(api, volume)) == (1, "available")
    assert await act(api, volume, "os-extend", {"new_size": 20_000}) == 202


async def test_a_volume_is_not_extended_beyond_what_a_single_one_may_have(api: Api) -> None:
    await quota(api, per_volume_gigabytes=10)
    volume = (await make(api, size=6))["id"]
    assert await act(api, volume, "os-extend", {"new_size": 11}) == 413
    assert await act(api, volume, "os-extend", {"new_size": 10}) == 202


async def test_a_volume_that_cannot_be_extended_keeps_its_size_and_can_be_used(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_compute_host(api)
    volume = (await make(api))["id"]
    have = api.storage.volumes.have

    async def full(want: WantedVolume, images: ImageSource) -> tuple[Export, ...]:
        if want.size_bytes > 1 << 30:
            raise Refused("no space left on the storage host")
        return await have(want, images)

    monkeypatch.setattr(api.storage.volumes, "have", full)
    assert await act(api, volume, "os-extend", {"new_size": 2}) == 202
    assert ((await shown(api, volume))["size"], await status(api, volume)) == (1, "error_extending")
    used = (await ask(api, "demo", "GET /limits")).json()["limits"]["absolute"]["totalGigabytesUsed"]
    assert used == 1
    assert await act(api, volume, "os-reset_status", {"status": "available"}, "admin") == 202
    code, made = await attachment(api, volume, who="admin", connector={"host": "host1", "ip": "10.1.0.1"})
    assert (code, made["status"]) == (200, "attaching")


async def test_statuses_follow_what_is_said_of_the_volume(api: Api) -> None:
    volume = (await make(api))["id"]
    for action, given, code, expected in (
        ("os-reserve", None, 202, "reserved"),
        ("os-reserve", None, 400, "reserved"),
        ("os-unreserve", None, 202, "available"),
        ("os-begin_detaching", None, 400, "available"),
        ("os-attach", {"instance_uuid": SERVER * 2, "mountpoint": "/dev/vdc"}, 400, "available"),
        ("os-attach", {"instance_uuid": SERVER, "mountpoint": "/" * 256}, 400, "available"),
        ("os-attach", {"instance_uuid": SERVER, "mountpoint": "/dev/vdc"}, 202, "in-use"),
        ("os-attach", {"instance_uuid": SERVER, "mountpoint": "/dev/vdc"}, 400, "in-use"),
        ("os-begin_detaching", None, 202, "detaching"),
        ("os-roll_detaching", None, 202, "in-use"),
        ("os-detach", {"attachment_id": OTHER}, 404, "in-use"),
        ("os-detach", {}, 202, "available"),
        ("os-update_readonly_flag", {"readonly": True}, 501, "available"),
        ("os-nothing", None, 400, "available"),
    ):
        assert await act(api, volume, action, given) == code, action
        assert await status(api, volume) == expected, action


async def test_bootable_and_image_metadata_can_be_set(api: Api) -> None:
    volume = (await make(api))["id"]
    assert await act(api, volume, "os-set_bootable", {"bootable": True}) == 200
    assert (await shown(api, volume))["bootable"] == "true"
    assert await act(api, volume, "os-set_bootable", {"bootable": "perhaps"}) == 400
    assert await act(api, volume, "os-set_image_metadata", {"metadata": {"os_distro": "debian"}}) == 200
    assert (await shown(api, volume))["volume_image_metadata"] == {"os_distro": "debian"}
    assert await act(api, volume, "os-unset_image_metadata", {"key": "os_distro"}) == 200
    assert await act(api, volume, "os-unset_image_metadata", {"key": "os_distro"}) == 404


async def test_an_administrator_sets_a_status_by_hand_but_none_that_stands_for_work(api: Api) -> None:
    volume = (await make(api))["id"]
    assert await act(api, volume, "os-reset_status", {"status": "error"}) == 403
    assert await act(api, volume, "os-reset_status", {"status": "error"}, "admin") == 202
    assert await status(api, volume) == "error"
    for wrong in ("deleting", "creating", "perfect", None):
        assert await act(api, volume, "os-reset_status", {"status": wrong}, "admin") == 400
    assert await act(api, volume, "os-force_delete") == 403
    assert await act(api, volume, "os-force_delete", None, "admin") == 202
    assert await status(api, volume) is None


async def test_a_volume_is_filled_anew_with_an_image_from_3_68_on(api: Api) -> None:
    image = await an_image(api)
    volume = (await make(api))["id"]
    given = {"image_id": image}
    assert await act(api, volume, "os-reimage", given, version="3.67") == 400
    assert await act(api, volume, "os-reimage", {"image_id": "none"}) == 400
    assert await act(api, volume, "os-reimage", given) == 202
    found = await shown(api, volume)
    assert (found["status"], found["volume_image_metadata"]["image_id"]) == ("available", image)
    assert api.storage.volumes.volumes[VolumeId(volume)].content.startswith("image ")
    assert await act(api, volume, "os-reserve") == 202
    assert await act(api, volume, "os-reimage", given) == 409
    assert await act(api, volume, "os-reimage", {**given, "reimage_reserved": True}) == 202
    assert await status(api, volume) == "reserved"


async def a_compute_host(api: Api) -> None:
    host = HostId("00000000-0000-4000-8000-000000000001")
    await api.cloud.database.transact(lambda tx: hosts.add(tx, host, "host1", "10.1.0.1", "certificate-host1"))


async def a_server(api: Api, server: str, who: str) -> None:
    """Have a server of the user's project."""
    await api.sign_in(who)
    project = ProjectId(api.kept[f"{who}_project"])
    await api.cloud.database.transact(lambda tx: add_server(tx, ServerId(server), project=project))


async def attachment(
    api: Api, volume: str, server: str = SERVER, who: str = "demo", **given: Any
) -> tuple[int, dict[str, Any]]:
    body = {"attachment": {"volume_uuid": volume, "instance_uuid": server, **given}}
    answer = await ask(api, who, "POST /attachments", body, "3.54")
    return answer.status_code, answer.json().get("attachment", {})


async def test_an_attachment_reserves_connects_completes_and_lets_go(api: Api) -> None:
    await a_compute_host(api)
    volume = (await make(api))["id"]
    code, made = await attachment(api, volume)
    assert (code, made["status"], made["instance"], made["volume_id"]) == (200, "reserved", SERVER, volume)
    assert await status(api, volume) == "reserved"
    assert (await attachment(api, volume, OTHER))[0] == 409
    path = f"/attachments/{made['id']}"
    connector = {"attachment": {"connector": {"host": "host1", "ip": "10.1.0.1"}}}
    assert (await ask(api, "demo", f"POST {path}/action", {"os-complete": None}, "3.44")).status_code == 409
    connected = (await ask(api, "admin", f"PUT {path}", connector, "3.27")).json()["attachment"]
    info = connected["connection_info"]
    assert (connected["status"], info["driver_volume_type"]) == ("attaching", "nbd")
    assert list(api.storage.volumes.served[VolumeId(volume)]) == [info["data"]["export"]]
    seen = (await ask(api, "demo", f"GET {path}", None, "3.27")).json()["attachment"]
    assert seen["connection_info"] == {}, "the name that opens a volume is not for its users"
    assert (await ask(api, "demo", f"POST {path}/action", {"os-complete": None}, "3.44")).status_code == 204
    assert await status(api, volume) == "in-use"
    (in_use,) = (await shown(api, volume))["attachments"]
    assert (in_use["attachment_id"], in_use["server_id"], in_use["id"]) == (made["id"], SERVER, volume)
    assert (await ask(api, "demo", f"DELETE /volumes/{volume}")).status_code == 400
    assert (await ask(api, "demo", f"DELETE {path}", None, "3.27")).json() == {"attachments": []}
    assert await status(api, volume) == "available"
    with pytest.raises(NotNow):
        api.storage.volumes.write(info["data"]["export"], "late")
    assert (await ask(api, "demo", f"DELETE {path}", None, "3.27")).status_code == 404


async def test_hosts_have_no_names_for_who_uses_volumes(api: Api) -> None:
    await a_compute_host(api)
    volume = (await make(api))["id"]
    _, made = await attachment(api, volume)

    def asked(host: str) -> tuple[str, dict[str, Any]]:
        return f"PUT /attachments/{made['id']}", {"attachment": {"connector": {"host": host, "ip": "10.1.0.1"}}}

    for host in ("host1", "guessed"):
        assert (await ask(api, "demo", *asked(host), "3.27")).status_code == 403
        assert (await attachment(api, volume, connector={"host": host}))[0] == 403
    assert (await ask(api, "admin", *asked("guessed"), "3.27")).status_code == 400
    assert (await ask(api, "admin", *asked("host1"), "3.27")).status_code == 200
    other = HostId("00000000-0000-4000-8000-000000000002")
    await api.cloud.database.transact(lambda tx: hosts.add(tx, other, "host2", "10.1.0.2", "certificate-host2"))
    with pytest.raises(Conflict) as refused:
        await api.cloud.volumes.connect(AttachmentId(made["id"]), "host2", "10.1.0.2")
    assert "host1" not in str(refused.value)
    told = (await ask(api, "admin", *asked("host2"), "3.27")).json()["conflictingRequest"]["message"]
    assert "connected already" in told
    assert "host1" in told


async def test_a_volume_is_given_by_hand_to_servers_of_its_project_only(api: Api) -> None:
    volume = (await make(api))["id"]
    await a_server(api, OTHER, "admin")
    by_hand = {"instance_uuid": OTHER, "mountpoint": "/dev/vdc"}
    assert (await attachment(api, volume, OTHER))[0] == 404
    assert await act(api, volume, "os-attach", by_hand) == 404
    assert await act(api, volume, "os-attach", by_hand, "admin") == 404
    assert await status(api, volume) == "available"
    await a_server(api, SERVER, "demo")
    assert (await attachment(api, volume))[0] == 200


async def test_what_a_server_has_open_is_not_cut_off_behind_compute(api: Api) -> None:
    await a_compute_host(api)
    volume = (await make(api))["id"]
    _, made = await attachment(api, volume, who="admin", connector={"host": "host1", "ip": "10.1.0.1"})
    await a_server(api, SERVER, "demo")
    assert (await ask(api, "demo", f"DELETE /attachments/{made['id']}", None, "3.27")).status_code == 409
    assert await act(api, volume, "os-detach", {}) == 409
    assert await status(api, volume) == "attaching"


@pytest.mark.parametrize("by_hand", ["DELETE /attachments/{made}", "POST /volumes/{volume}/action"])
@pytest.mark.parametrize("head_start", range(6))
async def test_what_a_server_opens_while_it_is_being_cut_off_by_hand_stays_or_is_not_opened(
    busy_api: Api, by_hand: str, head_start: int
) -> None:
    api = busy_api
    await a_compute_host(api)
    volume = (await make(api))["id"]
    await a_server(api, SERVER, "demo")
    _, made = await attachment(api, volume)
    cut = by_hand.format(made=made["id"], volume=volume)
    closing = asyncio.create_task(ask(api, "demo", cut, {"os-detach": {}}, "3.27"))
    for _ in range(head_start):
        await asyncio.sleep(0)
    try:
        await api.cloud.volumes.connect(AttachmentId(made["id"]), "host1", "10.1.0.1")
    except CloudError:
        assert (await closing).is_success
    else:
        assert (await closing).status_code == 409


async def test_attachments_are_listed_and_belong_to_their_project(api: Api) -> None:
    await a_compute_host(api)
    volume = (await make(api))["id"]
    _, made = await attachment(api, volume, who="admin", connector={"host": "host1", "ip": "10.1.0.1"})
    listed = (await ask(api, "demo", "GET /attachments", version="3.27")).json()["attachments"]
    assert [each["id"] for each in listed] == [made["id"]]
    detailed = (await ask(api, "demo", f"GET /attachments/detail?volume_id={volume}", version="3.27")).json()
    assert [each["status"] for each in detailed["attachments"]] == ["attaching"]
    assert (await ask(api, "demo", "GET /attachments", version="3.26")).status_code == 404
    assert (await ask(api, "admin", "GET /attachments", version="3.27")).json() == {"attachments": []}
    for given in ({"volume_uuid": volume}, {"instance_uuid": SERVER}, {}):
        assert (await ask(api, "demo", "POST /attachments", {"attachment": given}, "3.27")).status_code == 400
    assert (await attachment(api, SERVER))[0] == 404
    assert (await attachment(api, volume, mode="ro"))[0] == 400


async def test_while_the_storage_host_is_away_no_cut_is_claimed(api: Api) -> None:
    await a_compute_host(api)
    volume = (await make(api))["id"]
    _, made = await attachment(api, volume, who="admin", connector={"host": "host1", "ip": "10.1.0.1"})
    api.storage.away = True
    answer = await ask(api, "demo", f"DELETE /attachments/{made['id']}", None, "3.27")
    assert answer.status_code == 503
    assert await status(api, volume) == "attaching"
    api.storage.away = False
    assert (await ask(api, "demo", f"DELETE /attachments/{made['id']}", None, "3.27")).status_code == 200
    assert await status(api, volume) == "available"
