"""Projects, users, roles, and the catalog as resources (Identity API v3)."""

from tests.api.service_cloud import Api, Keep, Like

NOT_FOUND = {"error": {"code": 404, "title": "Not Found", "message": Like("Could not find .*")}}
CONFLICT = {"error": {"code": 409, "title": "Conflict", "message": Like("Conflict occurred .*Duplicate entry .*")}}
FORBIDDEN = {"error": {"code": 403, "title": "Forbidden"}}


async def test_projects(api: Api) -> None:
    await api.sign_in("demo")
    apollo = {"name": "apollo", "domain_id": "default", "parent_id": "default", "is_domain": False, "enabled": True}
    await api.play(
        "/identity/v3",
        [
            (
                "admin",
                "POST /projects",
                {"project": {"name": "apollo"}},
                201,
                {"project": {**apollo, "id": Keep("id")}},
            ),
            ("admin", "POST /projects", {"project": {"name": "apollo"}}, 409, CONFLICT),
            ("admin", "POST /projects", {"project": {"name": " "}}, 400, None),
            ("admin", "POST /projects", {"project": {}}, 400, None),
            ("admin", "POST /projects", {"project": {"name": "x", "domain_id": "other"}}, 400, None),
            ("demo", "POST /projects", {"project": {"name": "x"}}, 403, FORBIDDEN),
            ("admin", "GET /projects/{id}", None, 200, {"project": {**apollo, "links": {"self": Like("http://.*")}}}),
            ("demo", "GET /projects/{id}", None, 403, None),
            ("demo", "GET /projects/{demo_project}", None, 200, {"project": {"name": "demo"}}),
            ("admin", "GET /projects/apollo", None, 404, NOT_FOUND),
            ("admin", "GET /projects", None, 200, {"projects": [{"name": "admin"}, apollo, {"name": "demo"}]}),
            ("admin", "GET /projects?name=apollo&domain_id=default", None, 200, {"projects": [apollo]}),
            ("admin", "GET /projects?enabled=false", None, 200, {"projects": []}),
            ("admin", "PATCH /projects/{id}", {"project": {"name": "demo"}}, 409, CONFLICT),
            (
                "admin",
                "PATCH /projects/{id}",
                {"project": {"name": "gemini", "description": "before", "tags": ["old"]}},
                200,
                {"project": {"name": "gemini", "description": "before", "tags": ["old"]}},
            ),
            ("admin", "PATCH /projects/gone", {"project": {"enabled": False}}, 404, NOT_FOUND),
            ("admin", "DELETE /projects/{id}", None, 204, None),
            ("admin", "DELETE /projects/{id}", None, 404, NOT_FOUND),
        ],
    )


async def test_users(api: Api) -> None:
    await api.sign_in("demo")
    ada = {"name": "ada", "email": "ada@example.org", "enabled": True, "domain_id": "default"}
    new = {
        "user": {"name": "ada", "email": "ada@example.org", "password": "first", "default_project_id": "{demo_project}"}
    }
    await api.play(
        "/identity/v3",
        [
            (
                "admin",
                "POST /users",
                new,
                201,
                {"user": {**ada, "id": Keep("ada"), "default_project_id": "{demo_project}"}},
            ),
            ("admin", "POST /users", new, 409, CONFLICT),
            ("admin", "POST /users", {"user": {"name": "x", "default_project_id": "gone"}}, 404, NOT_FOUND),
            ("admin", "POST /users", {"user": {"name": "x", "password": ""}}, 400, None),
            ("demo", "POST /users", {"user": {"name": "x"}}, 403, FORBIDDEN),
            ("demo", "GET /users", None, 403, FORBIDDEN),
            ("demo", "GET /users/{ada}", None, 403, FORBIDDEN),
            ("demo", "GET /users/{demo_user}", None, 200, {"user": {"name": "demo"}}),
            ("admin", "GET /users", None, 200, {"users": [ada, {"name": "admin"}, {"name": "demo"}]}),
            ("admin", "GET /users?name=ada", None, 200, {"users": [ada]}),
            ("admin", "GET /roles?name=member", None, 200, {"roles": [{"id": Keep("member")}]}),
            ("admin", "PUT /projects/{demo_project}/users/{ada}/roles/{member}", None, 204, None),
            ("admin", "GET /users/{ada}/projects", None, 200, {"projects": [{"name": "demo"}]}),
        ],
    )
    await api.sign_in("ada", "first")
    await api.play(
        "/identity/v3",
        [
            (
                None,
                "POST /users/{ada}/password",
                {"user": {"original_password": "guess", "password": "second"}},
                401,
                {"error": {"code": 401}},
            ),
            ("ada", "GET /auth/projects", None, 200, {"projects": [{"name": "demo"}]}),
            (
                None,
                "POST /users/{ada}/password",
                {"user": {"original_password": "first", "password": "second"}},
                204,
                None,
            ),
            ("ada", "GET /auth/projects", None, 401, None),
        ],
    )
    await api.sign_in("ada", "second")
    await api.play(
        "/identity/v3",
        [
            ("admin", "PATCH /users/{ada}", {"user": {"name": "demo"}}, 409, CONFLICT),
            ("admin", "PATCH /users/{ada}", {"user": {"name": "lovelace"}}, 200, {"user": {"name": "lovelace"}}),
            ("admin", "DELETE /users/{ada}", None, 204, None),
            ("ada", "GET /auth/projects", None, 401, None),
            ("admin", "GET /users/{ada}", None, 404, NOT_FOUND),
        ],
    )


