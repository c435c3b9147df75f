"""The agent's side of a gate, on real processes held by signals: for that no rights are needed."""

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from renova.drivers.guard.enclosure import WORK, guest_group
from renova.drivers.guard.listed import Listed
from renova.drivers.hypervisor.behind_gate import BehindGate, GateClosed, qemu_of
from renova.drivers.hypervisor.qemu_img import Inside, run_program
from renova.lab.processes import wait_until
from renova.model.clock import SystemClock
from renova.model.errors import NotNow
from renova.model.ids import ServerId

LIMIT_S = 10.0
SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def enclosure(tmp_path: Path) -> Listed:
    made = Listed(tmp_path / "gate")
    made.make()
    return made


@pytest.fixture
def run() -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Has a process run that was told these words, as a QEMU would be, until the end of the test."""
    processes: list[subprocess.Popen[bytes]] = []

    def begin(*words: str, inside: Inside = list) -> "subprocess.Popen[bytes]":
        begun = subprocess.Popen(inside([sys.executable, "-S", "-c", SLEEP, *words]))
        processes.append(begun)
        # It has begun a moment before the kernel tells what it was told.
        said = Path(f"/proc/{begun.pid}/cmdline")
        wait_until(lambda: SLEEP.encode() in said.read_bytes(), LIMIT_S, "the process is not there", pause=0.01)
        return begun

    yield begin
    for process in processes:
        process.kill()
        process.wait()


def a_server() -> ServerId:
    return ServerId(str(uuid.uuid4()))


def test_a_guest_is_put_in_under_its_server_and_incarnation(
    enclosure: Listed, run: Callable[..., "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    server = a_server()
    qemu = run("-uuid", server)
    (tmp_path / "instance-1.pid").write_text(f"{qemu.pid}\n")
    gate = BehindGate(enclosure, lambda domain, of: qemu_of(domain, of, tmp_path))
    gate.admit("instance-1", server, 7)
    assert enclosure.groups()[guest_group(server, 7)] == [qemu.pid]


def test_a_pid_that_somebody_else_has_by_now_is_not_put_in(
    enclosure: Listed, run: Callable[..., "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    (tmp_path / "instance-1.pid").write_text(f"{run('-uuid', a_server()).pid}\n")
    gate = BehindGate(enclosure, lambda domain, of: qemu_of(domain, of, tmp_path))
    for domain in ("instance-1", "instance-2"):
        with pytest.raises(NotNow, match="has ended"):
            gate.admit(domain, a_server(), 1)
    assert not any(enclosure.groups().values())


def test_a_closed_gate_lets_no_guest_go_on(enclosure: Listed) -> None:
    gate = BehindGate(enclosure)
    gate.must_be_open()
    enclosure.freeze()
    with pytest.raises(GateClosed, match="no lease"):
        gate.must_be_open()


def test_only_the_servers_own_guests_are_killed(
    enclosure: Listed, run: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    server = a_server()
    old, newer, other = run(), run(), run()
    enclosure.admit(guest_group(server, 1), old.pid)
    enclosure.admit(guest_group(server, 2), newer.pid)
    enclosure.admit(guest_group(a_server(), 1), other.pid)
    BehindGate(enclosure).kill(server)
    assert old.wait(LIMIT_S) < 0
    assert newer.wait(LIMIT_S) < 0
    assert other.poll() is None


async def test_what_a_former_agent_left_running_is_ended_before_anything_begins(
    enclosure: Listed, run: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    guest, left = run(), run(inside=enclosure.argv_inside)
    enclosure.admit(guest_group(a_server(), 1), guest.pid)
    wait_until(lambda: bool(enclosure.groups()[WORK]), LIMIT_S, "the program is not behind the gate")
    await BehindGate(enclosure).end_work(SystemClock())
    assert left.wait(LIMIT_S) < 0
    assert guest.poll() is None


async def test_a_program_that_writes_disks_runs_behind_the_gate(enclosure: Listed, tmp_path: Path) -> None:
    code = "import pathlib, sys; print(sorted(each.name for each in pathlib.Path(sys.argv[1]).iterdir()))"
    work = str(enclosure.path / WORK)
    said = await run_program(sys.executable, "-S", "-c", code, work, inside=enclosure.argv_inside)
    assert said.strip() != b"[]"


async def test_a_gate_that_cannot_be_used_lets_nothing_begin(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()  # no directory
    gate = BehindGate(Listed(tmp_path / "gate"))
    with pytest.raises(NotNow, match="gate cannot be used"):
        gate.make()
