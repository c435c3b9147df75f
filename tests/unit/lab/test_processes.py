"""Processes of the lab, with real ones that only sleep."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from renova.lab import processes
from renova.lab.processes import Process
from renova.model.errors import NotNow


@pytest.fixture
def pid_file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "run" / "sleeper.pid"
    yield path
    processes.stop(path, limit=0)


def start(pid_file: Path, *argv: str) -> Process:
    return processes.start(pid_file, argv or ("sleep", "60"), pid_file.with_suffix(".log"))


def test_a_started_process_is_found_again_by_its_file(pid_file: Path) -> None:
    process = start(pid_file)
    assert processes.running(pid_file) == process
    assert os.getsid(process.pid) == process.pid  # does not end with our terminal


def test_a_stopped_process_is_gone_with_its_file(pid_file: Path) -> None:
    process = start(pid_file)
    processes.stop(pid_file)
    assert not process.alive()
    assert not pid_file.exists()
    processes.stop(pid_file)


def test_a_pid_that_somebody_else_got_is_not_ours(pid_file: Path) -> None:
    stranger = start(pid_file)
    processes.record(pid_file, Process(stranger.pid, stranger.started - 1))
    assert processes.running(pid_file) is None
    processes.stop(pid_file)
    assert stranger.alive()
    stranger.kill()


def test_a_process_deaf_to_term_is_killed(pid_file: Path) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    process = start(pid_file, sys.executable, "-c", deaf)
    log = pid_file.with_suffix(".log")
    processes.wait_until(lambda: "deaf" in log.read_text(), 20, "never said it was deaf")
    processes.stop(pid_file, limit=0.1)
    assert not process.alive()


def test_what_a_dead_leader_started_is_stopped_too(pid_file: Path) -> None:
    leader = start(pid_file, "sh", "-c", "sleep 60 & echo $!; wait")
    log = pid_file.with_suffix(".log")
    processes.wait_until(lambda: log.read_text().endswith("\n"), 20, "no child")
    child = processes.identify(int(log.read_text()))
    assert child is not None
    leader.kill()
    assert child.alive()
    processes.stop(pid_file)
    assert not child.alive()


def test_a_zombie_is_dead() -> None:
    child = subprocess.Popen(["sleep", "60"])
    process = processes.identify(child.pid)
    assert process is not None
    os.kill(child.pid, signal.SIGKILL)
    assert process.wait(10)  # nobody has reaped it yet
    assert not process.alive()
    assert processes.identify(child.pid) is None
    child.wait()


def test_waiting_for_a_living_process_ends_at_the_limit(pid_file: Path) -> None:
    assert not start(pid_file).wait(0.01)


def test_a_program_that_does_not_exist_leaves_its_reason_in_the_log(pid_file: Path) -> None:
    log = pid_file.with_suffix(".log")
    try:
        start(pid_file, "/no/such/program")
    except NotNow:
        pass  # it may be gone before we look
    processes.wait_until(lambda: processes.running(pid_file) is None, 20, "still there")
    assert "/no/such/program" in processes.last_lines(log)


def test_a_descriptor_can_be_passed_on(pid_file: Path, tmp_path: Path) -> None:
    written = tmp_path / "written"
    with written.open("w") as file:
        os.set_inheritable(file.fileno(), True)
        argv = [sys.executable, "-c", f"import os; os.write({file.fileno()}, b'passed')"]
        processes.start(pid_file, argv, tmp_path / "log", pass_fds=[file.fileno()])
    processes.wait_until(lambda: written.read_text() == "passed", 20, "nothing was written")


def test_names_with_brackets_do_not_confuse(pid_file: Path, tmp_path: Path) -> None:
    program = tmp_path / "a) Z (b"
    program.symlink_to("/bin/sleep")
    assert start(pid_file, str(program), "60").alive()


def test_a_state_that_never_comes_is_told() -> None:
    with pytest.raises(NotNow, match="the moon fell"):
        processes.wait_until(lambda: False, 0.01, "the moon fell")


def test_a_process_lives_as_long_as_any_of_its_threads(pid_file: Path) -> None:
    ends_first = "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); "
    process = start(pid_file, sys.executable, "-c", ends_first + "ctypes.CDLL(None).pthread_exit(None)")
    state = Path(f"/proc/{process.pid}/stat")
    processes.wait_until(lambda: ") Z " in state.read_text(), 20, "its first thread did not end")
    assert process.alive()
    assert not process.wait(0)
    process.kill()
    assert not process.alive()


def test_a_process_has_its_programs_name_until_it_is_dead(pid_file: Path) -> None:
    process = start(pid_file)
    assert process.name() == "sleep"
    process.kill()
    assert process.name() is None
