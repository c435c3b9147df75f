"""One cloud for all tests of clients; each test begins without servers, and leaves none."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.commands import Nova, OpenStack
from tests.clients.whole_cloud import WholeCloud, running

_LONGEST_NAP_S = 0.2


@pytest.fixture(scope="session")
def whole_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeCloud]:
    with running(tmp_path_factory.mktemp("cloud") / "home") as cloud:
        yield cloud


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have clients look again soon: they ask for a state every two or five seconds, and sleep in between."""
    nap = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: nap(min(seconds, _LONGEST_NAP_S)))
    monkeypatch.chdir(tmp_path)  # nobody's clouds.yaml


@pytest.fixture
def cloud(whole_cloud: WholeCloud) -> Iterator[WholeCloud]:
    yield whole_cloud
    whole_cloud.clear()


@pytest.fixture
def admin(cloud: WholeCloud) -> OpenStack:
    return OpenStack(cloud.environments["admin"])


@pytest.fixture
def demo(cloud: WholeCloud) -> OpenStack:
    return OpenStack(cloud.environments["demo"])


@pytest.fixture
def admin_nova(cloud: WholeCloud) -> Nova:
    return Nova(cloud.environments["admin"])


@pytest.fixture
def demo_nova(cloud: WholeCloud) -> Nova:
    return Nova(cloud.environments["demo"])
