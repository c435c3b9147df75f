"""How a request that might be taken is made into one that must not be: in its values, its JSON, its headers, its path.

Each way is a function of (random numbers, request or value) that returns another one; most do one thing.
"""

import json
import random
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from renova.api.http import MAX_BODY
from tests.fuzz.known import Known
from tests.fuzz.request import Request

NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30, -(10**400)),
    *(0.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"), float("-inf")),
)
TEXTS = (
    *("", " ", "\0", "a\0b", "\ud800", "a\udfffb", "\r\nX-Injected: 1", "\x1b[31m", "\u202e", "\ufeff", "\u2028"),
    *("A" * 256, "A" * 70_000, "ü" * 256, "😀" * 64, "%00", "../../etc/passwd", "/", "..", "'", '"', "\\", "%", "_"),
    *("' OR 1=1 --", "{}", "${jndi:x}", "{{7*7}}", "%s%n", "<script>", "null", "None", "true", "1", "-1", "NaN", "1e9"),
    *("٣", "²", "１", "0x10", "1_000", "+1", " 1", "1 ", "١٢٣", "00000000-0000-0000-0000-000000000000"),
    *(
        "a,b",
        "a b",
        "a=b",
        "a&b",
        ":",
        "nova:",
        "nova:host1:x",
        "zone:host1",
        "::",
        "1.2.3.4/33",
        "0.0.0.0",
        "fe80::1%eth0",
    ),
    *("2026-13-45T99:99:99Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "CUSTOM_" + "A" * 300),
)
_ODD_QUOTED = (
    "%00",
    "%2F",
    "%2e%2e%2f",
    "..",
    "%c0%af",
    "%ff",
    "%ed%a0%80",
    "%25%30%30",
    "%0d%0a",
    "%20",
    "%7f",
    "%F0%9F%98%80",
)


def spoilt_value(rng: random.Random, value: Any, known: Known) -> Any:
    """Return another value, mostly of a kind that does not belong there."""
    choice = rng.randrange(9)
    if choice == 0:
        return rng.choice(NUMBERS)
    if choice in (1, 2):
        return rng.choice(TEXTS)
    if choice == 3:
        return rng.choice((None, True, False, [], {}, [None], [[]], {"": None}, [{}]))
    if choice == 4:
        return known.any(rng)
    if choice == 5:
        return [value] * rng.choice((1, 2, 60))
    if choice == 6:
        return {"id": value}
    if choice == 7 and isinstance(value, str) and value:
        cut = rng.randrange(len(value))
        return value[:cut] + rng.choice(TEXTS[:40]) + value[cut:]
    return str(value) if not isinstance(value, str) else (value * 300 if rng.random() < 0.3 else value.upper())


def spoilt_body(rng: random.Random, body: Any, known: Known) -> Any:
    """Return the body with one place in it changed, gone, or added to."""
    places = list(_places(body))
    if not places:
        return spoilt_value(rng, body, known)
    path = rng.choice(places)
    what = rng.randrange(10)
    if what < 6:
        return _changed(body, path, lambda holder, key: holder.__setitem__(key, spoilt_value(rng, holder[key], known)))
    if what < 8:
        return _changed(body, path, lambda holder, key: holder.__delitem__(key))
    return _changed(body, path, lambda holder, key: _add(rng, holder, key, known))


def _add(rng: random.Random, holder: Any, key: Any, known: Known) -> None:
    value = spoilt_value(rng, holder[key], known)
    if isinstance(holder, dict):
        holder[rng.choice(("extra", "id", "", "\0", "__class__", "tenant_id", "status", "A" * 300))] = value
    else:
        holder.append(value)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Any:
    if isinstance(value, dict):
        items: Any = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return
    for key, inner in items:
        yield (*path, key)
        yield from _places(inner, (*path, key))


def _changed(body: Any, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    copied = json.loads(json.dumps(body))
    holder = copied
    for key in path[:-1]:
        holder = holder[key]
    change(holder, path[-1])
    return copied


def as_json(rng: random.Random, body: Any) -> bytes:
    """Return the body as JSON that may hold what JSON cannot: NaN, lone surrogates."""
    return json.dumps(body, ensure_ascii=rng.random() < 0.7).encode("utf-8", "surrogatepass")


def spoilt_json(rng: random.Random, text: bytes) -> bytes:
    """Return bytes that are not quite the JSON they were."""
    choice = rng.randrange(14)
    deep = rng.choice((100, 1000, 5000, 100_000))
    if choice == 0:
        return text[: rng.randrange(len(text) + 1)]
    if choice == 1:
        return b"[" * deep + b"]" * deep
    if choice == 2:
        return b'{"a":' * deep + b"1" + b"}" * deep
    if choice == 3:  # the same key twice, the other value first
        key, colon, rest = text.partition(b":")
        return key + colon + b"null," + key.lstrip(b"{") + colon + rest if colon else b'{"a":1,"a":2}'
    if choice == 4:
        return rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b" \t\r\n", b"//x\n", b")]}',\n")) + text
    if choice == 5:
        return text.decode("utf-8", "replace").encode(rng.choice(("utf-16", "utf-32", "utf-16-be")), "replace")
    if choice == 6:
        return rng.choice((b"", b" ", b"null", b"[]", b"{}", b'""', b"0", b"true", b"{", b"[1,]", b"{'a':1}", b"NaN"))
    if choice == 7:
        return text + rng.choice((b"x", b"\0", text, b",", b"}" * 3))
    if choice == 8 and text:
        place = rng.randrange(len(text))
        return text[:place] + bytes([rng.randrange(256)]) + text[place + 1 :]
    if choice == 9:
        return bytes(rng.randrange(256) for _ in range(rng.randint(1, 60)))
    if choice == 10:
        return b"server%5Bname%5D=x&a=b"
    if choice == 11:
        return text.replace(b":", b':"\\ud800",', 1) if rng.random() < 0.5 else text.replace(b'"', b'"\\u0000', 1)
    if choice == 12:
        return b'{"a":"' + b"A" * rng.choice((MAX_BODY - 8, MAX_BODY, MAX_BODY + 1)) + b'"}'
    return b'{"a":' + b"9" * rng.choice((400, 5000, 100_000)) + b"}"