async def test_roles_and_assignments(api: Api) -> None:
    await api.sign_in("demo")
    grant = "/projects/{demo_project}/users/{demo_user}/roles"
    await api.play(
        "/identity/v3",
        [
            (
                "admin",
                "GET /roles",
                None,
                200,
                {"roles": [{"name": name} for name in ("admin", "manager", "member", "reader", "service")]},
            ),
            ("admin", "GET /roles?name=manager", None, 200, {"roles": [{"id": Keep("manager")}]}),
            ("admin", "GET /roles/{manager}", None, 200, {"role": {"name": "manager"}}),
            ("admin", "GET /roles/manager", None, 404, NOT_FOUND),
            ("admin", f"GET {grant}", None, 200, {"roles": [{"name": "member"}]}),
            ("admin", f"HEAD {grant}/{{manager}}", None, 404, None),
            ("demo", f"PUT {grant}/{{manager}}", None, 403, FORBIDDEN),
            ("admin", f"PUT {grant}/{{manager}}", None, 204, None),
            ("admin", f"PUT {grant}/{{manager}}", None, 204, None),
            ("admin", f"HEAD {grant}/{{manager}}", None, 204, None),
            ("admin", f"PUT {grant}/unknown", None, 404, NOT_FOUND),
            ("admin", "PUT /projects/gone/users/{demo_user}/roles/{manager}", None, 404, NOT_FOUND),
            (
                "admin",
                "GET /role_assignments?user.id={demo_user}&include_names=True",
                None,
                200,
                {
                    "role_assignments": [
                        {
                            "user": {"name": "demo", "domain": {"name": "Default"}},
                            "scope": {"project": {"name": "demo"}},
                            "role": {"name": name},
                        }
                        for name in ("manager", "member")
                    ]
                },
            ),
            (
                "admin",
                "GET /role_assignments?user.id={demo_user}&effective=True&include_names=True",
                None,
                200,
                {"role_assignments": [{"role": {"name": name}} for name in ("manager", "member", "reader")]},
            ),
            (
                "admin",
                "GET /role_assignments?scope.project.id={demo_project}&role.id={manager}",
                None,
                200,
                {"role_assignments": [{"user": {"id": "{demo_user}"}}]},
            ),
            ("admin", "GET /role_assignments?scope.system=all", None, 200, {"role_assignments": []}),
            ("demo", "GET /role_assignments", None, 403, FORBIDDEN),
            ("admin", f"DELETE {grant}/{{manager}}", None, 204, None),
            ("admin", f"DELETE {grant}/{{manager}}", None, 404, NOT_FOUND),
        ],
    )


async def test_the_catalog_as_resources(api: Api) -> None:
    await api.play(
        "/identity/v3",
        [
            ("admin", "GET /domains", None, 200, {"domains": [{"id": "default", "name": "Default"}]}),
            ("demo", "GET /domains/default", None, 200, {"domain": {"name": "Default"}}),
            ("demo", "GET /domains/Default", None, 404, NOT_FOUND),
            ("demo", "GET /regions", None, 200, {"regions": [{"id": "RegionOne"}]}),
            ("demo", "GET /services", None, 403, FORBIDDEN),
            (
                "admin",
                "GET /services",
                None,
                200,
                {
                    "services": [
                        {"type": "identity", "name": "keystone"},
                        {"type": "image", "name": "glance"},
                        {"type": "network", "name": "neutron"},
                        {"type": "compute", "name": "nova"},
                        {"type": "placement", "name": "placement"},
                        {"type": "block-storage", "name": "cinder"},
                        {"type": "volumev3", "name": "cinderv3"},
                        {"type": "instance-ha", "name": "masakari"},
                    ]
                },
            ),
            ("admin", "GET /services?type=image", None, 200, {"services": [{"id": Keep("image")}]}),
            (
                "admin",
                "GET /endpoints?service_id={image}&interface=public",
                None,
                200,
                {"endpoints": [{"url": "http://cloud.example/image", "id": Keep("endpoint")}]},
            ),
            ("admin", "GET /endpoints/{endpoint}", None, 200, {"endpoint": {"region": "RegionOne"}}),
            ("admin", "GET /services/gone", None, 404, NOT_FOUND),
        ],
    )


async def test_unknown_paths_and_methods(api: Api) -> None:
    await api.play(
        "/identity/v3",
        [
            (None, "GET /projects", None, 401, {"error": {"code": 401, "title": "Unauthorized"}}),
            ("demo", "GET /groups", None, 404, {"error": {"code": 404}}),
            ("demo", "DELETE /projects", None, 405, {"error": {"code": 405}}),
        ],
    )
