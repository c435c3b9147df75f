"""The routes and rules of the Placement API."""

from http import HTTPStatus

from renova.api.dispatch import Service
from renova.api.http import Call, Reply, Route
from renova.api.placement import consumers, providers
from renova.api.placement.versions import NEWEST, OLDEST, PlacementVersions, text
from renova.operations.cloud import Cloud

_ADMIN_OR_SERVICE = "rule:admin_api or role:service"

# Placement's names.
POLICY = {
    "placement:resource_providers:list": _ADMIN_OR_SERVICE,
    "placement:resource_providers:show": _ADMIN_OR_SERVICE,
    "placement:resource_providers:inventories:list": _ADMIN_OR_SERVICE,
    "placement:resource_providers:inventories:show": _ADMIN_OR_SERVICE,
    "placement:resource_providers:usages": _ADMIN_OR_SERVICE,
    "placement:resource_providers:allocations:list": _ADMIN_OR_SERVICE,
    "placement:resource_providers:traits:list": _ADMIN_OR_SERVICE,
    "placement:resource_providers:aggregates:list": _ADMIN_OR_SERVICE,
    "placement:allocations:list": _ADMIN_OR_SERVICE,
    "placement:resource_classes:list": _ADMIN_OR_SERVICE,
    "placement:traits:list": _ADMIN_OR_SERVICE,
}


async def root(call: Call) -> Reply:  # noqa: ARG001
    version = {
        "id": "v1.0",
        "status": "CURRENT",
        "min_version": text(OLDEST),
        "max_version": text(NEWEST),
        "links": [{"rel": "self", "href": ""}],
    }
    return Reply(200, {"versions": [version]})


_ROUTES = [
    Route("GET", "/", root, public=True),
    Route("GET", "/resource_providers", providers.every),
    Route("GET", "/resource_providers/{provider}", providers.one),
    Route("GET", "/resource_providers/{provider}/inventories", providers.inventories),
    Route("GET", "/resource_providers/{provider}/inventories/{resource_class}", providers.inventory),
    Route("GET", "/resource_providers/{provider}/usages", providers.usages),
    Route("GET", "/resource_providers/{provider}/aggregates", providers.aggregates, since=(1, 1)),
    Route("GET", "/resource_providers/{provider}/traits", providers.traits, since=(1, 6)),
    Route("GET", "/resource_providers/{provider}/allocations", providers.allocations),
    Route("GET", "/allocations/{consumer}", consumers.allocations),
    Route("GET", "/resource_classes", consumers.resource_classes, since=(1, 2)),
    Route("GET", "/traits", consumers.traits, since=(1, 6)),
]


def service(cloud: Cloud) -> Service:  # noqa: ARG001  (as of all services; the handlers get it with each call)
    """Return the Placement API."""
    return Service("placement", ("/placement",), _ROUTES, error, PlacementVersions())


def error(status: int, message: str, request_id: str) -> Reply:
    """Answer as Placement does."""
    title = HTTPStatus(status).phrase
    problem = {"status": status, "title": title, "detail": message, "request_id": request_id}
    return Reply(status, {"errors": [problem]})
