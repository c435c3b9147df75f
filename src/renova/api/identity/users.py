"""Users and their passwords."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from renova.api.dispatch import Failure
from renova.api.http import Call, Reply
from renova.api.identity.projects import checked_name
from renova.api.identity.shapes import identity, listing, show, user_shape
from renova.model.errors import Invalid, NotFound
from renova.model.ids import ProjectId, UserId
from renova.partners.identity.builtin import DOMAIN, Denied
from renova.store import identity as store
from renova.store.database import Tx


class NewUser(msgspec.Struct):
    name: str
    password: str | None = None
    email: str | None = None
    description: str | None = None
    default_project_id: str | None = None
    enabled: bool = True
    domain_id: str | None = None


class NewUserBody(msgspec.Struct):
    user: NewUser


class UserChanges(msgspec.Struct):
    name: str | UnsetType = UNSET
    password: str | UnsetType = UNSET
    email: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    default_project_id: str | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET


class UserChangesBody(msgspec.Struct):
    user: UserChanges


class OwnPassword(msgspec.Struct):
    password: str
    original_password: str


class OwnPasswordBody(msgspec.Struct):
    user: OwnPassword


async def every(call: Call) -> Reply:
    call.demand("identity:list_users")
    found = await identity(call).read(store.every_user)
    return listing(call, "users", map(user_shape, found))


async def one(call: Call) -> Reply:
    user_id = call.path["user"]
    call.demand("identity:get_user", {"target.user.id": user_id})
    user = await identity(call).read(lambda tx: store.user(tx, user_id))
    if user is None:
        raise NotFound(f"Could not find user: {user_id}.")
    return show(call, "user", user_shape(user))


async def create(call: Call) -> Reply:
    call.demand("identity:create_user")
    want = call.json(NewUserBody).user
    if want.domain_id not in (None, DOMAIN):
        raise Invalid(f"Users are made in the domain {DOMAIN} only.")
    user = store.User(
        id=UserId(identity(call).new_id()),
        name=checked_name(want.name, 255),
        email=want.email,
        description=want.description,
        default_project=ProjectId(want.default_project_id) if want.default_project_id else None,
        enabled=want.enabled,
    )
    password_hash = None if want.password is None else await identity(call).hash_password(_strong(want.password))

    def add(tx: Tx) -> None:
        _demand_project(tx, user.default_project)
        store.add_user(tx, user, password_hash)

    await identity(call).change(add)
    return show(call, "user", user_shape(user), 201)


async def update(call: Call) -> Reply:
    user_id = call.path["user"]
    call.demand("identity:update_user", {"target.user.id": user_id})
    asked = call.json(UserChangesBody).user
    changes: dict[str, Any] = {
        name: value
        for name in ("name", "email", "description", "enabled")
        if (value := getattr(asked, name)) is not UNSET
    }
    if asked.name is not UNSET:
        checked_name(asked.name, 255)
    if asked.default_project_id is not UNSET:
        changes["default_project"] = asked.default_project_id
    if asked.password is not UNSET:
        changes["password_hash"] = await identity(call).hash_password(_strong(asked.password))

    def change(tx: Tx) -> store.User:
        _demand_project(tx, changes.get("default_project"))
        return store.change_user(tx, user_id, **changes)

    return show(call, "user", user_shape(await identity(call).change(change)))


async def delete(call: Call) -> Reply:
    user_id = call.path["user"]
    call.demand("identity:delete_user", {"target.user.id": user_id})
    await identity(call).change(lambda tx: store.remove_user(tx, user_id))
    return Reply(204)


async def set_own_password(call: Call) -> Reply:
    """Change a password by knowing the old one; no token is needed, as the old one may stand in for it."""
    want = call.json(OwnPasswordBody).user
    try:
        await identity(call).replace_password(UserId(call.path["user"]), want.original_password, _strong(want.password))
    except Denied as denied:
        raise Failure(401, str(denied)) from denied
    return Reply(204)


def _strong(password: str) -> str:
    if not password:
        raise Invalid("Invalid input for field 'password': it is empty.")
    return password


def _demand_project(tx: Tx, project: str | None) -> None:
    if project is not None and store.project(tx, project) is None:
        raise NotFound(f"Could not find project: {project}.")
