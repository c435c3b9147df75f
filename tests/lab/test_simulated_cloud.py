"""A whole simulated cloud by the command line, as somebody without root has it: made, hurt, mended, taken down."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from renova.lab import access, blueprint, processes
from renova.lab.blueprint import Blueprint
from renova.lab.home import Home
from renova.lab.ports import free_ports
from renova.lab.processes import wait_until

pytestmark = [pytest.mark.first, pytest.mark.slow]

LIMIT_S = 60.0


class Lab:
    """The `renova` of a shell in which RENOVA_HOME is set; sources no openrc."""

    def __init__(self, path: Path) -> None:
        self.home = Home(path)

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "renova.main", *arguments],
            env={**os.environ, "RENOVA_HOME": str(self.home.path)},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    def lab(self, *arguments: str) -> str:
        """Run a command of the lab that succeeds, and return what it printed."""
        ended = self.run("lab", *arguments)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def plan(self, *, hosts: int = 3) -> None:
        """Have ports of this cloud's own: two that follow each other, as it would choose them."""
        api, agents = free_ports(2)
        self.home.make()
        blueprint.write(self.home, Blueprint(simulated=True, hosts=hosts, api_port=api, agents_port=agents))

    @property
    def status(self) -> Any:
        return json.loads(self.lab("status", "--json"))

    def hosts(self, what: str) -> list[Any]:
        return [host[what] for host in self.status["hosts"]]

    def running(self) -> list[str]:
        return [process["name"] for process in self.status["processes"] if process["running"]]

    def until_up(self, *wanted: bool) -> None:
        wait_until(lambda: self.hosts("up") == [*wanted, True], LIMIT_S, f"hosts are not {wanted}", pause=0.2)


def kill(lab: Lab, process: str) -> None:
    """Kill a process of the cloud as nobody expects it."""
    found = processes.running(lab.home.pid_file(process))
    assert found is not None
    found.kill()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("cloud"))
    lab.plan()
    try:
        lab.lab("up", "--simulated", "3")
        yield lab
    finally:
        lab.lab("down")
    assert lab.running() == []


def test_the_story_comes_true_and_again(lab: Lab) -> None:
    for _ in range(2):
        told = lab.lab("run")
        assert "story-rebuilt is evacuated: ACTIVE on host" in told
        assert "its guest boots from the disk it had: GUEST-READY story-first boots=2" in told
        assert "migration completed, its allocation released" in told
        assert f"source {lab.home.openrc}" in told


def test_what_is_up_is_left_alone(lab: Lab) -> None:
    before = lab.status["processes"]
    lab.lab("up")
    assert lab.status["processes"] == before


@pytest.mark.parametrize("killed", [("controller",), ("simulated",), ("controller", "simulated")])
def test_a_half_dead_cloud_is_mended_and_keeps_its_data(lab: Lab, killed: tuple[str, ...]) -> None:
    images = [image.id for image in access.connect(lab.home, access.DEMO).image.images()]
    for process in killed:
        kill(lab, process)
    lab.lab("up")
    assert lab.running() == ["controller", "simulated"]
    assert lab.hosts("up") == [True] * 4
    assert [image.id for image in access.connect(lab.home, access.DEMO).image.images()] == images


def test_a_host_loses_its_power_and_gets_it_back(lab: Lab) -> None:
    lab.lab("kill", "host2")
    assert lab.lab("power", "host2") == "off\n"
    lab.until_up(True, False, True)
    lab.lab("start", "host2")
    assert lab.lab("power", "host2") == "on\n"
    lab.until_up(True, True, True)


def test_a_host_is_cut_off_and_comes_back(lab: Lab) -> None:
    lab.lab("cut", "host3")
    lab.until_up(True, True, False)
    assert lab.hosts("power") == ["on", "on", "on", "on"]
    assert lab.hosts("cable") == ["plugged", "plugged", "unplugged", "plugged"]
    lab.lab("heal", "host3")
    lab.until_up(True, True, True)


def test_a_cable_that_is_out_is_plugged_in_when_all_is_mended(lab: Lab) -> None:
    lab.lab("cut", "host1")
    lab.lab("up")
    assert lab.hosts("cable") == ["plugged", "plugged", "plugged", "plugged"]
    lab.until_up(True, True, True)


def test_what_simulated_hosts_cannot_do_is_told(lab: Lab) -> None:
    for arguments, reason in ((("ping", "10.0.0.9"), "carry nothing"), (("exec", "host1", "--", "ls"), "simulated")):
        ended = lab.run("lab", *arguments)
        assert ended.returncode == 2
        assert reason in ended.stderr
    ended = lab.run("lab", "kill", "host9")
    assert (ended.returncode, ended.stderr) == (
        2,
        "There is no host host9 here; there are host1, host2, host3 and storage1.\n",
    )


def test_join_tokens_are_for_administrators(lab: Lab) -> None:
    def ask(openrc: Path) -> "subprocess.CompletedProcess[str]":
        script = '. "$1"; renova host join-token --count 2'
        argv = ["sh", "-c", script, "sh", str(openrc)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=False)

    assert len(ask(lab.home.openrc).stdout.split()) == 2
    refused = ask(lab.home.demo_openrc)
    assert refused.returncode == 1
    assert refused.stderr.startswith("Only an administrator may do this")


def test_duties_are_shown_and_done_when_an_administrator_asks(lab: Lab) -> None:
    def renova(*arguments: str) -> "subprocess.CompletedProcess[str]":
        argv = ["sh", "-c", '. "$0"; exec "$@"', str(lab.home.openrc), sys.executable, "-m", "renova.main", *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=False)

    (done,) = json.loads(renova("duty", "run", "orphans", "--json").stdout)
    assert (done["name"], done["failed"], done["error"]) == ("orphans", 0, None)
    assert done["rounds"] >= 1  # it may have been due by itself meanwhile
    assert "allocations" in renova("duties").stdout
    unknown = renova("duty", "run", "nonsense")
    assert unknown.returncode == 1
    assert "There is no duty nonsense" in unknown.stderr


def test_two_clouds_do_not_disturb_each_other(lab: Lab, tmp_path: Path) -> None:
    other = Lab(tmp_path / "other cloud")
    other.plan(hosts=2)
    before = lab.status
    try:
        other.lab("run")
        assert other.hosts("up") == [True] * 3
        assert len(list(access.connect(other.home, access.DEMO).compute.servers())) == 2
    finally:
        other.lab("down")
    assert other.running() == []
    assert lab.status == before


def test_a_port_in_use_is_told_and_nothing_is_started(lab: Lab, tmp_path: Path) -> None:
    other = Lab(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = other.run("lab", "up", "--simulated", "1", "--api-port", str(port))
    assert ended.returncode == 2
    assert f"Port {port} of 127.0.0.1 cannot be opened" in ended.stderr
    assert "--api-port" in ended.stderr
    assert other.running() == []


def test_a_cloud_grows_but_does_not_shrink_nor_become_real(lab: Lab) -> None:
    lab.lab("up", "--simulated", "4")
    assert lab.hosts("up") == [True] * 5
    for arguments in (("--simulated", "3"), ("--hosts", "3")):
        ended = lab.run("lab", "up", *arguments)
        assert ended.returncode == 2
        assert "cannot shrink" in ended.stderr
