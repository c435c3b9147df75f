"""The newcomer's path on real guests: one command brings the cloud up and tells its story; another mends it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import pytest
from rich.console import Console

from renova.lab import access, blueprint, processes
from renova.lab.blueprint import Blueprint
from renova.lab.cloud import LabCloud
from renova.lab.home import Home
from renova.lab.ports import free_ports
from renova.lab.progress import Teller

pytestmark = [pytest.mark.live, pytest.mark.slow]

LIMIT_S = 280.0
LIBVIRTD = "/run/libvirt/libvirtd.pid"
TELLER = Teller(Console())
FIRST_MINUTES = (
    "guests run by ",
    "3 hosts are up: host1, host2, host3",
    "3 compute services are up",
    "server story-first is ACTIVE on host",
    "its guest boots: GUEST-READY story-first boots=1 ",
    "soft reboot, same disk: GUEST-READY story-first boots=2 ",
    "hard reboot, same disk: GUEST-READY story-first boots=3 ",
    "rebuilt as story-rebuilt with renova-guest-2, new disk, same address: GUEST-READY story-first boots=1 ",
    "server story-second is ACTIVE on host",
    "power cut of host",
    "is seen down",
    "story-rebuilt is evacuated: ACTIVE on host",
    "its guest boots from the disk it had: GUEST-READY story-first boots=2 ",
    " answers ping",
    "is on and up again",
    "are gone: migration completed, its allocation released",
    "The cloud is up. Go on with:",
)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, guest_image_path: Path) -> Iterator[LabCloud]:
    """A cloud that is planned, and taken down at the end; nothing of it runs yet."""
    home = Home(tmp_path_factory.mktemp("story"))
    home.make()
    copytree(guest_image_path.parent, home.guest_image, dirs_exist_ok=True)
    api_port, agents_port = free_ports(2)
    plan = Blueprint(simulated=False, hosts=3, api_port=api_port, agents_port=agents_port)
    blueprint.write(home, plan)
    cloud = LabCloud(home, plan)
    try:
        yield cloud
    finally:
        cloud.down(TELLER)
        # Not only the recorded ones: whatever has this home in its arguments would be a leftover.
        left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(home.path) in text(path)]
    assert left == []


def text(file: Path) -> str:
    try:
        return file.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def renova(cloud: LabCloud, *arguments: str) -> str:
    """Run the command line as script/run does; it succeeds."""
    ended = subprocess.run(
        [sys.executable, "-m", "renova.main", *arguments],
        env={**os.environ, "RENOVA_HOME": str(cloud.home.path)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def on_host(cloud: LabCloud, host: str, *argv: str) -> str:
    done = subprocess.run(cloud.exec_argv(host, argv), capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def guests(cloud: LabCloud) -> dict[str, str]:
    """Return the running guests of each host, as libvirt has them."""
    return {name: on_host(cloud, name, "virsh", "list", "--uuid", "--state-running") for name in cloud.plan.names}


def kill(cloud: LabCloud, name: str) -> None:
    process = processes.running(cloud.home.pid_file(name))
    assert process is not None
    process.kill()


def test_the_story_comes_true(cloud: LabCloud) -> None:
    told = renova(cloud, "lab", "run")
    lines = iter(told.splitlines())
    for wanted in FIRST_MINUTES:
        assert any(wanted in line for line in lines), f"{wanted!r} is missing, or out of order, in\n{told}"


def test_a_half_dead_cloud_is_mended_without_harm_to_its_guests(cloud: LabCloud) -> None:
    before, first_processes = guests(cloud), {name: on_host(cloud, name, "cat", LIBVIRTD) for name in cloud.plan.names}
    assert any(before.values())
    kill(cloud, "controller")
    kill(cloud, "agent-host1")
    on_host(cloud, "host2", "sh", "-c", f"kill -9 $(cat {LIBVIRTD})")
    renova(cloud, "lab", "up")
    status = cloud.status()
    assert [host.up for host in status.hosts] == [True] * 4
    assert all(process.running for process in status.processes)
    assert guests(cloud) == before
    assert on_host(cloud, "host1", "cat", LIBVIRTD) == first_processes["host1"]
    assert on_host(cloud, "host2", "cat", LIBVIRTD) != first_processes["host2"]
    demo = access.connect(cloud.home, access.DEMO)
    assert {server.status for server in demo.compute.servers()} == {"ACTIVE"}


def test_what_stopped_starts_again_with_its_data(cloud: LabCloud) -> None:
    demo = access.connect(cloud.home, access.DEMO)
    before = {server.id for server in demo.compute.servers()}
    renova(cloud, "lab", "down")
    assert not any(process.running for process in cloud.status().processes)
    assert [host.power for host in cloud.status().hosts] == ["off"] * 4
    renova(cloud, "lab", "up")
    assert {server.id for server in demo.compute.servers()} == before


def test_the_rack_itself_may_die(cloud: LabCloud) -> None:
    kill(cloud, "rack")
    renova(cloud, "lab", "up")
    assert [host.up for host in cloud.status().hosts] == [True] * 4


def test_host_commands_reach_real_hosts(cloud: LabCloud) -> None:
    assert renova(cloud, "lab", "exec", "host1", "--", "hostname") == "host1\n"
    renova(cloud, "lab", "kill", "host1")
    assert renova(cloud, "lab", "power", "host1") == "off\n"
    renova(cloud, "lab", "start", "host1")
    assert renova(cloud, "lab", "power", "host1") == "on\n"
    renova(cloud, "lab", "cut", "host1")
    assert cloud.machines.look("host1").plugged is False
    renova(cloud, "lab", "heal", "host1")
    assert cloud.machines.look("host1").plugged is True
