"""Images: described, searched, changed, filled with bytes (Image API v2)."""

import asyncio
import struct
from typing import Any

import httpx
import pytest

from tests.api.service_cloud import Api, Keep, Like

RAW = {"name": "disk", "disk_format": "raw", "container_format": "bare"}
PATCH = "application/openstack-images-v2.1-json-patch"
BYTES = {"content-type": "application/octet-stream"}


async def make(api: Api, who: str = "demo", **given: Any) -> dict[str, Any]:
    answer = await api.ask(who, "POST /image/v2/images", {**RAW, **given})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def patch(api: Api, image: str, *changes: dict[str, Any], who: str = "demo") -> httpx.Response:
    return await api.ask(who, f"PATCH /image/v2/images/{image}", list(changes), {"content-type": PATCH})


async def names(api: Api, query: str = "", who: str = "demo") -> list[str]:
    answer = await api.ask(who, f"GET /image/v2/images{query}")
    assert answer.status_code == 200, answer.text
    return [image["name"] for image in answer.json()["images"]]


async def test_an_image_from_description_to_deletion(api: Api) -> None:
    shown: dict[str, Any] = {
        "name": "disk",
        "status": "queued",
        "visibility": "shared",
        "owner": "{demo_project}",
        "size": None,
        "checksum": None,
        "os_hash_algo": None,
        "min_disk": 0,
        "protected": False,
        "os_hidden": False,
        "tags": [],
        "os_distro": "debian",
        "created_at": "2026-01-02T03:04:05Z",
    }
    await api.sign_in("demo")
    await api.play(
        "/image/v2",
        [("demo", "POST /images", {**RAW, "os_distro": "debian"}, 201, {**shown, "id": Keep("id")})],
    )
    path = "/image/v2/images/{id}"
    assert (await api.ask("demo", f"GET {path}/file")).status_code == 204
    assert (await api.ask("demo", f"PUT {path}/file", b"some bytes", BYTES)).status_code == 204
    assert (await api.ask("demo", f"PUT {path}/file", b"some bytes", BYTES)).status_code == 409
    filled = (await api.ask("demo", f"GET {path}")).json()
    assert (filled["status"], filled["size"], filled["virtual_size"]) == ("active", 10, 10)
    assert (filled["os_hash_algo"], len(filled["os_hash_value"]), len(filled["checksum"])) == ("sha512", 128, 32)
    got = await api.ask("demo", f"GET {path}/file")
    assert got.content == b"some bytes"
    assert got.headers["content-md5"] == filled["checksum"]
    assert (got.headers["content-type"], got.headers["content-length"]) == ("application/octet-stream", "10")
    assert (await api.ask("demo", f"DELETE {path}")).status_code == 204
    assert (await api.ask("demo", f"GET {path}")).status_code == 404
    assert (await api.ask("demo", f"GET {path}/file")).status_code == 404


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"disk_format": "vmdk"}, 400),
        ({"container_format": "ova"}, 400),
        ({"visibility": "everyone"}, 400),
        ({"min_disk": -1}, 400),
        ({"min_ram": "many"}, 400),
        ({"tags": "one"}, 400),
        ({"os_distro": 7}, 400),
        ({"id": "mine"}, 400),
        ({"name": "x" * 256}, 400),
        ({"os_distro": "x" * 65_536}, 400),
        ({"status": "active"}, 403),
        ({"size": 7}, 403),
        ({"visibility": "public"}, 403),
        ({"owner": "another"}, 403),
    ],
)
async def test_what_cannot_be_described_is_refused(api: Api, given: dict[str, Any], status: int) -> None:
    answer = await api.ask("demo", "POST /image/v2/images", {**RAW, **given})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "text/html; charset=UTF-8"
    assert f"<h1>{status} " in answer.text
    assert await names(api) == []


