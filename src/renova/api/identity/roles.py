"""Roles, and who has which on what."""

from collections.abc import Mapping
from typing import Any

from renova.api.http import Call, Reply
from renova.api.identity.shapes import DOMAIN_REF, identity, listing, show
from renova.model.errors import NotFound
from renova.partners.identity.roles import ROLES, named, with_implied
from renova.store import identity as store


def _shape(name: str) -> dict[str, Any]:
    return {"id": ROLES[name], "name": name, "domain_id": None, "description": None, "options": {}}


async def every(call: Call) -> Reply:
    call.demand("identity:list_roles")
    return listing(call, "roles", [_shape(name) for name in ROLES])


async def one(call: Call) -> Reply:
    call.demand("identity:get_role")
    return show(call, "role", _shape(_name(call)))


def _name(call: Call) -> str:
    role = named(call.path["role"])
    if role is None:
        raise NotFound(f"Could not find role: {call.path['role']}.")
    return role


def _target(call: Call) -> Mapping[str, str]:
    return {"target.project.id": call.path["project"], "target.user.id": call.path["user"]}


async def of_user(call: Call) -> Reply:
    """List the roles a user was given on a project."""
    call.demand("identity:list_grants", _target(call))
    user, project = call.path["user"], call.path["project"]
    given = await identity(call).read(lambda tx: store.roles_on(tx, user, project))
    return listing(call, "roles", [_shape(name) for name in ROLES if name in given])


async def check(call: Call) -> Reply:
    call.demand("identity:check_grant", _target(call))
    user, project, role = call.path["user"], call.path["project"], _name(call)
    if role not in await identity(call).read(lambda tx: store.roles_on(tx, user, project)):
        raise NotFound(f"Could not find role assignment with role: {ROLES[role]}, user: {user}, project: {project}.")
    return Reply(204)


async def give(call: Call) -> Reply:
    call.demand("identity:create_grant", _target(call))
    user, project, role = call.path["user"], call.path["project"], _name(call)
    await identity(call).change(lambda tx: store.give_role(tx, user, project, role))
    return Reply(204)


async def take(call: Call) -> Reply:
    call.demand("identity:revoke_grant", _target(call))
    user, project, role = call.path["user"], call.path["project"], _name(call)
    await identity(call).change(lambda tx: store.take_role(tx, user, project, role))
    return Reply(204)


async def assignments(call: Call) -> Reply:
    """List who has which role on which project; with `effective`, the implied roles too."""
    call.demand("identity:list_role_assignments")
    user, project, role = call.one("user.id"), call.one("scope.project.id"), call.one("role.id")
    elsewhere = ("scope.domain.id", "scope.system", "group.id")
    if any(call.one(name) is not None for name in elsewhere):
        found = []
    else:
        found = await identity(call).read(lambda tx: store.assignments(tx, user, project))
    if call.one("effective") is not None:
        found = [
            store.Assignment(each.user, each.project, implied)
            for each in found
            for implied in sorted(with_implied((each.role,)))
        ]
    seen = dict.fromkeys(each for each in found if role is None or ROLES[each.role] == role)
    include_names = call.one("include_names") is not None
    users = {each.id: each.name for each in await identity(call).read(store.every_user)} if include_names else {}
    projects = {each.id: each.name for each in await identity(call).read(store.every_project)} if include_names else {}

    def shape(each: store.Assignment) -> dict[str, Any]:
        of_user: dict[str, Any] = {"id": each.user}
        of_project: dict[str, Any] = {"id": each.project}
        of_role: dict[str, Any] = {"id": ROLES[each.role]}
        if include_names:
            of_user |= {"name": users[each.user], "domain": DOMAIN_REF}
            of_project |= {"name": projects[each.project], "domain": DOMAIN_REF}
            of_role |= {"name": each.role}
        path = f"projects/{each.project}/users/{each.user}/roles/{ROLES[each.role]}"
        return {
            "user": of_user,
            "role": of_role,
            "scope": {"project": of_project},
            "links": {"assignment": f"{call.base_url}/{path}"},
        }

    links = {"self": f"{call.base_url}/role_assignments", "previous": None, "next": None}
    return Reply(200, {"role_assignments": [shape(each) for each in seen], "links": links})
