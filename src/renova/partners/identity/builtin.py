"""The built-in identity service: who bears a token, signing in, and the first start.

Called by `api.dispatch` on every request and by `api.identity`. What a token stands for is kept in memory, so that
most requests cost no SQL; every change that could alter it goes through `change`, which forgets what was kept, and is
counted in the database. By the count each controller sees, at most `FRESH` seconds later, what another has changed.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from renova.model.chance import Chance
from renova.model.clock import Clock, stamp
from renova.model.errors import Refused
from renova.model.ids import ProjectId, UserId
from renova.partners.identity import Caller
from renova.partners.identity.passwords import Passwords
from renova.partners.identity.roles import with_implied
from renova.settings import ControllerSettings
from renova.store import identity as store
from renova.store.database import Database, Tx

T = TypeVar("T")

DOMAIN = "default"
DOMAIN_NAME = "Default"

_REMEMBERED = 20_000  # tokens in memory, some 500 bytes each
FRESH = 1.0  # seconds for which a controller goes by what it remembers, without asking whether another changed it


class Denied(Refused):
    """The proof of who is asking, or the right to the scope asked for, does not hold (HTTP 401)."""


class Ref(msgspec.Struct, frozen=True):
    """A user or project as a request names it: by id, or by name in a domain (its id or name)."""

    id: str | None = None
    name: str | None = None
    domain: str = DOMAIN


class Scope(msgspec.Struct, frozen=True):
    """What a token is asked for: a project, none (`unscoped`), or neither said: then the user's own project."""

    project: Ref | None = None
    unscoped: bool = False


class Session(msgspec.Struct, frozen=True):
    """A valid token: who bears it, on which project (None: unscoped), how they signed in."""

    user: store.User
    project: store.Project | None
    roles: frozenset[str]
    token: store.Token

    @property
    def caller(self) -> Caller:
        project = self.project
        return Caller(
            user=self.user.id,
            user_name=self.user.name,
            project=project.id if project else ProjectId(""),
            project_name=project.name if project else "",
            roles=self.roles,
            expires=f"{self.token.expires_at}Z",
        )


