"""Whoever passes a chosen point of the code is killed there."""

import asyncio
from collections.abc import Callable
from functools import partial

from renova.simulation.crash_points import Kill
from renova.simulation.fault_kinds import targets
from renova.simulation.faults import RESTART_S, Kind, Striking

OFTEN = 1000.0  # compared with the usual kinds


async def kill(striking: Striking) -> None:
    points = striking.world.points
    await _kill(striking, partial(points.arm, points.choose(striking.chance)))


async def kill_aimed(striking: Striking) -> None:
    await _kill(striking, striking.world.points.aim)


async def _kill(striking: Striking, arm: Callable[[Kill], None]) -> None:
    world = striking.world
    dead: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def end(process: str, point: str) -> None:
        if process.startswith("agent-"):
            name = process.removeprefix("agent-")
            world.end_agent(name)
        elif process.startswith("guard-"):
            name = process.removeprefix("guard-")
            world.end_guard(name)
        else:
            name = process.rsplit("-", 1)[0]
            world.end_controller(name)
        striking.fired(f"{name} {point}")
        dead.set_result(name)

    arm(end)
    await asyncio.wait([dead], timeout=20.0)
    if not dead.done():
        world.points.disarm(end)
        return
    name = dead.result()
    await striking.wait(*RESTART_S)
    if name in world.controllers:
        if world.controllers[name].process is None:
            await world.start_controller(name)
    else:
        world.start_guard(name)
        world.start_agent(name)
    striking.mended()


KINDS = (Kind("killed at a crash point", targets.crash_points, kill, 6.0),)
# In a run that aims, besides: drawn by a chance of its own, so that all goes as without it until somebody dies.
AIMED = Kind("killed at a crash point", targets.aimed_points, kill_aimed, OFTEN, drawn_by="aims")
