"""Hosts whose power a BMC switches, and whose guests nothing stops."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.bmc import needs_fence_agents
from tests.live.dying import Scene, scene

pytestmark = [
    pytest.mark.live,
    pytest.mark.first,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.takes_turns("how a dead host is proven so", "BMC"),
]


@pytest.fixture(scope="module")
def unarmed(tmp_path_factory: pytest.TempPathFactory, guest_image_path: Path) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("unarmed"), guest_image_path) as made:
        yield made


def test_a_power_cut_that_a_bmc_shows_is_recovered_from(unarmed: Scene) -> None:
    unarmed.dies_with_all("bmc")


@needs_fence_agents
def test_a_host_that_nobody_sees_is_switched_off_by_a_fence_agent_before_its_servers_come_up(unarmed: Scene) -> None:
    host = unarmed.fullest()
    unarmed.wire_by_fence_agent(host)
    unarmed.dies("unseen", host)
    proof = unarmed.proof_of_power(host)
    assert "fence_redfish at 127.0.0.1" in proof["who"], proof
    assert not proof["readings"]["commanded"].startswith("refused"), proof


def test_no_guest_of_unarmed_hosts_stands_still_while_nothing_controls_them(unarmed: Scene) -> None:
    assert unarmed.uncontrolled().stopped == 0
