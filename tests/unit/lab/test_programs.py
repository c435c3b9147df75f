"""Settings written for a process are read by it as they were meant."""

import tomllib
from pathlib import Path

import pytest

from renova.lab.controller import lease_times
from renova.lab.programs import environment, settings_text, write_settings
from renova.model.errors import BadSetup
from renova.settings import ControllerSettings, LeaseTimes, load


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    values = {
        "state_dir": '/home/quo"te/back\\slash/ünïcode',
        "api_port": 9774,
        "agents_names": ["172.31.77.254", "localhost"],
        "lease": {"renew": 1.0, "ttl": 5.0, "margin": 12.0, "failover": 0.0},
    }
    file = tmp_path / "settings.toml"
    write_settings(file, values)
    assert tomllib.loads(file.read_text()) == values
    assert file.stat().st_mode & 0o777 == 0o600
    settings = load(ControllerSettings, file, {})
    assert (settings.state_dir, settings.lease.ttl) == (values["state_dir"], 5.0)


def test_what_toml_has_no_word_for_is_refused() -> None:
    with pytest.raises(BadSetup, match="cannot be written"):
        settings_text({"state_dir": None})


@pytest.mark.parametrize("hosts", [1, 3, 250, 1000, 10_000])
def test_lease_times_are_safe_for_every_size_of_cloud(hosts: int) -> None:
    LeaseTimes(**lease_times(hosts)).check()


def test_processes_do_not_inherit_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENOVA_API_PORT", "1")
    monkeypatch.setenv("OS_PASSWORD", "other cloud")
    monkeypatch.setenv("LANG", "C.UTF-8")
    assert environment()["LANG"] == "C.UTF-8"
    assert not [name for name in environment() if name.startswith(("RENOVA_", "OS_"))]
