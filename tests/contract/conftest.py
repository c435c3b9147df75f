"""Benches for the contract tests; the real one needs root, libvirt and QEMU."""

import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from renova.lab import guest_image
from renova.lab.home import Home
from renova.lab.hosts import Host
from renova.lab.rack import Rack

from .benches import Bench, LibvirtBench, SimulatedBench


@pytest.fixture(scope="session")
def lab_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    """Two lab hosts that run as long as the tests."""
    if os.geteuid() != 0 or shutil.which("libvirtd") is None:
        pytest.skip("lab hosts need root and libvirt")
    home = Home(tmp_path_factory.mktemp("lab"))
    home.make()
    rack, hosts = Rack(home), (Host(home, "a", 1), Host(home, "b", 2))
    rack.up()
    try:
        for host in hosts:
            host.up()
        yield hosts
    finally:
        for host in hosts:
            host.kill()
        rack.down()


@pytest.fixture(scope="session")
def linux(pytestconfig: pytest.Config) -> Callable[[], Path]:
    """Have the lab's guest image when called; its packages are kept between runs of the tests."""
    return lambda: guest_image.build(pytestconfig.rootpath / ".renova" / "guest-image", "contract")


@pytest.fixture(params=["simulated", pytest.param("libvirt", marks=pytest.mark.live)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    made: Bench
    if request.param == "simulated":
        made = SimulatedBench()
    else:
        first, second = request.getfixturevalue("lab_hosts")
        made = LibvirtBench(first, second, request.getfixturevalue("linux"))
    await made.first.connect(made.changes.append)
    await made.second.connect(lambda _: None)
    yield made
    for hypervisor in (made.first, made.second):
        for found in await hypervisor.guests():
            await hypervisor.kill(found.server)
            await hypervisor.undefine(found.server)
        await hypervisor.close()
