"""What every network driver promises; the simulated one and Linux bridges pass the same tests."""

import json
import subprocess
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import pytest
from pyroute2.netns import setns

from renova.drivers.network import Network, bridge_name, tap_name
from renova.drivers.network.linux_bridge import LinuxBridge
from renova.drivers.network.simulated import SimulatedNetwork
from renova.lab.hosts import Host
from renova.model.errors import Refused
from renova.model.guest import Nic
from renova.model.ids import NetworkId, PortId

from .benches import host_pid


class NetworkBench(Protocol):
    """A host's network, and how to look at it."""

    network: Network

    def segments(self) -> set[int]:
        """Return the vnis of the tenant networks that are there."""
        ...

    def floods_to(self, vni: int) -> set[str]:
        """Return the underlay addresses to which a frame for everybody goes."""
        ...


class SimulatedNetworkBench:
    def __init__(self) -> None:
        self._simulated = SimulatedNetwork()
        self.network: Network = self._simulated

    def segments(self) -> set[int]:
        return set(self._simulated.segments)

    def floods_to(self, vni: int) -> set[str]:
        return set(self._simulated.ends) if vni in self._simulated.segments else set()


class LinuxBench:
    def __init__(self, host: Host) -> None:
        self.host = host
        self.network: Network = linux_bridge(host)

    def segments(self) -> set[int]:
        names = {link["ifname"] for link in self.ip("link")}
        vnis = {int(name[2:]) for name in names if name.startswith("br") and name[2:].isdigit()}
        assert {f"vx{vni}" for vni in vnis} <= names
        return vnis

    def floods_to(self, vni: int) -> set[str]:
        entries = json.loads(self._run(["bridge", "-j", "fdb", "show", "dev", f"vx{vni}"]))
        return {entry["dst"] for entry in entries if entry["mac"] == "00:00:00:00:00:00"}

    def ip(self, *words: str) -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads(self._run(["ip", "-j", *words]) or "[]")
        return found

    def _run(self, argv: Sequence[str]) -> str:
        return subprocess.run(self.host.exec_argv(argv), capture_output=True, text=True, check=True).stdout


def linux_bridge(host: Host) -> LinuxBridge:
    """Return a network driver that acts on a lab host from outside."""
    return LinuxBridge(host.address, enter=lambda: setns(f"/proc/{host_pid(host)}/ns/net"))


@pytest.fixture(params=["simulated", pytest.param("linux", marks=pytest.mark.live)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[NetworkBench]:
    made: NetworkBench
    if request.param == "simulated":
        made = SimulatedNetworkBench()
    else:
        made = LinuxBench(request.getfixturevalue("lab_hosts")[0])
    yield made
    await made.network.close()


@pytest.fixture
async def linux(bench: NetworkBench) -> LinuxBench:
    assert isinstance(bench, LinuxBench)
    return bench


def nic(vni: int, mtu: int = 1450) -> Nic:
    return Nic(PortId(str(uuid.uuid4())), "fa:16:3e:00:00:01", NetworkId("a-network"), vni, mtu, ())


async def test_plugged_networks_are_there_until_nobody_needs_them(bench: NetworkBench) -> None:
    one, other, elsewhere = nic(7001), nic(7001), nic(7002)
    for _ in range(2):
        await bench.network.plug([one, elsewhere])
        await bench.network.plug([other])
        assert bench.segments() == {7001, 7002}
    for _ in range(2):
        await bench.network.unplug([one, elsewhere])
        assert bench.segments() == {7001}
    await bench.network.unplug([other])
    assert bench.segments() == set()


async def test_what_was_never_plugged_can_be_unplugged(bench: NetworkBench) -> None:
    await bench.network.unplug([nic(7001)])
    assert bench.segments() == set()


async def test_frames_for_everybody_go_to_all_peers_told_last(bench: NetworkBench) -> None:
    await bench.network.peers(["172.31.77.2", "172.31.77.3"])
    early, late = nic(7001), nic(7002)
    await bench.network.plug([early])
    assert bench.floods_to(7001) == {"172.31.77.2", "172.31.77.3"}
    await bench.network.peers(["172.31.77.3", "172.31.77.4"])
    await bench.network.plug([late])
    assert bench.floods_to(7001) == bench.floods_to(7002) == {"172.31.77.3", "172.31.77.4"}
    await bench.network.unplug([early, late])


@pytest.mark.live
@pytest.mark.parametrize("bench", ["linux"], indirect=True)
class TestLinuxBridge:
    """What only real links can show."""

    @pytest.mark.parametrize("strange", ["fd00::5", "fe80::1%eth0", "127.0.0.1", "0.0.0.0", "224.0.0.1", "nowhere"])
    async def test_a_peer_with_a_strange_address_keeps_no_guest_from_starting(
        self, linux: LinuxBench, strange: str
    ) -> None:
        early, late = nic(7001), nic(7002)
        await linux.network.plug([early])
        await linux.network.peers(["172.31.77.2", strange, "172.31.77.3"])
        await linux.network.plug([late])
        assert linux.floods_to(7001) == linux.floods_to(7002) == {"172.31.77.2", "172.31.77.3"}
        await linux.network.unplug([early, late])

    async def test_a_network_stays_while_a_guest_of_a_former_agent_is_on_it(self, linux: LinuxBench) -> None:
        plugged = nic(7001)
        await linux.network.plug([plugged])
        tap = tap_name(plugged.port)
        linux.ip("tuntap", "add", "mode", "tap", tap)
        linux.ip("link", "set", tap, "master", bridge_name(7001))
        restarted = linux_bridge(linux.host)
        await restarted.unplug([nic(7001)])
        assert linux.segments() == {7001}
        linux.ip("link", "del", tap)
        await restarted.unplug([plugged])
        assert linux.segments() == set()
        await restarted.close()

    async def test_an_mtu_that_does_not_fit_is_refused_and_named(self, linux: LinuxBench) -> None:
        large = nic(7001, mtu=1500)
        with pytest.raises(Refused, match="1500"):
            await linux.network.plug([large])
        await linux.network.unplug([large])
        assert linux.segments() == set()

    async def test_the_host_has_no_address_on_a_tenant_network(self, linux: LinuxBench) -> None:
        plugged = nic(7001)
        await linux.network.plug([plugged])
        for name in (bridge_name(7001), "vx7001"):
            assert not any("addr_info" in link and link["addr_info"] for link in linux.ip("addr", "show", "dev", name))
        await linux.network.unplug([plugged])
