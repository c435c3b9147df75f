"""Availability zones: those that aggregates name, and the default one of all other hosts."""

from typing import Any

from renova.api.compute.host_life import is_up
from renova.api.compute.route import route
from renova.api.http import Call, Reply
from renova.model.aggregate import DEFAULT_ZONE
from renova.model.errors import Invalid
from renova.model.host import Host
from renova.store import aggregates, hosts
from renova.store.database import Tx

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


def by_zone(tx: Tx) -> dict[str, list[Host]]:
    """Return the hosts of every zone; without any host there is the default one."""
    zones = aggregates.zones(tx)
    found: dict[str, list[Host]] = {}
    for host in hosts.computing(tx):
        found.setdefault(zones.get(host.id, DEFAULT_ZONE), []).append(host)
    return found or {DEFAULT_ZONE: []}


def demand_zone(tx: Tx, zone: str) -> None:
    """Raise `Invalid` unless servers may be put into the zone: it has a host that is not disabled, or is to get one."""
    members = by_zone(tx).get(zone)
    if members is None or (members and all(host.disabled for host in members)):
        raise Invalid("The requested availability zone is not available")


async def _zones(call: Call, *, detailed: bool) -> list[dict[str, Any]]:
    zones = await call.cloud.database.read(by_zone)
    return [
        {
            "zoneName": zone,
            "zoneState": {"available": any(not host.disabled for host in members)},
            "hosts": {host.name: _services(call, host) for host in members} if detailed else None,
        }
        for zone, members in sorted(zones.items())
    ]


def _services(call: Call, host: Host) -> dict[str, Any]:
    life = {
        "available": is_up(call.cloud, host),
        "active": not host.disabled,
        "updated_at": host.last_seen or host.updated_at,
    }
    return {"nova-compute": life}


ROUTES = [
    route("GET", "/os-availability-zone", index),
    route("GET", "/os-availability-zone/detail", detail),
]
