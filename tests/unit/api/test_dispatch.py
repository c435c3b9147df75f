"""Every request is answered in its service's words, with a request id, and with nothing that is not the client's."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import fields
from typing import Any

import httpx
import pytest
import structlog

from renova.api.app import build
from renova.api.dispatch import Dispatcher, Failure, Service
from renova.api.http import MAX_BODY, Call, Reply, Route, Version
from renova.api.policy import Policy
from renova.model.chance import SeededChance
from renova.model.errors import BadSetup, Broken, Conflict, Forbidden, Invalid, NotFound, NotNow, Refused
from renova.operations.cloud import Cloud
from renova.settings import ControllerSettings
from tests.api.compute.compute_cloud import FixedIdentity

POLICY = {"things:secret": "rule:admin_api"}


class Numbered:
    """Versions 1.0 to 1.9, asked for by a header."""

    def asked(self, headers: Mapping[str, str]) -> Version:
        text = headers.get("x-version", "1.0")
        if text == "9.9":
            raise Failure(406, "Version 9.9 is not supported.", {"Vary": "X-Version"})
        if "." not in text:
            raise Invalid(f"{text} is no version.")
        major, _, minor = text.partition(".")
        return int(major), int(minor)

    def headers(self, version: Version) -> dict[str, str]:
        return {"x-version": f"{version[0]}.{version[1]}"}


class Things:
    """A service about nothing, whose one handler does what the test says."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.calls: list[Call] = []
        self.pieces_read = 0
        routes = [
            Route("GET", "/things", self.show),
            Route("POST", "/things", self.show),
            Route("GET", "/things/{thing}", self.show),
            Route("PUT", "/things/{thing}/parts/{part}", self.show),
            Route("GET", "/later", self.show, since=(1, 5)),
            Route("GET", "/earlier", self.show, until=(1, 4)),
            Route("GET", "/open", self.show, public=True),
            Route("GET", "/secret", self.guarded),
            Route("GET", "/stream", self.give),
            Route("PUT", "/stream", self.take, streams=True),
        ]
        self.service = Service(
            "things", ("/things-api/v1", "/things-api"), routes, self._error, Numbered(), project_in_path=True
        )

    def _error(self, status: int, message: str, request_id: str) -> Reply:
        return Reply(status, {"error": {"code": status, "message": message, "request": request_id}})

    async def show(self, call: Call) -> Reply:
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        return Reply(200, {"path": call.path, "url": call.url_path, "body": len(call.body)})

    async def guarded(self, call: Call) -> Reply:
        call.demand("things:secret")
        return Reply(204)

    async def give(self, call: Call) -> Reply:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(3):
                self.pieces_read += 1
                yield b"piece"

        return Reply(200, pieces(), {"content-length": "15"})

    async def take(self, call: Call) -> Reply:
        assert call.body == b""
        return Reply(200, {"size": sum([len(piece) async for piece in call.stream()])})


@pytest.fixture
def things() -> Things:
    return Things()


def app_of(things: Things) -> Any:
    parts: dict[str, Any] = dict.fromkeys(each.name for each in fields(Cloud))
    parts |= {"settings": ControllerSettings(), "chance": SeededChance(1), "identity": FixedIdentity()}
    return build([things.service], Dispatcher(Cloud(**parts), Policy(POLICY)))


@pytest.fixture
async def client(things: Things) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app_of(things), raise_app_exceptions=True)
    headers = {"x-auth-token": "demo"}
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud/things-api/v1", headers=headers) as found:
        yield found


def message(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["message"])


@pytest.mark.parametrize("token", [None, "", "nonsense"])
@pytest.mark.parametrize("path", ["/things", "/things/1", "/no/such/thing", "/stream"])
async def test_without_a_good_token_nothing_is_said_not_even_what_there_is(
    client: httpx.AsyncClient, things: Things, path: str, token: str | None
) -> None:
    del client.headers["x-auth-token"]
    answer = await client.get(path, headers={} if token is None else {"x-auth-token": token})
    assert answer.status_code == 401
    assert "Keystone" in answer.headers["www-authenticate"]
    assert message(answer) == "The request you have made requires authentication."
    assert things.calls == []


