"""Projects, users, the roles that users have on projects, and tokens; all in the one domain, `default`.

Called by `partners.identity` and `api.identity`. A token is kept only as its SHA-256, a password only as its hash.
"""

from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, ForeignKey, String, Table, Text, delete, insert, select, update

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


def count(tx: Tx) -> int:
    """Return how often anything was changed."""
    return int(tx.execute(_COUNT).scalar() or 0)


def count_change(tx: Tx) -> None:
    if tx.execute(update(changes).where(changes.c.id == 1).values(count=changes.c.count + 1)).rowcount == 0:
        tx.execute(insert(changes).values(id=1, count=1))


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


def add_project(tx: Tx, project: Project) -> None:
    _demand_free_project_name(tx, project.name)
    tx.execute(insert(projects).values(**msgspec.structs.asdict(project)))


def project(tx: Tx, project_id: str) -> Project | None:
    row = tx.execute(select(projects).where(projects.c.id == project_id)).first()
    return Project(**row._mapping) if row else None


def project_named(tx: Tx, name: str) -> Project | None:
    row = tx.execute(select(projects).where(projects.c.name == name)).first()
    return Project(**row._mapping) if row else None


def every_project(tx: Tx) -> list[Project]:
    return [Project(**row._mapping) for row in tx.execute(select(projects).order_by(projects.c.name))]


def projects_of(tx: Tx, user_id: str) -> list[Project]:
    """List the projects on which the user has a role."""
    with_role = select(role_assignments.c.project).where(role_assignments.c.user == user_id)
    rows = tx.execute(select(projects).where(projects.c.id.in_(with_role)).order_by(projects.c.name))
    return [Project(**row._mapping) for row in rows]


def change_project(tx: Tx, project_id: str, **values: Any) -> Project:
    """Change some of a project's fields and return it. `NotFound`, `Conflict` for a name in use."""
    old = project(tx, project_id)
    if old is None:
        raise NotFound(f"Could not find project: {project_id}.")
    if values.get("name", old.name) != old.name:
        _demand_free_project_name(tx, values["name"])
    if values:
        tx.execute(update(projects).where(projects.c.id == project_id).values(**values))
    return msgspec.structs.replace(old, **values)


def remove_project(tx: Tx, project_id: str) -> None:
    """Remove a project, the roles on it and the tokens for it. `NotFound`."""
    if tx.execute(delete(projects).where(projects.c.id == project_id)).rowcount == 0:
        raise NotFound(f"Could not find project: {project_id}.")


def _demand_free_project_name(tx: Tx, name: str) -> None:
    if project_named(tx, name) is not None:
        raise Conflict(
            "Conflict occurred attempting to store project - "
            f"Duplicate entry found with name {name} at domain ID default."
        )


_user_columns = [users.c[name] for name in User.__struct_fields__]  # never the hash


def add_user(tx: Tx, user: User, password_hash: str | None) -> None:
    _demand_free_user_name(tx, user.name)
    tx.execute(insert(users).values(**msgspec.structs.asdict(user), password_hash=password_hash))


def user(tx: Tx, user_id: str) -> User | None:
    row = tx.execute(select(*_user_columns).where(users.c.id == user_id)).first()
    return User(**row._mapping) if row else None


def user_named(tx: Tx, name: str) -> User | None:
    row = tx.execute(select(*_user_columns).where(users.c.name == name)).first()
    return User(**row._mapping) if row else None


def every_user(tx: Tx) -> list[User]:
    return [User(**row._mapping) for row in tx.execute(select(*_user_columns).order_by(users.c.name))]


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
        tx.execute(update(users).where(users.c.id == user_id).values(**values))
    if "password_hash" in values or values.get("enabled") is False:
        tx.execute(delete(tokens).where(tokens.c.user == user_id))
    changed = user(tx, user_id)
    assert changed is not None
    return changed


def remove_user(tx: Tx, user_id: str) -> None:
    """Remove a user with the roles and tokens the user had. `NotFound`."""
    if tx.execute(delete(users).where(users.c.id == user_id)).rowcount == 0:
        raise NotFound(f"Could not find user: {user_id}.")


def password_hash(tx: Tx, user_id: str) -> str | None:
    found = tx.execute(select(users.c.password_hash).where(users.c.id == user_id)).scalar()
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
        tx.execute(insert(role_assignments).values(user=user_id, project=project_id, role=role))


def take_role(tx: Tx, user_id: str, project_id: str, role: str) -> None:
    """Take the role from the user. `NotFound` when it was never given."""
    taken = tx.execute(
        delete(role_assignments).where(
            role_assignments.c.user == user_id,
            role_assignments.c.project == project_id,
            role_assignments.c.role == role,
        )
    )
    if taken.rowcount == 0:
        raise NotFound(f"Could not find role assignment with role: {role}, user: {user_id}, project: {project_id}.")


def roles_on(tx: Tx, user_id: str, project_id: str) -> frozenset[str]:
    """Return the roles the user was given on the project, without what they imply."""
    rows = tx.execute(
        select(role_assignments.c.role).where(
            role_assignments.c.user == user_id, role_assignments.c.project == project_id
        )
    )
    return frozenset(row.role for row in rows)


def assignments(tx: Tx, user_id: str | None = None, project_id: str | None = None) -> list[Assignment]:
    query = select(role_assignments).order_by(*role_assignments.primary_key)
    if user_id is not None:
        query = query.where(role_assignments.c.user == user_id)
    if project_id is not None:
        query = query.where(role_assignments.c.project == project_id)
    return [Assignment(**row._mapping) for row in tx.execute(query)]


def add_token(tx: Tx, token: Token) -> None:
    """Keep a token, and drop those that expired."""
    tx.execute(delete(tokens).where(tokens.c.expires_at < tx.now))
    tx.execute(insert(tokens).values(**msgspec.structs.asdict(token)))


def token(tx: Tx, sha256: str) -> Token | None:
    """Return the token unless it has expired or was revoked."""
    row = tx.execute(select(tokens).where(tokens.c.sha256 == sha256, tokens.c.expires_at > tx.now)).first()
    return Token(**row._mapping) if row else None


def remove_token(tx: Tx, sha256: str) -> None:
    tx.execute(delete(tokens).where(tokens.c.sha256 == sha256))
