"""Quota sets: how much each project may have; administrators change it."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from renova.api.compute.fields import MAX_INTEGER, Body, Truth, is_true, read
from renova.api.compute.route import known, route
from renova.api.http import Call, Reply
from renova.model.errors import Invalid
from renova.model.ids import ProjectId
from renova.store import quotas, server_groups, servers
from renova.store.database import Tx

POLICY = {
    "os_compute_api:os-quota-sets:show": "rule:project_reader_or_admin",
    "os_compute_api:os-quota-sets:detail": "rule:project_reader_or_admin",
    "os_compute_api:os-quota-sets:defaults": "@",
    "os_compute_api:os-quota-sets:update": "rule:admin_api",
    "os_compute_api:os-quota-sets:delete": "rule:admin_api",
    "os_compute_api:os-quota-class-sets:show": "rule:admin_api",
    "os_compute_api:os-quota-class-sets:update": "rule:admin_api",
}

# Neutron's since long; old clients still expect to see them.
_NETWORK = dict.fromkeys(("fixed_ips", "floating_ips", "security_groups", "security_group_rules"), -1)
_NETWORK_UNTIL = (2, 35)
_FILES_UNTIL = (2, 56)

Most = Annotated[int, Meta(ge=-1, le=MAX_INTEGER)] | Annotated[str, Meta(pattern=r"^(-1|[0-9]{1,9})\Z")]


class ChangeQuotas(Body):
    """The body of PUT os-quota-sets."""

    quota_set: dict[str, Any]  # amounts by resource; `force`; and `tenant_id`, which old clients repeat


class ChangeDefaults(Body):
    """The body of PUT os-quota-class-sets."""

    quota_class_set: dict[str, Any]


def _shown(call: Call, amounts: Mapping[str, Any], network: Any = -1) -> dict[str, Any]:
    """Return the resources that the microversion has."""
    shown = {
        name: amount
        for name, amount in amounts.items()
        if call.version <= _FILES_UNTIL or not name.startswith("injected_")
    }
    if call.version <= _NETWORK_UNTIL:
        shown |= dict.fromkeys(_NETWORK, network)
    return shown


def _project(call: Call, rule: str) -> ProjectId:
    project = ProjectId(call.path["project"])
    call.demand(rule, {"project_id": project})
    return project


async def show(call: Call) -> Reply:
    project = _project(call, "os_compute_api:os-quota-sets:show")
    most = await call.cloud.database.read(lambda tx: quotas.of_project(tx, project))
    return Reply(200, {"quota_set": {"id": project, **_shown(call, most)}})


async def detail(call: Call) -> Reply:
    project = _project(call, "os_compute_api:os-quota-sets:detail")

    def work(tx: Tx) -> dict[str, dict[str, int]]:
        used = _used(tx, project)
        return {
            name: {"limit": most, "in_use": used.get(name, 0), "reserved": 0}
            for name, most in quotas.of_project(tx, project).items()
        }

    nothing = {"limit": -1, "in_use": 0, "reserved": 0}
    amounts = await call.cloud.database.read(work)
    return Reply(200, {"quota_set": {"id": project, **_shown(call, amounts, nothing)}})


def _used(tx: Tx, project: ProjectId) -> dict[str, int]:
    used = dict(zip(("instances", "cores", "ram"), servers.usage(tx, project), strict=True))
    return {**used, "server_groups": server_groups.count(tx, project)}


async def defaults(call: Call) -> Reply:
    project = _project(call, "os_compute_api:os-quota-sets:defaults")
    most = await call.cloud.database.read(lambda tx: quotas.of_project(tx, quotas.EVERYBODY))
    return Reply(200, {"quota_set": {"id": project, **_shown(call, most)}})


async def update(call: Call) -> Reply:
    project = _project(call, "os_compute_api:os-quota-sets:update")
    wanted = dict(read(call, ChangeQuotas).quota_set)
    wanted.pop("tenant_id", None)
    force = _force(wanted.pop("force", False))
    changes = _changes(call, wanted)
    if not await call.cloud.identity.project_exists(project):
        raise Invalid(f"Project ID {project} is not a valid project.")

    def work(tx: Tx) -> dict[str, int]:
        used = _used(tx, project)
        for name, most in changes.items():
            if not force and 0 <= most < used.get(name, 0):
                raise Invalid(
                    f"Quota limit {most} for {name} must be greater than or equal to already used and reserved "
                    f"{used[name]}."
                )
        quotas.change(tx, project, changes)
        return quotas.of_project(tx, project)

    return Reply(200, {"quota_set": _shown(call, await call.cloud.database.transact(work))})


def _force(value: Any) -> bool:
    try:
        return is_true(msgspec.convert(value, Truth))
    except msgspec.ValidationError as error:
        raise Invalid(f"Invalid input for field/attribute force. Value: {value}.") from error


def _changes(call: Call, wanted: Mapping[str, Any]) -> dict[str, int]:
    """Return the limits asked for; those of the network are not kept here and change nothing."""
    allowed = _shown(call, quotas.DEFAULTS)
    changes = {}
    for name, most in wanted.items():
        if name not in allowed:
            raise Invalid(f"Invalid input: Object contains unknown field `{name}` - at `$.quota_set`")
        try:
            amount = int(msgspec.convert(most, Most))
        except msgspec.ValidationError as error:
            raise Invalid(f"Invalid input for field/attribute {name}. Value: {most}. {error}") from error
        if name in quotas.DEFAULTS:
            changes[name] = amount
    return changes


async def delete(call: Call) -> Reply:
    project = _project(call, "os_compute_api:os-quota-sets:delete")
    await call.cloud.database.transact(lambda tx: quotas.reset(tx, project))
    return Reply(202)


async def show_class(call: Call) -> Reply:
    call.demand("os_compute_api:os-quota-class-sets:show")
    most = await call.cloud.database.read(lambda tx: quotas.of_project(tx, quotas.EVERYBODY))
    return Reply(200, {"quota_class_set": {"id": call.path["class"], **_shown(call, most)}})


async def update_class(call: Call) -> Reply:
    """Change the defaults; there is no other class than "default"."""
    call.demand("os_compute_api:os-quota-class-sets:update")
    changes = _changes(call, read(call, ChangeDefaults).quota_class_set)
    if call.path["class"] != "default":
        raise Invalid("There is only one quota class: default.")

    def work(tx: Tx) -> dict[str, int]:
        quotas.change(tx, quotas.EVERYBODY, changes)
        return quotas.of_project(tx, quotas.EVERYBODY)

    return Reply(200, {"quota_class_set": _shown(call, await call.cloud.database.transact(work))})


_OF_USER = known("user_id")  # quotas are a project's here, whichever user is named

ROUTES = [
    route("GET", "/os-quota-sets/{project}", show, query=_OF_USER),
    route("PUT", "/os-quota-sets/{project}", update, query=_OF_USER),
    route("DELETE", "/os-quota-sets/{project}", delete, query=_OF_USER),
    route("GET", "/os-quota-sets/{project}/detail", detail, query=_OF_USER),
    route("GET", "/os-quota-sets/{project}/defaults", defaults),
    route("GET", "/os-quota-class-sets/{class}", show_class),
    route("PUT", "/os-quota-class-sets/{class}", update_class),
]
