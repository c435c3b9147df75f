"""Armed hosts that see in a witness whether anybody has revoked their leases."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.dying import Scene, scene

pytestmark = [
    pytest.mark.live,
    pytest.mark.first,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.takes_turns("how a dead host is proven so", "witness"),
]


@pytest.fixture(scope="module")
def witnessed(tmp_path_factory: pytest.TempPathFactory, guest_image_path: Path) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("witnessed"), guest_image_path, armed=True, witness=True) as made:
        yield made


def test_no_guest_stands_still_while_nothing_controls_its_host(witnessed: Scene) -> None:
    assert witnessed.uncontrolled().stopped == 0


def test_guests_of_an_unplugged_host_have_ended_before_their_copies_start(witnessed: Scene) -> None:
    witnessed.dies_with_all("witness")