async def test_bytes_that_are_not_what_they_claim_are_not_stored(api: Api) -> None:
    image = await make(api, disk_format="qcow2")
    path = f"/image/v2/images/{image['id']}"
    await api.clock.sleep(1)
    refused = await api.ask("demo", f"PUT {path}/file", b"<bytes>", BYTES)
    assert refused.status_code == 400
    assert "its content is not" in refused.text
    assert (await api.ask("demo", f"GET {path}")).json() == image
    # More bytes than any number in the database can say.
    endless = b"QFI\xfb" + struct.pack(">IQIIQIIQQ", 3, 0, 0, 16, 2**64 - 1, 0, 1, 0, 0).ljust(200, b"\0")
    assert (await api.ask("demo", f"PUT {path}/file", endless, BYTES)).status_code == 400
    assert (await api.ask("demo", f"GET {path}")).json() == image
    assert (await api.ask("demo", f"PUT {path}/file", {})).status_code == 415
    too_large = {**BYTES, "content-length": str(51 * 1024**3)}
    assert (await api.ask("demo", f"PUT {path}/file", b"", too_large)).status_code == 413
    unformatted = (await api.ask("demo", "POST /image/v2/images", {})).json()["id"]
    assert (await api.ask("demo", f"PUT /image/v2/images/{unformatted}/file", b"x", BYTES)).status_code == 400


async def test_who_sees_and_changes_which_image(api: Api) -> None:
    own, hidden = await make(api, name="own"), await make(api, "admin", name="hidden", visibility="private")
    public = await make(api, "admin", name="public", visibility="public")
    community = await make(api, "admin", name="community", visibility="community")
    for image, status in ((own, 200), (hidden, 404), (public, 200), (community, 200)):
        assert (await api.ask("demo", f"GET /image/v2/images/{image['id']}")).status_code == status
    for image, status in ((own, 200), (hidden, 404), (public, 403)):
        assert (await patch(api, image["id"], {"op": "replace", "path": "/name", "value": "x"})).status_code == status
    for image, status in ((hidden, 404), (public, 403), (own, 204)):
        assert (await api.ask("demo", f"DELETE /image/v2/images/{image['id']}")).status_code == status
    assert await names(api) == ["public"]
    assert await names(api, "?visibility=community") == ["community"]
    assert sorted(await names(api, "?visibility=all")) == ["community", "public"]
    assert sorted(await names(api, "", "admin")) == ["community", "hidden", "public"]
    assert await names(api, f"?owner={hidden['owner']}&visibility=private") == []


async def test_lists_are_filtered_sorted_and_cut_into_pages(api: Api) -> None:
    await make(api, name="a", tags=["red", "blue"], min_disk=1)
    await make(api, name="b", tags=["red"], protected=True, os_distro="debian")
    await make(api, name="c, d", disk_format="qcow2")
    await make(api, name="e", os_hidden=True)
    for query, expected in {
        "": ["a", "b", "c, d"],
        "?name=a": ["a"],
        '?name=in:a,"c, d"': ["a", "c, d"],
        "?status=queued": ["a", "b", "c, d"],
        "?status=in:active,saving": [],
        "?tag=red": ["a", "b"],
        "?tag=red&tag=blue": ["a"],
        "?protected=true": ["b"],
        "?disk_format=qcow2": ["c, d"],
        "?os_distro=debian": ["b"],
        "?min_disk=1": ["a"],
        "?os_hidden=true": ["e"],
        "?size_min=1": [],
        "?created_at=gte:2026-01-02T03:04:05Z": ["a", "b", "c, d"],
        "?updated_at=lt:2026-01-02T03:04:05Z": [],
        "?member_status=all": ["a", "b", "c, d"],
    }.items():
        assert sorted(await names(api, query)) == expected, query
    assert await names(api, "?sort=name:desc") == ["c, d", "b", "a"]
    assert await names(api, "?sort_key=name&sort_dir=asc") == ["a", "b", "c, d"]
    first = (await api.ask("demo", "GET /image/v2/images?sort=name:asc&limit=2")).json()
    assert [image["name"] for image in first["images"]] == ["a", "b"]
    rest = (await api.ask("demo", f"GET /image{first['next']}")).json()
    assert [image["name"] for image in rest["images"]] == ["c, d"]
    assert "next" not in rest
    for wrong in ("?limit=some", "?marker=gone", "?size_min=some", "?name=in:a%0Db"):
        assert (await api.ask("demo", f"GET /image/v2/images{wrong}")).status_code == 400


