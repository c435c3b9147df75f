"""Failover segments and their hosts, as Masakari's clients make, read and change them."""

from typing import Any

import pytest

from renova.ha.segments import MAINTENANCE, RESERVED
from renova.model.alarm import AlarmStatus
from renova.store import alarms, hosts
from renova.store.database import Tx
from tests.api.ha.ha_api import A_HOST, ONE, SEGMENT, TWO, HaApi
from tests.unit.store.tables import A

NOWHERE = "11111111-1111-4111-8111-111111111111"


async def test_a_segment_is_made_read_changed_and_removed(api: HaApi) -> None:
    made = await api.have_segment(description="the first")
    times = {"created_at": made["created_at"], "updated_at": None, "deleted_at": None, "deleted": False}
    assert made == {**SEGMENT, **times, "id": 1, "uuid": made["uuid"], "description": "the first", "enabled": True}
    assert await api.asked("GET", f"/segments/{made['uuid']}") == (200, {"segment": made})
    status, changed = await api.asked(
        "PUT", f"/segments/{made['uuid']}", {"segment": {"name": "rack-2", "enabled": "no", "description": None}}
    )
    assert status == 200
    assert changed["segment"] == made | {
        "name": "rack-2",
        "enabled": False,
        "description": None,
        "updated_at": changed["segment"]["updated_at"],
    }
    assert await api.asked("GET", "/segments") == (200, {"segments": [changed["segment"]]})
    assert await api.asked("DELETE", f"/segments/{made['uuid']}") == (204, None)
    assert await api.asked("GET", f"/segments/{made['uuid']}") == (
        404,
        {"itemNotFound": {"code": 404, "message": f"No failover segment with id {made['uuid']}."}},
    )


async def test_whether_a_segment_is_enabled_is_nothing_that_older_versions_know(api: HaApi) -> None:
    made = await api.have_segment()
    assert "enabled" not in (await api.asked("GET", f"/segments/{made['uuid']}", version="1.1"))[1]["segment"]
    body = {"segment": {"enabled": False}}
    assert (await api.asked("PUT", f"/segments/{made['uuid']}", body, version="1.1"))[0] == 400
    assert (await api.asked("POST", "/segments", {"segment": SEGMENT | {"enabled": True}}, version="1.1"))[0] == 400


async def test_names_of_segments_are_taken_once(api: HaApi) -> None:
    one, other = await api.have_segment(), await api.have_segment(name="rack-2")
    status, answer = await api.asked("POST", "/segments", {"segment": SEGMENT})
    assert (status, answer["conflictingRequest"]["message"]) == (
        409,
        "Failover segment with name rack-1 already exists.",
    )
    assert (await api.asked("PUT", f"/segments/{other['uuid']}", {"segment": {"name": "rack-1"}}))[0] == 409
    assert (await api.asked("PUT", f"/segments/{one['uuid']}", {"segment": {"name": "rack-1"}}))[0] == 200, "its own"


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": " a"},
        {"name": "n" * 256},
        {"recovery_method": "manual"},
        {"service_type": ""},
        {"description": "a\nb"},
        {"enabled": "maybe"},
        {"colour": "red"},
    ],
)
async def test_what_no_segment_can_have_is_refused(api: HaApi, wrong: dict[str, Any]) -> None:
    assert (await api.asked("POST", "/segments", {"segment": SEGMENT | wrong}))[0] == 400
    made = await api.have_segment()
    assert (await api.asked("PUT", f"/segments/{made['uuid']}", {"segment": wrong}))[0] == 400
    assert (await api.asked("PUT", f"/segments/{made['uuid']}", {"segment": {}}))[0] == 400
    assert (await api.asked("GET", "/segments"))[1]["segments"] == [made]


