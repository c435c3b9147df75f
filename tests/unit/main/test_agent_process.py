"""What keeps an agent from starting is told with what has to be done; what may pass, it waits for."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import renova
from renova.main.agent_process import firmware_uuid, nbd_ports
from renova.model.errors import BadSetup
from renova.settings import AgentSettings
from tests.agent.authority import Authority


def test_a_storage_host_serves_on_as_many_ports_as_it_is_told() -> None:
    assert nbd_ports(AgentSettings()) == range(10809, 11809)
    assert nbd_ports(AgentSettings(nbd_port=65535, nbd_ports=1)) == range(65535, 65536)
    with pytest.raises(BadSetup, match="nbd_ports"):
        nbd_ports(AgentSettings(nbd_port=65535, nbd_ports=2))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("4C4C4544-0051-3610-8052-B4C04F4E3233\n", "4c4c4544-0051-3610-8052-b4c04f4e3233"),
        ("00000000-0000-0000-0000-000000000000\n", ""),
        ("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF\n", ""),
        ("Not Settable\n", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_a_machine_is_known_by_what_its_firmware_tells_if_that_is_its_own(
    tmp_path: Path, content: str | None, told: str
) -> None:
    file = tmp_path / "product_uuid"
    if content is not None:
        file.write_text(content)
    assert firmware_uuid(file) == told


WITHOUT_LIBVIRT = """
import runpy, sys
sys.modules["libvirt"] = None  # as if it were not installed
runpy.run_module("renova.main.agent_process", run_name="__main__")
"""


@pytest.mark.slow
def test_an_agent_without_libvirt_says_how_to_have_it(tmp_path: Path) -> None:
    Authority().enrol(tmp_path, "compute1")
    settings = {"RENOVA_STATE_DIR": str(tmp_path), "RENOVA_NAME": "compute1"}
    environment = {"PATH": os.defpath, "PYTHONPATH": str(Path(renova.__file__).parents[1]), **settings}
    argv = [sys.executable, "-c", WITHOUT_LIBVIRT]
    ended = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("The agent of a host with guests needs libvirt's Python module (")
    assert ended.stderr.endswith("): run script/bootstrap as root, without --simulated.\n")


@pytest.mark.slow
def test_an_agent_waits_for_the_storage_that_its_host_had(tmp_path: Path) -> None:
    state, volumes = tmp_path / "state", tmp_path / "volumes"
    state.mkdir()
    Authority().enrol(state, "storage1")
    (state / "volumes-storage").write_text("the-one-that-was-mounted\n")
    volumes.mkdir()
    settings = tmp_path / "agent.toml"
    settings.write_text(f'name = "storage1"\nrole = "storage"\nstate_dir = "{state}"\nvolumes_dir = "{volumes}"\n')
    agent = subprocess.Popen(
        [sys.executable, "-m", "renova.main.agent_process", str(settings)], stderr=subprocess.PIPE, text=True
    )
    try:
        assert agent.stderr is not None
        said = dict[str, str]()
        while said.get("event") != "storage not opened":
            said = msgspec.json.decode(agent.stderr.readline())
        assert "the-one-that-was-mounted" in said["reason"]
        assert f"remove {state / 'volumes-storage'}" in said["reason"]
        assert list(volumes.iterdir()) == []
        assert agent.poll() is None
    finally:
        agent.terminate()
        agent.communicate(timeout=30)
