"""Controllers that begin at once, on one database and one shared directory, are one cloud."""

import asyncio
import stat
from pathlib import Path

import pytest

from renova.main.first_start import have_authority, have_users
from renova.model.chance import SystemChance
from renova.model.clock import SystemClock
from renova.model.errors import BadSetup, NotNow
from renova.partners.identity.builtin import BuiltinIdentity, Ref, Scope
from renova.settings import ControllerSettings
from renova.store.database import Database
from renova.store.sqlite import open_sqlite


def controller(tmp_path: Path, number: int, shared: str = "shared") -> ControllerSettings:
    return ControllerSettings(state_dir=str(tmp_path / f"controller{number}"), shared_dir=str(tmp_path / shared))


async def begin(database: Database, settings: ControllerSettings) -> str:
    """Do what a controller does when it starts; return the authority that it has."""
    identity = BuiltinIdentity(database, SystemClock(), SystemChance(), settings)
    authority = await have_authority(database, SystemClock(), settings)
    await have_users(identity, SystemChance(), settings)
    return authority.pem


async def test_controllers_that_begin_at_once_are_one_cloud(tmp_path: Path) -> None:
    database = open_sqlite(None, SystemClock())
    begun = await asyncio.gather(*(begin(database, controller(tmp_path, number)) for number in range(3)))
    assert len(set(begun)) == 1
    shared = tmp_path / "shared"
    assert {file.name for file in shared.iterdir()} == {"ca", "admin-password", "demo-password"}
    identity = BuiltinIdentity(database, SystemClock(), SystemChance(), controller(tmp_path, 1))
    for name in ("admin", "demo"):
        file = shared / f"{name}-password"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        await identity.sign_in(Ref(name=name), file.read_text().strip(), Scope())


async def test_a_controller_whose_shared_directory_is_not_the_clouds_is_refused(tmp_path: Path) -> None:
    database = open_sqlite(None, SystemClock())
    await begin(database, controller(tmp_path, 1))
    await begin(open_sqlite(None, SystemClock()), controller(tmp_path, 2, "another cloud's"))
    with pytest.raises(BadSetup, match="mount one shared_dir"):
        await begin(database, controller(tmp_path, 2, "another cloud's"))
    await begin(database, controller(tmp_path, 2))


async def test_while_the_shared_directory_is_not_mounted_it_is_waited_for_and_nothing_made_in_its_place(
    tmp_path: Path,
) -> None:
    database = open_sqlite(None, SystemClock())
    begun = await begin(database, controller(tmp_path, 1))
    shared, away = tmp_path / "shared", tmp_path / "away"
    shared.rename(away)
    shared.mkdir()  # the mount point
    with pytest.raises(NotNow, match="is the directory mounted"):
        await begin(database, controller(tmp_path, 1))
    assert list(shared.iterdir()) == []
    shared.rmdir()
    with pytest.raises(NotNow, match="is the directory mounted"):
        await begin(database, controller(tmp_path, 1))
    away.rename(shared)
    assert await begin(database, controller(tmp_path, 1)) == begun


async def test_a_shared_directory_that_is_away_at_the_first_start_is_waited_for(tmp_path: Path) -> None:
    settings = ControllerSettings(state_dir=str(tmp_path), shared_dir="/proc/nowhere")  # where nobody can make anything
    with pytest.raises(NotNow, match="/proc/nowhere"):
        await begin(open_sqlite(None, SystemClock()), settings)


async def test_a_shared_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("a file")
    with pytest.raises(BadSetup, match="RENOVA_SHARED_DIR"):
        await begin(open_sqlite(None, SystemClock()), controller(tmp_path, 1))
