"""`renova guard test` and `close-gate` as an operator and a service manager run them, on gates of their own."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from renova.lab.processes import wait_until
from renova.lab.programs import environment

from .gates import LIMIT_S, RealGateBench, an_enclosure


@pytest.fixture(params=["cgroup2", "cgroup", "listed"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealGateBench]:
    with an_enclosure(request.param, tmp_path) as enclosure:
        made = RealGateBench(enclosure, tmp_path)
        yield made
        made.end()


def renova(bench: RealGateBench, *arguments: str) -> "subprocess.CompletedProcess[str]":
    settings = {"RENOVA_GATE": str(bench.enclosure.path), "RENOVA_STATE_DIR": str(bench.enclosure.path)}
    argv: Sequence[str] = [sys.executable, "-m", "renova.main", "guard", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, env=environment() | settings, timeout=60, check=False)


async def test_a_trial_shows_that_the_gate_works(bench: RealGateBench) -> None:
    guest = await bench.guest()
    before = guest.counts()
    done = renova(bench, "test", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert found["works"]
    assert [stage["seen"] for stage in found["stages"]] == [True] * 5
    assert found["class"] in "ABCV"
    assert found["reasons"]
    assert not found["closed"]
    assert guest.alive()
    wait_until(lambda: guest.counts() > before, LIMIT_S, "the guest stands still")
    assert not bench.enclosure.path.with_name(f"{bench.enclosure.path.name}-trial").exists()


def test_the_class_and_its_reasons_are_said_to_people(bench: RealGateBench) -> None:
    said = renova(bench, "test").stdout
    assert said.startswith("Class ")
    assert f"held by {bench.enclosure.holds_by}" in said


def test_a_gate_that_cannot_be_tried_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    bad = environment() | {"RENOVA_GATE": str(tmp_path / "file" / "gate")}
    argv = [sys.executable, "-m", "renova.main", "guard", "test"]
    done = subprocess.run(argv, capture_output=True, text=True, env=bad, timeout=60, check=False)
    assert done.returncode != 0
    assert "no gate can be tried" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_service_manager_closes_the_gate_of_a_guard_that_has_died(bench: RealGateBench) -> None:
    guest = await bench.guest()
    done = renova(bench, "close-gate")
    assert done.returncode == 0, done.stderr
    assert not guest.executes()
    assert await bench.gate.is_closed()
    assert guest.alive()
