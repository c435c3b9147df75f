"""What switches a host's power: wired, shown without its secrets, tested, rehearsed; and the switch itself."""

from collections.abc import Awaitable
from typing import Annotated, Any, Literal

import msgspec

from renova.api.hosts.found import host_in_path
from renova.api.http import Call, Reply
from renova.ha import fencing
from renova.model.errors import Conflict, NotFound, NotNow, Refused
from renova.model.host import Host, HostState
from renova.model.power import PowerController, Reading
from renova.power import HostPower
from renova.power.wired import WiredPower, Wish
from renova.store import power_controllers, rights
from renova.store.database import Tx

Word = Annotated[str, msgspec.Meta(max_length=255)]
Value = Annotated[str, msgspec.Meta(max_length=4096)]
Values = Annotated[dict[Annotated[str, msgspec.Meta(min_length=1, max_length=64)], Value], msgspec.Meta(max_length=64)]


class Wired(msgspec.Struct, forbid_unknown_fields=True):
    """What is to switch a host's power."""

    kind: Annotated[str, msgspec.Meta(min_length=1, max_length=16)]
    address: Word = ""
    username: Word = ""
    options: Values = {}
    secrets: Values = {}


class Switched(msgspec.Struct, forbid_unknown_fields=True):
    """How the power is to be. `force`: though the host is up."""

    power: Literal["on", "off"]
    force: bool = False


async def put(call: Call) -> Reply:
    """Have the host's power switched by this; kept once it has answered."""
    call.demand("renova:power:wire")
    wanted = call.json(Wired)
    host = await host_in_path(call)
    wish = Wish(wanted.kind, wanted.address, wanted.username, wanted.options, wanted.secrets)
    heard = call.cloud.hosts.leases.renews(host.id)
    await _wired(call).wire(host, wish, call.caller.user_name, heard=heard)
    return await show(call)


async def show(call: Call) -> Reply:
    """Show what switches the host's power; of secrets, their names."""
    call.demand("renova:power:show")
    host = await host_in_path(call)
    row = await call.cloud.database.read(lambda tx: power_controllers.get(tx, host.id))
    if row is None:
        raise NotFound(f"Host {host.name} has no power controller. Give it one: renova host power set {host.name}.")
    return Reply(200, {"power": _view(host, row)})


async def remove(call: Call) -> Reply:
    """Have the host's power switched by nothing any more; its secrets are forgotten."""
    call.demand("renova:power:wire")
    host = await host_in_path(call)
    if not await call.cloud.database.transact(lambda tx: power_controllers.remove(tx, host.id)):
        raise NotFound(f"Host {host.name} has no power controller.")
    return Reply(204)


async def test(call: Call) -> Reply:
    """Read the host's power now, and whose it is; nothing is switched."""
    call.demand("renova:power:test")
    host = await host_in_path(call)
    said = await (await _power(call, host)).read()
    if said.reading is not Reading.UNKNOWN:
        await call.cloud.database.transact(lambda tx: power_controllers.change(tx, host.id, tested_at=tx.now))
    return Reply(200, {"reading": {"power": said.reading, "system": said.system, "why": said.why}})


async def switch(call: Call) -> Reply:
    """Switch the host's power, and see that it is as wanted."""
    call.demand("renova:power:switch")
    wanted = call.json(Switched)
    host = await host_in_path(call)
    power = await _power(call, host)
    if wanted.power == "off" and not wanted.force and _is_up(call, host):
        raise Conflict(
            f"Host {host.name} is up, and its guests would die. Empty it first (`renova host drain {host.name}`); or "
            "say --force, if that is meant."
        )
    if wanted.power == "on":
        await _done(fencing.switch_on(power, call.cloud.clock))
    else:
        await _done(fencing.switch_off(power, call.cloud.clock, _always))
    return await test(call)


async def rehearse(call: Call) -> Reply:
    """Switch an empty host off and on, so that it is known to work when it is needed."""
    call.demand("renova:power:switch")
    host = await host_in_path(call)
    power = await _power(call, host)
    if not host.disabled:
        raise Conflict(
            f"Host {host.name} is in service. Empty it first, so that none goes there: `renova host drain {host.name}`."
        )
    if await call.cloud.database.read(lambda tx: rights.of_host(tx, host.id)):
        raise Conflict(
            f"Host {host.name} has servers, whose guests would die. Move them first: `renova host drain {host.name}`."
        )
    await _done(_off_and_on(call, host, power))
    return await show(call)


async def reseal(call: Call) -> Reply:
    """Encrypt all secrets by the newest key."""
    call.demand("renova:power:wire")
    return Reply(200, {"resealed": await _wired(call).reseal()})


async def _off_and_on(call: Call, host: Host, power: HostPower) -> None:
    try:
        await fencing.switch_off(power, call.cloud.clock, _always)
    finally:
        await fencing.switch_on(power, call.cloud.clock)
    await call.cloud.database.transact(lambda tx: power_controllers.change(tx, host.id, rehearsed_at=tx.now))


async def _always() -> bool:
    return True


async def _done(work: Awaitable[Any]) -> None:
    """Have it done; what keeps it from being so is the host's state, and no fault of ours."""
    try:
        await work
    except (NotNow, Refused) as error:
        raise Conflict(f"Its power was not seen to change: {error}.") from error


async def _power(call: Call, host: Host) -> HostPower:
    power = await call.cloud.power.of(host.id, host.name)
    if power is None:
        raise NotFound(f"Host {host.name} has no power controller. Give it one: renova host power set {host.name}.")
    return power


def _wired(call: Call) -> WiredPower:
    if not isinstance(call.cloud.power, WiredPower):
        raise Conflict("The hosts of this cloud have power controllers that come with them.")
    return call.cloud.power


def _is_up(call: Call, host: Host) -> bool:
    leases = call.cloud.hosts.leases
    # A controller that has just begun has not heard anybody yet.
    return host.state is not HostState.DEAD and (leases.renews(host.id) or not leases.settled)


def _view(host: Host, row: PowerController) -> dict[str, Any]:
    return {
        "host": host.name,
        "kind": row.kind,
        "address": row.address,
        "username": row.username,
        "options": row.options,
        "secrets": list(row.secrets),
        "key": row.sealed.partition(":")[0],
        "system": row.system,
        "tested_at": row.tested_at,
        "rehearsed_at": row.rehearsed_at,
        "barred": host.power_barred,
        "says": trust(row),
        "wired_by": row.wired_by,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def trust(row: PowerController) -> str:
    """Say in a sentence how far it can be relied on."""
    whose = "" if row.system else "; it does not say whose power it reads"
    if row.rehearsed_at is None:
        return f"untested BMC: it was never seen to switch this host off and on{whose}"
    return f"seen to switch this host off and on{whose}"


def brief(tx: Tx, host: Host) -> str | None:
    """Say what switches the host's power, for the list of all there is to know of it."""
    row = power_controllers.get(tx, host.id)
    return None if row is None else f"{row.options.get('agent', row.kind)} at {row.address}: {trust(row)}"
