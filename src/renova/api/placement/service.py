"""The routes and rules of the Placement API."""

from renova.api.dispatch import Service
from renova.api.http import Call, Reply, Route
from renova.api.microversions import shown
from renova.api.placement import aggregates, allocations, candidates, classes, inventories, providers, reshaper, traits
from renova.api.placement.route import UNDEFINED, problem, route
from renova.api.placement.shown import Shown
from renova.api.placement.versions import NEWEST, OLDEST, PlacementVersions
from renova.operations.cloud import Cloud

_ADMIN_OR_SERVICE = "rule:admin_api or role:service"

# Placement's names.
POLICY = dict.fromkeys(
    (
        "placement:resource_providers:list",
        "placement:resource_providers:create",
        "placement:resource_providers:show",
        "placement:resource_providers:update",
        "placement:resource_providers:delete",
        "placement:resource_providers:inventories:list",
        "placement:resource_providers:inventories:create",
        "placement:resource_providers:inventories:show",
        "placement:resource_providers:inventories:update",
        "placement:resource_providers:inventories:delete",
        "placement:resource_providers:usages",
        "placement:resource_providers:allocations:list",
        "placement:resource_providers:traits:list",
        "placement:resource_providers:traits:update",
        "placement:resource_providers:traits:delete",
        "placement:resource_providers:aggregates:list",
        "placement:resource_providers:aggregates:update",
        "placement:allocations:list",
        "placement:allocations:manage",
        "placement:allocations:update",
        "placement:allocations:delete",
        "placement:allocation_candidates:list",
        "placement:resource_classes:list",
        "placement:resource_classes:create",
        "placement:resource_classes:show",
        "placement:resource_classes:update",
        "placement:resource_classes:delete",
        "placement:traits:list",
        "placement:traits:show",
        "placement:traits:update",
        "placement:traits:delete",
    ),
    _ADMIN_OR_SERVICE,
) | {
    "placement:usages": f"{_ADMIN_OR_SERVICE} or (role:reader and project_id:%(project_id)s)",
    "placement:reshaper:reshape": "rule:admin_api or role:service",
}


async def root(call: Call) -> Reply:
    version = {
        "id": "v1.0",
        "status": "CURRENT",
        "min_version": shown(OLDEST),
        "max_version": shown(NEWEST),
        "links": [{"rel": "self", "href": ""}],
    }
    return Reply(200, {"versions": [version]})


def _routes(shown: Shown) -> list[Route]:
    provider = "/resource_providers/{provider}"
    inventory = f"{provider}/inventories/{{resource_class}}"
    return [
        Route("GET", "/", root, public=True),
        route(
            "GET", "/resource_providers", providers.every(shown), query="name uuid member_of resources in_tree required"
        ),
        route("POST", "/resource_providers", providers.create),
        route("GET", provider, providers.one),
        route("PUT", provider, providers.change),
        route("DELETE", provider, providers.delete),
        route("GET", f"{provider}/inventories", inventories.every),
        route("POST", f"{provider}/inventories", inventories.create),
        route("PUT", f"{provider}/inventories", inventories.replace),
        route("DELETE", f"{provider}/inventories", inventories.delete_all),
        route("GET", inventory, inventories.one),
        route("PUT", inventory, inventories.change),
        route("DELETE", inventory, inventories.delete),
        route("GET", f"{provider}/usages", inventories.usages),
        route("GET", f"{provider}/aggregates", aggregates.of_provider, since=(1, 1)),
        route("PUT", f"{provider}/aggregates", aggregates.set_of_provider, since=(1, 1)),
        route("GET", f"{provider}/traits", traits.of_provider, since=(1, 6)),
        route("PUT", f"{provider}/traits", traits.set_of_provider, since=(1, 6)),
        route("DELETE", f"{provider}/traits", traits.delete_of_provider, since=(1, 6)),
        route("GET", f"{provider}/allocations", allocations.of_provider),
        route("GET", "/allocations/{consumer}", allocations.of_consumer),
        route("PUT", "/allocations/{consumer}", allocations.replace),
        route("DELETE", "/allocations/{consumer}", allocations.delete),
        route("POST", "/allocations", allocations.replace_many, since=(1, 13)),
        route("GET", "/allocation_candidates", candidates.every(shown), since=(1, 10), query="*"),
        route("GET", "/usages", allocations.usages, since=(1, 9), query="project_id user_id consumer_type"),
        route("GET", "/resource_classes", classes.every, since=(1, 2)),
        route("POST", "/resource_classes", classes.create, since=(1, 2)),
        route("GET", "/resource_classes/{resource_class}", classes.one, since=(1, 2)),
        route("PUT", "/resource_classes/{resource_class}", classes.rename, since=(1, 2), until=(1, 6)),
        route("PUT", "/resource_classes/{resource_class}", classes.ensure, since=(1, 7)),
        route("DELETE", "/resource_classes/{resource_class}", classes.delete, since=(1, 2)),
        route("GET", "/traits", traits.every, since=(1, 6), query="name associated"),
        route("GET", "/traits/{trait}", traits.one, since=(1, 6)),
        route("PUT", "/traits/{trait}", traits.create, since=(1, 6)),
        route("DELETE", "/traits/{trait}", traits.delete, since=(1, 6)),
        route("POST", "/reshaper", reshaper.reshape, since=(1, 30)),
    ]


def service(cloud: Cloud) -> Service:
    """Return the Placement API."""
    return Service("placement", ("/placement",), _routes(Shown(cloud)), error, PlacementVersions())


def error(status: int, message: str, request_id: str) -> Reply:
    """Answer as Placement does where no route was reached."""
    return problem(status, message, request_id, UNDEFINED)
