"""A scenario as it is written: the cloud, its servers, and what happens when. Nothing in it is optional to understand.

hosts = 3                      # host1, host2, ... of which each has room for `room` servers
power = "switches"             # their power controllers: none, reads, or switches
until = 60                     # seconds that are told, from the moment at which all is well

[servers]
web = "host1"                  # where it is; or { on = "host1", metadata = {...}, group = "..." }

[[at]]
seconds = 0
happens = ["host1 loses power"]    # sentences of `happenings`
"""

import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from renova.model.host import GuardClass
from renova.settings import ControllerSettings


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server that there is at the beginning."""

    on: str
    metadata: dict[str, str] = {}
    group: str | None = None
    disk: Literal["local", "volume"] = "local"


class Moment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens at a moment, one after the other."""

    seconds: float
    happens: tuple[str, ...]


class Timeline(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of it."""

    until: float
    at: tuple[Moment, ...]
    hosts: int = 3
    controllers: int = 1
    storage_hosts: int = 0
    shared: bool = True  # whether hosts share their instances directory
    armed: bool = False  # whether hosts have armed guards
    watchdogs: GuardClass = GuardClass.A  # of which class these are
    power: Literal["none", "reads", "switches"] = "none"
    room: int = 12
    servers: dict[str, str | Wanted] = {}
    groups: dict[str, str] = {}  # policies by name
    image: dict[str, str] = {}  # properties of the image of all servers
    settings: dict[str, Any] = {}  # of the controllers, where they are not the product's own

    @property
    def wanted(self) -> dict[str, Wanted]:
        return {name: Wanted(each) if isinstance(each, str) else each for name, each in self.servers.items()}

    @property
    def controller_settings(self) -> ControllerSettings:
        settings = msgspec.convert(self.settings, ControllerSettings)
        settings.lease.check()
        return settings


def read(path: Path) -> Timeline:
    """Read a timeline; `msgspec.ValidationError` says what is not understood."""
    return msgspec.convert(tomllib.loads(path.read_text()), Timeline)
