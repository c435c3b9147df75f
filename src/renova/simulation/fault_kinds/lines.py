"""The lines between hosts and controllers are cut and slow, and what goes over them is lost, doubled and late."""

import asyncio
from collections.abc import Callable
from functools import partial

from renova.simulation.channel import Line, Way
from renova.simulation.fault_kinds import targets
from renova.simulation.faults import Kind, Striking
from renova.simulation.world import kind_of_frame


def _line(striking: Striking) -> Line:
    host, controller = striking.target.rsplit("-", 1)
    return striking.world.any_host(host).lines[controller]


def _through(line: Line) -> list[Line]:
    """Return all that goes through the line's cable: what the agent says, and what the guard says."""
    return [line] if line.beside is None else [line, line.beside]


# --- lines ---


async def cut(striking: Striking, *, to_controller: bool = True, to_host: bool = True) -> None:
    line = _line(striking)
    line.cut(to_controller=to_controller, to_host=to_host)
    striking.fired()
    await striking.wait_either((0.1, 3.0), (5.0, 40.0))
    line.heal()
    striking.mended()


async def reset(striking: Striking) -> None:
    line = _line(striking)
    if any(not link.over for link in line.links):
        line.reset()
        striking.fired()


async def flap(striking: Striking) -> None:
    line = _line(striking)
    for _ in range(int(striking.chance.uniform(3, 8))):
        line.cut()
        striking.fired()
        await striking.wait(0.05, 1.5)
        line.heal()
        if striking.often(0.3):
            line.reset()
        await striking.wait(0.05, 1.5)
    striking.mended()


async def slow(striking: Striking) -> None:
    line = _line(striking)
    for each in _through(line):
        for way in (each.to_controller, each.to_host):
            way.delay_s = striking.chance.uniform(0.05, 2.0)
    striking.fired()
    await striking.wait(2.0, 20.0)
    for each in _through(line):
        each.to_controller.delay_s = each.to_host.delay_s = 0.0
    striking.mended()


async def isolate_host(striking: Striking) -> None:
    # Its lines may suffer faults of their own meanwhile, and be healed early by these: a cut is a cut.
    host = striking.world.any_host(striking.target)
    host.walled = True
    await _isolate(striking, list(host.lines.values()))
    host.walled = False


async def isolate_controller(striking: Striking) -> None:
    world, name = striking.world, striking.target
    link = world.link_of(name)
    link.go_away()
    await _isolate(striking, [host.lines[name] for host in world.every_host()])
    link.come_back()


async def _isolate(striking: Striking, lines: list[Line]) -> None:
    for line in lines:
        line.cut()
    striking.fired()
    await striking.wait_either((0.5, 4.0), (10.0, 45.0))
    for line in lines:
        line.heal()
    striking.mended()


async def cut_from_controllers(striking: Striking) -> None:
    # Others see it, and it its storage: it is isolated.
    await _isolate(striking, list(striking.world.any_host(striking.target).lines.values()))


# --- messages ---

# Lost for good, these are sent again; the others are owed an end of the connection (`simulation.channel`).
_REPEATED = ("renew", "renewed")
_COMMANDS = ("command", "storage-command")
_NUMBERED = (*_REPEATED, *_COMMANDS)
_SHARE = 0.3


async def _meddle(
    striking: Striking, kinds: tuple[str, ...], fate: Callable[[str, Line], tuple[float, ...]], *, to_host: bool
) -> None:
    def judge(line: Line, frame: bytes) -> tuple[float, ...] | None:
        kind = kind_of_frame(frame)
        if kind not in kinds or not striking.often(_SHARE):
            return None
        striking.fired(kind)
        return fate(kind, line)

    struck: list[Way] = []
    for line in _through(_line(striking)):
        way = line.to_host if to_host else line.to_controller
        way.fate = partial(judge, line)
        struck.append(way)
    await striking.wait(5.0, 20.0)
    for way in struck:
        way.fate = None


async def lose(striking: Striking) -> None:
    def lost(kind: str, line: Line) -> tuple[float, ...]:
        if kind not in _REPEATED:
            asyncio.get_running_loop().call_later(striking.chance.uniform(0.1, 15.0), line.reset)
        return ()

    await _meddle(striking, (*_NUMBERED, "answer"), lost, to_host=striking.often(0.5))


async def double(striking: Striking) -> None:
    def doubled(_kind: str, _line: Line) -> tuple[float, ...]:
        return (0.0, striking.chance.uniform(0.0, 3.0))

    await _meddle(striking, (*_NUMBERED, "answer"), doubled, to_host=striking.often(0.5))


async def overtake(striking: Striking) -> None:
    def late(_kind: str, _line: Line) -> tuple[float, ...]:
        return (striking.chance.uniform(0.01, 3.0),)

    await _meddle(striking, _NUMBERED, late, to_host=striking.often(0.5))


async def late_command(striking: Striking) -> None:
    def late(_kind: str, line: Line) -> tuple[float, ...]:
        seconds = striking.chance.uniform(0.0, 0.5)
        asyncio.get_running_loop().call_later(seconds, line.reset)
        return (striking.chance.uniform(seconds, 15.0),)

    await _meddle(striking, _COMMANDS, late, to_host=True)


KINDS = (
    Kind("line cut", targets.lines, cut),
    Kind("line cut to the controller only", targets.lines, partial(cut, to_host=False)),
    Kind("line cut to the host only", targets.lines, partial(cut, to_controller=False)),
    Kind("connection reset", targets.lines, reset),
    Kind("line flaps", targets.lines, flap),
    Kind("line slow", targets.lines, slow),
    Kind("host isolated", targets.agents, isolate_host),
    Kind("host out of the controllers' reach", targets.hosts, cut_from_controllers, drawn_by="faults of reach"),
    Kind("controller isolated", targets.controllers, isolate_controller, 0.5),
    Kind("message lost", targets.lines, lose, 2.0),
    Kind("message doubled", targets.lines, double, 2.0),
    Kind("message overtaken", targets.lines, overtake, 2.0),
    Kind("command late, by the next connection", targets.lines, late_command, 2.0),
)
