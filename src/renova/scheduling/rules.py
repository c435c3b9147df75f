"""Why a host will not do: one small function a rule. Each returns a reason, or None when the host will do.

Rules are Nova's filters (spec: scheduling, section 4), in the order in which a person would ask.
"""

from collections.abc import Callable

import msgspec

from renova.model.host import HostView
from renova.model.ids import HostId


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a server needs of a host."""

    resources: dict[str, int]
    architecture: str | None = None
    zone: str | None = None  # pinned to this availability zone
    only: str | None = None  # name of the one host that was asked for
    forced: bool = False  # that host though it is disabled or in another zone; never though it is down or full
    not_on: frozenset[HostId] = frozenset()  # the dead source, and hosts that failed already


Rule = Callable[[Request, HostView], str | None]


def asked_for(request: Request, host: HostView) -> str | None:
    if request.only is None or request.only == host.name:
        return None
    return f"not {request.only}, the host asked for"


def not_excluded(request: Request, host: HostView) -> str | None:
    return "the server's former host, or it failed there" if host.id in request.not_on else None


def up(_request: Request, host: HostView) -> str | None:
    return None if host.up else "down"


def enabled(request: Request, host: HostView) -> str | None:
    return "disabled" if host.disabled and not request.forced else None


def in_zone(request: Request, host: HostView) -> str | None:
    if request.zone is None or request.zone == host.zone or request.forced:
        return None
    return f"not in zone {request.zone}"


def runs_architecture(request: Request, host: HostView) -> str | None:
    if request.architecture is None or request.architecture == host.architecture:
        return None
    return f"cannot run {request.architecture}"


def has_room(request: Request, host: HostView) -> str | None:
    """Say of which resource too little is free; the claim tests the same again."""
    for name, amount in request.resources.items():
        free = host.total.get(name, 0) - host.used.get(name, 0)
        if amount > free:
            return f"needs {amount} {name}, {free:g} free"
    return None


ALL: tuple[Rule, ...] = (asked_for, not_excluded, up, enabled, in_zone, runs_architecture, has_room)
