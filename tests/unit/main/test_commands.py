"""The command line: what it says when something is wrong, and what it does not load."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from renova.main.commands import app
from renova.main.lab_commands import lab


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "renova.main", *arguments]
    return subprocess.run(
        argv, env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_version_is_printed() -> None:
    assert CliRunner().invoke(app, ["version"]).stdout.startswith("renova 0.")


LAB_COMMANDS = [command.name or str(getattr(command.callback, "__name__", "")) for command in lab.registered_commands]


@pytest.mark.parametrize("name", LAB_COMMANDS)
def test_every_lab_command_has_help_and_an_example(name: str) -> None:
    result = CliRunner().invoke(app, ["lab", name, "--help"])
    assert result.exit_code == 0
    assert f"Example: renova lab {name}" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("lab", "status"), "There is no cloud in "),
        (("lab", "down"), "There is no cloud in "),
        (("lab", "up", "--hosts", "0"), "A real cloud has 1 to 252 hosts, not 0."),
        (("controller", "--config", "/nowhere.toml"), "The settings file /nowhere.toml cannot be read "),
        (("agent", "--config", "/nowhere.toml"), "The settings file /nowhere.toml cannot be read "),
        (("host", "list"), "No session with a cloud "),
    ],
)
def test_what_has_to_be_set_up_first_is_one_sentence_and_status_2(
    arguments: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    ended = run(*arguments, RENOVA_HOME=str(tmp_path / "home"), HOME=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(sentence)
    assert len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("module", "alien"),
    [
        ("renova.main.agent_process", "sqlalchemy"),
        ("renova.main.agent_process", "starlette"),
        ("renova.main.agent_process", "openstack"),
        ("renova.main.controller_process", "libvirt"),
        ("renova.main.commands", "sqlalchemy"),
        ("renova.main.commands", "openstack"),
        ("renova.lab.power_switch", "openstack"),
        ("renova.lab.power_switch", "typer"),
    ],
)
def test_a_process_does_not_carry_what_others_need(module: str, alien: str) -> None:
    script = f"import {module}, sys; sys.exit({alien!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
