"""The units that come with Renova: systemd takes them, and they run commands that exist."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from renova.main.commands import app

UNITS = sorted((Path(__file__).parents[2] / "packaging" / "systemd").iterdir())
RENOVA = "/opt/renova/bin/renova"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here to ask")
def test_systemd_finds_nothing_wrong_with_them(tmp_path: Path) -> None:
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace(RENOVA, sys.executable))
    copies = [str(tmp_path / unit.name) for unit in UNITS]
    said = subprocess.run(["systemd-analyze", "verify", *copies], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_commands_they_run_exist(unit: Path) -> None:
    commands = re.findall(rf"^Exec\w+={RENOVA} (.+)$", unit.read_text(), re.MULTILINE)
    assert commands
    for words in commands:
        command: Any = typer.main.get_command(app)
        for word in words.split():
            if word.startswith("-") or not hasattr(command, "commands"):
                break
            command = command.commands[word]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words.split() if word.startswith("-")} <= options
