"""The port's root, and each service's list of versions: all that a client may read without a token.

Clients ask here first, given only a service's URL, and go on to the link of the version they know.
"""

from typing import Any
from urllib.parse import urlsplit

from renova.api.dispatch import Service
from renova.api.http import Call, Reply, Route
from renova.api.metrics import metrics
from renova.operations.cloud import Cloud
from renova.partners.identity.catalog import services


def service(cloud: Cloud) -> Service:
    """Return what is served above all services."""
    return Service("root", ("",), _ROUTES, _error)


def here(call: Call) -> str:
    """Return the URL of the port as clients see it, without a trailing slash."""
    if call.cloud.settings.public_url:
        return call.cloud.settings.public_url.rstrip("/")
    parts = urlsplit(call.base_url)
    return f"{parts.scheme}://{parts.netloc}"


def _links(href: str) -> list[dict[str, str]]:
    return [{"rel": "self", "href": href}]


async def root(call: Call) -> Reply:
    """List the services, for people who look what is behind the port."""
    return Reply(
        200,
        {
            "services": [
                {"type": each.type, "name": each.name, "links": _links(each.url)}
                for each in services(call.cloud.settings)
            ]
        },
    )


def _identity_v3(call: Call) -> dict[str, Any]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": _links(f"{here(call)}/identity/v3/"),
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }


async def identity(call: Call) -> Reply:
    return Reply(300, {"versions": {"values": [_identity_v3(call)]}})


async def identity_v3(call: Call) -> Reply:
    return Reply(200, {"version": _identity_v3(call)})


def _image_versions(call: Call) -> dict[str, Any]:
    links = _links(f"{here(call)}/image/v2/")
    return {
        "versions": [
            {"id": f"v2.{minor}", "status": "CURRENT" if minor == 9 else "SUPPORTED", "links": links}
            for minor in (9, 7, 6, 5, 4, 3, 2, 1, 0)
        ]
    }


async def image(call: Call) -> Reply:
    return Reply(300, _image_versions(call))


async def image_versions(call: Call) -> Reply:
    return Reply(200, _image_versions(call))


async def network(call: Call) -> Reply:
    links = _links(f"{here(call)}/network/v2.0/")
    return Reply(200, {"versions": [{"id": "v2.0", "status": "CURRENT", "links": links}]})


async def healthcheck(call: Call) -> Reply:
    """Say whether requests should come here, as the services of OpenStack do (oslo.middleware): "OK", or why not.

    With `drain=404` it is 404 instead of 503: HAProxy then sends nothing new here and cuts nothing off, so that who
    waits for a database that is away hears when to come again.
    """
    health = call.cloud.health
    trouble = health.trouble() if health is not None else None
    bad = 404 if call.one("drain") == "404" else 503
    status = 200 if trouble is None else bad
    headers = {"content-type": "text/plain; charset=UTF-8", "cache-control": "no-store"}
    return Reply(status, (trouble or "OK").encode(), headers)


def _error(status: int, message: str, request_id: str) -> Reply:
    return Reply(status, {"error": {"code": status, "message": message, "request_id": request_id}})


_ROUTES = [
    Route("GET", "/", root, public=True),
    Route("GET", "/healthcheck", healthcheck, public=True),
    Route("GET", "/metrics", metrics, public=True),
    Route("GET", "/identity", identity, public=True),
    Route("GET", "/image", image, public=True),
    Route("GET", "/image/versions", image_versions, public=True),
    Route("GET", "/network", network, public=True),
]
