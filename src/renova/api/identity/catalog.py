"""The catalog as Keystone's resources, read only: domains, regions, services, endpoints."""

from typing import Any

from renova.api.http import Call, Reply
from renova.api.identity.shapes import listing, show
from renova.model.errors import NotFound
from renova.partners.identity.builtin import DOMAIN, DOMAIN_NAME
from renova.partners.identity.catalog import INTERFACES, services
from renova.settings import ControllerSettings

_DOMAIN = {
    "id": DOMAIN,
    "name": DOMAIN_NAME,
    "description": "The only domain",
    "enabled": True,
    "tags": [],
    "options": {},
}


async def domains(call: Call) -> Reply:
    call.demand("identity:list_domains")
    return listing(call, "domains", [_DOMAIN])


async def domain(call: Call) -> Reply:
    call.demand("identity:get_domain", {"target.domain.id": call.path["domain"]})
    return _one(call, "domain", [_DOMAIN])


def _regions(settings: ControllerSettings) -> list[dict[str, Any]]:
    return [{"id": settings.region, "description": "", "parent_region_id": None}]


async def regions(call: Call) -> Reply:
    call.demand("identity:list_regions")
    return listing(call, "regions", _regions(call.cloud.settings))


async def region(call: Call) -> Reply:
    call.demand("identity:get_region")
    return _one(call, "region", _regions(call.cloud.settings))


def _services(settings: ControllerSettings) -> list[dict[str, Any]]:
    return [
        {
            "id": service.id,
            "type": service.type,
            "name": service.name,
            "description": service.description,
            "enabled": True,
        }
        for service in services(settings)
    ]


async def every_service(call: Call) -> Reply:
    call.demand("identity:list_services")
    return listing(call, "services", _services(call.cloud.settings))


async def service(call: Call) -> Reply:
    call.demand("identity:get_service")
    return _one(call, "service", _services(call.cloud.settings))


def _endpoints(settings: ControllerSettings) -> list[dict[str, Any]]:
    return [
        {
            "id": service.endpoint_id(interface),
            "service_id": service.id,
            "interface": interface,
            "region": settings.region,
            "region_id": settings.region,
            "url": service.url,
            "enabled": True,
        }
        for service in services(settings)
        for interface in INTERFACES
    ]


async def endpoints(call: Call) -> Reply:
    call.demand("identity:list_endpoints")
    return listing(call, "endpoints", _endpoints(call.cloud.settings))


async def endpoint(call: Call) -> Reply:
    call.demand("identity:get_endpoint")
    return _one(call, "endpoint", _endpoints(call.cloud.settings))


def _one(call: Call, kind: str, things: list[dict[str, Any]]) -> Reply:
    wanted = call.path[kind]
    for thing in things:
        if thing["id"] == wanted:
            return show(call, kind, thing)
    raise NotFound(f"Could not find {kind}: {wanted}.")
