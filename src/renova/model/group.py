"""A server group: servers of a project that are to be together, or apart."""

from enum import StrEnum

import msgspec

from renova.model.ids import GroupId, ProjectId, UserId


class GroupPolicy(StrEnum):
    """What is asked of the hosts of a group's servers; the soft ones are wishes (Nova, server groups)."""

    AFFINITY = "affinity"
    ANTI_AFFINITY = "anti-affinity"
    SOFT_AFFINITY = "soft-affinity"
    SOFT_ANTI_AFFINITY = "soft-anti-affinity"


class ServerGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A server group's row; its members are the servers that name it."""

    id: GroupId
    project: ProjectId
    user: UserId
    name: str
    policy: GroupPolicy
    max_server_per_host: int | None = None  # only of anti-affinity; None is 1
    created_at: str = ""

    @property
    def most_on_a_host(self) -> int:
        return self.max_server_per_host or 1
