"""Host aggregates at every microversion, the zones they make, and what keeps hosts from changing theirs."""

from typing import Any

import pytest

from renova.model.ids import HostId
from renova.store import aggregates as store
from renova.store import providers

from .compute_cloud import IMAGE, OTHER_IMAGE, ComputeApi

PATH = "/os-aggregates"
NEW: dict[str, Any] = {"name": "vm", "imageRef": IMAGE, "flavorRef": "small"}


async def made(api: ComputeApi, name: str = "rack", zone: str | None = None, *hosts: str) -> int:
    wish = {"name": name} if zone is None else {"name": name, "availability_zone": zone}
    aggregate = int((await api.got("admin", f"POST {PATH}", {"aggregate": wish}))["aggregate"]["id"])
    for host in hosts:
        await act(api, aggregate, add_host={"host": host})
    return aggregate


async def act(api: ComputeApi, aggregate: int, status: int = 200, **action: Any) -> Any:
    if status != 200:
        return await api.refused("admin", f"POST {PATH}/{aggregate}/action", status, action)
    return (await api.got("admin", f"POST {PATH}/{aggregate}/action", action))["aggregate"]


async def shown(api: ComputeApi, aggregate: int, version: str = "2.1") -> dict[str, Any]:
    found: dict[str, Any] = (await api.got("admin", f"GET {PATH}/{aggregate}", version=version))["aggregate"]
    return found


async def change(api: ComputeApi, aggregate: int, status: int = 200, **wish: Any) -> Any:
    if status != 200:
        return await api.refused("admin", f"PUT {PATH}/{aggregate}", status, {"aggregate": wish})
    return (await api.got("admin", f"PUT {PATH}/{aggregate}", {"aggregate": wish}))["aggregate"]


async def have_server_on(api: ComputeApi, host: HostId, name: str) -> None:
    await api.have_server(host=host, host_name=name)


@pytest.mark.parametrize(("version", "uuid"), [("2.1", False), ("2.40", False), ("2.41", True), ("2.104", True)])
async def test_an_aggregate_shows_what_its_microversion_has(api: ComputeApi, version: str, uuid: bool) -> None:
    wish = {"aggregate": {"name": "rack", "availability_zone": "attic"}}
    created = (await api.got("admin", f"POST {PATH}", wish, version))["aggregate"]
    assert ("uuid" in created) == uuid
    assert not {"hosts", "metadata"} & set(created), "the answer to a creation has neither"
    assert (created["name"], created["availability_zone"]) == ("rack", "attic")
    assert (created["deleted"], created["deleted_at"], created["updated_at"]) == (False, None, None)
    expected = {**created, "hosts": [], "metadata": {"availability_zone": "attic"}}
    assert await shown(api, created["id"], version) == expected
    assert (await api.got("admin", f"GET {PATH}", version=version))["aggregates"] == [expected]


async def test_hosts_come_and_go(api: ComputeApi) -> None:
    aggregate = await made(api)
    for name in ("a", "b"):
        await api.have_host(name)
        await act(api, aggregate, add_host={"host": name})
    assert (await shown(api, aggregate))["hosts"] == ["a", "b"]
    await act(api, aggregate, 409, add_host={"host": "a"})
    await act(api, aggregate, 404, add_host={"host": "mars"})
    await api.refused("admin", f"DELETE {PATH}/{aggregate}", 400)
    assert (await act(api, aggregate, remove_host={"host": "a"}))["hosts"] == ["b"]
    await act(api, aggregate, 404, remove_host={"host": "a"})
    await act(api, aggregate, remove_host={"host": "b"})
    await api.got("admin", f"DELETE {PATH}/{aggregate}", status=204)
    await api.refused("admin", f"DELETE {PATH}/{aggregate}", 404)
    await api.refused("admin", f"GET {PATH}/{aggregate}", 404)


