"""Benches for the contract tests; the real one needs root, libvirt and QEMU."""

from collections.abc import AsyncIterator, Iterator

import pytest

from renova.lab.hosts import Host

from .benches import Bench, LibvirtBench, SimulatedBench, linux, two_hosts


@pytest.fixture(scope="session")
def lab_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    """Two lab hosts that run as long as the tests."""
    with two_hosts(tmp_path_factory.mktemp("lab")) as hosts:
        yield hosts


@pytest.fixture(params=["simulated", pytest.param("libvirt", marks=pytest.mark.live)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    made: Bench
    if request.param == "simulated":
        made = SimulatedBench()
    else:
        first, second = request.getfixturevalue("lab_hosts")
        made = LibvirtBench(first, second, lambda: linux(request.config))
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
