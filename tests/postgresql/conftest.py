"""What tests of a file have in common, hurt, and leave whole: a primary with its synchronous standby; a whole cloud."""

from collections.abc import Iterator

import pytest

from renova.lab.ports import free_ports
from renova.lab.postgresql import installed
from renova.lab.replication import Pair
from tests.postgresql.two_controllers import Cloud, running


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    if not installed():
        pytest.skip("PostgreSQL is not installed: script/bootstrap --dev, as root, installs it")
    place = tmp_path_factory.mktemp("pair")
    one, two = free_ports(2)
    pair = Pair(place, (one, two), run=place / "run", logs=place / "logs")
    try:
        pair.up()
        yield pair
    finally:
        pair.kill()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("several")) as cloud:
        yield cloud