async def test_placement_knows_the_aggregates_of_hosts(api: ComputeApi) -> None:
    host = await api.have_host("a")

    async def mirrored() -> set[str]:
        return set(await api.cloud.database.read(lambda tx: providers.aggregates_of(tx, host)))

    rack, shelf = await made(api, "rack", None, "a"), await made(api, "shelf", None, "a")
    uuids = [(await shown(api, aggregate, "2.41"))["uuid"] for aggregate in (rack, shelf)]
    assert await mirrored() == set(uuids)
    await act(api, rack, remove_host={"host": "a"})
    assert await mirrored() == {uuids[1]}


async def test_metadata_is_set_and_taken_away(api: ComputeApi) -> None:
    aggregate = await made(api)
    changed = await act(api, aggregate, set_metadata={"metadata": {"ssd": "true", "net": "fast"}})
    assert changed["metadata"] == {"ssd": "true", "net": "fast"}
    assert changed["updated_at"] is not None
    changed = await act(api, aggregate, set_metadata={"metadata": {"ssd": None, "gpu": "no", "none": None}})
    assert changed["metadata"] == {"net": "fast", "gpu": "no"}
    for wrong in ({}, {"metadata": {"a/b": "x"}}, {"metadata": {"a": 1}}, {"metadata": {"a": "x" * 256}}):
        await act(api, aggregate, 400, set_metadata=wrong)
    await act(api, aggregate, 400, set_metadata={"metadata": {"availability_zone": "a:b"}})
    assert (await shown(api, aggregate))["metadata"] == {"net": "fast", "gpu": "no"}


async def test_names_and_zones_change(api: ComputeApi) -> None:
    aggregate = await made(api)
    changed = await change(api, aggregate, name="shelf", availability_zone="attic")
    assert (changed["name"], changed["availability_zone"]) == ("shelf", "attic")
    assert changed["metadata"] == {"availability_zone": "attic"}
    assert (await change(api, aggregate, name="shelf"))["availability_zone"] == "attic"
    assert (await act(api, aggregate, set_metadata={"metadata": {"availability_zone": None}}))["metadata"] == {}
    await made(api, "other")
    await change(api, aggregate, 409, name="other")
    await api.refused("admin", f"POST {PATH}", 409, {"aggregate": {"name": "other"}})


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"name": ""},
        {"name": "x" * 256},
        {"name": 7},
        {"availability_zone": ""},
        {"availability_zone": "a:b"},
        {"availability_zone": " a"},
        {"colour": "red"},
    ],
)
async def test_a_wrong_aggregate_is_refused(api: ComputeApi, wish: dict[str, Any]) -> None:
    aggregate = await made(api)
    await change(api, aggregate, 400, **wish)
    await api.refused("admin", f"POST {PATH}", 400, {"aggregate": {"name": "new", **wish} if wish else {}})
    assert len((await api.got("admin", f"GET {PATH}"))["aggregates"]) == 1


@pytest.mark.parametrize(
    "body", [{}, {"add_host": {}}, {"reboot": None}, {"add_host": {"host": "a"}, "remove_host": {"host": "a"}}]
)
async def test_a_wrong_action_is_refused(api: ComputeApi, body: dict[str, Any]) -> None:
    aggregate = await made(api)
    await api.refused("admin", f"POST {PATH}/{aggregate}/action", 400, body)


async def test_aggregates_are_for_administrators(api: ComputeApi) -> None:
    aggregate = await made(api)
    for request in (f"GET {PATH}", f"GET {PATH}/{aggregate}", f"DELETE {PATH}/{aggregate}"):
        await api.refused("demo", request, 403)
    await api.refused("demo", f"POST {PATH}", 403, {"aggregate": {"name": "x"}})
    await api.refused("demo", f"PUT {PATH}/{aggregate}", 403, {"aggregate": {"name": "x"}})
    await api.refused("demo", f"POST {PATH}/{aggregate}/action", 403, {"add_host": {"host": "a"}})
    await api.refused("demo", f"POST {PATH}/{aggregate}/images", 403, {"cache": [{"id": IMAGE}]}, "2.81")
    for wrong in ("x", "0", "-1", "9" * 30):
        await api.refused("admin", f"GET {PATH}/{wrong}", 400)


