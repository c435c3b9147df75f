"""Hosts whose guests a guard stops where their lease ends, and whose power nobody reads."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.dying import Scene, scene

pytestmark = [
    pytest.mark.live,
    pytest.mark.first,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.takes_turns("how a dead host is proven so", "armed"),
]


@pytest.fixture(scope="module")
def armed(tmp_path_factory: pytest.TempPathFactory, guest_image_path: Path) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("armed"), guest_image_path, armed=True) as made:
        yield made


def test_a_power_cut_is_recovered_from_by_the_lease_alone(armed: Scene) -> None:
    armed.dies_with_all("lease")


def test_guests_of_an_unplugged_host_have_ended_before_their_copies_start(armed: Scene) -> None:
    armed.dies("partition", armed.fullest())


def test_guests_freeze_while_nothing_controls_their_hosts_and_go_on_unharmed(armed: Scene) -> None:
    assert armed.uncontrolled().stopped == len(armed.servers.ids)
