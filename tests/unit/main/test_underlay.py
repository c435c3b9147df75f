"""A host finds its address on the network that joins the hosts by any controller, and waits for that network."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from renova.main.ending import run_to_status
from renova.main.underlay import underlay_address
from renova.model.errors import BadSetup, CloudError, NotNow
from renova.model.ids import HostId
from renova.settings import AgentSettings
from renova.uplink.identity import Identity, authority_file, certificate_file, identity_file, key_file

AWAY = "[::1]:8775"  # hosts are joined over IPv4: to this one no address leads, with the network there or not
HERE = "127.0.0.1:8775"


def test_any_controller_that_an_address_leads_to_tells_which_it_is() -> None:
    assert underlay_address(AgentSettings(), [AWAY, HERE]) == "127.0.0.1"


def test_a_network_that_is_not_there_yet_may_come() -> None:
    with pytest.raises(NotNow, match=re.escape(AWAY) + r".*RENOVA_CONTROLLERS and RENOVA_UNDERLAY_DEVICE"):
        underlay_address(AgentSettings(), [AWAY, "no port"])


@pytest.mark.parametrize("controllers", [[], ["no port"], ["127.0.0.1:99999"], ["255.255.255.255:1", "no port"]])
def test_what_can_be_no_controllers_address_has_to_be_set_otherwise(controllers: list[str]) -> None:
    with pytest.raises(BadSetup, match=r"RENOVA_CONTROLLERS|RENOVA_JOIN_TOKEN_FILE"):
        underlay_address(AgentSettings(), controllers)


@pytest.mark.parametrize(("error", "status"), [(BadSetup("Set it."), 2), (NotNow("It is away."), 1)])
def test_a_service_manager_learns_whether_to_start_it_again(
    error: CloudError, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def serve() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run_to_status(serve)
    assert ended.value.code == status
    assert capsys.readouterr().err == f"{error}\n"


@pytest.mark.slow
def test_an_agent_that_starts_before_the_network_waits_for_it(tmp_path: Path) -> None:
    for file in (key_file(tmp_path), certificate_file(tmp_path), authority_file(tmp_path)):
        file.write_text("not looked at before there is a network")
    identity_file(tmp_path).write_bytes(msgspec.json.encode(Identity(HostId("id"), "host", (AWAY,))))
    settings = tmp_path / "agent.toml"
    settings.write_text(f'name = "host"\nstate_dir = "{tmp_path}"\n')
    agent = subprocess.Popen(
        [sys.executable, "-m", "renova.main.agent_process", str(settings)], stderr=subprocess.PIPE, text=True
    )
    assert agent.stderr is not None
    said = msgspec.json.decode(agent.stderr.readline())
    assert said["event"] == "no way to a controller"
    agent.send_signal(signal.SIGTERM)
    _, more = agent.communicate(timeout=30)
    assert (more, agent.returncode) == ("", -signal.SIGTERM), "it says it once, and goes on trying"