async def test_an_id_is_never_given_twice(api: ComputeApi) -> None:
    first = await made(api)
    await api.got("admin", f"DELETE {PATH}/{first}", status=204)
    assert await made(api) > first


async def test_images_are_taken_note_of(api: ComputeApi) -> None:
    aggregate = await made(api)
    request = f"POST {PATH}/{aggregate}/images"
    await api.got("admin", request, {"cache": [{"id": IMAGE}, {"id": OTHER_IMAGE}]}, "2.81", 202)
    refused: list[Any] = [[], [{"id": IMAGE}, {"id": IMAGE}], [{"id": "x"}], [{}]]
    for wrong in refused:
        await api.refused("admin", request, 400, {"cache": wrong}, "2.81")
    await api.refused("admin", f"POST {PATH}/99/images", 404, {"cache": [{"id": IMAGE}]}, "2.81")
    await api.refused("admin", request, 404, {"cache": [{"id": IMAGE}]}, "2.80")


async def test_a_host_is_in_one_zone_at_most(api: ComputeApi) -> None:
    await api.have_host("a")
    attic = await made(api, "attic", "attic", "a")
    cellar = await made(api, "cellar", "cellar")
    assert "already in availability zone(s) attic" in await act(api, cellar, 409, add_host={"host": "a"})
    plain = await made(api, "plain", None, "a")
    await change(api, plain, 400, availability_zone="cellar")
    await act(api, plain, 400, set_metadata={"metadata": {"availability_zone": "cellar"}})
    await change(api, plain, availability_zone="attic")  # twice the same is fine
    await act(api, attic, remove_host={"host": "a"})
    assert {zone["zoneName"] for zone in await zones(api)} == {"attic"}


async def test_a_host_with_servers_keeps_its_zone(api: ComputeApi) -> None:
    home, free = await api.have_host("home"), await api.have_host("free")
    attic = await made(api, "attic", "attic", "free")
    plain = await made(api, "plain", None, "home", "free")
    await have_server_on(api, home, "home")
    await act(api, attic, 409, add_host={"host": "home"})
    await change(api, plain, 400, availability_zone="attic")
    await act(api, plain, 400, set_metadata={"metadata": {"availability_zone": "attic"}})
    await act(api, plain, set_metadata={"metadata": {"ssd": "true"}})
    await act(api, plain, remove_host={"host": "home"})
    await have_server_on(api, free, "free")
    await act(api, attic, 409, remove_host={"host": "free"})
    await change(api, attic, 400, availability_zone="cellar")
    await change(api, attic, 400, availability_zone=None)
    await change(api, attic, name="new")
    nova = await made(api, "nova", "nova")
    await act(api, nova, add_host={"host": "home"})  # its zone has this name already


async def zones(api: ComputeApi, who: str = "demo") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await api.got(who, "GET /os-availability-zone"))["availabilityZoneInfo"]
    return found


async def test_zones_are_listed_with_their_hosts(api: ComputeApi) -> None:
    a, b = await api.have_host("a"), await api.have_host("b", alive=False)
    await made(api, "attic", "attic", "a")
    await api.got("admin", f"PUT /os-services/{a}", {"status": "disabled"}, "2.53")
    assert await zones(api) == [
        {"zoneName": "attic", "zoneState": {"available": False}, "hosts": None},
        {"zoneName": "nova", "zoneState": {"available": True}, "hosts": None},
    ]
    detailed = (await api.got("admin", "GET /os-availability-zone/detail"))["availabilityZoneInfo"]
    seen = {
        (zone["zoneName"], host, service["available"], service["active"])
        for zone in detailed
        for host, services in zone["hosts"].items()
        for service in services.values()
    }
    assert seen == {("attic", "a", True, False), ("nova", "b", False, True)}
    listed = {each["host"]: each["zone"] for each in (await api.got("admin", "GET /os-services"))["services"]}
    assert listed == {"a": "attic", "b": "nova"}
    changed = await api.got("admin", f"PUT /os-services/{a}", {"status": "enabled"}, "2.53")
    assert changed["service"]["zone"] == "attic"
    assert b


