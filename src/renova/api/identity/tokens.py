"""Tokens: signing in, checking, revoking; and what the bearer of one may reach."""

from typing import Any

import msgspec

from renova.api.dispatch import Failure
from renova.api.http import Call, Reply
from renova.api.identity.shapes import DOMAIN_REF, identity, listing, project_shape
from renova.model.errors import Invalid, NotFound
from renova.partners.identity.builtin import Denied, Ref, Scope, Session
from renova.partners.identity.catalog import INTERFACES, services
from renova.partners.identity.roles import ROLES
from renova.settings import ControllerSettings
from renova.store import identity as store


class DomainRef(msgspec.Struct):
    id: str | None = None
    name: str | None = None


class UserAuth(msgspec.Struct):
    password: str
    id: str | None = None
    name: str | None = None
    domain: DomainRef | None = None


class PasswordAuth(msgspec.Struct):
    user: UserAuth


class TokenAuth(msgspec.Struct):
    id: str


class Proofs(msgspec.Struct):
    methods: list[str]
    password: PasswordAuth | None = None
    token: TokenAuth | None = None


class ProjectScope(msgspec.Struct):
    id: str | None = None
    name: str | None = None
    domain: DomainRef | None = None


class AskedScope(msgspec.Struct):
    project: ProjectScope | None = None


class Auth(msgspec.Struct):
    identity: Proofs
    scope: AskedScope | str | None = None


class AuthBody(msgspec.Struct):
    auth: Auth


async def issue(call: Call) -> Reply:
    auth = call.json(AuthBody).auth
    scope = _scope(auth.scope)
    proofs = auth.identity
    try:
        if proofs.methods == ["password"]:
            if proofs.password is None:
                raise Invalid("Expecting to find password in identity. The server could not comply with the request.")
            user = proofs.password.user
            token, session = await identity(call).sign_in(
                _ref("user", user.id, user.name, user.domain), user.password, scope
            )
        elif proofs.methods == ["token"]:
            if proofs.token is None:
                raise Invalid("Expecting to find token in identity. The server could not comply with the request.")
            token, session = await identity(call).exchange(proofs.token.id, scope)
        else:
            raise Failure(401, "Attempted to authenticate with an unsupported method.")
    except Denied as denied:
        raise Failure(401, str(denied)) from denied
    return Reply(201, _body(call, session), {"X-Subject-Token": token, "Vary": "X-Auth-Token"})


def _scope(asked: AskedScope | str | None) -> Scope:
    if asked is None:
        return Scope()
    if isinstance(asked, str):
        if asked != "unscoped":
            raise Invalid("Invalid input for field 'scope': it is an object, or \"unscoped\".")
        return Scope(unscoped=True)
    if asked.project is None:
        # Roles are given on projects only, so nobody has one on a domain or on the system.
        raise Failure(401, "The request you have made requires authentication.")
    project = asked.project
    return Scope(project=_ref("project", project.id, project.name, project.domain))


def _ref(kind: str, found: str | None, name: str | None, domain: DomainRef | None) -> Ref:
    if found is not None:
        return Ref(id=found)
    if name is None:
        raise Invalid(f"Expecting to find id or name in {kind}. The server could not comply with the request.")
    named = (domain.id or domain.name) if domain else None
    if named is None:
        raise Invalid(f"Expecting to find domain in {kind}. The server could not comply with the request.")
    return Ref(name=name, domain=named)


async def validate(call: Call) -> Reply:
    token, session = await _subject(call)
    call.demand("identity:validate_token", {"target.token.user_id": session.user.id})
    return Reply(200, _body(call, session), {"X-Subject-Token": token, "Vary": "X-Auth-Token"})


async def revoke(call: Call) -> Reply:
    token, session = await _subject(call)
    call.demand("identity:revoke_token", {"target.token.user_id": session.user.id})
    await identity(call).revoke(token)
    return Reply(204)


async def _subject(call: Call) -> tuple[str, Session]:
    token = call.headers.get("x-subject-token")
    if not token:
        raise Invalid("The header X-Subject-Token is missing.")
    session = await identity(call).session(token)
    if session is None:
        raise NotFound("Could not find token.")
    return token, session


async def catalog(call: Call) -> Reply:
    return Reply(200, {"catalog": _catalog(call.cloud.settings), "links": {"self": f"{call.base_url}/auth/catalog"}})


async def projects(call: Call) -> Reply:
    """List the projects a token could be scoped to."""
    user = call.caller.user
    found = await identity(call).read(lambda tx: store.projects_of(tx, user))
    return listing(call, "projects", (project_shape(project) for project in found if project.enabled))


async def domains(call: Call) -> Reply:
    """List the domains a token could be scoped to: none."""
    return listing(call, "domains", ())


def _body(call: Call, session: Session) -> dict[str, Any]:
    token = session.token
    body: dict[str, Any] = {
        "methods": list(token.methods),
        "user": {
            "id": session.user.id,
            "name": session.user.name,
            "domain": DOMAIN_REF,
            "password_expires_at": None,
        },
        "audit_ids": [token.audit_id],
        "issued_at": f"{token.issued_at}Z",
        "expires_at": f"{token.expires_at}Z",
    }
    if session.project is not None:
        body |= {
            "project": {"id": session.project.id, "name": session.project.name, "domain": DOMAIN_REF},
            "is_domain": False,
            "roles": [{"id": ROLES[role], "name": role} for role in sorted(session.roles)],
        }
        if call.one("nocatalog") is None:
            body["catalog"] = _catalog(call.cloud.settings)
    return {"token": body}


def _catalog(settings: ControllerSettings) -> list[dict[str, Any]]:
    return [
        {
            "id": service.id,
            "type": service.type,
            "name": service.name,
            "endpoints": [
                {
                    "id": service.endpoint_id(interface),
                    "interface": interface,
                    "region": settings.region,
                    "region_id": settings.region,
                    "url": service.url,
                }
                for interface in INTERFACES
            ],
        }
        for service in services(settings)
    ]
