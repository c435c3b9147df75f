"""Compute services (os-services): each host's, whether it is up, and whether servers may be put there."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from renova.api.compute.fields import Body, HostName, Name, Truth, is_true, is_uuid, read
from renova.api.compute.host_life import is_up
from renova.api.compute.route import known, route
from renova.api.http import Call, Reply
from renova.hosts.capabilities import DISABLED
from renova.model.aggregate import DEFAULT_ZONE
from renova.model.errors import Conflict, Invalid, NotFound
from renova.model.host import Host, HostState
from renova.model.ids import HostId
from renova.store import aggregates, drains, hosts, migrations, rights, servers
from renova.store.database import Tx
from renova.store.placement import host_provider, removal

POLICY = {
    "os_compute_api:os-services:list": "rule:admin_api",
    "os_compute_api:os-services:update": "rule:admin_api",
    "os_compute_api:os-services:delete": "rule:admin_api",
}

BINARY = "nova-compute"

Reason = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^(?!\s)[^\x00-\x1f\x7f]*(?<!\s)\Z")]


class ChangeService(Body):
    """The body of PUT /os-services/{uuid} (2.53)."""

    status: Literal["enabled", "disabled"] | UnsetType = UNSET
    disabled_reason: Reason | UnsetType = UNSET
    forced_down: Truth | UnsetType = UNSET


class NamedService(Body):
    """The body of the older PUT /os-services/enable and /disable."""

    host: HostName
    binary: Name


class DisabledService(NamedService):
    """The body of PUT /os-services/disable-log-reason."""

    disabled_reason: Reason


class ForcedService(NamedService):
    """The body of PUT /os-services/force-down."""

    forced_down: Truth = True


def _view(call: Call, host: Host, zone: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": host.id if call.version >= (2, 53) else host.serial,
        "binary": BINARY,
        "host": host.name,
        "zone": zone,
        "status": "disabled" if host.disabled else "enabled",
        "state": "up" if is_up(call.cloud, host) else "down",
        "updated_at": host.last_seen or host.updated_at,
        "disabled_reason": host.disabled_reason,
    }
    if call.version >= (2, 11):
        shown["forced_down"] = host.forced_down
    return shown


async def index(call: Call) -> Reply:
    call.demand("os_compute_api:os-services:list")
    found, zones = await call.cloud.database.read(lambda tx: (hosts.computing(tx), aggregates.zones(tx)))
    name, binary = call.one("host"), call.one("binary")
    chosen = [host for host in found if name in (None, "", host.name) and binary in (None, "", BINARY)]
    return Reply(200, {"services": [_view(call, host, zones.get(host.id, DEFAULT_ZONE)) for host in chosen]})


async def update(call: Call) -> Reply:
    call.demand("os_compute_api:os-services:update")
    wanted = read(call, ChangeService)
    values: dict[str, Any] = {}
    if wanted.disabled_reason is not UNSET and wanted.status != "disabled":
        raise Invalid("Specifying 'disabled_reason' requires that 'status' is set to 'disabled'.")
    if wanted.status is not UNSET:
        reason = None if wanted.disabled_reason is UNSET else wanted.disabled_reason
        values = {"disabled": wanted.status == "disabled", "disabled_reason": reason}
    if wanted.forced_down is not UNSET:
        values["forced_down"] = is_true(wanted.forced_down)
    if not values:
        raise Invalid("No updates were requested. Fields 'status' or 'forced_down' should be specified.")
    service = _uuid(call)
    missing = f"Service {service} could not be found."
    host = await _change(call, lambda tx: hosts.compute_host(tx, service), missing, values)
    zone = await call.cloud.database.read(lambda tx: aggregates.zone_of(tx, service))
    return Reply(200, {"service": _view(call, host, zone)})


async def enable(call: Call) -> Reply:
    return await _older(call, read(call, NamedService), disabled=False, disabled_reason=None)


async def disable(call: Call) -> Reply:
    return await _older(call, read(call, NamedService), disabled=True, disabled_reason=None)


async def disable_with_reason(call: Call) -> Reply:
    wanted = read(call, DisabledService)
    return await _older(call, wanted, disabled=True, disabled_reason=wanted.disabled_reason)


async def force_down(call: Call) -> Reply:
    wanted = read(call, ForcedService)
    return await _older(call, wanted, forced_down=is_true(wanted.forced_down))


async def _older(call: Call, named: NamedService, **values: Any) -> Reply:
    """Change the service of a host by name; the answer repeats what was changed."""
    call.demand("os_compute_api:os-services:update")
    if named.binary != BINARY:
        raise Invalid(f"Updating a {named.binary} service is not supported. Only {BINARY} services can be updated.")
    missing = f"Could not find binary {named.binary} on host {named.host}."
    host = await _change(call, lambda tx: hosts.compute_host_named(tx, named.host), missing, values)
    shown: dict[str, Any] = {"host": host.name, "binary": BINARY}
    if "disabled" in values:
        shown["status"] = "disabled" if host.disabled else "enabled"
    if "forced_down" in values:
        shown["forced_down"] = host.forced_down
    if host.disabled_reason:
        shown["disabled_reason"] = host.disabled_reason
    return Reply(200, {"service": shown})


async def _change(call: Call, find: Callable[[Tx], Host | None], missing: str, values: dict[str, Any]) -> Host:
    def work(tx: Tx) -> Host:
        host = find(tx)
        if host is None:
            raise NotFound(missing)
        if values.get("forced_down") is False and host.forced_down and (reason := _not_yet_up(tx, host)):
            raise Invalid(f"Unable to unset the forced-down flag of service {host.id}: {reason}")
        changed = {**values, **_who(call, tx, host, values)}
        hosts.change(tx, host.id, **changed)
        if "disabled" in values:
            host_provider.show_trait(tx, host.id, DISABLED, shown=values["disabled"])
            if not values["disabled"]:
                drains.end(tx, host.id)  # what is in use is not emptied
        tx.then(call.cloud.fleet.stale)
        if values.get("forced_down") is False and host.forced_down:
            tx.then(lambda: call.cloud.hosts.on_up(host.id))  # its servers that wait for it may start
        return msgspec.structs.replace(host, updated_at=tx.now, **changed)

    host = await call.cloud.database.transact(work)
    call.cloud.agents.stand(host)
    return host


def _not_yet_up(tx: Tx, host: Host) -> str | None:
    """Say why the host must stay forced down: its old guests may still be there, or are being given to others."""
    if debts := rights.debts_of(tx, host.id):
        troubles = {debt.trouble for debt in debts if debt.trouble}
        said = f" It says: {'; '.join(sorted(troubles))}." if troubles else ""
        return (
            f"{host.name} has yet to clean up {len(debts)} servers that are no longer its own; it does so as soon as "
            f"its agent runs.{said}"
        )
    if migrations.unfinished_from(tx, host.id):
        return f"servers evacuated from {host.name} are not yet cleaned up there."
    columns = migrations.migrations.c
    if migrations.find(tx, [columns.source == host.id, columns.status.in_(migrations.ACTIVE)], 1):
        return f"servers are being evacuated from {host.name}. Wait until that has ended."
    if host.state is HostState.RETURNING:
        return f"{host.name} has not finished its return."
    return None


def _who(call: Call, tx: Tx, host: Host, values: dict[str, Any]) -> dict[str, Any]:
    """Note who disables a host or forces it down, and when: tools do, and forget to take it back."""
    noted: dict[str, Any] = {}
    for flag in ("disabled", "forced_down"):
        if flag in values:
            if not values[flag]:
                noted |= {f"{flag}_by": None, f"{flag}_at": None}
            elif not getattr(host, flag):
                noted |= {f"{flag}_by": call.caller.user_name, f"{flag}_at": tx.now}
    return noted


def _uuid(call: Call) -> HostId:
    if not is_uuid(call.path["service"]):
        raise Invalid(f"Invalid uuid {call.path['service']}")
    return HostId(call.path["service"].lower())


def refusal_to_remove(tx: Tx, host: Host) -> str | None:
    """Say why the host must stay: nobody would look after what it still has, or is about to get."""
    if servers.on_host(tx, host.id):
        return "Unable to delete compute service that is hosting instances. Migrate or delete them first."
    columns = migrations.migrations.c
    here = (columns.source == host.id) | (columns.destination == host.id)
    if migrations.find(tx, [here, columns.status.in_(migrations.ACTIVE)], 1):
        return "Unable to delete compute service that has in-progress migrations."
    if host.state is HostState.RETURNING:
        return "Unable to delete compute service that is cleaning up. Wait until it is up, or off."
    if host.state is not HostState.DEAD and (rights.of_host(tx, host.id) or rights.debts_of(tx, host.id)):
        # Guests of servers that live elsewhere: nobody would ever clean them up.
        return (
            "Unable to delete compute service whose host may still run guests that it has to clean up. Let it "
            "do so, or have it proven dead."
        )
    return None


async def delete(call: Call) -> Reply:
    """Remove the host from the cloud; one that still has servers, or to or from which they are moving, stays."""
    call.demand("os_compute_api:os-services:delete")
    by_uuid = call.version >= (2, 53)
    service = _uuid(call) if by_uuid else call.path["service"]
    if not by_uuid and not service.isdecimal():
        raise Invalid(f"Invalid service id {service}")

    def work(tx: Tx) -> HostId:
        every = {str(host.id if by_uuid else host.serial): host for host in hosts.computing(tx)}
        host = every.get(service)
        if host is None:
            raise NotFound(f"Service {service} could not be found.")
        if (reason := refusal_to_remove(tx, host)) is not None:
            raise Conflict(reason)
        rights.take_away(tx, host.id)
        rights.forgive(tx, host.id)
        migrations.given_up(tx, host.id)
        aggregates.forget_host(tx, host.id)
        drains.end(tx, host.id)
        hosts.remove(tx, host.id)
        removal.withdraw(tx, host.id)
        tx.then(call.cloud.fleet.stale)
        return host.id

    await call.cloud.agents.drop(await call.cloud.database.transact(work))
    return Reply(204)


_NEW = (2, 53)
_OLD = (2, 52)

ROUTES = [
    route("GET", "/os-services", index, query=known("host", "binary")),
    route("PUT", "/os-services/{service}", update, since=_NEW),
    route("PUT", "/os-services/enable", enable, until=_OLD),
    route("PUT", "/os-services/disable", disable, until=_OLD),
    route("PUT", "/os-services/disable-log-reason", disable_with_reason, until=_OLD),
    route("PUT", "/os-services/force-down", force_down, since=(2, 11), until=_OLD),
    route("DELETE", "/os-services/{service}", delete),
]
