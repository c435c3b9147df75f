"""The lab's BMC cuts the power of hosts: by itself when one is silent, and when an operator says so."""

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from renova.cli.hosts import HostsClient
from renova.lab import access
from renova.lab.progress import Teller
from renova.model.errors import Refused
from tests.clients.whole_cloud import WholeCloud, running
from tests.contract.bmc import needs_fence_agents

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeCloud]:
    with running(tmp_path_factory.mktemp("bmc") / "home") as cloud:
        cloud.lab.wire_power(Teller(Console(file=io.StringIO())))
        yield cloud


@pytest.fixture
def client(wired: WholeCloud) -> HostsClient:
    return HostsClient(access.connect(wired.lab.home, access.ADMIN))


def powered(cloud: WholeCloud, name: str) -> bool:
    return cloud.lab.machines.look(name).powered


def test_a_host_that_is_cut_off_is_switched_off_and_proven_dead(wired: WholeCloud, client: HostsClient) -> None:
    wired.lab.cut("host1")
    wired.wait(lambda: client.host("host1")["state"] == "dead", "host1 is not proven dead")
    assert not powered(wired, "host1")
    (proof,) = client.host("host1")["proofs"]
    assert proof["says"] == (
        "switched off by us, and power read as off twice, of the machine that was enrolled, untested BMC; "
        "as good as who reads it"
    )
    wired.lab.heal("host1")
    assert client.switch_power("host1", "on")["power"] == "on"
    wired.wait(lambda: client.host("host1")["up"], "host1 does not return")


def test_an_operator_switches_hosts_and_rehearses_it(wired: WholeCloud, client: HostsClient) -> None:
    wired.wait(lambda: client.host("host2")["up"], "host2 is not up")
    with pytest.raises(Refused, match="guests would die"):
        client.switch_power("host2", "off")
    assert powered(wired, "host2")
    service = wired.service("host2")
    wired.admin.compute.disable_service(service["id"], disabled_reason="rehearsal")
    assert client.rehearse_power("host2")["says"] == "seen to switch this host off and on"
    wired.admin.compute.enable_service(service["id"])
    wired.wait(lambda: client.host("host2")["up"], "host2 does not return")


@needs_fence_agents
def test_a_fence_agent_cuts_the_same_hosts_power(wired: WholeCloud, client: HostsClient) -> None:
    wired.wait(lambda: client.host("host3")["up"], "host3 is not up")
    redfish = wired.lab.bmc.wiring("host3")
    options = {"agent": "fence_redfish", "ipport": str(wired.lab.plan.bmc_port), "ssl_insecure": "1"}
    options["systems_uri"] = redfish["options"]["system"]
    client.wire_power("host3", redfish | {"kind": "fence_agent", "address": "127.0.0.1", "options": options})
    assert client.switch_power("host3", "off", force=True)["power"] == "off"
    assert not powered(wired, "host3")
    wired.wait(lambda: client.host("host3")["state"] == "dead", "host3 is not proven dead")
    assert client.switch_power("host3", "on")["power"] == "on"
    wired.wait(lambda: client.host("host3")["up"], "host3 does not return")
