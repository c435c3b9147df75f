"""Volumes: made, listed, shown, changed, deleted (Block Storage API v3)."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import httpx
import pytest
from sqlalchemy import Executable

from renova.model.ids import AttachmentId, ProjectId, ServerId, VolumeId
from renova.store import volume_attachments
from renova.store.database import Database, Tx
from renova.store.volume_attachments import StoredAttachment
from tests.api.service_cloud import Api, make_app
from tests.api.volume.volume_api import ask, make, settle, shown, status

T = TypeVar("T")


async def an_image(api: Api, **given: Any) -> str:
    body = {"name": "disk", "disk_format": "raw", "container_format": "bare", "os_distro": "debian", **given}
    image = (await api.ask("demo", "POST /image/v2/images", body)).json()["id"]
    kind = {"content-type": "application/octet-stream"}
    assert (await api.ask("demo", f"PUT /image/v2/images/{image}/file", b"bytes", kind)).status_code == 204
    return str(image)


async def names(api: Api, query: str = "", who: str = "demo") -> list[str]:
    answer = await ask(api, who, f"GET /volumes/detail{query}")
    assert answer.status_code == 200, answer.text
    return [volume["name"] for volume in answer.json()["volumes"]]


async def test_a_volume_from_its_making_to_its_end(api: Api) -> None:
    made = await make(api, description="mine", metadata={"use": "tests"})
    assert (
        made
        | {
            "name": "data",
            "description": "mine",
            "size": 1,
            "status": "available",
            "availability_zone": "nova",
            "bootable": "false",
            "encrypted": False,
            "multiattach": False,
            "metadata": {"use": "tests"},
            "attachments": [],
            "volume_type": "__DEFAULT__",
            "os-vol-tenant-attr:tenant_id": api.kept["demo_project"],
            "created_at": "2026-01-02T03:04:05.000000",
        }
        == made
    )
    assert (await ask(api, "demo", f"DELETE /volumes/{made['id']}")).status_code == 202
    await settle(api)
    assert await status(api, made["id"]) is None
    assert (await ask(api, "demo", f"DELETE /volumes/{made['id']}")).status_code == 404
    assert api.storage.volumes.volumes == {}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"size": 0}, 400),
        ({"size": -1}, 400),
        ({"size": "much"}, 400),
        ({"size": None}, 400),
        ({"multiattach": True}, 400),
        ({"backup_id": "b"}, 400),
        ({"name": "x" * 256}, 400),
        ({"description": "x" * 256}, 400),
        ({"metadata": {"": "x"}}, 400),
        ({"metadata": {"x": 7}}, 400),
        ({"size": "1"}, 202),
        ({"availability_zone": "elsewhere"}, 400),
        ({"imageRef": "none"}, 400),
        ({"imageRef": "none", "snapshot_id": "none"}, 400),
        ({"snapshot_id": "none"}, 404),
        ({"source_volid": "none"}, 404),
        ({"volume_type": "none"}, 404),
        ({"size": 1001}, 413),
    ],
)
async def test_what_can_be_made_and_what_is_refused(api: Api, given: dict[str, Any], code: int) -> None:
    answer = await ask(api, "demo", "POST /volumes", {"volume": {"size": 1, **given}})
    assert answer.status_code == code, answer.text
    if code != 202:
        assert next(iter(answer.json().values()))["code"] == code
        assert await names(api) == []


@pytest.mark.parametrize("body", [{}, [], {"volume": []}, {"volume": None}, {"server": {}}, b"{"])
async def test_nonsense_is_a_bad_request(api: Api, body: Any) -> None:
    assert (await ask(api, "demo", "POST /volumes", body)).status_code == 400


@pytest.mark.parametrize(
    "body", [b'{"volume": {"name": "\xb0"}}', b'{"volume": {"size": 1e999999}}', b'{"volume": "\\ud800"}']
)
async def test_what_is_no_text_is_a_bad_request(api: Api, body: bytes) -> None:
    answer = await ask(api, "demo", "POST /volumes", body)
    assert (answer.status_code, list(answer.json())) == (400, ["badRequest"])


async def test_a_volume_of_an_image_is_bootable_and_large_enough(api: Api) -> None:
    image = await an_image(api, min_disk=2)
    small = await ask(api, "demo", "POST /volumes", {"volume": {"size": 1, "imageRef": image}})
    assert small.status_code == 400
    made = await make(api, size=2, imageRef=image)
    assert (made["status"], made["bootable"]) == ("available", "true")
    assert made["volume_image_metadata"]["image_id"] == image
    assert made["volume_image_metadata"]["os_distro"] == "debian"
    hidden = await an_image(api, visibility="private")
    answer = await ask(api, "admin", "POST /volumes", {"volume": {"size": 1, "imageRef": hidden}})
    assert answer.status_code == 202


async def test_a_volume_of_another_volume_is_at_least_as_large(api: Api) -> None:
    source = await make(api, size=2)
    small = await ask(api, "demo", "POST /volumes", {"volume": {"size": 1, "source_volid": source["id"]}})
    assert small.status_code == 400
    copy = await make(api, size=None, source_volid=source["id"])
    assert (copy["size"], copy["source_volid"], copy["status"]) == (2, source["id"], "available")


async def test_another_projects_volumes_are_not_there(api: Api) -> None:
    theirs = await make(api, "admin")
    for request in (f"GET /volumes/{theirs['id']}", f"DELETE /volumes/{theirs['id']}"):
        assert (await ask(api, "demo", request)).status_code == 404
    assert await names(api) == []
    mine = await make(api)
    assert await names(api, "?all_tenants=1", "admin") == ["data", "data"]
    found = await shown(api, mine["id"], "admin")
    assert found["os-vol-host-attr:host"] == "storage1"
    assert "os-vol-host-attr:host" not in mine


async def test_lists_are_filtered_ordered_and_cut_into_pages(api: Api) -> None:
    for name, size in (("a", 1), ("b", 3), ("c", 2)):
        await make(api, name=name, size=size, metadata={"letter": name})
    for query, expected in {
        "": ["c", "b", "a"],
        "?name=b": ["b"],
        "?status=available": ["c", "b", "a"],
        "?status=error": [],
        "?metadata={'letter':%20'a'}": ["a"],
        "?bootable=false": ["c", "b", "a"],
        "?sort=size:asc": ["a", "c", "b"],
        "?sort_key=name&sort_dir=asc": ["a", "b", "c"],
        "?limit=1": ["c"],
        "?limit=1&offset=1": ["b"],
    }.items():
        assert await names(api, query) == expected, query
    first = (await ask(api, "demo", "GET /volumes?limit=2&with_count=true", version="3.45")).json()
    assert (len(first["volumes"]), first["count"]) == (2, 3)
    rest = (await api.ask("demo", f"GET {first['volumes_links'][0]['href']}")).json()
    assert [volume["name"] for volume in rest["volumes"]] == ["a"]
    nonsense = ("x", "{[]:1}", "{0x" + "f" * 5000 + ":1}")
    for query in ("?limit=x", "?marker=none", "?sort=none", *(f"?metadata={each}" for each in nonsense)):
        assert (await ask(api, "demo", f"GET /volumes{query}")).status_code == 400, query
    summary = (await ask(api, "demo", "GET /volumes/summary", version="3.36")).json()["volume-summary"]
    assert summary == {"total_count": 3, "total_size": 6, "metadata": {"letter": ["a", "b", "c"]}}


class Listening:
    """A database that notes which statements are read, and with which values."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.heard: list[tuple[str, Any]] = []

    async def read(self, fn: Callable[[Tx], T]) -> T:
        return await self._database.read(lambda tx: fn(self._listening(tx)))

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        return await self._database.transact(fn)

    def close(self) -> None:
        self._database.close()

    def _listening(self, tx: Tx) -> Tx:
        heard, really = self.heard, tx.execute

        def execute(statement: Executable, values: Any = None) -> Any:
            heard.append((str(statement), values))
            return really(statement, values)

        tx.execute = execute
        return tx


