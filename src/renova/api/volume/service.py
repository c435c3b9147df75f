"""The routes and rules of the Block Storage API: a resource is added here and nowhere else."""

from itertools import chain
from types import ModuleType

from renova.api.dispatch import Service
from renova.api.http import Route
from renova.api.named_faults import error
from renova.api.volume import (
    attachments,
    quota,
    services,
    snapshots,
    types,
    versions,
    volume_actions,
    volume_metadata,
    volumes,
)
from renova.operations.cloud import Cloud

_RESOURCES: tuple[ModuleType, ...] = (
    volumes,
    volume_metadata,
    volume_actions,
    attachments,
    snapshots,
    types,
    quota,
    services,
)

# Cinder's names and its defaults for people on projects.
POLICY: dict[str, str] = {
    "context_is_admin": "role:admin",
    **{name: check for module in _RESOURCES for name, check in module.POLICY.items()},
}

_ROUTES: list[Route] = list(chain.from_iterable(resource.ROUTES for resource in _RESOURCES))


def services_of(cloud: Cloud) -> list[Service]:
    """Return the Block Storage API: its list of versions, and v3."""
    listed = Route("GET", "/", versions.every, public=True)
    current = [Route("GET", "/", versions.v3, public=True), *_ROUTES]
    return [
        Service("volume versions", ("/volume",), [listed], error),
        Service("volume", ("/volume/v3",), current, error, versions.Microversions(), project_in_path=True),
    ]
