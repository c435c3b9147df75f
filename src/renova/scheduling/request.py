"""What a server needs of a host, and how much each wish counts: all that rules and weights look at.

Made by `operations.parts.needs`, in the transaction that claims: where the group's members are must be so then.
"""

from typing import Any

import msgspec

from renova.model.group import GroupPolicy
from renova.model.ids import HostId, ImageId, ProjectId
from renova.settings import SchedulerSettings


class GroupPlaces(msgspec.Struct, frozen=True, kw_only=True):
    """Where the other servers of a server's group are, as of this transaction."""

    policy: GroupPolicy
    most: int = 1  # servers of the group that a host may have (anti-affinity)
    on: dict[HostId, int] = {}  # how many there are on each host, those on their way to it among them
    bound: dict[HostId, str] = {}  # hosts that the group is bound to (affinity), with their names
    unsettled: bool = False  # all that binds it are servers which may yet have to leave their host again
    company: dict[str, int] = {}  # what the servers need that have to follow this one, and this one itself


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a server needs of a host."""

    resources: dict[str, int]
    architecture: str | None = None
    hypervisor_type: str | None = None
    vm_mode: str | None = None
    zone: str | None = None  # pinned to this availability zone
    only: str | None = None  # name of the one host that was asked for
    forced: bool = False  # that host though it is disabled or in another zone; never though it is down or full
    not_on: frozenset[HostId] = frozenset()  # the dead source, and hosts that failed already
    storage: str | None = None  # identity of the instances directory that the host must share
    evacuated: bool = False  # the server is made anew from what another host left
    live: bool = False  # its guest comes with its memory
    group: GroupPlaces | None = None
    apart_from: frozenset[HostId] = frozenset()  # hosts of servers that the hint different_host names
    beside: frozenset[HostId] | None = None  # hosts of servers that the hint same_host names; None: no hint
    traits: frozenset[str] = frozenset()  # that its host must have
    not_traits: frozenset[str] = frozenset()  # that its host must not have
    capabilities: dict[str, str] = {}  # extra specs about the host itself, by path: "cpu_info:model"
    aggregate_specs: dict[str, str] = {}  # extra specs about its aggregates' metadata
    project: ProjectId | None = None
    image: ImageId | None = None
    image_properties: dict[str, Any] = {}
    marks: frozenset[str] = frozenset()  # metadata keys of any aggregate: rules about others need not run
    settings: SchedulerSettings = SchedulerSettings()