def spoilt_path(rng: random.Random, path: str) -> str:
    """Return the path with something in it that does not belong there."""
    parts = path.split("/")
    place = rng.randrange(1, len(parts)) if len(parts) > 1 else 0
    choice = rng.randrange(7)
    if choice < 3:
        parts[place] = rng.choice(_ODD_QUOTED) + rng.choice(("", parts[place]))
    elif choice == 3:
        parts.insert(place, rng.choice(("", ".", "..", "%2F", ";a=b", "x" * 3000)))
    elif choice == 4:
        parts[place] = quote(rng.choice(TEXTS).encode("utf-8", "surrogatepass"), safe="")[:8000]
    elif choice == 5:
        del parts[place]
    else:
        parts.append(rng.choice(("", ".json", "detail", "%00", "{server}")))
    return "/".join(parts) or "/"


def spoilt_query(rng: random.Random, query: str, known: Known) -> str:
    """Return the query with parameters that are odd, unknown, or there twice."""
    parts = [each for each in query.split("&") if each]
    for _ in range(rng.randint(1, 3)):
        name = rng.choice((*_PARAMETERS, *(part.partition("=")[0] for part in parts)))
        value = rng.choice((rng.choice(TEXTS), str(rng.choice(NUMBERS[:13])), known.any(rng) or "x"))
        written = quote(value[:3000].encode("utf-8", "surrogatepass"), safe="")
        parts.append(
            rng.choice((f"{name}={written}",) * 6 + (name, f"{name}={rng.choice(_ODD_QUOTED)}", f"={written}"))
        )
    if rng.random() < 0.1:
        parts *= 50
    return "&".join(parts)[:16_000]


