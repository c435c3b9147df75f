"""What all identity answers share: how things are shown, listed and filtered, and which service they come from."""

from collections.abc import Iterable, Mapping
from typing import Any

from renova.api.http import Call, Reply
from renova.partners.identity.builtin import DOMAIN, DOMAIN_NAME, BuiltinIdentity
from renova.store.identity import Project, User

DOMAIN_REF = {"id": DOMAIN, "name": DOMAIN_NAME}


def identity(call: Call) -> BuiltinIdentity:
    found = call.cloud.identity
    assert isinstance(found, BuiltinIdentity), "these routes are served only where identity is built in"
    return found


def show(call: Call, kind: str, thing: Mapping[str, Any], status: int = 200) -> Reply:
    """Answer with one thing; `kind` is its name in the singular."""
    return Reply(status, {kind: {**thing, "links": _self(call, f"{kind}s", str(thing["id"]))}})


def listing(call: Call, kinds: str, things: Iterable[Mapping[str, Any]]) -> Reply:
    """Answer with those things that the query's filters let through; filters that no thing has are ignored."""
    found = [thing for thing in things if all(_equal(thing[name], want) for name, want in call.query if name in thing)]
    return Reply(
        200,
        {
            kinds: [{**thing, "links": _self(call, kinds, str(thing["id"]))} for thing in found],
            "links": {"self": f"{call.base_url}/{kinds}", "previous": None, "next": None},
        },
    )


def _self(call: Call, kinds: str, thing: str) -> dict[str, str]:
    return {"self": f"{call.base_url}/{kinds}/{thing}"}


def _equal(value: Any, want: str) -> bool:
    if isinstance(value, bool):
        # As Keystone reads a flag: present without a value means true.
        return value == (want.lower() not in ("0", "false", "no", "off"))
    return ("" if value is None else str(value)) == want


def project_shape(project: Project) -> dict[str, Any]:
    return {
        "id": project.id,
        "name": project.name,
        "domain_id": DOMAIN,
        "description": project.description,
        "enabled": project.enabled,
        "parent_id": DOMAIN,
        "is_domain": False,
        "tags": list(project.tags),
        "options": {},
    }


def user_shape(user: User) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "id": user.id,
        "name": user.name,
        "domain_id": DOMAIN,
        "enabled": user.enabled,
        "password_expires_at": None,
        "options": {},
    }
    # Absent, not null, where never set: so Keystone shows them.
    if user.default_project is not None:
        shape["default_project_id"] = user.default_project
    if user.email is not None:
        shape["email"] = user.email
    if user.description is not None:
        shape["description"] = user.description
    return shape
