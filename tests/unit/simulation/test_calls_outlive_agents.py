"""What an agent has asked of the hypervisor is done though the agent be killed: as libvirtd does it."""

import asyncio
from collections.abc import Awaitable, Callable

from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.drivers.hypervisor.simulated.storage import SimulatedStorage
from renova.model.guest import PowerState
from renova.simulation.loop import VirtualClock, run_virtual
from renova.simulation.processes import Process
from tests.agent.host import CONTENT, IMAGE, SERVER, guest
from tests.contract.benches import Images

START_S = 2.0


class Bench:
    """A host whose first agent dies while its guest is being started, and a second one."""

    def __init__(self) -> None:
        self.storage = SimulatedStorage("storage")
        self.hypervisor = SimulatedHypervisor(VirtualClock(), self.storage, start_s=START_S)
        self.agent = Process("agent-1")
        self.next_agent = Process("agent-2")

    async def begin(self) -> None:
        await self.hypervisor.prepare(guest(), Images({IMAGE: CONTENT}))
        starting = self.agent.spawn(self.hypervisor.start(guest()), "start")
        await asyncio.sleep(START_S / 2)
        self.agent.kill()
        self.hypervisor.disconnect()
        assert not starting.done()
        found = await self.hypervisor.guest(SERVER)
        assert found is not None
        assert found.power is PowerState.PAUSED, "whoever looks now sees that something is there"


def on_bench(test: Callable[[Bench], Awaitable[None]]) -> None:
    async def main() -> None:
        bench = Bench()
        await bench.begin()
        await test(bench)

    run_virtual(main())


def test_a_guest_whose_start_was_asked_for_runs() -> None:
    async def test(bench: Bench) -> None:
        await asyncio.sleep(START_S)
        assert bench.hypervisor.executing() == {SERVER: 1}

    on_bench(test)


def test_the_next_call_of_the_guest_comes_after_it() -> None:
    async def test(bench: Bench) -> None:
        await bench.next_agent.spawn(bench.hypervisor.kill(SERVER), "kill")
        await asyncio.sleep(START_S)
        assert bench.hypervisor.executing() == {}, "the start is over, and so is the guest"

    on_bench(test)


def test_a_power_cut_ends_it_for_good() -> None:
    async def test(bench: Bench) -> None:
        bench.hypervisor.cut_power()
        bench.hypervisor.power_on()
        await asyncio.sleep(START_S)
        assert bench.hypervisor.executing() == {}
        found = await bench.hypervisor.guest(SERVER)
        assert found is None or found.power is PowerState.SHUTDOWN

    on_bench(test)
