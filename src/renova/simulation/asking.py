"""Requests to a simulated cloud as people make them, what may be answered, and what an accepted one promises.

A refusal that the APIs document (400, 403, 404, 409, 503 with Retry-After) is fine; an answer of another 5xx is a
fault. What was accepted is a promise: it must have come to its end once the cloud is calm.
"""

from dataclasses import dataclass, field
from typing import Any

from renova.simulation.front import COMPUTE, Front, Reply
from renova.simulation.history import History
from renova.simulation.invariants.checks import Violation
from renova.simulation.surroundings import DEMO

REFUSALS = (400, 403, 404, 409, 413, 429, 503)  # 413: Cinder's word for a quota that is used up


@dataclass(frozen=True)
class Promise:
    """A request that was accepted: its action on the server must come to an end."""

    server: str
    action: str
    request: str


@dataclass
class Known:
    """A server as its user remembers it."""

    id: str
    state: str = "active"  # as it should be by now: active, stopped, paused, suspended
    volumes: list[str] = field(default_factory=list)
    nics: int = 1


class Asking:
    """Asks, and remembers what was asked and promised."""

    def __init__(self, front: Front, history: History) -> None:
        self._front = front
        self._history = history
        self._named = 0
        self.known: dict[str, Known] = {}
        self.promises: list[Promise] = []
        self.asked: dict[str, int] = {}  # how often each was accepted
        self.answers: dict[int, int] = {}

    def name(self, kind: str) -> str:
        """Return a name that nothing else has."""
        self._named += 1
        return f"{kind}{self._named}"

    async def must(self, who: str, method: str, path: str, body: Any) -> Reply:
        reply = await self._front.ask(who, method, path, body)
        if not reply.accepted:
            raise Violation("answers", f"{method} {path} is answered {reply.status} {reply.body.decode()}")
        return reply

    async def ask(self, who: str, method: str, path: str, body: Any = None, *, what: str, about: str = "") -> Reply:
        """Ask, and look whether the answer is one that may be given."""
        reply = await self._front.ask(who, method, path, body)
        status = reply.status
        self.answers[status] = self.answers.get(status, 0) + 1
        self._history.note("user" if who == DEMO else "operator", what, about=about or None, answer=status or "none")
        if reply.accepted:
            self.asked[what] = self.asked.get(what, 0) + 1
        elif status and (status not in REFUSALS or (status == 503 and not reply.retry_after)):
            raise Violation("answers", f"{what}: {method} {path} is answered {status} {reply.body.decode()[:300]}")
        return reply

    async def act(self, server: Known, what: str, body: Any, state: str | None = None, *, who: str = DEMO) -> Reply:
        path = f"{COMPUTE}/servers/{server.id}/action"
        reply = await self.ask(who, "POST", path, body, what=what, about=server.id)
        self.promised(server, what, reply)
        if reply.accepted and state is not None:
            server.state = state
        return reply

    def promised(self, server: Known, what: str, reply: Reply) -> None:
        if reply.accepted:
            self.promises.append(Promise(server.id, what, reply.request))
        elif reply.status == 404:
            self.known.pop(server.id, None)
