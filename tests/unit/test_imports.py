"""What each process may need to have installed."""

import subprocess
import sys

import pytest

WITHOUT = "import sys; sys.modules['{missing}'] = None; import {module}"


def loads(module: str, missing: str) -> bool:
    """Say whether the module loads where something is not installed."""
    argv = [sys.executable, "-W", "error", "-c", WITHOUT.format(missing=missing, module=module)]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    ["renova.main.simulated_process", "renova.main.controller_process", "renova.main.commands", "renova.lab.cloud"],
)
def test_a_simulated_cloud_needs_no_libvirt(module: str) -> None:
    assert loads(module, "libvirt")


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["sqlalchemy", "starlette", "oslo_policy", "typer", "uvloop"])
def test_an_agent_carries_nothing_of_a_controller(missing: str) -> None:
    assert loads("renova.main.agent_process", missing)
