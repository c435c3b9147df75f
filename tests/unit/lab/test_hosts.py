from pathlib import Path

import pytest

from renova.lab.home import Home
from renova.lab.hosts import Host

HOME = Home(Path("/nowhere"))


@pytest.mark.parametrize("name", ["", "Host", "a-name-too-long", "a/b", "-a", "a b"])
def test_a_name_that_no_interface_could_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Host(HOME, name, 1)


@pytest.mark.parametrize("number", [0, 254, -1])
def test_a_number_outside_the_rack_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="number"):
        Host(HOME, "h1", number)


def test_a_host_that_never_was_is_off(tmp_path: Path) -> None:
    host = Host(Home(tmp_path), "h1", 7)
    host.kill()
    assert not host.powered()
    assert host.address == "172.31.77.7"
