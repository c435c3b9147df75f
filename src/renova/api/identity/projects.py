"""Projects."""

import msgspec
from msgspec import UNSET, UnsetType

from renova.api.http import Call, Reply
from renova.api.identity.shapes import identity, listing, project_shape, show
from renova.model.errors import Invalid, NotFound
from renova.model.ids import ProjectId
from renova.partners.identity.builtin import DOMAIN
from renova.store import identity as store


class NewProject(msgspec.Struct):
    name: str
    description: str | None = None
    enabled: bool = True
    tags: list[str] = []
    domain_id: str | None = None
    parent_id: str | None = None
    is_domain: bool = False


class NewProjectBody(msgspec.Struct):
    project: NewProject


class ProjectChanges(msgspec.Struct):
    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    tags: list[str] | UnsetType = UNSET


class ProjectChangesBody(msgspec.Struct):
    project: ProjectChanges


async def every(call: Call) -> Reply:
    call.demand("identity:list_projects")
    found = await identity(call).read(store.every_project)
    return listing(call, "projects", map(project_shape, found))


async def of_user(call: Call) -> Reply:
    user = call.path["user"]
    call.demand("identity:list_user_projects", {"target.user.id": user})
    found = await identity(call).read(lambda tx: store.projects_of(tx, user))
    return listing(call, "projects", map(project_shape, found))


async def one(call: Call) -> Reply:
    project_id = call.path["project"]
    call.demand("identity:get_project", {"target.project.id": project_id})
    project = await identity(call).read(lambda tx: store.project(tx, project_id))
    if project is None:
        raise NotFound(f"Could not find project: {project_id}.")
    return show(call, "project", project_shape(project))


async def create(call: Call) -> Reply:
    call.demand("identity:create_project")
    want = call.json(NewProjectBody).project
    if want.is_domain or want.domain_id not in (None, DOMAIN) or want.parent_id not in (None, DOMAIN):
        raise Invalid(f"Projects are made in the domain {DOMAIN} only, and not below other projects.")
    project = store.Project(
        id=ProjectId(identity(call).new_id()),
        name=checked_name(want.name, 64),
        description=want.description or "",
        enabled=want.enabled,
        tags=tuple(want.tags),
    )
    await identity(call).change(lambda tx: store.add_project(tx, project))
    return show(call, "project", project_shape(project), 201)


async def update(call: Call) -> Reply:
    project_id = call.path["project"]
    call.demand("identity:update_project", {"target.project.id": project_id})
    changes = {
        name: value
        for name, value in msgspec.structs.asdict(call.json(ProjectChangesBody).project).items()
        if value is not UNSET
    }
    if "name" in changes:
        checked_name(changes["name"], 64)
    if "description" in changes:
        changes["description"] = changes["description"] or ""
    if "tags" in changes:
        changes["tags"] = tuple(changes["tags"])
    project = await identity(call).change(lambda tx: store.change_project(tx, project_id, **changes))
    return show(call, "project", project_shape(project))


async def delete(call: Call) -> Reply:
    project_id = call.path["project"]
    call.demand("identity:delete_project", {"target.project.id": project_id})
    await identity(call).change(lambda tx: store.remove_project(tx, project_id))
    return Reply(204)


def checked_name(name: str, longest: int) -> str:
    """Return the name; `Invalid` for one that is blank or too long."""
    if not name.strip() or len(name) > longest:
        raise Invalid(f"Invalid input for field 'name': it has 1 to {longest} characters and is not blank.")
    return name
