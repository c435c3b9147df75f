"""Fence agents: believed only when they are clear, and told what is secret where nobody else hears it."""

from pathlib import Path

import pytest

from renova.aside import Aside
from renova.lab.bmc import USER
from renova.model.errors import Invalid, NotNow
from renova.model.power import Reading
from renova.power import HostPower
from renova.power.fence_agents import FenceAgentSwitch
from tests.contract.bmc import PASSWORD, Bmc, fence_redfish, needs_fence_agents

AGENT = "fence_tests_own"


def agent(directory: Path, body: str) -> FenceAgentSwitch:
    """Return the switch of an agent with this body, that keeps what it was told."""
    program = directory / AGENT
    program.write_text(f'#!/bin/sh\ncat > {directory}/told\nprintf "%s|" "$@" > {directory}/argv\n{body}\n')
    program.chmod(0o755)
    secrets = {"password": PASSWORD}
    return FenceAgentSwitch(
        "10.0.0.7", USER, {"agent": AGENT, "plug": "3"}, secrets, Aside(), path=str(directory) + ":/usr/bin:/bin"
    )


@pytest.mark.parametrize(
    ("body", "reading"),
    [
        ("echo 'Status: ON'", Reading.ON),
        ("echo 'Status: OFF'; exit 2", Reading.OFF),
        ("exit 2", Reading.UNKNOWN),  # as a shell ends that does not understand its script
        ("echo 'usage: fence [-h]' >&2; exit 2", Reading.UNKNOWN),
        ("echo 'Status: OFF'", Reading.UNKNOWN),
        ("echo 'Status: ON'; exit 2", Reading.UNKNOWN),
        ("echo 'Status: OFF'; echo 'Status: ON'; exit 2", Reading.UNKNOWN),
        ("echo 'Status: OFF'; exit 1", Reading.UNKNOWN),
        ("echo 'Status: OFF'; kill -9 $$", Reading.UNKNOWN),
        ("echo 'Status: POWERING OFF'; exit 2", Reading.UNKNOWN),
        ("", Reading.UNKNOWN),
        ("exit 1", Reading.UNKNOWN),
    ],
)
async def test_a_fence_agent_is_believed_only_when_it_says_it_twice(
    tmp_path: Path, body: str, reading: Reading
) -> None:
    assert (await HostPower(agent(tmp_path, body), by="").read()).reading is reading


async def test_what_is_secret_goes_to_a_fence_agent_by_its_standard_input_only(tmp_path: Path) -> None:
    switch = agent(tmp_path, f"env > {tmp_path}/env; tr '\\n' ' ' < {tmp_path}/told; exit 1")
    with pytest.raises(NotNow) as caught:
        await switch.switch_off()
    assert f"password={PASSWORD}\n" in (tmp_path / "told").read_text()
    assert "action=off\nplug=3\n" in (tmp_path / "told").read_text()
    assert (tmp_path / "argv").read_text() == "|"
    assert PASSWORD not in (tmp_path / "env").read_text()
    assert "ended off with status 1" in str(caught.value)
    assert PASSWORD not in str(caught.value), "it repeats what it was told"


@pytest.mark.parametrize(
    ("address", "options", "secrets", "why"),
    [
        ("a", {}, {}, "names the program"),
        ("a", {"agent": "../fence_x"}, {}, "names the program"),
        ("a", {"agent": "sh"}, {}, "names the program"),
        ("a\naction=on", {"agent": "fence_x"}, {}, "line's end"),
        ("a", {"agent": "fence_x", "action": "on"}, {}, "cannot be given"),
        ("a", {"agent": "fence_x", "debug_file": "/etc/x"}, {}, "cannot be given"),
        ("a", {"agent": "fence_x", "a=b": "1"}, {}, "cannot be given"),
        ("a", {"agent": "fence_x", "passwd": "1"}, {}, "as a secret"),
        ("a", {"agent": "fence_x"}, {"password": "1\naction=on"}, "line's end"),
    ],
)
def test_what_would_tell_a_fence_agent_something_else_is_refused(
    address: str, options: dict[str, str], secrets: dict[str, str], why: str
) -> None:
    with pytest.raises(Invalid, match=why):
        FenceAgentSwitch(address, "", options, secrets, Aside())


@needs_fence_agents
async def test_a_fence_agents_word_is_checked_against_what_it_says_of_itself(a_bmc: Bmc) -> None:
    await fence_redfish(a_bmc).check()
    with pytest.raises(Invalid, match="takes no plugg"):
        await fence_redfish(a_bmc, plugg="3").check()
    with pytest.raises(Invalid, match="guests would run on"):
        await FenceAgentSwitch("", "", {"agent": "fence_scsi"}, {}, Aside()).check()


@needs_fence_agents
async def test_a_wrong_password_is_no_reading_and_is_shown_nowhere(a_bmc: Bmc) -> None:
    said = await fence_redfish(a_bmc, {"password": "w0rds that are wrong"}).read()
    assert said.reading is Reading.UNKNOWN
    assert "w0rds that are wrong" not in said.why


async def test_an_agent_that_is_not_installed_is_said_to_be_missing() -> None:
    with pytest.raises(NotNow, match="not installed"):
        await FenceAgentSwitch("", "", {"agent": "fence_nothing_at_all"}, {}, Aside()).read()