_PARAMETERS = (
    *("limit", "marker", "sort_key", "sort_dir", "sort", "sort_keys", "all_tenants", "deleted", "changes-since"),
    *(
        "changes-before",
        "name",
        "status",
        "status[]",
        "ip",
        "ip6",
        "flavor",
        "image",
        "host",
        "locked",
        "tags",
        "not-tags",
    ),
    *(
        "tags-any",
        "vm_state",
        "power_state",
        "progress",
        "project_id",
        "tenant_id",
        "user_id",
        "detailed",
        "start",
        "end",
    ),
    *(
        "offset",
        "fields",
        "page_reverse",
        "member_of",
        "required",
        "resources",
        "in_tree",
        "group_policy",
        "same_subtree",
    ),
    *("resources1", "required_A", "root_required", "uuid", "minDisk", "minRam", "is_public", "is_none", "fixed_ips"),
    *(
        "id",
        "unknown",
        "with_servers",
        "hypervisor_hostname_pattern",
        "consumer_type",
        "associated",
        "metadata",
        "a" * 500,
    ),
    *(
        "size_min",
        "size_max",
        "created_at",
        "created-at",
        "visibility",
        "owner",
        "tag",
        "metadata[x]",
        "bootable",
        "query",
    ),
)


def spoilt_headers(rng: random.Random, request: Request) -> Request:
    """Return the request with odd headers."""
    choice = rng.randrange(10)
    if choice < 3:
        name = rng.choice(("OpenStack-API-Version", "X-OpenStack-Nova-API-Version"))
        word = rng.choice(("compute ", "placement ", "volume ", "", "compute", "COMPUTE ", "a,b,compute "))
        return request.with_header(name, word + rng.choice(_VERSIONS))
    if choice == 3:  # the same twice, with another value
        name = rng.choice(("OpenStack-API-Version", "X-Auth-Token", "Content-Type", "Host"))
        extra = (name, rng.choice(("compute 2.1", "compute 2.96", "garbage", "text/plain")))
        return Request(request.method, request.target, (*request.headers, extra), request.body)
    if choice in (4, 5):
        return request.with_header("Content-Type", rng.choice(_TYPES))
    if choice == 6:
        return request.with_header("Accept", rng.choice(("", "*/*", "text/html", "application/xml;q=9", "\x80")))
    if choice == 7:
        name = rng.choice(("If-Match", "If-None-Match", "Range", "If-Modified-Since", "If-Range"))
        return request.with_header(name, rng.choice(("*", '"x"', "bytes=0-5", "bytes=-1", "bytes=9-1,2-", "garbage")))
    if choice == 8:
        name = rng.choice(
            ("Content-Length", "Transfer-Encoding", "Expect", "Content-Encoding", "X-HTTP-Method-Override")
        )
        return request.with_header(name, rng.choice(("0", "-1", "9" * 30, "gzip", "chunked", "100-continue", "DELETE")))
    name = rng.choice(("Host", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Subject-Token", "X-Long", "X-Project-Id"))
    return request.with_header(name, rng.choice(("", "evil.example", "a" * 60_000, "\xff\xfe", "[::1", "a:b:c", "x y")))


_VERSIONS = (
    *(
        "2.1",
        "2.104",
        "2.105",
        "2.0",
        "3.1",
        "latest",
        "",
        "2",
        "2.",
        ".1",
        "2.1.1",
        "-2.1",
        "2.-1",
        "2.01",
        "02.1",
        "a.b",
    ),
    *(
        "2.999999",
        "9" * 400 + ".1",
        "2." + "9" * 5000,
        "٢.١",
        "²",
        "2,1",
        "1.0",
        "1.39",
        "1.40",
        "1.²",
        "1.٣",
        "3.0",
        "3.71",
    ),
    *("1." + "9" * 5000, "null", "2.1 2.2", "\xff"),
)
_TYPES = (
    *("", "text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"),
    *(
        "application/json; charset=utf-16",
        "application/json; charset=nonsense",
        "APPLICATION/JSON",
        "application/json;",
    ),
    *("application/octet-stream", "application/openstack-images-v2.1-json-patch", "a" * 9000, "\xff/\x80", "json"),
)
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "get", "X")
