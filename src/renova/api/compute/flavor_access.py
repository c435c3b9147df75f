"""Which projects may use a flavor that is not public."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType

from renova.api.compute import flavors
from renova.api.compute.fields import Body, Name, read
from renova.api.compute.route import route
from renova.api.http import Call, Reply
from renova.model.errors import Conflict, Invalid, NotFound
from renova.model.ids import ProjectId
from renova.store import flavors as store
from renova.store.database import Tx

POLICY = {
    "os_compute_api:os-flavor-access": "rule:admin_api",
    "os_compute_api:os-flavor-access:add_tenant_access": "rule:admin_api",
    "os_compute_api:os-flavor-access:remove_tenant_access": "rule:admin_api",
}


class Tenant(Body):
    """Whose access it is about."""

    tenant: Name


class FlavorAction(Body):
    """The body of POST /flavors/{id}/action."""

    add: Tenant | UnsetType = msgspec.field(default=UNSET, name="addTenantAccess")
    remove: Tenant | UnsetType = msgspec.field(default=UNSET, name="removeTenantAccess")


async def index(call: Call) -> Reply:
    call.demand("os_compute_api:os-flavor-access")
    flavor = await flavors.find(call)
    if flavor.is_public:
        raise NotFound("Access list not available for public flavors.")
    return _reply(flavor.id, await call.cloud.database.read(lambda tx: store.projects(tx, flavor.id)))


async def act(call: Call) -> Reply:
    asked = read(call, FlavorAction)
    if isinstance(asked.add, Tenant) and not isinstance(asked.remove, Tenant):
        return await _add(call, ProjectId(asked.add.tenant))
    if isinstance(asked.remove, Tenant) and not isinstance(asked.add, Tenant):
        return await _remove(call, ProjectId(asked.remove.tenant))
    raise Invalid("Exactly one of addTenantAccess and removeTenantAccess is expected.")


async def _add(call: Call, project: ProjectId) -> Reply:
    call.demand("os_compute_api:os-flavor-access:add_tenant_access")
    flavor = await flavors.find(call)
    if flavor.is_public:
        raise Conflict("Can not add access to a public flavor.")
    if not await call.cloud.identity.project_exists(project):
        raise Invalid(f"Project ID {project} is not a valid project.")

    def work(tx: Tx) -> list[ProjectId]:
        if not store.give(tx, flavor.id, project):
            raise Conflict(f"Flavor access already exists for flavor {flavor.id} and project {project} combination.")
        return store.projects(tx, flavor.id)

    return _reply(flavor.id, await call.cloud.database.transact(work))


async def _remove(call: Call, project: ProjectId) -> Reply:
    call.demand("os_compute_api:os-flavor-access:remove_tenant_access")
    flavor = await flavors.find(call)

    def work(tx: Tx) -> list[ProjectId]:
        if not store.take(tx, flavor.id, project):
            raise NotFound(f"Flavor access not found for {flavor.id} / {project} combination.")
        return store.projects(tx, flavor.id)

    return _reply(flavor.id, await call.cloud.database.transact(work))


def _reply(flavor: str, projects: Sequence[ProjectId]) -> Reply:
    return Reply(200, {"flavor_access": [{"flavor_id": flavor, "tenant_id": project} for project in projects]})


ROUTES = [
    route("GET", "/flavors/{flavor}/os-flavor-access", index),
    route("POST", "/flavors/{flavor}/action", act),
]