async def test_a_list_reads_the_attachments_of_its_own_volumes_and_a_brief_one_none(api: Api) -> None:
    mine, theirs = await make(api), await make(api, "admin")
    for volume in (mine, theirs):
        attachment = StoredAttachment(
            id=AttachmentId(api.cloud.chance.uuid()),
            volume=VolumeId(volume["id"]),
            project=ProjectId("p"),
            server=ServerId("s"),
            attached_at="2026-01-01T00:00:00.000000",
            created_at="2026-01-01T00:00:00.000000",
        )
        await api.cloud.database.transact(partial(volume_attachments.add, new=attachment))
    listening = Listening(api.cloud.database)
    app = make_app(replace(api.cloud, database=Database(listening)))

    async def read(path: str) -> tuple[list[dict[str, Any]], list[Any]]:
        listening.heard.clear()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloud.example") as api.client:
            listed = (await ask(api, "demo", f"GET {path}")).json()["volumes"]
        return listed, [values for statement, values in listening.heard if "FROM volume_attachments" in statement]

    assert (await read("/volumes"))[1] == []
    (shown_,), values = await read("/volumes/detail")
    assert [each["volume_id"] for each in shown_["attachments"]] == [mine["id"]]
    assert values == [{"volumes": [mine["id"]]}]


