"""Notifications, as monitors send them and operators read them; what is done about them, `tests.operations` tells."""

from typing import Any

import pytest

from renova.model.alarm import AlarmStatus, Told
from renova.model.ids import ServerId
from renova.store import alarms, migrations
from renova.store.database import Tx
from tests.api.ha.ha_api import ONE, TWO, HaApi
from tests.unit.store.tables import A, B

SERVER = ServerId("5e000000-0000-4000-8000-000000000001")
HOST_DOWN = {"event": "STOPPED", "cluster_status": "OFFLINE", "host_status": "UNKNOWN"}
GUEST_DIED = {"event": "LIFECYCLE", "vir_domain_event": "STOPPED_FAILED", "instance_uuid": SERVER}
PROCESS_DOWN = {"event": "STOPPED", "process_name": "libvirtd"}


def saying(kind: str = "COMPUTE_HOST", payload: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    said = {"type": kind, "hostname": ONE, "generated_time": "2026-01-02T03:04:00", "payload": payload or HOST_DOWN}
    return {"notification": said | changes}


async def have_place(api: HaApi) -> dict[str, Any]:
    return await api.have_host((await api.have_segment())["uuid"])


async def test_a_notification_is_taken_and_shown(api: HaApi) -> None:
    place = await have_place(api)
    status, taken = await api.asked("POST", "/notifications", saying())
    assert status == 202
    made = taken["notification"]
    assert made == {
        "id": 1,
        "notification_uuid": made["notification_uuid"],
        "type": "COMPUTE_HOST",
        "source_host_uuid": place["uuid"],
        "generated_time": "2026-01-02T03:04:00.000000",
        "payload": HOST_DOWN,
        "status": "new",
        "created_at": made["created_at"],
        "updated_at": None,
        "deleted_at": None,
        "deleted": False,
    }
    path = f"/notifications/{made['notification_uuid']}"
    assert await api.asked("GET", path, version="1.0") == (200, {"notification": made})
    assert await api.asked("GET", path) == (200, {"notification": made | {"recovery_workflow_details": []}})
    assert await api.asked("GET", "/notifications") == (200, {"notifications": [made]})


async def test_what_was_done_is_shown_a_task_each(api: HaApi) -> None:
    await have_place(api)
    uuid = (await api.asked("POST", "/notifications", saying()))[1]["notification"]["notification_uuid"]

    def heed(tx: Tx) -> None:
        (alarm,) = alarms.unheeded(tx)
        told = (Told("prove", "1", "it is silent"), Told("prove", "2", "it is off"), Told("recover", "3", "no room"))
        assert alarms.move(tx, alarm, AlarmStatus.ERROR, told)

    await api.cloud.database.transact(heed)
    status, found = await api.asked("GET", f"/notifications/{uuid}", version="1.1")
    assert (status, found["notification"]["status"]) == (200, "error")
    assert found["notification"]["recovery_workflow_details"] == [
        {
            "name": "prove",
            "state": "SUCCESS",
            "progress": 1.0,
            "progress_details": [
                {"timestamp": "1", "progress": 0.0, "message": "it is silent"},
                {"timestamp": "2", "progress": 1.0, "message": "it is off"},
            ],
        },
        {
            "name": "recover",
            "state": "FAILURE",
            "progress": 0.0,
            "progress_details": [{"timestamp": "3", "progress": 0.0, "message": "no room"}],
        },
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        saying("NETWORK"),
        saying(hostname=""),
        saying(hostname="a b"),
        saying(hostname="nowhere"),
        saying(hostname=TWO),  # which is in no segment
        saying(generated_time="yesterday"),
        saying(generated_time="0001-01-01T00:00:00"),
        saying(payload={"event": "EXPLODED"}),
        saying(payload={"event": 7}),
        saying(payload={"cluster_status": "OFFLINE"}),
        saying(payload=HOST_DOWN | {"host_status": "PERHAPS"}),
        saying(payload=HOST_DOWN | {"colour": "red"}),
        saying("VM", HOST_DOWN),
        saying("VM", GUEST_DIED | {"instance_uuid": "mine"}),
        saying("PROCESS", {"event": "STOPPED"}),
        saying("PROCESS", PROCESS_DOWN | {"process_name": ""}),
        saying(colour="red"),
    ],
)
async def test_what_says_nothing_that_could_be_heeded_is_refused(api: HaApi, wrong: dict[str, Any]) -> None:
    await have_place(api)
    assert (await api.asked("POST", "/notifications", wrong))[0] == 400
    assert (await api.asked("GET", "/notifications"))[1] == {"notifications": []}


