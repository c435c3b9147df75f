"""A storage host's directory: what is not mounted is neither written to nor taken for gone."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from renova.drivers.storage_mark import StorageMark
from renova.drivers.volume.files import VolumeFiles
from renova.model.chance import SystemChance
from renova.model.errors import BadSetup, NotNow
from renova.model.ids import SnapshotId, VolumeId

VOLUME = VolumeId("70000000-0000-4000-8000-000000000001")
SNAPSHOT = SnapshotId("5a000000-0000-4000-8000-000000000001")


async def test_no_volume_is_made_missed_or_deleted_where_its_storage_is_not_mounted(tmp_path: Path) -> None:
    directory, away = tmp_path / "volumes", tmp_path / "away"

    def files() -> VolumeFiles:
        return VolumeFiles(directory, StorageMark(directory, SystemChance(), tmp_path / "known"))

    on_storage, path = files(), files().volume(VOLUME, 1)
    await on_storage.open()
    await on_storage.make_blank(path, 512)
    directory.rename(away)
    directory.mkdir()
    booted = files()
    asked: list[Callable[[], Awaitable[object]]] = [
        booted.open,
        on_storage.space,
        lambda: on_storage.newest(VOLUME),
        lambda: on_storage.make_blank(path, 512),
        lambda: on_storage.remove_volume(VOLUME),
        lambda: on_storage.remove_snapshot(SNAPSHOT),
    ]
    for each in asked:
        with pytest.raises(NotNow, match=r"is it mounted\?"):
            await each()
    assert list(directory.iterdir()) == []
    directory.rmdir()
    away.rename(directory)
    await booted.open()
    assert await booted.newest(VOLUME) == 1


async def test_a_directory_that_is_away_is_asked_for_again_and_one_that_is_none_is_not(tmp_path: Path) -> None:
    with pytest.raises(NotNow, match="cannot be used"):
        await VolumeFiles(Path("/proc/nowhere/volumes")).open()  # where nothing can be made, by whomever
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSetup, match="cannot be used"):
        await VolumeFiles(tmp_path / "file").open()
