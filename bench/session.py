"""Signing in: a client with a token, and where the services are, as the catalog says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from bench.client import Client
from renova.model.errors import BadSetup, Refused

MICROVERSION = "2.94"  # the last at which an evacuated server is started again


@dataclass(frozen=True, kw_only=True)
class Login:
    """Who signs in where, for which project."""

    url: str  # of identity: http://ADDRESS/identity/v3
    user: str
    password: str
    project: str
    user_domain: str = "Default"
    project_domain: str = "Default"

    @classmethod
    def of(cls, variables: Mapping[str, str], url: str) -> Self:
        """Take it from the OS_* variables that an openrc sets. Raises BadSetup with what is missing."""
        wanted = ("OS_USERNAME", "OS_PASSWORD", "OS_PROJECT_NAME")
        if missing := [name for name in wanted if not variables.get(name)]:
            raise BadSetup(f"{', '.join(missing)} must be set: source the cloud's openrc first.")
        return cls(
            url=url.rstrip("/"),
            user=variables["OS_USERNAME"],
            password=variables["OS_PASSWORD"],
            project=variables["OS_PROJECT_NAME"],
            user_domain=variables.get("OS_USER_DOMAIN_NAME") or "Default",
            project_domain=variables.get("OS_PROJECT_DOMAIN_NAME") or "Default",
        )


@dataclass(frozen=True)
class Session:
    """A user on a project, signed in."""

    client: Client
    user: str  # id
    urls: Mapping[str, str]  # of the services, by type

    async def ask(self, method: str, service: str, path: str, body: Any = None) -> Any:
        """Ask a service and return what it says, None if nothing."""
        answer = await self.client.ask(method, self.urls[service] + path, body)
        return answer.json() if answer.body else None


async def sign_in(login: Login) -> Session:
    """Sign in with a password. `Refused`, `NotNow`."""
    user = {"name": login.user, "password": login.password, "domain": {"name": login.user_domain}}
    project = {"name": login.project, "domain": {"name": login.project_domain}}
    auth = {
        "identity": {"methods": ["password"], "password": {"user": user}},
        "scope": {"project": project},
    }
    stranger = Client({})
    try:
        answer = await stranger.ask("POST", f"{login.url}/auth/tokens", {"auth": auth})
    finally:
        await stranger.close()
    token = answer.json()["token"]
    urls = {"identity": login.url}
    for service in token["catalog"]:
        public = [each["url"] for each in service["endpoints"] if each["interface"] == "public"]
        if public:
            urls.setdefault(service["type"], public[0].rstrip("/"))
    if missing := {"compute", "image", "network"} - urls.keys():
        raise Refused(f"the cloud's catalog has no {', '.join(sorted(missing))}")
    headers = {
        "X-Auth-Token": answer.headers["x-subject-token"],
        "OpenStack-API-Version": f"compute {MICROVERSION}",
        "Accept": "application/json",
    }
    return Session(Client(headers), token["user"]["id"], urls)
