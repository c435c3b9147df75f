"""All kinds of faults there are, by what they strike. Durations are true seconds; a repair never depends on luck."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from renova.hosts import eras
from renova.simulation.channel import Line, Way
from renova.simulation.database import Hitch
from renova.simulation.faults import Kind, Striking
from renova.simulation.hosts import SimulatedHost
from renova.simulation.world import World, kind_of_frame

Strike = Callable[[Striking], Awaitable[None]]

KINDS: list[Kind] = []

RESTART_S = (0.2, 8.0)  # how long a service manager, or a person, takes to start something anew


def _kind(name: str, targets: Callable[[World], Sequence[str]], weight: float = 1.0) -> Callable[[Strike], Strike]:
    def add(strike: Strike) -> Strike:
        KINDS.append(Kind(name=name, targets=targets, strike=strike, weight=weight))
        return strike

    return add


# --- where ---


def _controllers(world: World) -> list[str]:
    return [name for name, one in world.controllers.items() if one.process is not None and not one.process.frozen]


def _agents(world: World) -> list[str]:
    return [host.name for host in world.every_host() if host.agent is not None and not host.agent.frozen]


def _hosts(world: World) -> list[str]:
    return [name for name in _agents(world) if name in world.hosts]


def _storage_hosts(world: World) -> list[str]:
    return [name for name in _agents(world) if name in world.storage_hosts]


def _hosts_with_guests(world: World) -> list[str]:
    return [name for name in _hosts(world) if world.hosts[name].hypervisor.executing()]


def _lines(world: World) -> list[str]:
    return [f"{host.name}-{controller}" for host in world.every_host() for controller in host.lines]


def _line(striking: Striking) -> Line:
    host, controller = striking.target.rsplit("-", 1)
    return striking.world.any_host(host).lines[controller]


def _database(world: World) -> list[str]:
    return [] if world.data.away or world.data.full else ["database"]


def _commits(world: World) -> list[str]:
    return [] if world.data.away or world.data.full else ["the next commit"]


def _switches(world: World) -> list[str]:
    return [f"the power controller of {name}" for name in world.hosts]


# --- controllers ---


@_kind("controller killed", _controllers)
async def kill_controller(striking: Striking) -> None:
    world, name = striking.world, striking.target
    world.end_controller(name)
    striking.fired()
    await striking.wait(*RESTART_S)
    await world.start_controller(name)
    striking.mended()


@_kind("controller frozen", _controllers)
async def freeze_controller(striking: Striking) -> None:
    world, name = striking.world, striking.target
    if not world.freeze_controller(name):
        return
    striking.fired()
    # Shorter than its lease, longer, and longer than anybody waits for a pong.
    await striking.wait(*((0.1, 4.0) if striking.often(0.5) else (5.0, 30.0)))
    world.thaw_controller(name)
    striking.mended()


# --- agents and hosts ---


@_kind("agent killed", _agents, 2.0)
async def kill_agent(striking: Striking) -> None:
    world, name = striking.world, striking.target
    world.end_agent(name)
    striking.fired()
    await striking.wait(*RESTART_S)
    world.start_agent(name)
    striking.mended()


@_kind("agent frozen", _agents, 2.0)
async def freeze_agent(striking: Striking) -> None:
    world, name = striking.world, striking.target
    if not world.freeze_agent(name):
        return
    striking.fired()
    await striking.wait(*((0.1, 4.0) if striking.often(0.5) else (5.0, 40.0)))
    world.thaw_agent(name)
    striking.mended()


async def _power_cut(striking: Striking) -> None:
    world, name = striking.world, striking.target
    await world.cut_power(name)
    striking.fired()
    await striking.wait(1.0, 10.0) if striking.often(0.5) else await striking.wait(20.0, 60.0)
    await world.power_on(name)
    striking.mended()


async def _suspend(striking: Striking, *, virtual: bool) -> None:
    world, name = striking.world, striking.target
    if not world.suspend_host(name):
        return
    striking.fired()
    await striking.wait(*((0.5, 5.0) if striking.often(0.5) else (10.0, 45.0)))
    world.wake_host(name, virtual=virtual)
    striking.mended()


async def _slow_disk(striking: Striking) -> None:
    disk = striking.world.disk_of(striking.target)
    disk.slow_s = striking.chance.uniform(0.5, 6.0)
    disk.struck = striking.fired
    await striking.wait(5.0, 20.0)
    disk.slow_s, disk.struck = 0.0, lambda: None
    striking.mended()


async def _failing_disk(striking: Striking) -> None:
    disk = striking.world.disk_of(striking.target)
    disk.failing = striking.chance.uniform(0.3, 1.0)
    disk.struck = striking.fired
    await striking.wait(2.0, 15.0)
    disk.failing, disk.struck = 0.0, lambda: None
    striking.mended()


async def _lose_journal(striking: Striking) -> None:
    world, name = striking.world, striking.target
    world.end_agent(name)  # its disk is changed meanwhile
    world.any_host(name).journal.lose()
    striking.fired()
    await striking.wait(*RESTART_S)
    world.start_agent(name)
    striking.mended()


async def _set_wall_clock(striking: Striking) -> None:
    striking.world.clock_of(striking.target).set_wall(striking.chance.uniform(-7200.0, 7200.0))
    striking.fired()


_kind("host loses power", _hosts)(_power_cut)
_kind("storage host loses power", _storage_hosts, 0.5)(_power_cut)
_kind("host suspended and woken", _hosts)(partial(_suspend, virtual=False))
_kind("virtual host paused and woken", _hosts)(partial(_suspend, virtual=True))
_kind("storage host suspended and woken", _storage_hosts, 0.5)(partial(_suspend, virtual=False))
_kind("disk of a host slow", _hosts)(_slow_disk)
_kind("disk of a storage host slow", _storage_hosts)(_slow_disk)
_kind("disk of a host fails", _hosts)(_failing_disk)
_kind("disk of a storage host fails", _storage_hosts)(_failing_disk)
_kind("journal of a host lost", _hosts, 0.3)(_lose_journal)
_kind("journal of a storage host lost", _storage_hosts, 0.3)(_lose_journal)
_kind("wall clock of a host jumps", _agents)(_set_wall_clock)
_kind("wall clock of a controller jumps", lambda world: list(world.controllers))(_set_wall_clock)
_kind("wall clock of the database jumps", _database, 0.5)(_set_wall_clock)


@_kind("guest dies", _hosts_with_guests, 2.0)
async def kill_guest(striking: Striking) -> None:
    hypervisor = _compute(striking).hypervisor
    guests = sorted(hypervisor.executing())
    if guests:
        server = guests[int(striking.chance.uniform(0, len(guests)))]
        if striking.often(0.5):
            hypervisor.crash(server)
        else:
            hypervisor.power_off_inside(server)
        striking.fired(server)


@_kind("hypervisor away", _hosts)
async def hypervisor_away(striking: Striking) -> None:
    hypervisor = _compute(striking).hypervisor
    hypervisor.go_away()
    striking.fired()
    await striking.wait(0.5, 20.0)
    hypervisor.come_back()
    striking.mended()


@_kind("exports lost", _storage_hosts)
async def lose_exports(striking: Striking) -> None:
    host = striking.world.storage_hosts[striking.target]
    if any(host.volumes.served.values()):
        host.volumes.lose_exports()
        striking.fired()


def _compute(striking: Striking) -> SimulatedHost:
    return striking.world.hosts[striking.target]


# --- wires ---


async def _cut(striking: Striking, *, to_controller: bool = True, to_host: bool = True) -> None:
    line = _line(striking)
    line.cut(to_controller=to_controller, to_host=to_host)
    striking.fired()
    await striking.wait(*((0.1, 3.0) if striking.often(0.5) else (5.0, 40.0)))
    line.heal()
    striking.mended()


_kind("line cut", _lines)(_cut)
_kind("line cut to the controller only", _lines)(partial(_cut, to_host=False))
_kind("line cut to the host only", _lines)(partial(_cut, to_controller=False))


@_kind("connection reset", _lines)
async def reset(striking: Striking) -> None:
    line = _line(striking)
    if any(not link.over for link in line.links):
        line.reset()
        striking.fired()


@_kind("line flaps", _lines)
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


@_kind("line slow", _lines)
async def slow_line(striking: Striking) -> None:
    line = _line(striking)
    for way in (line.to_controller, line.to_host):
        way.delay_s = striking.chance.uniform(0.05, 2.0)
    striking.fired()
    await striking.wait(2.0, 20.0)
    line.to_controller.delay_s = line.to_host.delay_s = 0.0
    striking.mended()


async def _isolate(striking: Striking, lines: list[Line]) -> None:
    for line in lines:
        line.cut()
    striking.fired()
    await striking.wait(*((0.5, 4.0) if striking.often(0.5) else (10.0, 45.0)))
    for line in lines:
        line.heal()
    striking.mended()


@_kind("host isolated", _agents)
async def isolate_host(striking: Striking) -> None:
    # Its lines may suffer faults of their own meanwhile, and be healed early by these: a cut is a cut.
    await _isolate(striking, list(striking.world.any_host(striking.target).lines.values()))


@_kind("controller isolated", _controllers, 0.5)
async def isolate_controller(striking: Striking) -> None:
    world, name = striking.world, striking.target
    link = world.link_of(name)
    link.go_away()
    await _isolate(striking, [host.lines[name] for host in world.every_host()])
    link.come_back()


# Lost for good, these are sent again; the others are owed an end of the connection (`simulation.channel`).
_REPEATED = ("renew", "renewed")
_NUMBERED = (*_REPEATED, "command", "storage-command")
_SHARE = 0.3


async def _meddle(
    striking: Striking, kinds: tuple[str, ...], fate: Callable[[str, Line], tuple[float, ...]], *, to_host: bool
) -> None:
    line = _line(striking)
    way: Way = line.to_host if to_host else line.to_controller

    def judge(frame: bytes) -> tuple[float, ...] | None:
        kind = kind_of_frame(frame)
        if kind not in kinds or not striking.often(_SHARE):
            return None
        striking.fired(kind)
        return fate(kind, line)

    way.fate = judge
    await striking.wait(5.0, 20.0)
    way.fate = None


@_kind("message lost", _lines, 2.0)
async def lose(striking: Striking) -> None:
    def lost(kind: str, line: Line) -> tuple[float, ...]:
        if kind not in _REPEATED:
            asyncio.get_running_loop().call_later(striking.chance.uniform(0.1, 15.0), line.reset)
        return ()

    to_host = striking.often(0.5)
    await _meddle(striking, (*_NUMBERED, "answer"), lost, to_host=to_host)


@_kind("message doubled", _lines, 2.0)
async def double(striking: Striking) -> None:
    def doubled(_kind: str, _line: Line) -> tuple[float, ...]:
        return (0.0, striking.chance.uniform(0.0, 3.0))

    await _meddle(striking, (*_NUMBERED, "answer"), doubled, to_host=striking.often(0.5))


@_kind("message overtaken", _lines, 2.0)
async def overtake(striking: Striking) -> None:
    def late(_kind: str, _line: Line) -> tuple[float, ...]:
        return (striking.chance.uniform(0.01, 3.0),)

    await _meddle(striking, _NUMBERED, late, to_host=striking.often(0.5))


@_kind("command late, by the next connection", _lines, 2.0)
async def late_command(striking: Striking) -> None:
    def late(_kind: str, line: Line) -> tuple[float, ...]:
        seconds = striking.chance.uniform(0.0, 0.5)
        asyncio.get_running_loop().call_later(seconds, line.reset)
        return (striking.chance.uniform(seconds, 15.0),)

    await _meddle(striking, ("command", "storage-command"), late, to_host=True)


# --- the database ---


@_kind("database slow", _database)
async def slow_database(striking: Striking) -> None:
    data = striking.world.data
    data.slow_s = striking.chance.uniform(0.05, 3.0)
    striking.fired()
    await striking.wait(2.0, 15.0)
    data.slow_s = 0.0
    striking.mended()


async def _away(striking: Striking, *, silent: bool) -> None:
    data = striking.world.data
    data.go_away(silent=silent)
    striking.fired()
    await striking.wait(*((0.2, 3.0) if striking.often(0.7) else (5.0, 25.0)))
    data.come_back()
    striking.mended()


_kind("database away", _database, 0.5)(partial(_away, silent=False))
_kind("database silent", _database, 0.5)(partial(_away, silent=True))


@_kind("database away for one controller", _controllers)
async def away_for_one(striking: Striking) -> None:
    link = striking.world.link_of(striking.target)
    link.go_away()
    striking.fired()
    await striking.wait(*((0.2, 3.0) if striking.often(0.5) else (5.0, 20.0)))
    link.come_back()
    striking.mended()


@_kind("connections to the database lost", _database)
async def drop_connections(striking: Striking) -> None:
    striking.world.data.drop_all()
    striking.fired()


@_kind("disk of the database full", _database, 0.5)
async def full_disk(striking: Striking) -> None:
    data = striking.world.data
    data.full += 1
    striking.fired()
    await striking.wait(0.2, 10.0)
    data.full -= 1
    striking.mended()


async def _hitch(striking: Striking, hitch: Hitch) -> None:
    struck = asyncio.get_running_loop().create_future()

    def strike() -> None:
        striking.fired()
        struck.set_result(None)

    striking.world.data.hitches.append((hitch, strike))
    await struck


_kind("commit in another's way", _commits, 4.0)(partial(_hitch, hitch=Hitch.CONFLICT))
_kind("commit lost", _commits, 4.0)(partial(_hitch, hitch=Hitch.LOST))
_kind("commit's answer lost", _commits, 4.0)(partial(_hitch, hitch=Hitch.UNHEARD))


@_kind("database fails over, and loses nothing", _database, 0.5)
async def fail_over(striking: Striking) -> None:
    data = striking.world.data
    data.go_away(silent=striking.often(0.5))
    data.promote()
    striking.fired()
    await striking.wait(0.5, 13.0)
    data.come_back()
    striking.mended()


# --- databases that lose commits: on hold until an operator says that this is the database to go on with ---


@_kind("database fails over, and loses its last commits", _database, 0.1)
async def fail_over_and_lose(striking: Striking) -> None:
    data = striking.world.data
    data.lag()
    before = data.commits
    await striking.wait(0.05, 3.0)
    if data.commits == before:
        data.catch_up()
        return
    data.go_away()
    data.promote()
    striking.fired(f"{data.commits - before} commits")
    await striking.wait(0.5, 13.0)
    data.come_back()
    await _restored(striking, after=striking.chance.uniform(0.0, 30.0))
    striking.mended()


async def _restore(striking: Striking, *, said: bool) -> None:
    data = striking.world.data
    backup, before = data.back_up(), data.commits
    await striking.wait(5.0, 60.0)
    data.go_away()
    data.restore(backup)
    backup.close()
    striking.fired(f"{data.commits - before} commits")
    await striking.wait(0.5, 10.0)
    if said:
        await _restored(striking, after=0.0)
    data.come_back()
    if not said:
        await _restored(striking, after=striking.chance.uniform(10.0, 60.0))
    striking.mended()


_kind("older database restored, as the operator said", _database, 0.1)(partial(_restore, said=True))
_kind("older database restored, and the operator says so late", _database, 0.1)(partial(_restore, said=False))


async def _restored(striking: Striking, *, after: float) -> None:
    """Have the operator say `renova database restored`."""
    await asyncio.sleep(after)
    era = await striking.world.database.transact(lambda tx: eras.begin(tx, "operator"))
    striking.world.tell(f"the operator goes on with this database: era {era}")


# --- power controllers ---


@_kind("power controller lies", _switches)
async def lie(striking: Striking) -> None:
    await _spoil(striking, striking.world.switches.lying)


@_kind("power controller hangs", _switches)
async def hang(striking: Striking) -> None:
    await _spoil(striking, striking.world.switches.hanging)


@_kind("power controller refuses", _switches)
async def refuse(striking: Striking) -> None:
    await _spoil(striking, striking.world.switches.refusing)


async def _spoil(striking: Striking, hosts: dict[str, Callable[[], None]]) -> None:
    host = striking.target.rsplit(" ", 1)[1]
    hosts[host] = striking.fired
    await striking.wait(10.0, 60.0)
    del hosts[host]
    striking.mended()


# --- crash points ---


@_kind("killed at a crash point", lambda _world: ["crash points, one", "crash points, two"], 6.0)
async def kill_at_point(striking: Striking) -> None:
    world = striking.world
    dead: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def kill(process: str, point: str) -> None:
        if process.startswith("agent-"):
            name = process.removeprefix("agent-")
            world.end_agent(name)
        else:
            name = process.rsplit("-", 1)[0]
            world.end_controller(name)
        striking.fired(f"{name} {point}")
        dead.set_result(name)

    world.points.arm(world.points.choose(striking.chance), kill)
    await asyncio.wait([dead], timeout=20.0)
    if not dead.done():
        world.points.disarm(kill)
        return
    name = dead.result()
    await striking.wait(*RESTART_S)
    if name in world.controllers:
        if world.controllers[name].process is None:
            await world.start_controller(name)
    elif world.any_host(name).agent is None and world.any_host(name).powered:
        world.start_agent(name)
    striking.mended()
