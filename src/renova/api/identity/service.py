"""The routes and rules of the Identity API."""

from http import HTTPStatus

from renova.api.dispatch import Service
from renova.api.http import Reply, Route
from renova.api.identity import catalog, projects, roles, tokens, users
from renova.api.root import identity_v3
from renova.operations.cloud import Cloud

# Keystone's names. Every role is held on a project, so its rules for domains and the system stay out.
POLICY = {
    "identity:validate_token": "role:admin or role:service or user_id:%(target.token.user_id)s",
    "identity:revoke_token": "role:admin or user_id:%(target.token.user_id)s",
    "identity:list_projects": "role:admin",
    "identity:list_user_projects": "role:admin or user_id:%(target.user.id)s",
    "identity:get_project": "role:admin or project_id:%(target.project.id)s",
    "identity:create_project": "role:admin",
    "identity:update_project": "role:admin",
    "identity:delete_project": "role:admin",
    "identity:list_users": "role:admin",
    "identity:get_user": "role:admin or user_id:%(target.user.id)s",
    "identity:create_user": "role:admin",
    "identity:update_user": "role:admin",
    "identity:delete_user": "role:admin",
    "identity:list_roles": "role:admin or role:manager",
    "identity:get_role": "role:admin or role:manager",
    "identity:list_grants": "role:admin",
    "identity:check_grant": "role:admin",
    "identity:create_grant": "role:admin",
    "identity:revoke_grant": "role:admin",
    "identity:list_role_assignments": "role:admin",
    "identity:list_domains": "role:admin",
    "identity:get_domain": "@",
    "identity:list_regions": "@",
    "identity:get_region": "@",
    "identity:list_services": "role:admin",
    "identity:get_service": "role:admin",
    "identity:list_endpoints": "role:admin",
    "identity:get_endpoint": "role:admin",
}

_ROUTES = [
    Route("GET", "/", identity_v3, public=True),
    Route("POST", "/auth/tokens", tokens.issue, public=True),
    Route("GET", "/auth/tokens", tokens.validate),
    Route("DELETE", "/auth/tokens", tokens.revoke),
    Route("GET", "/auth/catalog", tokens.catalog),
    Route("GET", "/auth/projects", tokens.projects),
    Route("GET", "/auth/domains", tokens.domains),
    Route("GET", "/projects", projects.every),
    Route("POST", "/projects", projects.create),
    Route("GET", "/projects/{project}", projects.one),
    Route("PATCH", "/projects/{project}", projects.update),
    Route("DELETE", "/projects/{project}", projects.delete),
    Route("GET", "/projects/{project}/users/{user}/roles", roles.of_user),
    Route("GET", "/projects/{project}/users/{user}/roles/{role}", roles.check),
    Route("PUT", "/projects/{project}/users/{user}/roles/{role}", roles.give),
    Route("DELETE", "/projects/{project}/users/{user}/roles/{role}", roles.take),
    Route("GET", "/users", users.every),
    Route("POST", "/users", users.create),
    Route("GET", "/users/{user}", users.one),
    Route("PATCH", "/users/{user}", users.update),
    Route("DELETE", "/users/{user}", users.delete),
    Route("POST", "/users/{user}/password", users.set_own_password, public=True),
    Route("GET", "/users/{user}/projects", projects.of_user),
    Route("GET", "/roles", roles.every),
    Route("GET", "/roles/{role}", roles.one),
    Route("GET", "/role_assignments", roles.assignments),
    Route("GET", "/domains", catalog.domains),
    Route("GET", "/domains/{domain}", catalog.domain),
    Route("GET", "/regions", catalog.regions),
    Route("GET", "/regions/{region}", catalog.region),
    Route("GET", "/services", catalog.every_service),
    Route("GET", "/services/{service}", catalog.service),
    Route("GET", "/endpoints", catalog.endpoints),
    Route("GET", "/endpoints/{endpoint}", catalog.endpoint),
]


def service(cloud: Cloud) -> Service:
    """Return the Identity API."""
    return Service("identity", ("/identity/v3",), _ROUTES, error)


def error(status: int, message: str, request_id: str) -> Reply:
    """Answer as Keystone does."""
    return Reply(status, {"error": {"code": status, "message": message, "title": HTTPStatus(status).phrase}})