async def test_segments_are_filtered_sorted_and_paged(api: HaApi) -> None:
    for name, method in (("b", "auto"), ("a", "rh_priority"), ("c", "auto")):
        await api.have_segment(name=name, recovery_method=method)

    async def names(query: str) -> list[str]:
        status, found = await api.asked("GET", f"/segments?{query}")
        assert status == 200, found
        return [each["name"] for each in found["segments"]]

    assert await names("") == ["c", "a", "b"], "the newest first"
    assert await names("sort_dir=asc") == ["b", "a", "c"]
    assert await names("sort_key=name") == ["c", "b", "a"], "falling, unless told otherwise"
    assert await names("sort_key=recovery_method&sort_key=name&sort_dir=asc&sort_dir=desc") == ["c", "b", "a"]
    assert await names("recovery_method=auto") == ["c", "b"]
    assert await names("service_type=NETWORK") == []
    assert await names("enabled=false") == []
    first = (await api.asked("GET", "/segments?limit=1"))[1]["segments"][0]
    assert await names(f"limit=1&marker={first['uuid']}") == ["a"]
    assert await names(f"marker={first['id']}") == ["a", "b"], "as openstacksdk asks"
    wrong = ("limit=-1", "limit=x", "marker=x", "sort_key=colour", "sort_key=name&sort_dir=up")
    for query in (*wrong, "sort_key=name&sort_dir=asc&sort_dir=asc", "enabled=maybe"):
        assert (await api.asked("GET", f"/segments?{query}"))[0] == 400, query


async def test_a_host_has_its_place_in_one_segment(api: HaApi) -> None:
    segment = await api.have_segment()
    made = await api.have_host(segment["uuid"], reserved="False")
    assert made["failover_segment"] == segment
    assert {name: made[name] for name in A_HOST} == A_HOST
    assert (made["reserved"], made["on_maintenance"], made["failover_segment_id"]) == (False, False, segment["uuid"])
    path = f"/segments/{segment['uuid']}/hosts"
    assert await api.asked("GET", f"{path}/{made['uuid']}") == (200, {"host": made})
    assert await api.asked("GET", f"{path}?reserved=false&name={ONE}") == (200, {"hosts": [made]})
    assert await api.asked("GET", f"{path}?on_maintenance=True") == (200, {"hosts": []})
    other = await api.have_segment(name="rack-2")
    for where in (segment, other):
        assert (await api.asked("POST", f"/segments/{where['uuid']}/hosts", {"host": A_HOST}))[0] == 409
    assert (await api.asked("GET", f"/segments/{other['uuid']}/hosts/{made['uuid']}"))[0] == 404
    assert (await api.asked("PUT", f"{path}/{made['uuid']}", {"host": {"name": TWO}}))[1]["host"]["name"] == TWO
    assert await api.asked("DELETE", f"{path}/{made['uuid']}") == (204, None)
    assert (await api.asked("GET", path))[1] == {"hosts": []}
    assert (await api.asked("GET", f"/segments/{NOWHERE}/hosts"))[0] == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "no-such-host"},
        {"name": ""},
        {"type": "a b"},
        {"type": 7},
        {"control_attributes": "\x00"},
        {"reserved": "perhaps"},
        {"on_maintenance": 1},
        {"colour": "red"},
    ],
)
async def test_what_no_host_can_have_is_refused(api: HaApi, wrong: dict[str, Any]) -> None:
    segment = await api.have_segment()
    path = f"/segments/{segment['uuid']}/hosts"
    assert (await api.asked("POST", path, {"host": A_HOST | wrong}))[0] == 400
    made = await api.have_host(segment["uuid"])
    assert (await api.asked("PUT", f"{path}/{made['uuid']}", {"host": wrong}))[0] == 400
    assert (await api.asked("GET", path))[1]["hosts"] == [made]
    assert not (await api.host()).disabled


async def test_a_host_on_maintenance_or_in_reserve_gets_no_servers_until_it_is_so_no_more(api: HaApi) -> None:
    segment = await api.have_segment()
    made = await api.have_host(segment["uuid"], reserved=True)
    path = f"/segments/{segment['uuid']}/hosts/{made['uuid']}"
    assert ((await api.host()).disabled_reason, (await api.host()).disabled_by) == (RESERVED, "admin")
    await api.asked("PUT", path, {"host": {"on_maintenance": True}})
    assert (await api.host()).disabled_reason == MAINTENANCE
    await api.asked("PUT", path, {"host": {"on_maintenance": False}})
    assert (await api.host()).disabled_reason == RESERVED, "it is kept in reserve still"
    await api.asked("PUT", path, {"host": {"name": TWO}})
    assert not (await api.host()).disabled
    assert (await api.host(TWO)).disabled_reason == RESERVED
    assert await api.asked("DELETE", f"/segments/{segment['uuid']}") == (204, None)
    assert not (await api.host(TWO)).disabled, "it went with the segment"


