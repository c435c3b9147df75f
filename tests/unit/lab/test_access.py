"""What people and clients are given to reach the cloud."""

import subprocess
from pathlib import Path

import pytest

from renova.lab import access
from renova.lab.blueprint import Blueprint
from renova.lab.home import Home

PLAN = Blueprint(simulated=True, hosts=1, api_port=9774, agents_port=9775)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "it's a home")
    home.make()
    for user in ("admin", "demo"):
        home.password(user).write_text(f"{user}'s $ecret\n")
    access.write_access(home, PLAN)
    return home


def sourced(file: Path, variable: str, **environment: str) -> str:
    """Return a variable as a shell has it that sourced the file."""
    script = f'. "$1"; printf %s "${variable}"'
    return subprocess.run(
        ["sh", "-euc", script, "sh", file],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_openrc_is_understood_by_a_shell(home: Home) -> None:
    assert sourced(home.openrc, "OS_PASSWORD") == "admin's $ecret"
    assert sourced(home.openrc, "OS_AUTH_URL") == "http://127.0.0.1:9774/identity/v3"
    assert sourced(home.demo_openrc, "OS_USERNAME") == "demo"
    assert sourced(home.openrc, "RENOVA_HOME") == str(home.path)


def test_openrc_leaves_nothing_of_another_cloud(home: Home) -> None:
    assert sourced(home.openrc, "{OS_CLOUD-gone}", OS_CLOUD="other") == "gone"


def test_openrc_puts_the_clients_on_the_path_once(home: Home) -> None:
    once = sourced(home.openrc, "PATH")
    assert once.endswith(":/usr/bin:/bin")
    assert sourced(home.openrc, "PATH", PATH=once) == once


def test_passwords_are_for_their_owner_only(home: Home) -> None:
    for file in (home.openrc, home.demo_openrc, home.clouds_yaml):
        assert file.stat().st_mode & 0o777 == 0o600


def test_clouds_yaml_is_understood_by_the_sdk(home: Home) -> None:
    for cloud, user in ((access.ADMIN, "admin"), (access.DEMO, "demo")):
        auth = access.connect(home, cloud).config.get_auth_args()
        assert (auth["username"], auth["password"]) == (user, f"{user}'s $ecret")
