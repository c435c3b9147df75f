"""What a plan is made from: all hosts, and the servers that recovery may have to move, as they are at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import msgspec

from renova.ha.wishes import Wishes
from renova.model.group import ServerGroup
from renova.model.ids import GroupId, HostId, ProjectId, ServerId
from renova.model.place import Place
from renova.scheduling.board import Board
from renova.scheduling.request import Request


class ServerView(msgspec.Struct, frozen=True, kw_only=True):
    """A server as recovery sees it: a frozen picture, maybe a little old; the claim reads again."""

    id: ServerId
    name: str
    project: ProjectId
    place: Place
    request: Request  # all that it needs, but for what other servers' places ask
    wishes: Wishes = Wishes()
    runs: bool = True  # it is to run in the end; False: it is stopped, and stays so
    refused: str = ""  # why it cannot be evacuated as it is now
    local_disks: tuple[str, ...] = ()  # what only its host has, or who shares that one's storage: "root", "swap", …
    group: GroupId | None = None
    apart_from: tuple[ServerId, ...] = ()  # hint different_host
    beside: tuple[ServerId, ...] | None = None  # hint same_host; None: no hint


class GroupView(msgspec.Struct, frozen=True):
    """A server group with its members."""

    group: ServerGroup
    members: tuple[ServerId, ...]


@dataclass(frozen=True)
class FleetView:
    """The hosts, and every server of those that may be taken for dead; nothing of it is ever changed."""

    board: Board
    servers: tuple[ServerView, ...]
    dead: frozenset[HostId] = frozenset()  # already: their servers need a place, too
    cut_off: frozenset[HostId] = frozenset()  # not proven dead: so do those of their servers that write only volumes
    groups: Mapping[GroupId, GroupView] = field(default_factory=dict)
    places: Mapping[ServerId, Place] = field(default_factory=dict)  # of others, whom groups and hints name

    @property
    def lost(self) -> frozenset[HostId]:
        """The hosts that servers have to leave already."""
        return self.dead | self.cut_off

    @cached_property
    def by_host(self) -> dict[HostId, list[ServerView]]:
        """The servers of each host: those that its death touches, by id."""
        found: dict[HostId, list[ServerView]] = {}
        for server in sorted(self.servers, key=lambda each: each.id):
            for host in server.place.hosts:
                found.setdefault(host, []).append(server)
        return found

    @cached_property
    def known(self) -> dict[ServerId, ServerView]:
        return {server.id: server for server in self.servers}

    def place(self, server: ServerId) -> Place | None:
        known = self.known.get(server)
        return known.place if known else self.places.get(server)

    def name(self, host: HostId) -> str:
        view = self.board.view(host)
        return view.name if view else host
