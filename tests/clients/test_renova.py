"""The command `renova` for those who run a cloud: each command, and what is true of hosts and servers afterwards.

On a cloud of its own, whose hosts share no disks: what servers leave on a host can be seen to be set aside.
"""

import io
import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest

from renova.lab import blueprint
from renova.main import run
from tests.clients.commands import OpenStack, alone
from tests.clients.whole_cloud import HOSTS, WholeCloud, running

pytestmark = pytest.mark.slow

CREATE = "server create --flavor m1.tiny --image renova-guest --network private"


@pytest.fixture(scope="module")
def whole_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeCloud]:
    with running(tmp_path_factory.mktemp("operators") / "home", local_disks=True) as cloud:
        yield cloud


class Ended(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Renova:
    """The command `renova` with an administrator's OS_* variables, or another user's."""

    def __init__(self, cloud: WholeCloud, user: str = "admin") -> None:
        self._environment = cloud.environments[user] | {"COLUMNS": "200"}

    def run(self, *arguments: str) -> Ended:
        """Run a command in this process, as its console script does."""
        printed, complained, status = io.StringIO(), io.StringIO(), 0
        with (
            alone(self._environment),
            mock.patch.object(sys, "argv", ["renova", *arguments]),
            redirect_stdout(printed),
            redirect_stderr(complained),
        ):
            try:
                run()
            except SystemExit as end:
                status = int(end.code or 0)
        return Ended(status, printed.getvalue(), complained.getvalue())

    def __call__(self, *arguments: str) -> str:
        """Run a command, which must succeed; return what it prints."""
        ended = self.run(*arguments)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))

    def refused(self, *arguments: str) -> str:
        """Run a command, which must fail; return its complaint: one sentence, and no traceback."""
        ended = self.run(*arguments)
        assert ended.returncode == 1, ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
        return ended.stderr


@pytest.fixture
def renova(cloud: WholeCloud) -> Iterator[Renova]:
    yield Renova(cloud)
    cloud.revive()


def state(renova: Renova, host: str) -> str:
    return str(renova.json("host", "show", host)["state"])


def test_hosts_are_listed_and_shown(renova: Renova) -> None:
    found = {host["name"]: host for host in renova.json("host", "list")}
    assert set(found) == {*HOSTS, "storage1"}
    assert {host["state"] for host in found.values()} == {"up"}
    names = [line.split()[1] for line in renova("host", "list").splitlines() if line.startswith("│")]
    assert names == sorted(found)
    shown = renova.json("host", "show", "host1")
    assert (shown["name"], shown["owes"], shown["power_barred"]) == ("host1", [], None)
    assert "There is no host nobody" in renova.refused("host", "show", "nobody")


def test_who_is_no_administrator_is_told_so(cloud: WholeCloud, renova: Renova) -> None:
    demo = Renova(cloud, "demo")
    for command in (
        ("host", "list"),
        ("status",),
        ("proofs",),
        ("duties",),
        ("rehearse", "host1"),
        ("recoveries",),
        ("brake", "release"),
        ("host", "vouch", "host1", "--now"),
    ):
        assert demo.refused(*command).startswith("Only an administrator may do this")
    assert state(renova, "host1") == "up"


def test_recoveries_are_listed_and_the_brake_is_off_where_nobody_died(renova: Renova) -> None:
    assert renova.json("recoveries", "list") == []
    assert "Server" in renova("recoveries")
    assert renova.json("recoveries") == []
    misplaced = renova.run("recoveries", "--state", "up", "show", "web")
    assert (misplaced.returncode, "say it after" in misplaced.stderr) == (2, True), misplaced.stderr
    assert "There is no recovery web" in renova.refused("recoveries", "show", "web")
    assert "The brake is not on" in renova.refused("brake", "release")
    assert renova.json("status")["brake"] is None


def test_a_death_is_rehearsed_and_nobody_dies(cloud: WholeCloud, admin: OpenStack, renova: Renova) -> None:
    admin(f"{CREATE} --host host1 --wait rehearsed")
    found = renova.json("rehearse", "host1")
    [step] = [step for step in found["steps"] if step["name"] == "rehearsed"]
    assert (step["source"], step["outcome"]) == ("host1", "placed")
    assert step["target"] in {*HOSTS} - {"host1"}
    shown = renova("rehearse", "host1")
    assert "rehearsed" in shown
    assert "If host1 died now: " in shown
    assert "Any 1 host may die, and every server finds a place" in renova("rehearse", "--any", "1")
    survival = renova.json("rehearse", "--any", "1")
    assert (survival["survived"], survival["of"]) == (True, len(HOSTS))
    lost = renova.run("rehearse", "--zone", "nova", "--json")
    assert lost.returncode == 1, "a server that finds no place"
    assert json.loads(lost.stdout)["summary"]["unplaceable"] >= 1
    together = renova.run("rehearse", "--any", "10")
    assert (together.returncode, "Not survived: if " in together.stdout) == (1, True)
    assert "There is no host nobody" in renova.refused("rehearse", "nobody")
    assert renova.run("rehearse", "host1", "--any", "1").returncode == 2
    assert state(renova, "host1") == "up"


