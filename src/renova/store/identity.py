"""Projects, users, the roles that users have on projects, and tokens; all in the one domain, `default`.

Called by `partners.identity` and `api.identity`. A token is kept only as its SHA-256, a password only as its hash.
"""

from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, ForeignKey, String, Table, Text, bindparam, delete, insert, select, update

from renova.model.errors import Conflict, NotFound
from renova.model.ids import ProjectId, UserId
from renova.store.database import Tx
from renova.store.schema import Document, Number, Stamp, metadata

projects = Table(
    "projects",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("description", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("tags", Document(tuple[str, ...]), nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("email", Text),
    Column("description", Text),
    Column("default_project", String(36), ForeignKey("projects.id", ondelete="SET NULL")),
    Column("enabled", Boolean, nullable=False),
    Column("password_hash", Text),  # null: nobody can sign in with a password
)

role_assignments = Table(
    "role_assignments",
    metadata,
    Column("user", String(36), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("project", String(36), ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("role", String(64), primary_key=True),
)

tokens = Table(
    "tokens",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("user", String(36), ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("project", String(36), ForeignKey("projects.id", ondelete="CASCADE"), index=True),  # null: unscoped
    Column("methods", Document(tuple[str, ...]), nullable=False),
    Column("audit_id", String(36), nullable=False),
    Column("issued_at", Stamp, nullable=False),
    Column("expires_at", Stamp, nullable=False, index=True),
)

# One row: how often anything was changed that a token may stand for. By it controllers know what they remember.
changes = Table("identity_changes", metadata, Column("id", Number, primary_key=True), Column("count", Number))

_COUNT = select(changes.c.count).where(changes.c.id == 1)
_COUNT_ON = update(changes).where(changes.c.id == 1).values(count=changes.c.count + 1)
_COUNT_FIRST = insert(changes)


def count(tx: Tx) -> int:
    """Return how often anything was changed."""
    return int(tx.execute(_COUNT).scalar() or 0)


def count_change(tx: Tx) -> None:
    if tx.execute(_COUNT_ON).rowcount == 0:
        tx.execute(_COUNT_FIRST, {"id": 1, "count": 1})


class Project(msgspec.Struct, frozen=True):
    """Who owns servers, images and networks, and is counted for them."""

    id: ProjectId
    name: str
    description: str = ""
    enabled: bool = True
    tags: tuple[str, ...] = ()


class User(msgspec.Struct, frozen=True):
    """Who signs in."""

    id: UserId
    name: str
    email: str | None = None
    description: str | None = None
    default_project: ProjectId | None = None
    enabled: bool = True


class Assignment(msgspec.Struct, frozen=True):
    """A role that a user was given on a project; what the role implies is not listed."""

    user: UserId
    project: ProjectId
    role: str


class Token(msgspec.Struct, frozen=True):
    """A token as it was issued; `project` None means unscoped."""

    sha256: str
    user: UserId
    project: ProjectId | None
    methods: tuple[str, ...]
    audit_id: str
    issued_at: str
    expires_at: str


_USER = [users.c[name] for name in User.__struct_fields__]  # never the hash
_WITH_ROLE = select(role_assignments.c.project).where(role_assignments.c.user == bindparam("user"))

# Made once: making a statement costs more than running it, and each request that brings a new token takes several.
_ADD_PROJECT = insert(projects)
_PROJECT = select(projects).where(projects.c.id == bindparam("project"))
_PROJECT_NAMED = select(projects).where(projects.c.name == bindparam("named"))
_EVERY_PROJECT = select(projects).order_by(projects.c.name)
_PROJECTS_OF = select(projects).where(projects.c.id.in_(_WITH_ROLE)).order_by(projects.c.name)
_CHANGE_PROJECT = update(projects).where(projects.c.id == bindparam("project"))
_REMOVE_PROJECT = delete(projects).where(projects.c.id == bindparam("project"))
_ADD_USER = insert(users)
_GET_USER = select(*_USER).where(users.c.id == bindparam("user"))
_USER_NAMED = select(*_USER).where(users.c.name == bindparam("named"))
_EVERY_USER = select(*_USER).order_by(users.c.name)
_CHANGE_USER = update(users).where(users.c.id == bindparam("user"))
_REMOVE_USER = delete(users).where(users.c.id == bindparam("user"))
_PASSWORD_HASH = select(users.c.password_hash).where(users.c.id == bindparam("user"))
_ROLES_ON = select(role_assignments.c.role).where(
    role_assignments.c.user == bindparam("of"), role_assignments.c.project == bindparam("on")
)
_GIVE_ROLE = insert(role_assignments)
_TAKE_ROLE = delete(role_assignments).where(
    role_assignments.c.user == bindparam("of"),
    role_assignments.c.project == bindparam("on"),
    role_assignments.c.role == bindparam("taken"),
)
_ADD_TOKEN = insert(tokens)
_TOKEN = select(tokens).where(tokens.c.sha256 == bindparam("sha256"), tokens.c.expires_at > bindparam("now"))
_DROP_EXPIRED = delete(tokens).where(tokens.c.expires_at < bindparam("now"))
_REMOVE_TOKEN = delete(tokens).where(tokens.c.sha256 == bindparam("sha256"))
_REMOVE_TOKENS_OF = delete(tokens).where(tokens.c.user == bindparam("of"))
_REMOVE_TOKENS_FOR = delete(tokens).where(tokens.c.project == bindparam("on"))
_REMOVE_TOKENS_OF_FOR = _REMOVE_TOKENS_FOR.where(tokens.c.user == bindparam("of"))


def add_project(tx: Tx, project: Project) -> None:
    _demand_free_project_name(tx, project.name)
    tx.execute(_ADD_PROJECT, msgspec.structs.asdict(project))


def project(tx: Tx, project_id: str) -> Project | None:
    row = tx.execute(_PROJECT, {"project": project_id}).first()
    return Project(**row._mapping) if row else None


def project_named(tx: Tx, name: str) -> Project | None:
    row = tx.execute(_PROJECT_NAMED, {"named": name}).first()
    return Project(**row._mapping) if row else None


def every_project(tx: Tx) -> list[Project]:
    return [Project(**row._mapping) for row in tx.execute(_EVERY_PROJECT)]


def projects_of(tx: Tx, user_id: str) -> list[Project]:
    """List the projects on which the user has a role."""
    return [Project(**row._mapping) for row in tx.execute(_PROJECTS_OF, {"user": user_id})]


def change_project(tx: Tx, project_id: str, **values: Any) -> Project:
    """Change some of a project's fields and return it. `NotFound`, `Conflict` for a name in use.

    Being disabled ends all tokens for the project: enabled again, it has none that somebody may have kept.
    """
    old = project(tx, project_id)
    if old is None:
        raise NotFound(f"Could not find project: {project_id}.")
    if values.get("name", old.name) != old.name:
        _demand_free_project_name(tx, values["name"])
    if values:
        tx.execute(_CHANGE_PROJECT, {"project": project_id, **values})
    if values.get("enabled") is False:
        tx.execute(_REMOVE_TOKENS_FOR, {"on": project_id})
    return msgspec.structs.replace(old, **values)


def remove_project(tx: Tx, project_id: str) -> None:
    """Remove a project, the roles on it and the tokens for it. `NotFound`."""
    if tx.execute(_REMOVE_PROJECT, {"project": project_id}).rowcount == 0:
        raise NotFound(f"Could not find project: {project_id}.")


def _demand_free_project_name(tx: Tx, name: str) -> None:
    if project_named(tx, name) is not None:
        raise Conflict(
            "Conflict occurred attempting to store project - "
            f"Duplicate entry found with name {name} at domain ID default."
        )


def add_user(tx: Tx, user: User, password_hash: str | None) -> None:
    _demand_free_user_name(tx, user.name)
    tx.execute(_ADD_USER, {**msgspec.structs.asdict(user), "password_hash": password_hash})


def user(tx: Tx, user_id: str) -> User | None:
    row = tx.execute(_GET_USER, {"user": user_id}).first()
    return User(**row._mapping) if row else None


def user_named(tx: Tx, name: str) -> User | None:
    row = tx.execute(_USER_NAMED, {"named": name}).first()
    return User(**row._mapping) if row else None


def every_user(tx: Tx) -> list[User]:
    return [User(**row._mapping) for row in tx.execute(_EVERY_USER)]


def change_user(tx: Tx, user_id: str, **values: Any) -> User:
    """Change some of a user's fields and return the user. `NotFound`, `Conflict` for a name in use.

    A new password, or being disabled, ends all tokens of the user.
    """
    old = user(tx, user_id)
    if old is None:
        raise NotFound(f"Could not find user: {user_id}.")
    if values.get("name", old.name) != old.name:
        _demand_free_user_name(tx, values["name"])
    if values:
        tx.execute(_CHANGE_USER, {"user": user_id, **values})
    if "password_hash" in values or values.get("enabled") is False:
        tx.execute(_REMOVE_TOKENS_OF, {"of": user_id})
    changed = user(tx, user_id)
    assert changed is not None
    return changed


def remove_user(tx: Tx, user_id: str) -> None:
    """Remove a user with the roles and tokens the user had. `NotFound`."""
    if tx.execute(_REMOVE_USER, {"user": user_id}).rowcount == 0:
        raise NotFound(f"Could not find user: {user_id}.")


def password_hash(tx: Tx, user_id: str) -> str | None:
    found = tx.execute(_PASSWORD_HASH, {"user": user_id}).scalar()
    return None if found is None else str(found)


def _demand_free_user_name(tx: Tx, name: str) -> None:
    if user_named(tx, name) is not None:
        raise Conflict(
            f"Conflict occurred attempting to store user - Duplicate entry found with name {name} at domain ID default."
        )


def give_role(tx: Tx, user_id: str, project_id: str, role: str) -> None:
    """Give the user the role on the project; having it already is fine. `NotFound` for user or project."""
    if user(tx, user_id) is None:
        raise NotFound(f"Could not find user: {user_id}.")
    if project(tx, project_id) is None:
        raise NotFound(f"Could not find project: {project_id}.")
    if role not in roles_on(tx, user_id, project_id):
        tx.execute(_GIVE_ROLE, {"user": user_id, "project": project_id, "role": role})


def take_role(tx: Tx, user_id: str, project_id: str, role: str) -> None:
    """Take the role from the user. `NotFound` when it was never given.

    With the last one end the user's tokens for the project, also for when a role is given again. As long as there is
    another, they stand for what is left, as Keystone's do.
    """
    taken = tx.execute(_TAKE_ROLE, {"of": user_id, "on": project_id, "taken": role})
    if taken.rowcount == 0:
        raise NotFound(f"Could not find role assignment with role: {role}, user: {user_id}, project: {project_id}.")
    if not roles_on(tx, user_id, project_id):
        tx.execute(_REMOVE_TOKENS_OF_FOR, {"of": user_id, "on": project_id})


def roles_on(tx: Tx, user_id: str, project_id: str) -> frozenset[str]:
    """Return the roles the user was given on the project, without what they imply."""
    return frozenset(tx.execute(_ROLES_ON, {"of": user_id, "on": project_id}).scalars())


def assignments(tx: Tx, user_id: str | None = None, project_id: str | None = None) -> list[Assignment]:
    query = select(role_assignments).order_by(*role_assignments.primary_key)
    if user_id is not None:
        query = query.where(role_assignments.c.user == user_id)
    if project_id is not None:
        query = query.where(role_assignments.c.project == project_id)
    return [Assignment(**row._mapping) for row in tx.execute(query)]


def add_token(tx: Tx, token: Token) -> None:
    """Keep a token, and drop those that expired."""
    tx.execute(_DROP_EXPIRED, {"now": tx.now})
    tx.execute(_ADD_TOKEN, msgspec.structs.asdict(token))


def token(tx: Tx, sha256: str) -> Token | None:
    """Return the token unless it has expired or was revoked."""
    row = tx.execute(_TOKEN, {"sha256": sha256, "now": tx.now}).first()
    return Token(**row._mapping) if row else None


def remove_token(tx: Tx, sha256: str) -> None:
    tx.execute(_REMOVE_TOKEN, {"sha256": sha256})