async def test_what_is_public_needs_no_token(client: httpx.AsyncClient, things: Things) -> None:
    for token in ("", "nonsense", "demo"):
        assert (await client.get("/open", headers={"x-auth-token": token})).status_code == 200
    assert [call.signed_in and call.signed_in.user_name for call in things.calls] == [None, None, "demo"]


@pytest.mark.parametrize(
    ("path", "version", "status"),
    [
        ("/no/such/thing", "1.0", 404),
        ("/things/1/2/3", "1.0", 404),
        ("/later", "1.4", 404),
        ("/later", "1.5", 200),
        ("/earlier", "1.4", 200),
        ("/earlier", "1.5", 404),
        ("/things", "9.9", 406),
        ("/things", "new", 400),
    ],
)
async def test_what_is_not_there_in_this_version_is_not_found(
    client: httpx.AsyncClient, path: str, version: str, status: int
) -> None:
    answer = await client.get(path, headers={"x-version": version})
    assert answer.status_code == status
    if status not in (400, 406):
        assert answer.headers["x-version"] == version
    if status == 406:
        assert answer.headers["vary"] == "X-Version"


async def test_a_method_that_is_not_there_is_told_those_that_are(client: httpx.AsyncClient) -> None:
    answer = await client.delete("/things")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
    assert "allowed: GET, POST" in message(answer)
    assert (await client.post("/later", headers={"x-version": "1.0"})).status_code == 404
    assert (await client.post("/later", headers={"x-version": "1.5"})).status_code == 405


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (Invalid("the name is too long"), 400, "the name is too long"),
        (Forbidden("not yours"), 403, "not yours"),
        (NotFound("no such thing"), 404, "no such thing"),
        (Conflict("it is locked"), 409, "it is locked"),
        (Refused("it cannot be"), 409, "it cannot be"),
        (NotNow("the host is away"), 503, "the host is away"),
        (Failure(418, "I'm a teapot", {"X-Tea": "green"}), 418, "I'm a teapot"),
    ],
)
async def test_an_error_made_on_purpose_becomes_its_code_and_keeps_its_words(
    client: httpx.AsyncClient, things: Things, error: Exception, status: int, told: str
) -> None:
    things.error = error
    with structlog.testing.capture_logs():
        answer = await client.get("/things")
    assert (answer.status_code, message(answer)) == (status, told)
    assert answer.headers.get("retry-after") == ("2" if status == 503 else None)
    assert answer.headers.get("x-tea") == ("green" if status == 418 else None)


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("key 4711"), Broken("key 4711"), BadSetup("key 4711"), KeyError("4711")]
)
async def test_an_error_that_nobody_planned_tells_the_client_nothing_and_the_log_all(
    client: httpx.AsyncClient, things: Things, error: Exception
) -> None:
    things.error = error
    with structlog.testing.capture_logs() as events:
        answer = await client.get("/things")
    assert answer.status_code == 500
    assert "4711" not in answer.text + str(answer.headers)
    assert "Traceback" not in answer.text
    (event,) = events
    assert event["request"] == answer.headers["x-openstack-request-id"]
    assert event["exc_info"] is True


async def test_every_answer_has_a_request_id_of_its_own(client: httpx.AsyncClient) -> None:
    answers = [await client.get(path) for path in ("/things", "/no/such/thing", "/open")]
    ids = [answer.headers["x-openstack-request-id"] for answer in answers]
    assert len(set(ids)) == 3
    assert all(each.startswith("req-") for each in ids)
    assert [answer.headers["x-compute-request-id"] for answer in answers] == ids
    assert answers[1].json()["error"]["request"] == ids[1]


