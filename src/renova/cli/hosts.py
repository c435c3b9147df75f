"""Renova's own API, for which OpenStack has no words: hosts as an operator sees them, and how new ones join."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from keystoneauth1 import exceptions as keystone

from renova.model.errors import Forbidden, NotNow, Refused


class HostsClient:
    """Speaks it with the session of an administrator (an openstacksdk connection)."""

    def __init__(self, connection: Any) -> None:
        self._session = connection.session
        # One port serves all of a controller's services, so where identity is, the others are.
        root, _, _ = str(connection.config.get_auth_args()["auth_url"]).partition("/identity")
        self._url = f"{root}/renova/v1"

    def hosts(self) -> list[dict[str, Any]]:
        """List the hosts: name, state, up, connected, forced_down, proof and so on."""
        found: list[dict[str, Any]] = self._ask("GET", "/hosts")["hosts"]
        return found

    def join_tokens(self, count: int = 1, hours: float = 1.0) -> list[str]:
        """Make tokens, each good for enrolling one host for so many hours."""
        made: list[str] = self._ask("POST", "/join-tokens", {"count": count, "hours": hours})["join_tokens"]
        return made

    def duties(self) -> list[dict[str, Any]]:
        """List the controller's duties: how often each is done, and how it went the last time."""
        found: list[dict[str, Any]] = self._ask("GET", "/duties")["duties"]
        return found

    def do_duty(self, name: str) -> dict[str, Any]:
        """Have a duty done now, and tell how it went."""
        done: dict[str, Any] = self._ask("POST", f"/duties/{quote(name, safe='')}")["duty"]
        return done

    def host(self, name: str) -> dict[str, Any]:
        """Show one host, with all proofs that were written of it."""
        return self._host("GET", name)

    def remove(self, name: str) -> None:
        """Remove a storage host that holds nothing any more."""
        self._ask("DELETE", f"/hosts/{quote(name, safe='')}")

    def vouch(self, name: str, now: bool = False) -> dict[str, Any]:
        """Give the caller's word that the host is off."""
        return self._host("POST", name, "/vouch", {"now": now})

    def clean(self, name: str) -> dict[str, Any]:
        """Have the host clean up; `owes` says what is left."""
        return self._host("POST", name, "/clean")

    def trust_power(self, name: str) -> dict[str, Any]:
        """Believe readings of the host's power again."""
        return self._host("POST", name, "/trust-power")

    def asides(self, name: str) -> list[dict[str, Any]]:
        """List the disks that the host has set aside."""
        found: list[dict[str, Any]] = self._ask("GET", f"/hosts/{quote(name, safe='')}/asides")["asides"]
        return found

    def proofs(self) -> list[dict[str, Any]]:
        """List proofs of hosts' deaths, the newest first."""
        found: list[dict[str, Any]] = self._ask("GET", "/proofs")["proofs"]
        return found

    def status(self) -> dict[str, Any]:
        """Say in which era the cluster is, and whether it is on hold."""
        found: dict[str, Any] = self._ask("GET", "/status")
        return found

    def begin_era(self) -> dict[str, Any]:
        """Go on with the database as it is, in a new era."""
        found: dict[str, Any] = self._ask("POST", "/eras")
        return found

    def choose(self, server: str, host: str) -> dict[str, Any]:
        """Have a server that runs on several hosts go on at this one."""
        found: dict[str, Any] = self._ask("POST", f"/servers/{quote(server, safe='')}/choose", {"host": host})
        return found

    def _host(self, method: str, name: str, rest: str = "", body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        found: dict[str, Any] = self._ask(method, f"/hosts/{quote(name, safe='')}{rest}", body)["host"]
        return found

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        arguments = {} if body is None else {"json": body}
        try:
            answer = self._session.request(f"{self._url}{path}", method, **arguments)
            return answer.json() if answer.content else None
        except keystone.Forbidden as error:
            raise Forbidden(f"Only an administrator may do this: {error}") from error
        except keystone.HttpError as error:
            raise Refused(str(error)) from error
        except keystone.ClientException as error:
            raise NotNow(str(error)) from error
