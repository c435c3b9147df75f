"""Renova's own API, for which OpenStack has no words: hosts as an operator sees them, and how new ones join."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from keystoneauth1 import exceptions as keystone

from renova.model.errors import BadSetup, Forbidden, NotNow, Refused

T = TypeVar("T")


class HostsClient:
    """Speaks it with the session of an administrator (an openstacksdk connection)."""

    def __init__(self, connection: Any) -> None:
        self._session = connection.session
        # One port serves all of a controller's services, so where identity is, the others are.
        root, _, _ = str(connection.config.get_auth_args()["auth_url"]).partition("/identity")
        self._url = f"{root}/renova/v1"

    def hosts(self) -> list[dict[str, Any]]:
        """List the hosts: name, state, up, connected, forced_down, proof and so on."""
        found: list[dict[str, Any]] = self._ask("GET", "/hosts", "hosts", list)
        return found

    def join_tokens(self, count: int = 1, hours: float = 1.0) -> list[str]:
        """Make tokens, each good for enrolling one host for so many hours."""
        wanted = {"count": count, "hours": hours}
        made: list[str] = self._ask("POST", "/join-tokens", "join_tokens", list, wanted)
        return made

    def duties(self) -> list[dict[str, Any]]:
        """List the controller's duties: how often each is done, and how it went the last time."""
        found: list[dict[str, Any]] = self._ask("GET", "/duties", "duties", list)
        return found

    def do_duty(self, name: str) -> dict[str, Any]:
        """Have a duty done now, and tell how it went."""
        done: dict[str, Any] = self._ask("POST", f"/duties/{_segment(name)}", "duty", dict)
        return done

    def host(self, name: str) -> dict[str, Any]:
        """Show one host, with all proofs that were written of it."""
        return self._host("GET", name)

    def remove(self, name: str) -> None:
        """Remove a storage host that holds nothing any more."""
        self._ask("DELETE", f"/hosts/{_segment(name)}", "", type(None))

    def vouch(self, name: str, now: bool = False) -> dict[str, Any]:
        """Give the caller's word that the host is off."""
        return self._host("POST", name, "/vouch", {"now": now})

    def clean(self, name: str) -> dict[str, Any]:
        """Have the host clean up; `owes` says what is left."""
        return self._host("POST", name, "/clean")

    def drain(self, name: str, reason: str | None = None) -> dict[str, Any]:
        """Have the host be emptied, and say how far it is."""
        return self._drain("PUT", name, {"reason": reason})

    def drained(self, name: str) -> dict[str, Any]:
        """Say how far the host is with being emptied."""
        return self._drain("GET", name)

    def undo_drain(self, name: str) -> None:
        """Have the host be used again."""
        self._ask("DELETE", f"/hosts/{_segment(name)}/drain", "", type(None))

    def trust_power(self, name: str) -> dict[str, Any]:
        """Believe readings of the host's power again."""
        return self._host("POST", name, "/trust-power")

    def power(self, name: str) -> dict[str, Any]:
        """Show what switches the host's power; of its secrets, the names."""
        return self._power("GET", name)

    def wire_power(self, name: str, wiring: Mapping[str, Any]) -> dict[str, Any]:
        """Have the host's power switched by this."""
        return self._power("PUT", name, body=wiring)

    def unwire_power(self, name: str) -> None:
        """Have the host's power switched by nothing any more."""
        self._ask("DELETE", f"/hosts/{_segment(name)}/power", "", type(None))

    def read_power(self, name: str) -> dict[str, Any]:
        """Read the host's power now."""
        found: dict[str, Any] = self._ask("POST", f"/hosts/{_segment(name)}/power/test", "reading", dict)
        return found

    def switch_power(self, name: str, power: str, force: bool = False) -> dict[str, Any]:
        """Switch the host's power on or off; returns what it reads as then."""
        wanted = {"power": power, "force": force}
        found: dict[str, Any] = self._ask("POST", f"/hosts/{_segment(name)}/power/switch", "reading", dict, wanted)
        return found

    def rehearse_power(self, name: str) -> dict[str, Any]:
        """Switch an empty host off and on."""
        return self._power("POST", name, "/rehearse")

    def reseal(self) -> int:
        """Encrypt the secrets of all power controllers by the newest key; returns of how many."""
        found: int = self._ask("POST", "/power/reseal", "resealed", int)
        return found

    def asides(self, name: str) -> list[dict[str, Any]]:
        """List the disks that the host has set aside."""
        found: list[dict[str, Any]] = self._ask("GET", f"/hosts/{_segment(name)}/asides", "asides", list)
        return found

    def proofs(self) -> list[dict[str, Any]]:
        """List proofs of hosts' deaths, the newest first."""
        found: list[dict[str, Any]] = self._ask("GET", "/proofs", "proofs", list)
        return found

    def recoveries(self, **only: str) -> list[dict[str, Any]]:
        """List recoveries of servers whose hosts died, the newest first."""
        query = urlencode(only)
        found: list[dict[str, Any]] = self._ask("GET", f"/recoveries?{query}", "recoveries", list)
        return found

    def recovery(self, which: str) -> dict[str, Any]:
        """Show one, by its number or its server, with its certificate."""
        found: dict[str, Any] = self._ask("GET", f"/recoveries/{_segment(which)}", "recovery", dict)
        return found

    def status(self) -> dict[str, Any]:
        """Say in which era the cluster is, and whether it is on hold."""
        return self._standing("GET", "/status")

    def rehearsal(self, names: Sequence[str] = (), zone: str | None = None) -> dict[str, Any]:
        """Say what would become of servers if these hosts, or all of the zone, died now."""
        query = urlencode([*(("host", name) for name in names), *([("zone", zone)] if zone is not None else [])])
        found: dict[str, Any] = self._ask("GET", f"/rehearsal?{query}", "rehearsal", dict)
        return found

    def survival(self, failures: int, seconds: int) -> dict[str, Any]:
        """Say whether any so many hosts may die at once; looks for so many seconds at most."""
        query = urlencode({"failures": failures, "seconds": seconds})
        found: dict[str, Any] = self._ask("GET", f"/survival?{query}", "survival", dict)
        return found

    def begin_era(self) -> dict[str, Any]:
        """Go on with the database as it is, in a new era."""
        return self._standing("POST", "/eras")

    def release_brake(self) -> dict[str, Any]:
        """Say that the hosts that are silent are really dead, however many."""
        return self._standing("POST", "/brake/release")

    def choose(self, server: str, host: str) -> dict[str, Any]:
        """Have a server that runs on several hosts go on at this one."""
        return self._standing("POST", f"/servers/{_segment(server)}/choose", {"host": host})

    def dismiss(self, which: str) -> dict[str, Any]:
        """Wait no longer for a host that the database does not know."""
        return self._standing("POST", f"/strangers/{_segment(which)}/dismiss")

    def _host(self, method: str, name: str, rest: str = "", body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        found: dict[str, Any] = self._ask(method, f"/hosts/{_segment(name)}{rest}", "host", dict, body)
        return found

    def _drain(self, method: str, name: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        found: dict[str, Any] = self._ask(method, f"/hosts/{_segment(name)}/drain", "drain", dict, body)
        return found

    def _power(self, method: str, name: str, rest: str = "", body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        path = f"/hosts/{_segment(name)}/power{rest}"
        found: dict[str, Any] = self._ask(method, path, "power", dict, body)
        return found

    def _standing(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        found: dict[str, Any] = self._ask(method, path, "", dict, body)
        if "era" not in found:
            raise self._stranger()
        return found

    def _ask(self, method: str, path: str, part: str, kind: type[T], body: Mapping[str, Any] | None = None) -> T:
        """Return this part of the answer ("": all of it), which is of this kind where a Renova controller answers."""
        arguments = {} if body is None else {"json": body}
        try:
            answer = self._session.request(f"{self._url}{path}", method, **arguments)
            found = answer.json() if answer.content else None
        except keystone.Forbidden as error:
            raise Forbidden(f"Only an administrator may do this: {error}") from error
        except keystone.HttpError as error:
            raise Refused(str(error)) from error
        except keystone.ClientException as error:
            done = "" if method == "GET" else " It may have been done all the same: look first."
            raise NotNow(f"{error}. Ask again.{done}") from error
        except ValueError as error:  # no JSON
            raise self._stranger() from error
        if part:
            found = found.get(part) if isinstance(found, dict) else None
        if not isinstance(found, kind):
            raise self._stranger()
        return found

    def _stranger(self) -> BadSetup:
        return BadSetup(f"What answers at {self._url} is no Renova controller. Have OS_AUTH_URL name one.")


def _segment(name: str) -> str:
    """Return the name as a part of a path. `Refused` for what would make another path of it."""
    if name in ("", ".", ".."):
        raise Refused(f"Nothing here is called {name!r}.")
    return quote(name, safe="", errors="replace")