class BuiltinIdentity:
    """Users, projects, roles and tokens, kept in the controller's database."""

    def __init__(self, database: Database, clock: Clock, chance: Chance, settings: ControllerSettings) -> None:
        self._database = database
        self._clock = clock
        self._chance = chance
        self._settings = settings
        self._passwords = Passwords()
        self._callers: dict[bytes, tuple[Caller, datetime]] = {}
        self._changes = 0  # counts changes, so that what was read before one is not kept after it
        self._count = -1  # of the changes that all controllers have made, as last read
        self._asked = float("-inf")  # when that was, by our monotonic clock, before it was asked
        self._asking = asyncio.Lock()

    async def caller(self, token: str) -> Caller | None:
        """Return the bearer of a valid token. `NotNow` when it is not known whether it still is one."""
        key = hashlib.sha256(token.encode()).digest()
        await self._follow()
        known = self._callers.get(key)
        if known is not None and known[1] > self._clock.wall():
            return known[0]
        changes = self._changes
        session = await self.session(token)
        if session is None:
            return None
        caller = session.caller
        if changes == self._changes:
            if len(self._callers) >= _REMEMBERED:
                self._callers.clear()
            self._callers[key] = (caller, datetime.fromisoformat(caller.expires))
        return caller

    async def project_exists(self, project: ProjectId) -> bool:
        return await self._database.read(lambda tx: store.project(tx, project)) is not None

    async def session(self, token: str) -> Session | None:
        """Return what a valid token stands for now, as the database says."""
        return await self._database.read(lambda tx: _session(tx, _sha256(token)))

    async def read(self, fn: Callable[[Tx], T]) -> T:
        return await self._database.read(fn)

    async def change(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` in one transaction; tokens stand for what it left behind before this returns."""

        def changing(tx: Tx) -> T:
            tx.then(self._forget)
            store.count_change(tx)
            return fn(tx)

        return await self._database.transact(changing)

    async def _follow(self) -> None:
        """Forget what is remembered if another controller may have changed it."""
        if self._clock.monotonic() - self._asked < FRESH:
            return
        async with self._asking:
            asked = self._clock.monotonic()
            if asked - self._asked < FRESH:
                return  # somebody else has asked meanwhile
            count = await self._database.read(store.count)
            if count != self._count:
                self._count = count
                self._forget()
            self._asked = asked

    def _forget(self) -> None:
        self._changes += 1
        self._callers.clear()

    def new_id(self) -> str:
        """Return an id in Keystone's form."""
        return self._chance.uuid().replace("-", "")

    async def hash_password(self, password: str) -> str:
        return await self._passwords.hash(password)

    async def sign_in(self, who: Ref, password: str, scope: Scope) -> tuple[str, Session]:
        """Return a new token for a user and password. `Denied`, after the same time whatever was wrong."""

        def credentials(tx: Tx) -> tuple[str, str] | None:
            user = _find_user(tx, who)
            found = store.password_hash(tx, user.id) if user is not None else None
            return (user.id, found) if user is not None and found is not None else None

        found = await self._database.read(credentials)
        if not await self._passwords.fits(found[1] if found else None, password) or found is None:
            raise Denied("The request you have made requires authentication.")
        user_id, checked = found

        def issue(tx: Tx) -> Session:
            # The password may have been changed while it was being checked.
            if store.password_hash(tx, user_id) != checked:
                raise Denied("The request you have made requires authentication.")
            return self._issue(tx, token, user_id, scope, ("password",), self._expiry())

        token = self._chance.secret()
        return token, await self._database.transact(issue)

    async def exchange(self, token: str, scope: Scope) -> tuple[str, Session]:
        """Return another token for the bearer of a valid one; it ends when that one does. `Denied`."""

        def issue(tx: Tx) -> Session:
            old = _session(tx, _sha256(token))
            if old is None:
                raise Denied("The request you have made requires authentication.")
            methods = tuple(dict.fromkeys(("token", *old.token.methods)))
            return self._issue(tx, new, old.user.id, scope, methods, old.token.expires_at)

        new = self._chance.secret()
        return new, await self._database.transact(issue)

    async def revoke(self, token: str) -> None:
        """End a token; ending it again is fine."""
        await self.change(lambda tx: store.remove_token(tx, _sha256(token)))

    async def replace_password(self, user: UserId, old: str, new: str) -> None:
        """Set a user's own new password and end the user's tokens. `Denied` when the old one is wrong."""

        def current(tx: Tx) -> str | None:
            found = store.user(tx, user)
            return store.password_hash(tx, user) if found is not None and found.enabled else None

        checked = await self._database.read(current)
        if not await self._passwords.fits(checked, old):
            raise Denied("The request you have made requires authentication.")
        new_hash = await self._passwords.hash(new)

        def replace(tx: Tx) -> None:
            if current(tx) != checked:
                raise Denied("The request you have made requires authentication.")
            store.change_user(tx, user, password_hash=new_hash)

        await self.change(replace)

    async def bootstrap(self, passwords: Mapping[str, str] | None = None) -> dict[str, str]:
        """On the first start, make users `admin` and `demo` with projects of those names; else do nothing.

        Return the passwords of the users made. Those not given are generated, except the setting `admin_password`.
        A caller that must not lose one to a crash gives it, having kept it first.
        """
        chosen = {name: (passwords or {}).get(name) or self._chance.secret() for name in ("admin", "demo")}
        if self._settings.admin_password and "admin" not in (passwords or {}):
            chosen["admin"] = self._settings.admin_password
        if await self._database.read(store.every_user):
            return {}
        hashes = {name: await self._passwords.hash(password) for name, password in chosen.items()}

        def make(tx: Tx) -> bool:
            if store.every_user(tx):
                return False
            made = {name: store.Project(ProjectId(self.new_id()), name) for name in chosen}
            for project in made.values():
                store.add_project(tx, project)
            for name, password_hash in hashes.items():
                user = store.User(UserId(self.new_id()), name, default_project=made[name].id)
                store.add_user(tx, user, password_hash)
                if name == "admin":
                    for project in made.values():
                        store.give_role(tx, user.id, project.id, "admin")
                else:
                    store.give_role(tx, user.id, made[name].id, "member")
            return True

        return chosen if await self.change(make) else {}

    def _expiry(self) -> str:
        return stamp(self._clock.wall() + timedelta(hours=self._settings.token_hours))

    def _issue(
        self, tx: Tx, token: str, user_id: str, scope: Scope, methods: tuple[str, ...], expires_at: str
    ) -> Session:
        user = store.user(tx, user_id)
        if user is None or not user.enabled:
            raise Denied("The request you have made requires authentication.")
        project = _scope_project(tx, user, scope)
        issued = store.Token(
            sha256=_sha256(token),
            user=user.id,
            project=project.id if project else None,
            methods=methods,
            audit_id=self.new_id(),
            issued_at=tx.now,
            expires_at=expires_at,
        )
        store.add_token(tx, issued)
        session = _session(tx, issued.sha256)
        if session is None:
            raise Denied("The request you have made requires authentication.")
        return session


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _session(tx: Tx, sha256: str) -> Session | None:
    token = store.token(tx, sha256)
    user = store.user(tx, token.user) if token else None
    if token is None or user is None or not user.enabled:
        return None
    if token.project is None:
        return Session(user, None, frozenset(), token)
    project = store.project(tx, token.project)
    roles = with_implied(store.roles_on(tx, user.id, token.project))
    if project is None or not project.enabled or not roles:
        return None
    return Session(user, project, roles, token)


def in_domain(domain: str) -> bool:
    """Say whether an id or name is that of the one domain."""
    return domain in (DOMAIN, DOMAIN_NAME)


def _find_user(tx: Tx, who: Ref) -> store.User | None:
    if who.id is not None:
        return store.user(tx, who.id)
    return store.user_named(tx, who.name) if who.name is not None and in_domain(who.domain) else None


def _scope_project(tx: Tx, user: store.User, scope: Scope) -> store.Project | None:
    """Return the project a token will be for. `Denied` when the user asked for one and has no role there."""
    if scope.unscoped:
        return None
    own = [project for project in store.projects_of(tx, user.id) if project.enabled]
    if scope.project is not None:
        for project in own:
            if _is(project, scope.project):
                return project
        raise Denied("The request you have made requires authentication.")
    if user.default_project is not None:
        return next((project for project in own if project.id == user.default_project), None)
    return own[0] if len(own) == 1 else None


def _is(project: store.Project, which: Ref) -> bool:
    if which.id is not None:
        return project.id == which.id
    return project.name == which.name and in_domain(which.domain)