async def test_a_host_that_somebody_else_has_disabled_stays_so(api: HaApi) -> None:
    segment = await api.have_segment()
    await api.cloud.database.transact(lambda tx: hosts.change(tx, A, disabled=True, disabled_reason="fans"))
    made = await api.have_host(segment["uuid"], on_maintenance=True)
    assert (await api.host()).disabled_reason == "fans"
    await api.asked("PUT", f"/segments/{segment['uuid']}/hosts/{made['uuid']}", {"host": {"on_maintenance": False}})
    assert (await api.host()).disabled_reason == "fans"


async def test_nothing_of_a_segment_changes_while_notifications_about_it_are_heeded(api: HaApi) -> None:
    segment = await api.have_segment()
    made = await api.have_host(segment["uuid"])
    body = {"type": "COMPUTE_HOST", "hostname": ONE, "generated_time": "2026-01-02T03:04:05", "payload": {}}
    body["payload"] = {"event": "STOPPED"}
    assert (await api.asked("POST", "/notifications", {"notification": body}))[0] == 202
    path = f"/segments/{segment['uuid']}"
    for method, where, change in (
        ("PUT", path, {"segment": {"name": "other"}}),
        ("DELETE", path, None),
        ("PUT", f"{path}/hosts/{made['uuid']}", {"host": {"reserved": True}}),
        ("DELETE", f"{path}/hosts/{made['uuid']}", None),
    ):
        assert (await api.asked(method, where, change))[0] == 409, (method, where)

    def end(tx: Tx) -> None:
        (alarm,) = alarms.unheeded(tx)
        assert alarms.move(tx, alarm, AlarmStatus.IGNORED, ())

    await api.cloud.database.transact(end)
    assert (await api.asked("PUT", path, {"segment": {"name": "other"}}))[0] == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/segments"),
        ("POST", "/segments"),
        ("GET", f"/segments/{NOWHERE}"),
        ("PUT", f"/segments/{NOWHERE}"),
        ("DELETE", f"/segments/{NOWHERE}"),
        ("GET", f"/segments/{NOWHERE}/hosts"),
        ("POST", f"/segments/{NOWHERE}/hosts"),
        ("GET", f"/segments/{NOWHERE}/hosts/{NOWHERE}"),
        ("PUT", f"/segments/{NOWHERE}/hosts/{NOWHERE}"),
        ("DELETE", f"/segments/{NOWHERE}/hosts/{NOWHERE}"),
        ("GET", "/notifications"),
        ("POST", "/notifications"),
        ("GET", f"/notifications/{NOWHERE}"),
        ("GET", f"/notifications/{NOWHERE}/vmoves"),
        ("GET", f"/notifications/{NOWHERE}/vmoves/{NOWHERE}"),
    ],
)
async def test_all_of_it_is_for_administrators(api: HaApi, method: str, path: str) -> None:
    assert (await api.asked(method, path, who="demo"))[0] == 403


async def test_which_versions_there_are_is_told_to_anybody(api: HaApi) -> None:
    answer = await api.client.get("/instance-ha/v1/")
    assert answer.status_code == 200
    told = answer.json()["version"]
    assert (told["min_version"], told["version"], told["status"]) == ("1.0", "1.3", "CURRENT")
    assert answer.headers["openstack-api-version"] == "instance-ha 1.0"
    assert (await api.client.get("/instance-ha/")).json() == {"versions": [told]}
    assert (await api.asked("GET", "/segments", version="1.4"))[0] == 406
    assert (await api.asked("GET", "/segments", version="one"))[0] == 400