async def test_the_same_is_not_taken_twice_while_it_is_heeded(api: HaApi) -> None:
    await have_place(api)
    assert (await api.asked("POST", "/notifications", saying()))[0] == 202
    assert (await api.asked("POST", "/notifications", saying(generated_time="2026-01-02T03:06:59Z")))[0] == 409
    assert (await api.asked("POST", "/notifications", saying(generated_time="2026-01-02T03:07:01Z")))[0] == 202, "later"
    assert (await api.asked("POST", "/notifications", saying(payload={"event": "STARTED"})))[0] == 202, "other"
    assert (await api.asked("POST", "/notifications", saying("PROCESS", PROCESS_DOWN)))[0] == 202


async def test_nothing_is_taken_about_a_host_on_maintenance(api: HaApi) -> None:
    place = await have_place(api)
    path = f"/segments/{place['failover_segment_id']}/hosts/{place['uuid']}"
    await api.asked("PUT", path, {"host": {"on_maintenance": True}})
    status, answer = await api.asked("POST", "/notifications", saying())
    assert status == 409
    assert "on maintenance" in answer["conflictingRequest"]["message"]
    assert (await api.asked("GET", "/notifications"))[1] == {"notifications": []}


async def test_notifications_are_filtered(api: HaApi) -> None:
    place = await have_place(api)
    await api.asked("POST", "/notifications", saying())
    await api.asked("POST", "/notifications", saying("VM", GUEST_DIED, generated_time="2026-01-02T04:00:00+00:00"))

    async def kinds(query: str) -> list[str]:
        status, found = await api.asked("GET", f"/notifications?{query}")
        assert status == 200, found
        return [each["type"] for each in found["notifications"]]

    assert await kinds("") == ["VM", "COMPUTE_HOST"]
    assert await kinds("type=VM") == ["VM"]
    assert await kinds("status=finished") == []
    assert await kinds(f"source_host_uuid={place['uuid']}&limit=1") == ["VM"]
    assert await kinds("generated-since=2026-01-02T03:30:00") == ["VM"]
    assert await kinds("sort_key=generated_time&sort_dir=asc") == ["COMPUTE_HOST", "VM"]
    assert (await api.asked("GET", "/notifications?generated-since=then"))[0] == 400


async def test_vmoves_are_what_the_hosts_death_led_to(api: HaApi) -> None:
    await have_place(api)
    uuid = (await api.asked("POST", "/notifications", saying()))[1]["notification"]["notification_uuid"]
    path = f"/notifications/{uuid}/vmoves"
    assert await api.asked("GET", path) == (200, {"vmoves": []})

    def evacuate(tx: Tx) -> None:
        (alarm,) = alarms.unheeded(tx)
        for nth, status in enumerate(("error", "done")):
            move = {"uuid": str(nth), "server": SERVER, "type": "evacuation", "status": status, "proof": 7}
            way = {"source": A, "source_name": ONE, "destination": B, "destination_name": TWO}
            migrations.add(tx, **move, **way, user="u", project="p")
        assert alarms.move(tx, alarm, AlarmStatus.FINISHED, (), proof=7)

    await api.cloud.database.transact(evacuate)
    status, found = await api.asked("GET", path)
    assert status == 200
    (vmove,) = found["vmoves"]
    assert (vmove["instance_uuid"], vmove["source_host"], vmove["dest_host"]) == (SERVER, ONE, TWO)
    assert (vmove["type"], vmove["status"], vmove["notification_uuid"]) == ("evacuation", "succeeded", uuid)
    assert await api.asked("GET", f"{path}/{vmove['uuid']}") == (200, {"vmove": vmove})
    assert (await api.asked("GET", f"{path}?status=failed"))[1] == {"vmoves": []}
    assert (await api.asked("GET", f"{path}?type=evacuation"))[1] == {"vmoves": [vmove]}
    for where in (f"{path}/{SERVER}", f"/notifications/{SERVER}/vmoves"):
        assert (await api.asked("GET", where))[0] == 404
    assert (await api.asked("GET", path, version="1.2"))[0] == 404, "not yet in that version"


async def test_only_notifications_about_hosts_have_vmoves(api: HaApi) -> None:
    await have_place(api)
    _, taken = await api.asked("POST", "/notifications", saying("PROCESS", PROCESS_DOWN))
    assert (await api.asked("GET", f"/notifications/{taken['notification']['notification_uuid']}/vmoves"))[0] == 400
