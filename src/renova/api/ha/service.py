"""The routes and rules of the Instance HA API: a resource is added here and nowhere else."""

from itertools import chain
from types import ModuleType

from renova.api.dispatch import Service
from renova.api.ha import hosts, notifications, segments, versions, vmoves
from renova.api.http import Route
from renova.api.named_faults import error
from renova.operations.cloud import Cloud

_RESOURCES: tuple[ModuleType, ...] = (segments, hosts, notifications, vmoves)

# Masakari's names and defaults.
POLICY: dict[str, str] = {name: check for module in _RESOURCES for name, check in module.POLICY.items()}

_ROUTES: list[Route] = list(chain.from_iterable(resource.ROUTES for resource in _RESOURCES))


def services_of(cloud: Cloud) -> list[Service]:
    """Return the Instance HA API: its list of versions, and v1."""
    listed = Route("GET", "/", versions.every, public=True)
    current = [Route("GET", "/", versions.v1, public=True), *_ROUTES]
    return [
        Service("instance-ha versions", ("/instance-ha",), [listed], error),
        Service("instance-ha", ("/instance-ha/v1",), current, error, versions.Microversions(), project_in_path=True),
    ]
