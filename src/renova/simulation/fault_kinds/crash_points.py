"""Whoever passes a chosen point of the code is killed there."""

import asyncio

from renova.simulation.fault_kinds import targets
from renova.simulation.faults import RESTART_S, Kind, Striking


async def kill(striking: Striking) -> None:
    world = striking.world
    dead: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def end(process: str, point: str) -> None:
        if process.startswith("agent-"):
            name = process.removeprefix("agent-")
            world.end_agent(name)
        else:
            name = process.rsplit("-", 1)[0]
            world.end_controller(name)
        striking.fired(f"{name} {point}")
        dead.set_result(name)

    world.points.arm(world.points.choose(striking.chance), end)
    await asyncio.wait([dead], timeout=20.0)
    if not dead.done():
        world.points.disarm(end)
        return
    name = dead.result()
    await striking.wait(*RESTART_S)
    if name in world.controllers:
        if world.controllers[name].process is None:
            await world.start_controller(name)
    elif world.any_host(name).agent is None and world.any_host(name).powered:
        world.start_agent(name)
    striking.mended()


KINDS = (Kind("killed at a crash point", targets.crash_points, kill, 6.0),)
