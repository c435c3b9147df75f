"""Three minutes of chaos on real guests, controllers, PostgreSQL and hosts: nothing is lost, nothing runs twice."""

from pathlib import Path
from shutil import copytree, which

import pytest

from renova.lab.blueprint import plan
from renova.lab.chaos.campaign import Campaign, told
from renova.lab.cloud import LabCloud
from renova.lab.home import Home
from renova.lab.ports import free_ports
from renova.lab.postgresql import installed
from tests.live.lab import TELLER

pytestmark = [
    pytest.mark.live,
    pytest.mark.first,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not installed() or which("haproxy") is None,
        reason="PostgreSQL and HAProxy are not installed: script/bootstrap --dev, as root, installs them",
    ),
]

MINUTES, SEED = 3.0, 1


def test_nothing_is_lost_and_nothing_runs_twice(
    tmp_path_factory: pytest.TempPathFactory, guest_image_path: Path
) -> None:
    home = Home(tmp_path_factory.mktemp("chaos"))
    copytree(guest_image_path.parent, home.guest_image, dirs_exist_ok=True)
    [port] = free_ports(1)
    cloud = LabCloud(home, plan(None, simulated=False, hosts=3, api_port=port, controllers=2))
    try:
        report = Campaign(cloud, TELLER, MINUTES, SEED).run()
    finally:
        cloud.down(TELLER)
    assert report.kept, told(report)
    # And it was no idle time.
    assert sum(report.faults.values()) >= 10, told(report)
    assert sum(report.done.values()) >= 10, told(report)
    assert report.looks > 100, told(report)
    assert report.most_running >= 2, told(report)
