from pathlib import Path

import pytest

from renova.lab.home import Home


def test_a_home_must_be_absolute() -> None:
    with pytest.raises(ValueError, match="absolute"):
        Home(Path(".renova"))


def test_everything_is_below_the_home(tmp_path: Path) -> None:
    home = Home(tmp_path)
    paths = [
        home.openrc,
        home.database,
        home.ca,
        home.images,
        home.instances,
        home.pid_file("rack"),
        home.host("h1").run,
    ]
    assert all(path.is_relative_to(tmp_path) for path in paths)


def test_what_the_controller_keeps_is_for_its_owner_only(tmp_path: Path) -> None:
    home = Home(tmp_path / "cloud")
    home.make()
    home.make()
    assert home.controller.stat().st_mode & 0o777 == 0o700
    assert home.instances.is_dir()