async def test_fields_come_with_their_microversions(api: Api) -> None:
    volume = (await make(api))["id"]
    since = {"group_id": "3.13", "service_uuid": "3.48", "volume_type_id": "3.63", "consumes_quota": "3.65"}
    for field, version in since.items():
        before = f"3.{int(version[2:]) - 1}"
        assert field not in await shown(api, volume, version=before)
        assert field in await shown(api, volume, version=version)


async def test_name_description_and_metadata_can_be_changed(api: Api) -> None:
    volume = (await make(api))["id"]
    path = f"/volumes/{volume}"
    body = {"volume": {"name": "other", "description": "new"}}
    assert (await ask(api, "demo", f"PUT {path}", body)).json()["volume"]["name"] == "other"
    assert (await ask(api, "demo", f"PUT {path}", {"volume": {}})).status_code == 400
    for request, given, code, expected in (
        ("POST /metadata", {"metadata": {"a": "1", "b": "2"}}, 200, {"a": "1", "b": "2"}),
        ("PUT /metadata/a", {"meta": {"a": "3"}}, 200, {"a": "3", "b": "2"}),
        ("PUT /metadata/a", {"meta": {"b": "3"}}, 400, {"a": "3", "b": "2"}),
        ("DELETE /metadata/b", None, 200, {"a": "3"}),
        ("DELETE /metadata/b", None, 404, {"a": "3"}),
        ("PUT /metadata", {"metadata": {"c": "4"}}, 200, {"c": "4"}),
        ("POST /metadata", {"metadata": {"": "4"}}, 400, {"c": "4"}),
    ):
        method, _, rest = request.partition(" ")
        answer = await ask(api, "demo", f"{method} {path}{rest}", given)
        assert answer.status_code == code, (request, answer.text)
        assert (await ask(api, "demo", f"GET {path}/metadata")).json()["metadata"] == expected
    assert (await ask(api, "demo", f"GET {path}/metadata/c")).json() == {"meta": {"c": "4"}}


async def test_a_project_has_no_more_than_its_quota(api: Api) -> None:
    await make(api, size=3)
    path = f"/os-quota-sets/{api.kept['demo_project']}"
    assert (await ask(api, "demo", f"PUT {path}", {"quota_set": {"volumes": 2}})).status_code == 403
    assert (await ask(api, "admin", f"PUT {path}", {"quota_set": {"volumes": 2, "gigabytes": 5}})).status_code == 200
    assert (await ask(api, "admin", f"PUT {path}", {"quota_set": {"wishes": 2}})).status_code == 400
    assert (await ask(api, "demo", "POST /volumes", {"volume": {"size": 3}})).status_code == 413
    await make(api, size=2)
    assert (await ask(api, "demo", "POST /volumes", {"volume": {"size": 1}})).status_code == 413
    limits = (await ask(api, "demo", "GET /limits")).json()["limits"]["absolute"]
    assert (limits["maxTotalVolumes"], limits["totalVolumesUsed"], limits["totalGigabytesUsed"]) == (2, 2, 5)
    used = (await ask(api, "demo", f"GET {path}?usage=true")).json()["quota_set"]
    assert used["gigabytes"] == {"limit": 5, "in_use": 5, "reserved": 0}
    assert (await ask(api, "admin", f"DELETE {path}")).status_code == 200
    assert (await ask(api, "demo", f"GET {path}")).json()["quota_set"]["volumes"] == 10


async def test_while_no_storage_host_is_heard_nothing_is_made_and_what_is_there_stays(api: Api) -> None:
    volume = (await make(api))["id"]
    api.storage.away = True
    assert (await ask(api, "demo", "POST /volumes", {"volume": {"size": 1}})).status_code == 503
    assert api.storage.volumes.volumes.keys() == {VolumeId(volume)}
    assert await names(api) == ["data"]
