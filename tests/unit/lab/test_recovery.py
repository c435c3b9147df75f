"""What a campaign of dying hosts makes of what it saw."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from renova.lab import processes
from renova.lab.home import Home
from renova.lab.recovery.campaign import Report, deaths_table
from renova.lab.recovery.deaths import Death
from renova.lab.recovery.lives import Life, Lives, gaps

SERVER = "3b1f6d0c-0000-4000-8000-000000000001"
DEATH = Death(
    kind="lease",
    host="host1",
    boots_s=20.0,
    begun_s=34.0,
    up_s=60.0,
    longer_s=40.0,
    limit_s=55.0,
    stages={"detect": 5.0, "prove": 28.0, "plan": 0.1, "start": 0.2, "up": 25.0},
    gap_s=33.5,
    wrong=[],
)


def test_lives_overlap_when_one_begins_before_the_former_has_ended() -> None:
    first, second = Life(SERVER, "host1", 1, 10.0, 20.0), Life(SERVER, "host2", 2, 32.0)
    assert gaps([first, second]) == [12.0]
    assert gaps([first, Life(SERVER, "host2", 2, 19.9)])[0] < 0
    assert gaps([second, Life(SERVER, "host1", 3, 50.0)])[0] < 0, "one that has not ended overlaps with all later ones"


def test_a_campaign_has_kept_its_promises_unless_one_was_broken_or_it_failed() -> None:
    assert Report([DEATH]).kept
    assert not Report([DEATH], failure="host1 did not come back").kept
    broken = Report([msgspec.structs.replace(DEATH, wrong=["twice"])])
    assert not broken.kept
    assert broken.wrong == ["twice"]
    late = Report([msgspec.structs.replace(DEATH, longer_s=55.5)])
    assert not late.kept
    assert "55.5 s later" in late.late[0]
    assert not late.wrong


def test_the_table_has_medians_and_the_worst_of_each_kind() -> None:
    slower = msgspec.structs.replace(DEATH, longer_s=46.0)
    console = Console(width=250)
    with console.capture() as captured:
        console.print(deaths_table([DEATH, slower]))
    assert "43.0 s (46.0)" in captured.get()
    assert "kept" in captured.get()


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[tuple[Home, "subprocess.Popen[bytes]"]]:
    """A process that calls itself a guest's QEMU, on a host that is in our own namespace of pids."""
    home = Home(tmp_path)
    here = processes.identify(os.getpid())
    assert here is not None
    processes.record(home.pid_file("host-host1"), here)
    sleeping = "import sys, time; sys.stdout.write('x'); sys.stdout.flush(); time.sleep(100)"
    argv = ["qemu-system-none", "-c", sleeping, "-uuid", SERVER, "-S"]
    with subprocess.Popen(argv, executable=sys.executable, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        yield home, process
        process.kill()


def test_a_life_is_from_the_start_of_its_process_until_that_has_ended(
    guest: tuple[Home, "subprocess.Popen[bytes]"],
) -> None:
    home, process = guest
    lives = Lives(home, ["host1"])
    lives.look()
    [life] = lives.of_now(SERVER)
    assert (life.host, life.pid) == ("host1", process.pid)
    process.kill()
    process.wait()
    lives.look()
    [life] = lives.of(SERVER)
    assert life.ended_s is not None
    assert life.ended_s >= life.began_s
