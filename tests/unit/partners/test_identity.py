"""The first start, and what is kept in memory."""

from pathlib import Path

import argon2

from renova.partners.identity import passwords
from renova.partners.identity.builtin import BuiltinIdentity, Ref, Scope
from renova.partners.identity.roles import with_implied
from renova.store.sqlite import open_sqlite
from tests.api.service_cloud import HandClock, make_cloud


async def test_only_the_first_start_makes_users_and_it_returns_their_passwords(tmp_path: Path) -> None:
    database = open_sqlite(None, HandClock())
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
