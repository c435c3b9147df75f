"""How a process is seen to stand still, on real ones."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from renova.drivers.guard.process import is_stopped, signal_to, stands_still, works_while_held
from renova.lab.processes import wait_until

LIMIT_S = 10.0
KTHREADD, NOBODY = 2, 1 << 22


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(["sleep", "600"])
    wait_until(lambda: state(process.pid) == "S", LIMIT_S, "it does not sleep")
    yield process
    process.kill()
    process.wait()


def stat(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text()


def state(pid: int) -> str:
    return stat(pid).rsplit(") ", 1)[1][0]


def test_who_only_sleeps_does_not_stand_still_unless_the_kernel_confirms_it(sleeper: "subprocess.Popen[bytes]") -> None:
    assert not stands_still(sleeper.pid, confirmed=False)
    assert stands_still(sleeper.pid, confirmed=True)


def test_who_runs_does_not_stand_still_whatever_the_kernel_confirms() -> None:
    assert not stands_still(os.getpid(), confirmed=True)


def test_who_was_stopped_stands_still_until_told_to_go_on(sleeper: "subprocess.Popen[bytes]") -> None:
    signal_to(sleeper.pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(sleeper.pid), LIMIT_S, "it was not stopped")
    assert stands_still(sleeper.pid, confirmed=False)
    signal_to(sleeper.pid, signal.SIGCONT)
    wait_until(lambda: not stands_still(sleeper.pid, confirmed=False), LIMIT_S, "it did not go on")


def test_who_is_gone_stands_still_and_who_cannot_be_seen_does_not(sleeper: "subprocess.Popen[bytes]") -> None:
    assert not stands_still(0, confirmed=True)  # so the kernel names who is in another pid namespace
    sleeper.kill()
    assert sleeper.wait(LIMIT_S) < 0
    assert stands_still(sleeper.pid, confirmed=False)
    assert not is_stopped(sleeper.pid)
    signal_to(sleeper.pid, signal.SIGSTOP)


def test_a_thread_of_the_kernel_is_not_waited_for() -> None:
    if "(kthreadd)" not in stat(KTHREADD):
        pytest.skip("no thread of the kernel can be seen here")
    assert stands_still(KTHREADD, confirmed=False)


def test_who_has_a_device_of_the_hosts_open_works_on_while_it_is_held(tmp_path: Path) -> None:
    device = tmp_path / "vfio" / "17"
    device.parent.mkdir()
    device.touch()
    assert not works_while_held(os.getpid(), (f"{device.parent}/",))
    with device.open():
        assert works_while_held(os.getpid(), (f"{device.parent}/",))
    assert not works_while_held(NOBODY)