async def test_a_body_that_is_too_large_is_not_read_to_its_end(client: httpx.AsyncClient, things: Things) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 50 * MAX_BODY:
            sent += 1 << 20
            yield bytes(1 << 20)

    answer = await client.post("/things", content=endless())
    assert answer.status_code == 413
    assert str(MAX_BODY) in message(answer)
    assert sent <= MAX_BODY + (2 << 20)
    assert things.calls == []
    assert (await client.post("/things", content=bytes(MAX_BODY))).json()["body"] == MAX_BODY


async def test_a_stream_is_not_bound_by_the_limit_of_bodies(client: httpx.AsyncClient) -> None:
    answer = await client.put("/stream", content=bytes(MAX_BODY + 1))
    assert answer.json() == {"size": MAX_BODY + 1}


async def test_head_tells_what_get_would_and_sends_nothing(client: httpx.AsyncClient, things: Things) -> None:
    got, head = await client.get("/things"), await client.head("/things")
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length", "x-version"):
        assert head.headers[name] == got.headers[name]
    assert (await client.head("/no/such/thing")).status_code == 404


async def test_head_of_a_stream_reads_none_of_it(client: httpx.AsyncClient, things: Things) -> None:
    answer = await client.head("/stream")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "15")
    assert things.pieces_read == 0
    assert (await client.get("/stream")).content == b"piece" * 3


async def test_policy_says_who_may(client: httpx.AsyncClient) -> None:
    answer = await client.get("/secret")
    assert (answer.status_code, message(answer)) == (403, "Policy doesn't allow things:secret to be performed.")
    assert (await client.get("/secret", headers={"x-auth-token": "admin"})).status_code == 204


@pytest.mark.parametrize("part", ["a b", "a?b", "a#b", "ü", "a%b", "%2e", "a;b=c", "a+b", "..."])
async def test_a_part_of_the_path_is_what_the_client_wrote(
    client: httpx.AsyncClient, things: Things, part: str
) -> None:
    quoted = "".join(f"%{byte:02X}" for byte in part.encode())
    answer = await client.put(f"/things/1/parts/{quoted}?x=1")
    assert answer.status_code == 200
    assert things.calls[0].path == {"thing": "1", "part": part}
    assert things.calls[0].query == [("x", "1")]


async def test_only_the_path_says_where_a_request_goes(client: httpx.AsyncClient, things: Things) -> None:
    for host in ("cloud/things-api/v1/secret?", "cloud/secret#", "x/", "[", "cloud:99999"):
        answer = await client.get("/things/1", headers={"host": host})
        assert answer.status_code == 200, host
        assert things.calls[-1].path == {"thing": "1"}


async def test_the_longest_mount_that_fits_is_taken_and_only_whole_words_fit(client: httpx.AsyncClient) -> None:
    assert (await client.get("http://cloud/things-api/things")).status_code == 200
    assert (await client.get("http://cloud/things-api/v1/things")).json()["path"] == {}
    assert (await client.get("http://cloud/things-api/v1")).status_code == 404


async def test_the_callers_own_project_may_stand_in_the_path_and_no_other(
    client: httpx.AsyncClient, things: Things
) -> None:
    identity = FixedIdentity()
    own, other = (identity.callers[name].project for name in ("demo", "admin"))
    assert (await client.get(f"/{own}/things")).status_code == 200
    answer = await client.get(f"/{other}/things")
    assert (answer.status_code, "doesn't match" in message(answer)) == (400, True)
    assert (await client.get(f"/{own}/things", headers={"x-auth-token": "admin"})).status_code == 200
    assert (await client.get("/not-a-project/things")).status_code == 404


async def test_a_client_that_hangs_up_is_not_answered(things: Things) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/things-api/v1/things",
        "raw_path": b"/things-api/v1/things",
        "query_string": b"",
        "headers": [(b"x-auth-token", b"demo"), (b"host", b"cloud")],
        "server": ("cloud", 80),
        "scheme": "http",
        "root_path": "",
    }
    await app_of(things)(scope, receive, send)
    assert (sent, things.calls) == ([], [])
