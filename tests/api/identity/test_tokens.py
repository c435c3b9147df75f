"""Signing in, checking and revoking tokens (Identity API v3, "Authentication and token management")."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from renova.store.schema import metadata
from tests.api.service_cloud import PASSWORDS, Api, Keep, Like


def password(user: dict[str, Any], secret: str = PASSWORDS["demo"], scope: Any = None) -> dict[str, Any]:
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": {**user, "password": secret}}}}
    if scope is not None:
        auth["scope"] = scope
    return {"auth": auth}


DEMO = {"name": "demo", "domain": {"id": "default"}}
DEMO_PROJECT = {"project": {"name": "demo", "domain": {"name": "Default"}}}
UNAUTHORIZED = {"error": {"code": 401, "title": "Unauthorized", "message": Like(".+")}}


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        (password(DEMO, scope=DEMO_PROJECT), 201, {"token": {"project": {"name": "demo"}, "methods": ["password"]}}),
        (password(DEMO), 201, {"token": {"project": {"name": "demo"}}}),
        (password({"name": "demo", "domain": {"name": "Default"}}), 201, {"token": {"user": {"name": "demo"}}}),
        (password(DEMO, "wrong"), 401, UNAUTHORIZED),
        (password({"name": "nobody", "domain": {"id": "default"}}), 401, UNAUTHORIZED),
        (password({"name": "demo", "domain": {"id": "other"}}), 401, UNAUTHORIZED),
        (password({"id": "0" * 32}), 401, UNAUTHORIZED),
        (password(DEMO, scope={"project": {"name": "admin", "domain": {"id": "default"}}}), 401, UNAUTHORIZED),
        (password(DEMO, scope={"project": {"id": "0" * 32}}), 401, UNAUTHORIZED),
        (password(DEMO, scope={"system": {"all": True}}), 401, UNAUTHORIZED),
        (password(DEMO, scope={"domain": {"id": "default"}}), 401, UNAUTHORIZED),
        ({"auth": {"identity": {"methods": ["totp"], "totp": {}}}}, 401, UNAUTHORIZED),
        ({"auth": {"identity": {"methods": ["token"], "token": {"id": "gone"}}}}, 401, UNAUTHORIZED),
        (password({"name": "demo"}), 400, {"error": {"code": 400}}),
        (password({}), 400, {"error": {"code": 400}}),
        (password(DEMO, scope={"project": {"name": "demo"}}), 400, {"error": {"code": 400}}),
        (password(DEMO, scope="everything"), 400, {"error": {"code": 400}}),
        ({"auth": {"identity": {"methods": ["password"]}}}, 400, {"error": {"code": 400}}),
        ({"auth": {}}, 400, {"error": {"code": 400, "title": "Bad Request"}}),
        ({}, 400, {"error": {"code": 400}}),
        (b"{", 400, {"error": {"code": 400}}),
    ],
)
async def test_signing_in_answers_as_keystone_does(api: Api, body: Any, status: int, expected: Any) -> None:
    await api.play("/identity/v3", [(None, "POST /auth/tokens", body, status, expected)])


async def test_a_token_says_who_where_and_with_which_roles(api: Api) -> None:
    await api.sign_in("demo")
    answer = await api.ask("demo", "GET /identity/v3/auth/tokens", headers={"x-subject-token": api.tokens["demo"]})
    token = answer.json()["token"]
    assert answer.headers["x-subject-token"] == api.tokens["demo"]
    assert token["user"] | token["project"] == token["project"] | {"password_expires_at": None}
    assert [role["name"] for role in token["roles"]] == ["member", "reader"]
    assert (token["issued_at"], token["expires_at"]) == ("2026-01-02T03:04:05.000000Z", "2026-01-03T03:04:05.000000Z")
    compute = next(each for each in token["catalog"] if each["type"] == "compute")
    assert compute["name"] == "nova"
    assert {(each["interface"], each["region"], each["url"]) for each in compute["endpoints"]} == {
        (interface, "RegionOne", "http://cloud.example/compute/v2.1") for interface in ("public", "internal", "admin")
    }


async def test_an_unscoped_token_can_be_exchanged_for_a_project_but_outlives_nothing(api: Api) -> None:
    unscoped = password(DEMO, scope="unscoped")
    answer = await api.ask(None, "POST /identity/v3/auth/tokens", unscoped)
    assert "project" not in answer.json()["token"]
    assert "catalog" not in answer.json()["token"]
    api.clock.now += timedelta(hours=1)
    proof = {"methods": ["token"], "token": {"id": answer.headers["x-subject-token"]}}
    exchanged = await api.ask(
        None, "POST /identity/v3/auth/tokens?nocatalog", {"auth": {"identity": proof, "scope": DEMO_PROJECT}}
    )
    token = exchanged.json()["token"]
    assert token["methods"] == ["token", "password"]
    assert token["expires_at"] == answer.json()["token"]["expires_at"]
    assert "catalog" not in token


async def test_tokens_end_when_revoked_or_expired(api: Api) -> None:
    await api.sign_in("admin")
    subject = {"x-subject-token": await api.sign_in("demo")}
    assert (await api.ask("demo", "GET /identity/v3/auth/projects")).status_code == 200
    assert (await api.ask("admin", "HEAD /identity/v3/auth/tokens", headers=subject)).status_code == 200
    assert (await api.ask("demo", "DELETE /identity/v3/auth/tokens", headers=subject)).status_code == 204
    assert (await api.ask("demo", "GET /identity/v3/auth/projects")).status_code == 401
    assert (await api.ask("admin", "HEAD /identity/v3/auth/tokens", headers=subject)).status_code == 404
    assert (await api.ask("admin", "GET /identity/v3/auth/catalog")).status_code == 200
    api.clock.now += timedelta(hours=24)
    assert (await api.ask("admin", "GET /identity/v3/auth/catalog")).status_code == 401


async def test_only_its_bearer_and_admin_may_look_at_a_token(api: Api) -> None:
    await api.sign_in("demo")
    headers = {"x-subject-token": await api.sign_in("admin")}
    assert (await api.ask("demo", "GET /identity/v3/auth/tokens", headers=headers)).status_code == 403
    assert (await api.ask("demo", "DELETE /identity/v3/auth/tokens", headers=headers)).status_code == 403
    assert (await api.ask(None, "GET /identity/v3/auth/tokens", headers=headers)).status_code == 401
    assert (await api.ask("admin", "GET /identity/v3/auth/tokens")).status_code == 400


@pytest.mark.parametrize(
    ("change", "then"),
    [
        ({"user": {"enabled": False}}, 401),
        ({"user": {"password": "a new one"}}, 401),
        ({"user": {"description": "the same as before"}}, 200),
    ],
)
async def test_a_change_of_the_user_reaches_tokens_at_once(api: Api, change: Any, then: int) -> None:
    await api.sign_in("demo")
    await api.play(
        "/identity/v3",
        [
            ("demo", "GET /users/{demo_user}", None, 200, {"user": {"name": "demo"}}),
            ("admin", "PATCH /users/{demo_user}", change, 200, None),
            ("demo", "GET /users/{demo_user}", None, then, None),
        ],
    )


async def test_a_role_taken_or_a_project_disabled_reaches_tokens_at_once(api: Api) -> None:
    await api.sign_in("demo")
    await api.play(
        "/identity/v3",
        [
            ("demo", "GET /projects", None, 403, {"error": {"code": 403, "title": "Forbidden"}}),
            ("admin", "GET /roles?name=admin", None, 200, {"roles": [{"id": Keep("admin_role")}]}),
            ("admin", "PUT /projects/{demo_project}/users/{demo_user}/roles/{admin_role}", None, 204, None),
            ("demo", "GET /projects", None, 200, None),
            ("admin", "DELETE /projects/{demo_project}/users/{demo_user}/roles/{admin_role}", None, 204, None),
            ("demo", "GET /projects", None, 403, None),
            ("admin", "PATCH /projects/{demo_project}", {"project": {"enabled": False}}, 200, None),
            ("demo", "GET /projects/{demo_project}", None, 401, None),
        ],
    )


async def test_a_project_that_is_enabled_again_gives_no_token_its_life_back(api: Api) -> None:
    await api.sign_in("demo")
    await api.play(
        "/identity/v3",
        [
            ("demo", "GET /projects/{demo_project}", None, 200, None),
            ("admin", "PATCH /projects/{demo_project}", {"project": {"enabled": False}}, 200, None),
            ("admin", "PATCH /projects/{demo_project}", {"project": {"enabled": True}}, 200, None),
            ("demo", "GET /projects/{demo_project}", None, 401, None),
        ],
    )
    await api.sign_in("demo")
    assert (await api.ask("demo", "GET /identity/v3/projects/{demo_project}")).status_code == 200


async def test_a_role_given_again_gives_no_token_its_life_back(api: Api) -> None:
    await api.sign_in("demo")
    role = "/projects/{demo_project}/users/{demo_user}/roles/{member}"
    await api.play(
        "/identity/v3",
        [
            ("demo", "GET /projects/{demo_project}", None, 200, None),
            ("admin", "GET /roles?name=member", None, 200, {"roles": [{"id": Keep("member")}]}),
            ("admin", f"DELETE {role}", None, 204, None),
            ("admin", f"PUT {role}", None, 204, None),
            ("demo", "GET /projects/{demo_project}", None, 401, None),
        ],
    )


async def test_neither_passwords_nor_tokens_are_kept(api: Api) -> None:
    token = await api.sign_in("demo")

    def dump(tx: Any) -> str:
        tables = metadata.sorted_tables
        rows = (row for table in tables for row in tx.execute(select(table)))
        return "\n".join(str(value) for row in rows for value in row)

    kept = await api.cloud.database.read(dump)
    assert "argon2id" in kept
    assert token not in kept
    assert not any(secret in kept for secret in PASSWORDS.values())
