"""Who is asking: tokens, users, projects and roles."""

from typing import Protocol

import msgspec

from renova.model.ids import ProjectId, UserId


class Caller(msgspec.Struct, frozen=True):
    """Who makes a request, with which roles, on which project."""

    user: UserId
    user_name: str
    project: ProjectId
    project_name: str
    roles: frozenset[str]
    expires: str


class Identity(Protocol):
    """Tells who bears a token."""

    async def caller(self, token: str) -> Caller | None:
        """Return the bearer of a valid token; None for a token unknown, expired or revoked."""
        ...

    async def project_exists(self, project: ProjectId) -> bool: ...