@pytest.mark.parametrize(
    ("changes", "status", "expected"),
    [
        ([{"op": "replace", "path": "/name", "value": "new"}], 200, {"name": "new"}),
        ([{"op": "add", "path": "/os_distro", "value": "debian"}], 200, {"os_distro": "debian"}),
        ([{"op": "add", "path": "/a~1b~0c", "value": "x"}], 200, {"a/b~c": "x"}),
        ([{"op": "remove", "path": "/old"}], 200, {}),
        ([{"op": "replace", "path": "/tags", "value": ["b", "b", "a"]}], 200, {"tags": ["b", "a"]}),
        ([{"op": "add", "path": "/tags/-", "value": "z"}], 200, {"tags": ["one", "z"]}),
        ([{"op": "remove", "path": "/tags/0"}], 200, {"tags": []}),
        ([{"op": "replace", "path": "/disk_format", "value": "qcow2"}], 200, {"disk_format": "qcow2"}),
        ([{"op": "add", "path": "/os_distro", "value": "x" * 65_536}], 400, None),
        ([{"op": "replace", "path": "/visibility", "value": "public"}], 403, None),
        ([{"op": "replace", "path": "/status", "value": "active"}], 403, None),
        ([{"op": "remove", "path": "/name"}], 403, None),
        ([{"op": "replace", "path": "/none", "value": "x"}], 409, None),
        ([{"op": "remove", "path": "/none"}], 409, None),
        ([{"op": "add", "path": "/tags/9", "value": "x"}], 400, None),
        ([{"op": "add", "path": "/name/0", "value": "x"}], 400, None),
        ([{"op": "add", "path": "name", "value": "x"}], 400, None),
        ([{"op": "add", "path": "/name"}], 400, None),
        ([{"op": "move", "path": "/name", "from": "/old"}], 400, None),
        ([{"op": "replace", "path": "/min_disk", "value": "3"}], 400, None),
        ({"name": "x"}, 400, None),
    ],
)
async def test_changes(api: Api, changes: Any, status: int, expected: dict[str, Any] | None) -> None:
    image = await make(api, old="value", tags=["one"])
    answer = await api.ask("demo", f"PATCH /image/v2/images/{image['id']}", changes, {"content-type": PATCH})
    assert answer.status_code == status, answer.text
    after = (await api.ask("demo", f"GET /image/v2/images/{image['id']}")).json()
    if expected is None:
        assert after == image
        return
    assert after.items() >= expected.items()
    assert ("old" in after) == (changes[0]["path"] != "/old")


async def test_an_image_with_bytes_keeps_its_format_and_a_protected_one_stays(api: Api) -> None:
    image = (await make(api))["id"]
    await api.ask("demo", f"PUT /image/v2/images/{image}/file", b"bytes", BYTES)
    assert (await patch(api, image, {"op": "replace", "path": "/disk_format", "value": "qcow2"})).status_code == 403
    assert (await patch(api, image, {"op": "replace", "path": "/protected", "value": True})).status_code == 200
    assert (await api.ask("demo", f"DELETE /image/v2/images/{image}")).status_code == 403
    wrong_type = await api.ask("demo", f"PATCH /image/v2/images/{image}", [])
    assert wrong_type.status_code == 415


async def test_an_image_that_is_protected_while_it_is_being_deleted_stays_or_was_gone_before(busy_api: Api) -> None:
    api = busy_api
    image = (await make(api))["id"]
    protect = {"op": "replace", "path": "/protected", "value": True}
    deleted, protected = await asyncio.gather(
        api.ask("demo", f"DELETE /image/v2/images/{image}"), patch(api, image, protect)
    )
    assert (deleted.status_code, protected.status_code) in ((403, 200), (204, 404))


async def test_tags_and_schemas(api: Api) -> None:
    image = (await make(api))["id"]
    path = f"/images/{image}"
    await api.play(
        "/image/v2",
        [
            ("demo", f"PUT {path}/tags/red", None, 204, None),
            ("demo", f"PUT {path}/tags/red", None, 204, None),
            ("demo", f"GET {path}", None, 200, {"tags": ["red"]}),
            ("demo", f"DELETE {path}/tags/red", None, 204, None),
            ("demo", f"DELETE {path}/tags/red", None, 404, None),
            ("demo", "GET /schemas/image", None, 200, {"name": "image", "properties": {"id": {"type": "string"}}}),
            ("demo", "GET /schemas/images", None, 200, {"name": "images"}),
            ("demo", f"POST {path}/import", {}, 404, None),
            ("demo", f"GET {path}", None, 200, {"self": Like("/v2/images/.*")}),
        ],
    )


async def test_an_id_may_be_chosen_once(api: Api) -> None:
    chosen = "5f4b0d5c-6d3e-4c8b-9a53-0d4f8a1f2b3c"
    assert (await make(api, id=chosen))["id"] == chosen
    assert (await api.ask("demo", "POST /image/v2/images", {**RAW, "id": chosen})).status_code == 409
