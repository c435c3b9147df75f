"""The routes and rules of the Compute API, joined from its resources."""

from collections.abc import Iterable, Sequence
from itertools import chain
from types import ModuleType

from renova.api.compute import (
    actions,
    aggregates,
    availability_zones,
    bootable,
    compute_services,
    external_events,
    flavor_access,
    flavor_extra_specs,
    flavors,
    hypervisors,
    instance_actions,
    interfaces,
    keypairs,
    limits,
    migrations,
    not_here,
    quota_sets,
    server_create,
    server_groups,
    server_metadata,
    server_migrations,
    server_network,
    server_query,
    server_tags,
    server_view,
    servers,
    usage,
    versions,
    volume_attachments,
)
from renova.api.compute.route import route
from renova.api.compute.versions import Legacy, Microversions
from renova.api.dispatch import Service
from renova.api.http import Route
from renova.api.named_faults import error
from renova.operations.cloud import Cloud

_RESOURCES: tuple[ModuleType, ...] = (
    flavors,
    flavor_access,
    flavor_extra_specs,
    keypairs,
    servers,
    server_metadata,
    server_migrations,
    server_tags,
    server_network,
    interfaces,
    volume_attachments,
    external_events,
    actions,
    instance_actions,
    compute_services,
    hypervisors,
    migrations,
    availability_zones,
    aggregates,
    server_groups,
    limits,
    quota_sets,
    usage,
    not_here,
)


def _policy(modules: Iterable[ModuleType]) -> dict[str, str]:
    rules: dict[str, str] = {}
    for module in modules:
        rules |= getattr(module, "POLICY", {})
    return rules


# Nova's names and its defaults for people on projects.
POLICY = {
    "context_is_admin": "role:admin",
    **_policy((*_RESOURCES, bootable, server_create, server_query, server_view)),
}

_ROUTES: list[Route] = list(chain.from_iterable(resource.ROUTES for resource in _RESOURCES))


_LISTED = route("GET", "/", versions.every, public=True)
_CURRENT = [route("GET", "/", versions.v21, public=True), *_ROUTES]
_FORMER = [route("GET", "/", versions.v2, public=True), *_ROUTES]

# Made once: in simulations and tests there are many clouds, and making the tables of routes takes milliseconds.
_SERVICES = (
    Service("compute versions", ("/compute",), [_LISTED], error, Legacy()),
    Service("compute", ("/compute/v2.1",), _CURRENT, error, Microversions(), project_in_path=True),
    Service("compute v2", ("/compute/v2",), _FORMER, error, Legacy(), project_in_path=True),
)


def services(cloud: Cloud) -> Sequence[Service]:
    """Return the Compute API: its list of versions, v2.1, and v2, which is v2.1 without microversions."""
    return _SERVICES
