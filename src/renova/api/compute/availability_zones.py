"""Availability zones: there is one, of all hosts."""

from typing import Any

from renova.api.compute.host_life import is_up
from renova.api.compute.route import route
from renova.api.http import Call, Reply
from renova.operations.parts.fleet import ZONE
from renova.store import hosts

POLICY = {
    "os_compute_api:os-availability-zone:list": "@",
    "os_compute_api:os-availability-zone:detail": "rule:admin_api",
}


async def index(call: Call) -> Reply:
    call.demand("os_compute_api:os-availability-zone:list")
    return Reply(200, {"availabilityZoneInfo": await _zones(call, detailed=False)})


async def detail(call: Call) -> Reply:
    call.demand("os_compute_api:os-availability-zone:detail")
    return Reply(200, {"availabilityZoneInfo": await _zones(call, detailed=True)})


async def _zones(call: Call, *, detailed: bool) -> list[dict[str, Any]]:
    found = await call.cloud.database.read(hosts.every)
    services = {
        host.name: {
            "nova-compute": {
                "available": is_up(call.cloud, host),
                "active": not host.disabled,
                "updated_at": host.last_seen or host.updated_at,
            }
        }
        for host in found
    }
    available = any(not host.disabled for host in found)
    return [{"zoneName": ZONE, "zoneState": {"available": available}, "hosts": services if detailed else None}]


ROUTES = [
    route("GET", "/os-availability-zone", index),
    route("GET", "/os-availability-zone/detail", detail),
]
