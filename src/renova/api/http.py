"""What a handler gets and gives: a call in, a reply out; and the table of routes that leads to it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import msgspec

from renova.api.policy import Policy
from renova.model.errors import Forbidden, Invalid
from renova.operations.cloud import Cloud
from renova.partners.identity import Caller

T = TypeVar("T")

Version = tuple[int, int]
NO_VERSION: Version = (0, 0)
MAX_BODY = 2 * 1024 * 1024  # bytes of a JSON body; images are streamed and not bound by it

_json = msgspec.json.Encoder()


@dataclass(slots=True)
class Call:
    """One request, authenticated and routed."""

    cloud: Cloud
    policy: Policy
    method: str
    url_path: str  # as the client sent it
    path: dict[str, str]  # the route's parameters
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes
    stream: Callable[[], AsyncIterator[bytes]]  # the body in pieces, where the route asked for it unread
    version: Version
    request_id: str
    base_url: str  # scheme, host and mount of this service, without a trailing slash
    signed_in: Caller | None  # None only on public routes

    @property
    def caller(self) -> Caller:
        assert self.signed_in is not None, "only public routes have no caller"
        return self.signed_in

    def json(self, kind: type[T], *, lax: bool = False) -> T:
        """Return the body as the given type; `Invalid` names the field that is wrong. `lax` takes "true" for true."""
        try:
            if not self.body.isascii():
                self.body.decode()  # else what is read later, of a `Raw` part, might turn out to be no text
            if lax:
                return msgspec.convert(msgspec.json.decode(self.body), kind, strict=False)
            return msgspec.json.decode(self.body, type=kind)
        except msgspec.ValidationError as error:
            raise Invalid(f"Invalid input: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Invalid(f"The request body is not valid JSON: {error}") from error

    def one(self, name: str) -> str | None:
        """Return the query parameter's last value, or None."""
        return next((value for key, value in reversed(self.query) if key == name), None)

    def demand(self, rule: str, target: Mapping[str, str | None] | None = None) -> None:
        """Raise `Forbidden` unless policy lets the caller do this to the target."""
        if not self.allows(rule, target):
            raise Forbidden(f"Policy doesn't allow {rule} to be performed.")

    def allows(self, rule: str, target: Mapping[str, str | None] | None = None) -> bool:
        return self.policy.allows(rule, self.caller, target)


@dataclass(slots=True)
class Reply:
    """An answer; `body` is encoded as JSON unless it is bytes or a stream of them."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else _json.encode(self.body)


Handler = Callable[[Call], Awaitable[Reply]]


class Route(NamedTuple):
    """A method and path of a service; `{name}` stands for one segment. Versions count only where a service has them."""

    method: str
    path: str
    handler: Handler
    since: Version = NO_VERSION
    until: Version = (99, 0)
    public: bool = False  # answered without a token
    streams: bool = False  # the handler reads the body itself, piece by piece


class Routes:
    """A service's routes, found by method and path without trying them all."""

    def __init__(self, routes: list[Route]) -> None:
        self._by_shape: dict[tuple[int, str], list[tuple[tuple[str, ...], Route]]] = {}
        for route in routes:
            segments = tuple(route.path.strip("/").split("/"))
            key = (len(segments), "" if segments[0].startswith("{") else segments[0])
            self._by_shape.setdefault(key, []).append((segments, route))
        for found in self._by_shape.values():
            # Fixed words before parameters: /servers/detail is no server.
            found.sort(key=lambda entry: [segment.startswith("{") for segment in entry[0]])

    def find(self, path: str) -> list[tuple[Route, dict[str, str]]]:
        """Return every route of any method and version that has this path, the most specific first."""
        segments = tuple(path.strip("/").split("/"))
        found = []
        for first in (segments[0], ""):
            for pattern, route in self._by_shape.get((len(segments), first), ()):
                parameters = {}
                for want, got in zip(pattern, segments, strict=True):
                    if want.startswith("{"):
                        parameters[want[1:-1]] = got
                    elif want != got:
                        break
                else:
                    found.append((route, parameters))
        return found
