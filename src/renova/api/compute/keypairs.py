"""Key pairs of users: list, show, create or import, delete."""

import asyncio
from typing import Any, ClassVar, Literal

from msgspec import UNSET, UnsetType

from renova.api.compute import paging, public_key
from renova.api.compute.fields import Body, Name, given, read
from renova.api.compute.route import known, route
from renova.api.http import Call, Reply, Version
from renova.model.errors import Forbidden, Invalid, NotFound
from renova.model.ids import UserId
from renova.store import keypairs as store
from renova.store import quotas
from renova.store.database import Tx
from renova.store.keypairs import StoredKey

POLICY = {
    "os_compute_api:os-keypairs:index": "rule:owner_or_admin",
    "os_compute_api:os-keypairs:show": "rule:owner_or_admin",
    "os_compute_api:os-keypairs:create": "rule:owner_or_admin",
    "os_compute_api:os-keypairs:delete": "rule:owner_or_admin",
}

_PAGED_SINCE = (2, 35)
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_- ")


class NewKey(Body):
    """What POST /os-keypairs asks for."""

    SINCE: ClassVar[dict[str, Version]] = {"type": (2, 2), "user_id": (2, 10)}

    name: Name
    public_key: str | UnsetType = UNSET
    type: Literal["ssh", "x509"] | UnsetType = UNSET
    user_id: str | UnsetType = UNSET


class CreateKey(Body):
    """The body of POST /os-keypairs."""

    keypair: NewKey


def _user(call: Call, rule: str) -> UserId:
    """Return whose keys it is about: the caller's, or (administrators) those of `user_id`."""
    user = UserId(call.one("user_id") or call.caller.user)
    call.demand(rule, {"user_id": user})
    return user


def _view(call: Call, key: StoredKey, *, user: bool = True) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": key.name, "public_key": key.public_key, "fingerprint": key.fingerprint}
    if user:
        shown["user_id"] = key.user
    if call.version >= (2, 2):
        shown["type"] = key.type
    return shown


async def index(call: Call) -> Reply:
    user = _user(call, "os_compute_api:os-keypairs:index")
    marker = call.one("marker")
    limit = paging.limit_since(call, _PAGED_SINCE)

    def work(tx: Tx) -> list[StoredKey]:
        if marker is not None and store.get(tx, user, marker) is None:
            raise paging.unknown_marker(marker)
        return store.of_user(tx, user, marker, limit)

    page = await call.cloud.database.read(work)
    answer: dict[str, Any] = {"keypairs": [{"keypair": _view(call, key, user=False)} for key in page]}
    if call.version >= _PAGED_SINCE:
        last = page[-1].name if page else None
        answer |= paging.links(call, "/os-keypairs", "keypairs_links", page, last)
    return Reply(200, answer)


async def show(call: Call) -> Reply:
    user = _user(call, "os_compute_api:os-keypairs:show")
    name = call.path["name"]
    key = await call.cloud.database.read(lambda tx: store.get(tx, user, name))
    if key is None:
        raise _missing(user, name)
    dates = {"id": key.serial, "created_at": key.created_at, "deleted": False, "deleted_at": None, "updated_at": None}
    return Reply(200, {"keypair": {**_view(call, key), **dates}})


async def create(call: Call) -> Reply:
    wanted = read(call, CreateKey).keypair
    user = UserId(given(wanted.user_id, call.caller.user))
    call.demand("os_compute_api:os-keypairs:create", {"user_id": user})
    allowed = _LETTERS | {"@", "."} if call.version >= (2, 92) else _LETTERS
    if not allowed.issuperset(wanted.name):
        raise Invalid(
            "Keypair data is invalid: Keypair name contains unsafe characters. "
            f"Letters, digits, blanks and {' '.join(sorted(allowed - set(_LETTERS) | set('_-')))} are allowed."
        )
    kind = given(wanted.type, "ssh")
    private = None
    public = given(wanted.public_key, "")
    if not public:
        if call.version >= (2, 92):
            raise Invalid("Invalid input: Object missing required field `public_key` - at `$.keypair`")
        if kind == "x509":
            raise Invalid("Certificates are not made here; give one as public_key.")
        # In a thread, for it takes a tenth of a second.
        private, public = await asyncio.to_thread(public_key.new_pair, "Generated-by-Nova")
    key = StoredKey(
        user=user,
        name=wanted.name,
        type=kind,
        public_key=public,
        fingerprint=public_key.fingerprint(public, kind),
    )

    def work(tx: Tx) -> None:
        most = quotas.of_project(tx, call.caller.project)["key_pairs"]
        if 0 <= most <= store.count(tx, user):
            raise Forbidden("Quota exceeded, too many key pairs.")
        store.add(tx, key)

    await call.cloud.database.transact(work)
    shown = _view(call, key)
    if private is not None:
        shown["private_key"] = private
    return Reply(201 if call.version >= (2, 2) else 200, {"keypair": shown})


async def delete(call: Call) -> Reply:
    user = _user(call, "os_compute_api:os-keypairs:delete")
    name = call.path["name"]
    if not await call.cloud.database.transact(lambda tx: store.remove(tx, user, name)):
        raise _missing(user, name)
    return Reply(204 if call.version >= (2, 2) else 202)


def _missing(user: UserId, name: str) -> NotFound:
    return NotFound(f"Keypair {name} not found for user {user}")


_OF_OTHERS = known("user_id", since=(2, 10))

ROUTES = [
    route("GET", "/os-keypairs", index, query={**_OF_OTHERS, **known("limit", "marker", since=_PAGED_SINCE)}),
    route("POST", "/os-keypairs", create),
    route("GET", "/os-keypairs/{name}", show, query=_OF_OTHERS),
    route("DELETE", "/os-keypairs/{name}", delete, query=_OF_OTHERS),
]
