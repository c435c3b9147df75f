"""What can be asked for: every route of every service of a controller, as its own tables have them.

A route is reached if the service can be asked for a version in which it is there. What a handler reads of the body is
found in its code: the shapes that it, or a function it calls, names.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from types import CodeType, FunctionType
from typing import Any

import msgspec

from renova.api.compute.actions import ACTIONS
from renova.api.dispatch import Service
from renova.api.http import NO_VERSION, Route, Version


@dataclass(frozen=True)
class Target:
    """A route below the mount by which it is asked for."""

    service: Service
    mount: str
    route: Route
    oldest: Version
    newest: Version

    @property
    def name(self) -> str:
        until = f" {self.route.since[0]}.{self.route.since[1]}+" if self.route.since != NO_VERSION else ""
        return f"{self.route.method} {self.mount}{self.route.path}{until}"

    @property
    def parameters(self) -> list[str]:
        return [part[1:-1] for part in self.route.path.split("/") if part.startswith("{")]


def targets(services: list[Service]) -> list[Target]:
    """Return every route that can be reached, by each of its service's mounts."""
    found = []
    for service in services:
        oldest, newest = versions_of(service)
        for route in service.routes:
            since, until = max(oldest, route.since), min(newest, route.until)
            if since <= until:
                found += [Target(service, mount, route, since, until) for mount in service.mounts]
    return found


def versions_of(service: Service) -> tuple[Version, Version]:
    """Return the oldest and newest version that the service can be asked for."""
    oldest = service.versions.asked({})
    word = version_word(service, oldest)
    if word is None:
        return oldest, oldest
    return oldest, service.versions.asked({"openstack-api-version": f"{word} latest"})


def version_word(service: Service, version: Version) -> str | None:
    """Return what the service is called in the header that asks for a version; None where there are none."""
    told = {name.lower(): value for name, value in service.versions.headers(version).items()}
    name = told.get("openstack-api-version")
    return name.split()[0] if name else None


@cache
def shapes_of(handler: Callable[..., Any]) -> tuple[type[msgspec.Struct], ...]:
    """Return the shapes that a handler's code names, without those that are parts of others."""
    named = list(dict.fromkeys(_named(handler, set(), 0)))
    parts = {part for shape in named for part in _parts(msgspec.inspect.type_info(shape), shape)}
    return tuple(shape for shape in named if shape not in parts)


def _named(function: Any, seen: set[Any], depth: int) -> Iterator[type[msgspec.Struct]]:
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    if not isinstance(function, FunctionType) or function in seen or depth > 4:
        return
    seen.add(function)
    for cell in function.__closure__ or ():
        yield from _named(cell.cell_contents, seen, depth)
    for name in _names(function.__code__):
        found = function.__globals__.get(name)
        if isinstance(found, type) and issubclass(found, msgspec.Struct) and _is_shape(found):
            yield found
        elif isinstance(found, FunctionType) and found.__module__.startswith("renova.api."):
            yield from _named(found, seen, depth + 1)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _is_shape(found: type[msgspec.Struct]) -> bool:
    return found.__module__.startswith("renova.api.") and not found.__struct_config__.frozen


def _parts(info: Any, of: type) -> Iterator[type]:
    if isinstance(info, msgspec.inspect.StructType) and info.cls is not of:
        yield info.cls
    for inner in _inner(info):
        yield from _parts(inner, of)


def _inner(info: Any) -> Iterator[Any]:
    for name in ("types", "fields"):
        yield from getattr(info, name, ())
    for name in ("type", "item_type", "value_type"):
        if (inner := getattr(info, name, None)) is not None:
            yield inner


def action_shapes() -> dict[str, tuple[type[msgspec.Struct], ...]]:
    """Return the actions of servers, each with the shapes of its value; without any its value is null."""
    return {name: shapes_of(action.run) for name, action in ACTIONS.items()}
