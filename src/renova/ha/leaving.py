"""How far the servers of a host that is being emptied are, and whose turn it is to leave. Pure."""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from renova.model.ids import HostId, ServerId


class Stage(StrEnum):
    """Where a server stands that is to leave its host."""

    MOVING = "moving"
    WAITING = "waiting"  # for its turn, for what is being done to it, or until it is tried again
    STAYING = "staying"  # its state does not let it go: somebody has to do something about it


class Leaver(msgspec.Struct, frozen=True, kw_only=True):
    """A server that is to leave its host."""

    server: ServerId
    name: str
    stage: Stage
    busy: bool = False  # something else is being done to it
    reason: str = ""  # why it waits or stays, or what came of its last try
    live: bool = False  # its guest leaves with its memory
    copied: float | None = None  # the share of that memory that is there, of one that moves
    destination: str | None = None  # by name, of one that moves
    attempts: int = 0  # that have failed
    failed_on: HostId | None = None  # the destination of the last of them
    again_at: str | None = None  # when it is tried again


class Progress(StrEnum):
    """How a host stands that is being emptied."""

    DRAINING = "draining"
    DRAINED = "drained"
    HELD_UP = "held up"  # by servers that stay until somebody does something about them


def progress(leavers: Iterable[Leaver]) -> Progress:
    stages = {each.stage for each in leavers}
    if not stages:
        return Progress.DRAINED
    return Progress.HELD_UP if stages == {Stage.STAYING} else Progress.DRAINING


def whose_turn(leavers: Iterable[Leaver], at_once: int, now: str) -> list[Leaver]:
    """Return those that are to begin now: who has not been tried comes before who failed."""
    known = list(leavers)
    free = at_once - sum(each.stage is Stage.MOVING for each in known)
    ready = [each for each in known if each.stage is Stage.WAITING and not each.busy and (each.again_at or "") <= now]
    return sorted(ready, key=lambda each: (each.attempts, each.server))[: max(free, 0)]
