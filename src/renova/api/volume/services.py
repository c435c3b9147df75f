"""Storage hosts as Cinder's clients know them: `cinder-volume` services, pools, and the one availability zone."""

from typing import Any

import msgspec

from renova.api.http import Call, Reply, Route
from renova.api.volume.found import built_in
from renova.model.errors import Invalid, NotFound
from renova.model.host import Host, HostState
from renova.partners.volume.requests import THIN, ZONE
from renova.store import hosts, volumes
from renova.store.database import Tx

POLICY = {
    "volume_extension:services:index": "rule:admin_api",
    "volume_extension:services:update": "rule:admin_api",
    "volume_extension:availability_zone_list": "rule:any",
    "scheduler_extension:scheduler_stats:get_pools": "rule:admin_api",
}

BINARY = "cinder-volume"


class ChangedService(msgspec.Struct):
    host: str
    binary: str = BINARY
    disabled_reason: str | None = None


def _is_up(call: Call, host: Host) -> bool:
    return host.state is HostState.UP and not host.forced_down and built_in(call).up(host.id)


async def index(call: Call) -> Reply:
    call.demand("volume_extension:services:index")
    name, binary = call.one("host"), call.one("binary")
    found = [
        {
            "binary": BINARY,
            "host": host.name,
            "zone": ZONE,
            "status": "disabled" if host.disabled else "enabled",
            "state": "up" if _is_up(call, host) else "down",
            "updated_at": host.last_seen or host.updated_at,
            "disabled_reason": host.disabled_reason,
        }
        for host in await call.cloud.database.read(hosts.storing)
        if name in (None, "", host.name) and binary in (None, "", BINARY)
    ]
    return Reply(200, {"services": found})


async def enable(call: Call) -> Reply:
    return await _change(call, disabled=False)


async def disable(call: Call) -> Reply:
    return await _change(call, disabled=True)


async def _change(call: Call, *, disabled: bool) -> Reply:
    call.demand("volume_extension:services:update")
    wanted = call.json(ChangedService)
    reasoned = call.url_path.endswith("disable-log-reason")
    if wanted.binary != BINARY or (reasoned and not wanted.disabled_reason):
        raise Invalid(f"Invalid input: binary must be {BINARY}, and disabled_reason given where it is to be kept.")

    def change(tx: Tx) -> None:
        host = next((host for host in hosts.storing(tx) if host.name == wanted.host), None)
        if host is None:
            raise NotFound(f"Service {BINARY} could not be found on host {wanted.host}.")
        reason = wanted.disabled_reason if reasoned else None
        hosts.change(tx, host.id, disabled=disabled, disabled_reason=reason)

    await call.cloud.database.transact(change)
    shown: dict[str, Any] = {"host": wanted.host, "service": BINARY, "binary": BINARY, "disabled": disabled}
    shown["status"] = "disabled" if disabled else "enabled"
    if reasoned:
        shown["disabled_reason"] = wanted.disabled_reason
    return Reply(200, shown)


async def zones(call: Call) -> Reply:
    call.demand("volume_extension:availability_zone_list")
    found = await call.cloud.database.read(hosts.storing)
    available = any(not host.disabled for host in found)
    return Reply(200, {"availabilityZoneInfo": [{"zoneName": ZONE, "zoneState": {"available": available}}]})


async def pools(call: Call) -> Reply:
    call.demand("scheduler_extension:scheduler_stats:get_pools")

    def read(tx: Tx) -> list[dict[str, Any]]:
        promised = volumes.promised_gb(tx)
        return [_pool(host, promised.get(host.id, 0)) for host in hosts.storing(tx) if host.storage is not None]

    found = await call.cloud.database.read(read)
    if call.one("detail") not in ("true", "True", "1"):
        found = [{"name": pool["name"]} for pool in found]
    return Reply(200, {"pools": found})


def _pool(host: Host, promised_gb: int) -> dict[str, Any]:
    assert host.storage is not None
    capabilities = {
        "volume_backend_name": host.name,
        "storage_protocol": "nbd",
        "total_capacity_gb": host.storage.total_gb,
        "free_capacity_gb": host.storage.free_gb,
        "provisioned_capacity_gb": promised_gb,
        "allocated_capacity_gb": promised_gb,
        "max_over_subscription_ratio": str(THIN),
        "thin_provisioning_support": True,
        "multiattach": False,
    }
    return {"name": host.name, "capabilities": capabilities}


async def extensions(call: Call) -> Reply:
    return Reply(200, {"extensions": []})


ROUTES = [
    Route("GET", "/os-services", index),
    Route("PUT", "/os-services/enable", enable),
    Route("PUT", "/os-services/disable", disable),
    Route("PUT", "/os-services/disable-log-reason", disable),
    Route("GET", "/os-availability-zone", zones),
    Route("GET", "/scheduler-stats/get_pools", pools),
    Route("GET", "/extensions", extensions),
]
