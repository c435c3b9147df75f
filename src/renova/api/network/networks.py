"""Networks."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType, field

from renova.api.http import Call, Reply
from renova.api.network.lists import listing, narrowed
from renova.api.network.shapes import checked_name, network_shape, owner
from renova.model.errors import Conflict, Invalid, NotFound
from renova.model.ids import NetworkId
from renova.model.network import Network
from renova.store import networks as store
from renova.store import ports
from renova.store.database import Tx

MTU = 1450  # of the underlay's 1500 bytes, VXLAN takes 50


class NewNetwork(msgspec.Struct, forbid_unknown_fields=True):
    name: str = ""
    description: str = ""
    admin_state_up: bool = True
    shared: bool = False
    mtu: int = 0
    tenant_id: str | None = None
    project_id: str | None = None
    external: bool = field(default=False, name="router:external")
    availability_zone_hints: list[str] = []


class NewNetworkBody(msgspec.Struct):
    network: NewNetwork


class NetworkChanges(msgspec.Struct, forbid_unknown_fields=True):
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    admin_state_up: bool | UnsetType = UNSET
    shared: bool | UnsetType = UNSET
    mtu: int | UnsetType = UNSET
    external: bool | UnsetType = field(default=UNSET, name="router:external")


class NetworkChangesBody(msgspec.Struct):
    network: NetworkChanges


def visible(call: Call, tx: Tx, network_id: str) -> Network:
    """Return the network if the caller may see it, else raise `NotFound`."""
    found = store.network(tx, network_id)
    if found is None or not call.allows("get_network", target(found)):
        raise NotFound(f"Network {network_id} could not be found.")
    return found


def target(network: Network) -> dict[str, str]:
    return {"project_id": network.project, "shared": str(network.shared)}


async def every(call: Call) -> Reply:
    project = None if call.allows("get_network", {"project_id": "", "shared": "False"}) else call.caller.project
    found = await call.cloud.database.read(lambda tx: store.every_network(tx, project))
    return listing(call, "networks", (network_shape(call, network) for network in found))


async def one(call: Call) -> Reply:
    found = await call.cloud.database.read(lambda tx: visible(call, tx, call.path["network"]))
    return Reply(200, {"network": narrowed(call, network_shape(call, found))})


async def create(call: Call) -> Reply:
    want = call.json(NewNetworkBody, lax=True).network
    project = owner(call, want.project_id, want.tenant_id)
    call.demand("create_network", {"project_id": project})
    if want.shared:
        call.demand("create_network:shared", {"project_id": project})
    _demand_internal(want.external)
    if want.availability_zone_hints:
        raise Invalid("Networks reach all hosts and have no availability zones.")
    mtu = _checked_mtu(want.mtu or MTU)

    def add(tx: Tx) -> Network:
        return store.add_network(
            tx,
            NetworkId(call.cloud.chance.uuid()),
            project,
            checked_name(want.name),
            shared=want.shared,
            up=want.admin_state_up,
            mtu=mtu,
            description=checked_name(want.description),
        )

    return Reply(201, {"network": network_shape(call, await call.cloud.database.transact(add))})


async def update(call: Call) -> Reply:
    want = call.json(NetworkChangesBody, lax=True).network
    network_id = call.path["network"]
    _demand_internal(want.external is True)
    changes: dict[str, Any] = {
        name: value
        for name in ("name", "description", "admin_state_up", "shared", "mtu")
        if (value := getattr(want, name)) is not UNSET
    }
    for name in ("name", "description"):
        checked_name(changes.get(name, ""))
    _checked_mtu(changes.get("mtu", MTU))

    def change(tx: Tx) -> Network:
        found = visible(call, tx, network_id)
        call.demand("update_network", target(found))
        if changes.get("shared", found.shared) != found.shared:
            call.demand("update_network:shared", target(found))
            if found.shared and ports.any_on(tx, network_id, not_of=found.project):
                raise Conflict(f"Unable to reconfigure sharing settings for network {network_id}. Others use it.")
        return store.change_network(tx, network_id, **changes)

    return Reply(200, {"network": network_shape(call, await call.cloud.database.transact(change))})


async def delete(call: Call) -> Reply:
    network_id = call.path["network"]

    def remove(tx: Tx) -> None:
        call.demand("delete_network", target(visible(call, tx, network_id)))
        if ports.any_on(tx, network_id):
            raise Conflict(
                f"Unable to complete operation on network {network_id}. "
                "There are one or more ports still in use on the network."
            )
        store.remove_network(tx, network_id)

    await call.cloud.database.transact(remove)
    return Reply(204)


def _demand_internal(external: bool) -> None:
    if external:
        raise Invalid("External networks are not available: there are no routers and no floating IPs.")


def _checked_mtu(mtu: int) -> int:
    if not 68 <= mtu <= MTU:
        raise Invalid(f"Invalid input for mtu. Reason: '{mtu}' is not between 68 and {MTU}.")
    return mtu