async def test_a_host_that_leaves_the_cloud_leaves_its_aggregates(api: ComputeApi) -> None:
    host = await api.have_host("a")
    aggregate = await made(api, "attic", "attic", "a")
    await api.got("admin", f"DELETE /os-services/{host}", version="2.53", status=204)
    assert (await shown(api, aggregate))["hosts"] == []
    assert await api.cloud.database.read(lambda tx: store.of_host(tx, host)) == []
    await api.got("admin", f"DELETE {PATH}/{aggregate}", status=204)


@pytest.mark.parametrize(
    ("zone", "host"),
    [("attic", None), ("nova", None), ("attic:a", "a"), ("attic:a:a", "a"), ("attic::a", "a"), (":b", "b")],
)
async def test_a_server_is_created_in_a_zone_or_on_a_host(api: ComputeApi, zone: str, host: str | None) -> None:
    await api.have_flavor()
    await api.have_host("a")
    await api.have_host("b")
    await made(api, "attic", "attic", "a")
    body = {"server": {**NEW, "availability_zone": zone}}
    server = (await api.got("admin", "POST /servers", body, status=202))["server"]["id"]
    pinned = (await api.got("admin", f"GET /servers/{server}", version="2.96"))["server"]["pinned_availability_zone"]
    assert pinned == (zone.partition(":")[0] or None)
    (started,) = api.operations.started
    assert (f'"host":"{host}"' if host else '"host":null').encode() in started.want


@pytest.mark.parametrize("zone", ["mars", "cellar", "closed", "attic:mars", "attic:a:b", "attic:a:a:a", "mars:a"])
async def test_a_zone_that_no_host_serves_is_refused(api: ComputeApi, zone: str) -> None:
    await api.have_flavor()
    await api.have_host("a")
    closed = await api.have_host("c")
    await made(api, "attic", "attic", "a")
    await made(api, "cellar", "cellar")  # has no host
    await made(api, "closed", "closed", "c")
    await api.got("admin", f"PUT /os-services/{closed}", {"status": "disabled"}, "2.53")
    await api.refused("admin", "POST /servers", 400, {"server": {**NEW, "availability_zone": zone}})
    await api.refused("demo", "POST /servers", 403, {"server": {**NEW, "availability_zone": "attic:a"}})


async def test_a_server_is_unpinned_and_pinned_to_where_it_is(api: ComputeApi) -> None:
    host = await api.have_host("a")
    await api.have_host("b")
    await made(api, "attic", "attic", "a")
    server = await api.have_server(host=host, host_name="a", availability_zone="attic", pinned_zone="attic")

    async def pin(zone: str | None) -> Any:
        body = {"server": {"pinned_availability_zone": zone}}
        return (await api.got("demo", f"PUT /servers/{server.id}", body, "2.104"))["server"]["pinned_availability_zone"]

    assert await pin(None) is None
    for wrong in ("nova", "mars"):
        body = {"server": {"pinned_availability_zone": wrong, "name": "new"}}
        await api.refused("demo", f"PUT /servers/{server.id}", 400, body, "2.104")
    shown = (await api.got("demo", f"GET /servers/{server.id}", version="2.96"))["server"]
    assert (shown["name"], shown["pinned_availability_zone"]) == ("vm", None)
    assert await pin("attic") == "attic"
    unpin = {"server": {"pinned_availability_zone": None}}
    await api.refused("demo", f"PUT /servers/{server.id}", 400, unpin, "2.103")
