"""The first start, and what is kept in memory."""

from pathlib import Path
from typing import Any

import argon2
import pytest

from renova.model.chance import SeededChance
from renova.model.errors import NotNow
from renova.partners.identity import passwords
from renova.partners.identity.builtin import FRESH, BuiltinIdentity, Ref, Scope
from renova.partners.identity.roles import with_implied
from renova.settings import ControllerSettings
from renova.store.database import Database
from tests.api.service_cloud import HandClock, make_cloud
from tests.databases import open_empty


async def test_only_the_first_start_makes_users_and_it_returns_their_passwords(tmp_path: Path) -> None:
    database = open_empty(HandClock())
    identity = make_cloud(tmp_path, database, HandClock(), admin_password="chosen").identity
    assert isinstance(identity, BuiltinIdentity)
    given = await identity.bootstrap()
    assert given["admin"] == "chosen"
    assert len(given["demo"]) > 20
    assert await identity.bootstrap() == {}
    for project in ("admin", "demo"):
        _, session = await identity.sign_in(Ref(name="admin"), "chosen", Scope(project=Ref(name=project)))
        assert session.roles == {"admin", "manager", "member", "reader"}
    _, session = await identity.sign_in(Ref(name="demo"), given["demo"], Scope())
    assert session.caller.project_name == "demo"
    assert session.roles == {"member", "reader"}
    database.close()


async def test_a_user_who_is_unknown_costs_as_much_as_one_who_is_known() -> None:
    known, unknown = await passwords.Passwords().hash("chosen"), passwords._NOBODY
    assert argon2.extract_parameters(unknown) == argon2.extract_parameters(known)
    assert not await passwords.Passwords().fits(None, "chosen")


def test_roles_imply_those_below_them() -> None:
    assert with_implied(["manager"]) == {"manager", "member", "reader"}
    assert with_implied(["service"]) == {"service"}


class Counted:
    """A database that counts what is read of it, and may be away."""

    def __init__(self, executor: Any) -> None:
        self.executor = executor
        self.reads = 0
        self.away = False

    async def transact(self, fn: Any) -> Any:
        return await self.executor.transact(fn)

    async def read(self, fn: Any) -> Any:
        if self.away:
            raise NotNow("the database is away")
        self.reads += 1
        return await self.executor.read(fn)

    def close(self) -> None:
        self.executor.close()


async def test_what_one_controller_changes_the_others_go_by_a_second_later() -> None:
    clock = HandClock()
    database = open_empty(clock)
    counted = Counted(database._executor)
    here = BuiltinIdentity(database, clock, SeededChance(1), ControllerSettings())
    there = BuiltinIdentity(Database(counted), clock, SeededChance(2), ControllerSettings())
    passwords = await here.bootstrap()
    token, _ = await here.sign_in(Ref(name="demo"), passwords["demo"], Scope())
    assert await there.caller(token) is not None
    before = counted.reads
    for _ in range(10):
        assert await there.caller(token) is not None
    assert counted.reads == before, "what is known is not asked again"
    await here.revoke(token)
    assert await here.caller(token) is None
    await clock.sleep(FRESH)
    assert await there.caller(token) is None


async def test_a_token_is_believed_no_longer_than_a_second_without_the_database() -> None:
    clock = HandClock()
    counted = Counted(open_empty(clock)._executor)
    identity = BuiltinIdentity(Database(counted), clock, SeededChance(1), ControllerSettings())
    passwords = await identity.bootstrap()
    token, _ = await identity.sign_in(Ref(name="demo"), passwords["demo"], Scope())
    assert await identity.caller(token) is not None
    counted.away = True
    await clock.sleep(FRESH)
    with pytest.raises(NotNow):
        await identity.caller(token)
    counted.away = False
    assert await identity.caller(token) is not None
