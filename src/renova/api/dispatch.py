"""From a request to its handler and back: authentication, versions, and errors in the service's own words.

The one place where errors become HTTP codes. A handler that fails in a way nobody planned answers 500 with a
request id, and the log holds the whole chain under that id; nothing of it goes to the client.
"""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from renova.api.http import MAX_BODY, NO_VERSION, Call, Reply, Route, Routes, Version
from renova.api.policy import Policy
from renova.model.errors import CloudError, Conflict, Forbidden, Invalid, NotFound, NotNow, Refused, whole
from renova.operations.cloud import Cloud
from renova.partners.identity import Caller

log = structlog.get_logger()


class Failure(CloudError):
    """An answer with this code, for the few that no other error stands for (300, 401, 405, 406, 413)."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


# The first that fits: more specific classes before general ones.
_CODES: tuple[tuple[type[CloudError], int], ...] = (
    (Invalid, 400),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (Refused, 409),
    (NotNow, 503),
)


class Versions(Protocol):
    """How a service reads the version a client asks for, and says which one it answered with."""

    def asked(self, headers: Mapping[str, str]) -> Version:
        """Return the version asked for; raise `Failure` 406 or `Invalid` for one that cannot be had."""
        ...

    def headers(self, version: Version) -> dict[str, str]: ...


class Unversioned:
    """A service whose paths say all."""

    def asked(self, headers: Mapping[str, str]) -> Version:
        return NO_VERSION

    def headers(self, version: Version) -> dict[str, str]:
        return {}


def status_of(error: CloudError) -> int:
    """Return the HTTP status that stands for the error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), 500)


_PROJECT_ID = re.compile(r"[0-9a-f-]{1,64}")  # what may stand for a project in a path; anything else is a mistake

ErrorBody = Callable[[int, str, str], Reply]  # status, message, request id


@dataclass(slots=True)
class Service:
    """One service's API below its mount."""

    name: str
    mounts: tuple[str, ...]  # "/compute/v2.1"; several lead to the same routes
    routes: list[Route]
    error: ErrorBody
    versions: Versions = field(default_factory=Unversioned)
    project_in_path: bool = False  # whether a project id may stand before the route's own path
    table: Routes = field(init=False)

    def __post_init__(self) -> None:
        self.table = Routes(self.routes)


class Dispatcher:
    """Serves one request of one service."""

    def __init__(self, cloud: Cloud, policy: Policy) -> None:
        self._cloud = cloud
        self._policy = policy

    async def serve(self, service: Service, mount: str, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        request_id = f"req-{self._cloud.chance.uuid()}"
        version, caller = NO_VERSION, None
        try:
            version = service.versions.asked(request.headers)
            caller = await self._caller(request)
            reply = await self._reply(service, mount, request, version, request_id, caller)
        except ClientDisconnect:
            return
        except Failure as failure:
            reply = service.error(failure.status, str(failure), request_id)
            reply.headers.update(failure.headers)
        except CloudError as error:
            status = status_of(error)
            if status >= 500:
                log.warning("request failed", request=request_id, status=status, exc_info=True)
            told = whole(error) if caller is not None and self._policy.allows("admin_api", caller) else str(error)
            reply = service.error(status, told if status != 500 else _UNEXPECTED, request_id)
            if status == 503:
                reply.headers["Retry-After"] = "2"
        except Exception:
            log.error("request crashed", request=request_id, path=request.url.path, exc_info=True)
            reply = service.error(500, _UNEXPECTED, request_id)
        headers = {
            **service.versions.headers(version),
            "x-openstack-request-id": request_id,
            "x-compute-request-id": request_id,
            **reply.headers,
        }
        if self._cloud.health is not None and self._cloud.health.ending:
            headers["connection"] = "close"  # the next request goes to another controller
        await _response(reply, headers, head=request.method == "HEAD")(scope, receive, send)

    async def _caller(self, request: Request) -> Caller | None:
        token = request.headers.get("x-auth-token")
        return await self._cloud.identity.caller(token) if token else None

    async def _reply(
        self, service: Service, mount: str, request: Request, version: Version, request_id: str, caller: Caller | None
    ) -> Reply:
        path = request.scope["path"][len(mount) :]  # not of the URL, where some characters are quoted again
        found = service.table.find(path)
        if service.project_in_path and not found:
            first, _, rest = path.lstrip("/").partition("/")
            found = service.table.find(rest) if _PROJECT_ID.fullmatch(first) else []
            # Another project's id in the path is that project's, so nothing of the caller's is there.
            if found and caller is not None and first != caller.project and "admin" not in caller.roles:
                raise Invalid(f"Malformed request URL: URL's project_id '{first}' doesn't match Context's project_id.")
        if caller is None and not any(route.public for route, _ in found):
            raise _unauthenticated()
        route, parameters = _choose(found, request.method, version)
        if caller is None and not route.public:
            raise _unauthenticated()
        body = b"" if route.streams else await _body(request)
        call = Call(
            cloud=self._cloud,
            policy=self._policy,
            method=request.method,
            url_path=request.url.path,
            path=parameters,
            query=request.query_params.multi_items(),
            headers=request.headers,
            body=body,
            stream=request.stream,
            version=version,
            request_id=request_id,
            base_url=f"{(self._cloud.settings.public_url or str(request.base_url)).rstrip('/')}{mount}",
            signed_in=caller,
        )
        return await route.handler(call)


_UNEXPECTED = "Unexpected API error. The log of the controller holds the cause under this request's id."


def _unauthenticated() -> Failure:
    return Failure(401, "The request you have made requires authentication.", {"WWW-Authenticate": "Keystone uri"})


def _choose(found: list[tuple[Route, dict[str, str]]], method: str, version: Version) -> tuple[Route, dict[str, str]]:
    of_version = [(route, path) for route, path in found if route.since <= version <= route.until]
    if not of_version:
        raise NotFound("The resource could not be found.")
    wanted = "GET" if method == "HEAD" else method
    for route, path in of_version:
        if route.method in (method, wanted):
            return route, path
    if any(route.method in (method, wanted) for route, _ in found):
        raise NotFound("The resource could not be found.")  # it is there in other versions
    allowed = ", ".join(sorted({route.method for route, _ in of_version}))
    raise Failure(405, f"The method {method} is not allowed for this resource; allowed: {allowed}.", {"Allow": allowed})


async def _body(request: Request) -> bytes:
    pieces = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > MAX_BODY:
            raise Failure(413, f"The request body is larger than {MAX_BODY} bytes.")
        pieces.append(piece)
    return b"".join(pieces)


def _response(reply: Reply, headers: dict[str, str], *, head: bool) -> Response:
    headers = {name: _sendable(value) for name, value in headers.items()}
    if isinstance(reply.body, AsyncIterator):
        return StreamingResponse(_nothing() if head else reply.body, reply.status, headers)
    content = reply.encoded()
    if content and not isinstance(reply.body, bytes):
        headers.setdefault("content-type", "application/json")
    response = Response(content, reply.status, headers)
    if head:
        response.body = b""  # the length of what GET would give stays in the headers
    return response


def _sendable(value: str) -> str:
    """Return a header's value with what no header can have (of a name in an address, mostly) quoted as in addresses."""
    return value if value.isascii() and value.isprintable() else quote(value, safe=_PRINTABLE)


_PRINTABLE = "".join(chr(code) for code in range(32, 127))


async def _nothing() -> AsyncIterator[bytes]:
    """Stand in for a stream of which only the headers were asked for."""
    pieces: list[bytes] = []
    for piece in pieces:
        yield piece