def test_a_host_that_renews_its_lease_is_not_vouched_dead(renova: Renova) -> None:
    assert "still renews its lease" in renova.refused("host", "vouch", "host1", "--now")
    assert (state(renova, "host1"), renova.json("host", "show", "host1")["proof"]) == ("up", None)


def test_a_host_that_is_cut_off_is_dead_by_an_operators_word_cleans_up_and_its_disks_are_set_aside(
    cloud: WholeCloud, admin: OpenStack, renova: Renova
) -> None:
    admin(f"{CREATE} --host host1 --wait one")
    server = cloud.server("one")["id"]
    cloud.lab.cut("host1")
    cloud.wait(lambda: cloud.service("host1")["state"] == "down", "host1 is not shown down")
    assert "lapses in" in renova.refused("host", "vouch", "host1")
    renova("host", "vouch", "host1", "--now")
    assert state(renova, "host1") == "dead"
    newest = renova.json("proofs")[0]
    assert (newest["host"], newest["kind"], newest["who"]) == ("host1", "operator", "admin")
    assert "operator" in renova("proofs")
    admin("server evacuate one")
    assert cloud.settled("one", "SHUTOFF")["OS-EXT-SRV-ATTR:host"] != "host1"
    assert [debt["server"] for debt in renova.json("host", "show", "host1")["owes"]] == [server]
    assert "is not connected" in renova.refused("host", "clean", "host1")
    cloud.lab.heal("host1")
    cloud.wait(lambda: state(renova, "host1") == "up", "host1 does not come back")
    assert renova.json("host", "clean", "host1", "--wait", "30")["owes"] == []
    assert [each["server"] for each in renova.json("host", "aside", "host1")] == [server]
    assert server in renova("host", "aside", "host1")
    assert [each["status"] for each in cloud.migrations(server)] == ["completed"]


def test_readings_of_a_hosts_power_are_believed_again_when_an_operator_says_so(renova: Renova) -> None:
    assert renova.json("host", "trust-power", "host2")["power_barred"] is None


def test_a_storage_host_that_is_needed_is_not_removed_nor_a_compute_host_this_way(renova: Renova) -> None:
    assert "delete its compute service instead" in renova.refused("host", "remove", "host1")
    assert {host["name"] for host in renova.json("host", "list")} == {*HOSTS, "storage1"}


def test_join_tokens_are_made(renova: Renova) -> None:
    assert len(set(renova.json("host", "join-token", "--count", "3"))) == 3
    assert len(renova("host", "join-token", "--hours", "2").splitlines()) == 1


def test_join_tokens_that_lead_other_hosts_nowhere_are_made_and_said_to_do_so(renova: Renova) -> None:
    ended = renova.run("host", "join-token")  # this cloud's controllers serve agents on 127.0.0.1
    assert (ended.returncode, len(ended.stdout.splitlines())) == (0, 1)
    assert ended.stderr.startswith("These tokens are good on the controller's own machine only: they say 127.0.0.1:")


def test_duties_are_shown_and_done(renova: Renova) -> None:
    duties = {each["name"]: each for each in renova.json("duties")}
    for name, before in duties.items():
        (done,) = renova.json("duty", "run", name)
        assert (done["name"], done["error"]) == (name, None)
        assert done["rounds"] > before["rounds"]
    assert "There is no duty nonsense" in renova.refused("duty", "run", "nonsense")


def test_a_new_era_begins_on_hold_and_goes_on_when_all_hosts_have_said_what_they_run(
    cloud: WholeCloud, admin: OpenStack, renova: Renova
) -> None:
    admin(f"{CREATE} --wait one")
    before = renova.json("status")
    assert before["hold"] is None
    assert renova.json("database", "restored")["era"] == before["era"] + 1
    cloud.wait(lambda: renova.json("status")["hold"] is None, "the hold does not end")
    assert renova.json("status")["era"] == before["era"] + 1
    assert cloud.settled("one")["OS-EXT-SRV-ATTR:host"] in HOSTS
    complaint = renova.refused("database", "keep", cloud.server("one")["id"], "host1")
    assert "several hosts" in complaint or "not" in complaint


def test_a_cloud_whose_file_is_gone_says_so(cloud: WholeCloud, renova: Renova, tmp_path: Path) -> None:
    file = cloud.lab.home.cloud_json
    kept = file.read_bytes()
    file.unlink()
    try:
        ended = renova.run("lab", "status")
        assert ended.returncode == 2
        assert ended.stderr.startswith(f"{file} is gone, but processes of this cloud run: controller (pid ")
    finally:
        file.write_bytes(kept)
    assert blueprint.read(cloud.lab.home) == cloud.lab.plan
    assert renova.json("lab", "status")["answers"] is True
