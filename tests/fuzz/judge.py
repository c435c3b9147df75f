"""What no answer may be: the rules that hold for every request, whatever it was."""

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE

from renova.api.dispatch import Service
from tests.fuzz.request import Answer, Request
from tests.fuzz.shapes import SECRET

CPU_S = 1.0  # the most that a request may cost
_DEFAULT_GROUP = ("+ security_groups ", "+ security_rules ")
READING = ("GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND")


def service_at(services: Iterable[Service], request: Request) -> Service:
    """Return the service that the request goes to."""
    path = unquote(request.target.partition("?")[0])
    mounts = sorted(((mount, service) for service in services for mount in service.mounts), key=lambda m: -len(m[0]))
    return next(service for mount, service in mounts if mount == "" or f"{path}/".startswith(f"{mount}/"))


def faults(
    service: Service, request: Request, answer: Answer, *, logged: str, secrets: Iterable[str], ailing: bool
) -> list[str]:
    """Return what is wrong with the answer, a sentence each; nothing for most."""
    found = []
    if answer.crash:
        found.append(f"crash: {answer.crash}")
    if answer.cpu_s > CPU_S:
        found.append(f"slow: {answer.cpu_s:.1f} s of CPU")
    if answer.status == 0:
        if not request.broken_off and not answer.crash:
            found.append("no answer")
    else:
        found += _wrong_status(request, answer, ailing)
        found += _wrong_form(service, request, answer)
        # What was accepted and is not done yet is told by a 503 that says so.
        unknown = answer.status == 503 and ailing and b"goes on" in answer.body
        # As in Neutron, who looks at their security groups for the first time has one from then on.
        looked = answer.status < 300 and all(each.startswith(_DEFAULT_GROUP) for each in answer.changes)
        if answer.changes and not (unknown or looked) and (answer.status >= 300 or request.method in READING):
            found.append(f"changed though answered {answer.status}: {'; '.join(answer.changes[:4])}")
    for text, where in ((logged, "log"), (_told(answer), "error")):
        if leaked := next((each for each in (*secrets, SECRET) if each in text), None):
            place = text.index(leaked)
            found.append(f"secret in the {where}: ...{text[max(0, place - 120) : place + 60]}...")
    if '"level": "error"' in logged:
        line = next(line for line in logged.splitlines() if '"level": "error"' in line)
        found.append(f"logged as an error: {line[-1500:]}")
    return found


def _told(answer: Answer) -> str:
    return answer.body.decode("utf-8", "replace") if answer.status >= 400 else ""


def _wrong_status(request: Request, answer: Answer, ailing: bool) -> list[str]:
    if answer.status < 500 or answer.status == 501:
        return []
    if answer.status == 503:
        if answer.header("retry-after") is None:
            return ["503 without Retry-After"]
        return [] if ailing else [f"503 though no host ails: {answer.body[:300]!r}"]
    return [f"answered {answer.status}: {answer.body[:300]!r}"]


def _wrong_form(service: Service, request: Request, answer: Answer) -> list[str]:
    found = []
    if not (answer.header("x-openstack-request-id") or "").startswith("req-"):
        found.append("no request id")
    # What the HTTP server refuses to send becomes a 500 there.
    if any(HEADER_RE.search(name.encode("latin-1")) for name, _ in answer.headers):
        found.append("a header of no name")
    if any(HEADER_VALUE_RE.search(value.encode("latin-1")) for _, value in answer.headers):
        found.append("a header that cannot be sent")
    length = answer.header("content-length")
    empty = request.method == "HEAD" or answer.status in (204, 304)
    if empty and answer.body:
        found.append(f"a body after {request.method} {answer.status}")
    if length is not None and request.method != "HEAD" and int(length) != len(answer.body):
        found.append(f"content-length {length} of {len(answer.body)} bytes")
    if answer.status == 405 and not answer.header("allow"):
        found.append("405 without Allow")
    if answer.status == 401 and not answer.header("www-authenticate") and _needs_token(request):
        found.append("401 without WWW-Authenticate")
    kind = answer.header("content-type") or ""
    if answer.body and kind.startswith("application/json") and _unread(answer.body):
        found.append(f"no JSON: {answer.body[:200]!r}")
    if answer.status >= 400 and not empty:
        found += _wrong_error(service, answer, kind)
    return found


def _needs_token(request: Request) -> bool:
    return not request.target.startswith("/identity/v3/") or request.method != "POST"


def _unread(body: bytes) -> bool:
    try:
        json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return True
    return False


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _wrong_error(service: Service, answer: Answer, kind: str) -> list[str]:
    """Compare with what the service itself says an error looks like."""
    like = service.error(answer.status, "x", "req-x")
    want_kind = like.headers.get("content-type", "application/json")
    if kind != want_kind:
        return [f"an error as {kind or 'nothing'}, not {want_kind}: {answer.body[:200]!r}"]
    if isinstance(like.body, bytes):
        head = like.body.partition(b"x<br")[0]
        return [] if answer.body.startswith(head) else [f"an error of another shape: {answer.body[:200]!r}"]
    if not _has_shape(answer.json(), like.body):
        return [f"an error of another shape: {answer.body[:200]!r}"]
    return []


_NOT_ALWAYS = {"code"}  # of Placement since 1.23; where all have it, it repeats the status


def _has_shape(got: Any, want: Any) -> bool:
    if isinstance(want, dict):
        return isinstance(got, dict) and all(
            key in got and _has_shape(got[key], want[key]) for key in want.keys() - _NOT_ALWAYS
        )
    if isinstance(want, list):
        return isinstance(got, list) and len(got) == len(want) and all(map(_has_shape, got, want))
    return isinstance(got, type(want)) and (got != "" or want == "")
