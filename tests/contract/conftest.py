"""Benches for the contract tests; the real one needs root, libvirt and QEMU."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from renova.drivers.hypervisor.passage import Credentials
from renova.hosts.authority import Authority
from renova.lab.hosts import Host
from renova.model.clock import SystemClock
from renova.model.ids import HostId
from renova.uplink.identity import authority_file, certificate_file, key_file

from .benches import Bench, LibvirtBench, SimulatedBench, linux, two_hosts
from .bmc import Bmc, bmc
from .test_storage_tls import enrolled


@pytest.fixture(scope="session")
def lab_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    """Two lab hosts that run as long as the tests."""
    with two_hosts(tmp_path_factory.mktemp("lab")) as hosts:
        yield hosts


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[HostId], Credentials]:
    """Hosts' certificates, by their ids."""
    directory = tmp_path_factory.mktemp("certificates")
    authority = Authority(directory / "authority", SystemClock())

    def of(host: HostId) -> Credentials:
        state = directory / host
        if not state.exists():
            enrolled(authority, host, state)
        return Credentials(authority_file(state), certificate_file(state), key_file(state))

    return of


@pytest.fixture(params=["simulated", pytest.param("libvirt", marks=pytest.mark.live)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    made: Bench
    if request.param == "simulated":
        made = SimulatedBench()
    else:
        first, second = request.getfixturevalue("lab_hosts")
        made = LibvirtBench(first, second, lambda: linux(request.config), request.getfixturevalue("certificates"))
    await made.first.connect(made.changes.append)
    await made.second.connect(lambda _: None)
    yield made
    if isinstance(made, LibvirtBench):
        await made.close()
    for hypervisor in (made.first, made.second):
        for found in await hypervisor.guests():
            await hypervisor.kill(found.server)
            await hypervisor.undefine(found.server)
        await hypervisor.close()


@pytest.fixture(scope="module")
def a_bmc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bmc]:
    """A BMC with a machine that it switches."""
    with bmc(tmp_path_factory.mktemp("bmc") / "bmc") as running:
        yield running
