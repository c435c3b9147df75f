"""Reading what processes spend: with real processes, and never with expectations of how fast they are."""

import os
import subprocess
import time

import pytest
from bench.meter import Meter, cpu_seconds, memory


def test_a_process_that_works_is_seen_to_work() -> None:
    with Meter({"me": os.getpid()}).spent() as spent:
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass
    assert spent.cpu["me"] >= 0.02


def test_a_process_that_sleeps_is_not() -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        try:
            before = cpu_seconds(sleeper.pid)
            assert cpu_seconds(sleeper.pid) - before < 0.01
        finally:
            sleeper.kill()


def test_a_process_that_is_gone_is_said_to_be_gone() -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    with pytest.raises(ProcessLookupError):
        cpu_seconds(gone.pid)


def test_shared_memory_counts_in_part() -> None:
    found = memory(os.getpid())
    assert 0 < found.pss <= found.rss
