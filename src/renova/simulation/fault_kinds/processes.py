"""Controllers, agents and guards are killed and started anew, or stand still for a while."""

from renova.simulation.fault_kinds import targets
from renova.simulation.faults import RESTART_S, Kind, Striking


async def kill_controller(striking: Striking) -> None:
    world, name = striking.world, striking.target
    world.end_controller(name)
    striking.fired()
    await striking.wait(*RESTART_S)
    await world.start_controller(name)
    striking.mended()


async def freeze_controller(striking: Striking) -> None:
    world, name = striking.world, striking.target
    if not world.freeze_controller(name):
        return
    striking.fired()
    # Shorter than its lease, longer, and longer than anybody waits for a pong.
    await striking.wait_either((0.1, 4.0), (5.0, 30.0))
    world.thaw_controller(name)
    striking.mended()


async def kill_agent(striking: Striking) -> None:
    world, name = striking.world, striking.target
    world.end_agent(name)
    striking.fired()
    await striking.wait(*RESTART_S)
    world.start_agent(name)
    striking.mended()


async def freeze_agent(striking: Striking) -> None:
    world, name = striking.world, striking.target
    if not world.freeze_agent(name):
        return
    striking.fired()
    await striking.wait_either((0.1, 4.0), (5.0, 40.0))
    world.thaw_agent(name)
    striking.mended()


async def kill_guard(striking: Striking) -> None:
    world, name = striking.world, striking.target.removeprefix("the guard of ")
    world.end_guard(name)
    striking.fired()
    await striking.wait(*RESTART_S)
    world.start_guard(name)
    striking.mended()


async def freeze_guard(striking: Striking) -> None:
    world, name = striking.world, striking.target.removeprefix("the guard of ")
    if not world.freeze_guard(name):
        return
    striking.fired()
    await striking.wait_either((0.1, 4.0), (5.0, 40.0))
    world.thaw_guard(name)
    striking.mended()


KINDS = (
    Kind("controller killed", targets.controllers, kill_controller),
    Kind("controller frozen", targets.controllers, freeze_controller),
    Kind("agent killed", targets.agents, kill_agent, 2.0),
    Kind("agent frozen", targets.agents, freeze_agent, 2.0),
    Kind("guard killed", targets.guards, kill_guard),
    Kind("guard frozen", targets.guards, freeze_guard),
)
