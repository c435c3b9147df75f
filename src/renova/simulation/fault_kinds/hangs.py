"""What befalls the inside of a guest: it hangs, for good or for a while, its agent is ended, its watchdog fires.

Only some runs have guests that are watched: these kinds are drawn by a chance of their own, so that the others' faults
are the same ones. Nobody mends a guest that hangs for good: that is the cloud's part.
"""

from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.model.ids import ServerId
from renova.simulation.fault_kinds import targets
from renova.simulation.faults import Kind, Striking
from renova.simulation.world import World

DRAWN_BY = "faults inside guests"


def _home(world: World, server: ServerId) -> SimulatedHypervisor:
    return next(host.hypervisor for host in world.hosts.values() if server in host.hypervisor.executing())


async def hang(striking: Striking) -> None:
    server = ServerId(striking.target)
    _home(striking.world, server).hang(server)
    striking.fired()


async def hang_for_a_while(striking: Striking) -> None:
    world, server = striking.world, ServerId(striking.target)
    _home(world, server).hang(server)
    striking.fired()
    await striking.wait_either((1.0, 10.0), (10.0, 40.0))
    for host in world.hosts.values():  # it may have moved meanwhile, or have ended
        if server in host.hypervisor.executing():
            host.hypervisor.recover(server)
    striking.mended()


async def end_agent(striking: Striking) -> None:
    server = ServerId(striking.target)
    _home(striking.world, server).end_agent_inside(server)
    striking.fired()


async def fire_watchdog(striking: Striking) -> None:
    server = ServerId(striking.target)
    _home(striking.world, server).fire_watchdog(server)
    striking.fired()


KINDS = (
    Kind("guest hangs", targets.guests_with_agents, hang, 2.0, drawn_by=DRAWN_BY),
    Kind("guest hangs for a while", targets.guests_with_agents, hang_for_a_while, 2.0, drawn_by=DRAWN_BY),
    Kind("agent inside a guest ended", targets.guests_with_agents, end_agent, drawn_by=DRAWN_BY),
    Kind("watchdog of a guest fires", targets.guests_with_watchdogs, fire_watchdog, drawn_by=DRAWN_BY),
)
