"""The routes and rules of the Block Storage API: a resource is added here and nowhere else."""

from itertools import chain
from types import ModuleType

from renova.api.dispatch import Service
from renova.api.http import Reply, Route
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

_ERROR_NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    501: "notImplemented",
    503: "serviceUnavailable",
}


def services_of(cloud: Cloud) -> list[Service]:  # noqa: ARG001  (as of all services)
    """Return the Block Storage API: its list of versions, and v3."""
    listed = Route("GET", "/", versions.every, public=True)
    current = [Route("GET", "/", versions.v3, public=True), *_ROUTES]
    return [
        Service("volume versions", ("/volume",), [listed], error),
        Service("volume", ("/volume/v3",), current, error, versions.Microversions(), project_in_path=True),
    ]


def error(status: int, message: str, request_id: str) -> Reply:  # noqa: ARG001
    """Answer as Cinder does."""
    return Reply(status, {_ERROR_NAMES.get(status, "computeFault"): {"code": status, "message": message}})
