"""The benchmark as it is called: on a cloud of its own, which it leaves nothing of."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from renova.lab.processes import wait_until

ROOT = Path(__file__).parents[3]
LIMIT_S = 130  # for a machine that has much else to do


def bench(temporary: Path, *arguments: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "TMPDIR": str(temporary)}
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def of_it(temporary: Path) -> list[str]:
    """List the processes that name the directory in their command line."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(temporary) in words:
            found.append(words)
    return found


@pytest.mark.slow
def test_it_measures_a_cloud_and_leaves_nothing(tmp_path: Path) -> None:
    with bench(tmp_path, "list-50", "--hosts", "2", "--json") as run:
        output, errors = run.communicate(timeout=LIMIT_S)
    assert run.returncode == 0, errors
    figures = {figure["what"]: figure for figure in json.loads(output)["figures"]}
    assert {"CPU, controller", "wait, p50", "wait, p99"} <= figures.keys()
    assert figures["CPU, controller"]["value"] > 0
    assert of_it(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_told_to_end_it_ends_its_cloud_first(tmp_path: Path, told: signal.Signals) -> None:
    with bench(tmp_path, "show", "--hosts", "2") as run:
        wait_until(lambda: any("simulated-hosts" in words for words in of_it(tmp_path)), LIMIT_S, "no cloud was begun")
        run.send_signal(told)
        run.communicate(timeout=LIMIT_S)
    assert run.returncode != 0
    assert of_it(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("nothing",), ("--against", "http://127.0.0.1:9/identity/v3")])
def test_what_cannot_be_measured_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with bench(tmp_path, *arguments) as run:
        output, errors = run.communicate(timeout=LIMIT_S)
    assert (run.returncode, output, errors.count("\n")) == (2, "", 1)
