"""What befalls a machine and what runs on it: power, sleep, disks, clocks, guests, exports."""

from functools import partial

from renova.simulation.fault_kinds import targets
from renova.simulation.faults import RESTART_S, Kind, Striking


async def cut_power(striking: Striking) -> None:
    world, name = striking.world, striking.target
    await world.cut_power(name)
    striking.fired()
    await striking.wait_either((1.0, 10.0), (20.0, 60.0))
    await world.power_on(name)
    striking.mended()


async def suspend(striking: Striking, *, virtual: bool) -> None:
    world, name = striking.world, striking.target
    if not world.suspend_host(name):
        return
    striking.fired()
    await striking.wait_either((0.5, 5.0), (10.0, 45.0))
    world.wake_host(name, virtual=virtual)
    striking.mended()


async def slow_disk(striking: Striking) -> None:
    disk = striking.world.disk_of(striking.target)
    disk.slow_s = striking.chance.uniform(0.5, 6.0)
    disk.struck = striking.fired
    await striking.wait(5.0, 20.0)
    disk.slow_s, disk.struck = 0.0, lambda: None
    striking.mended()


async def fail_disk(striking: Striking) -> None:
    disk = striking.world.disk_of(striking.target)
    disk.failing = striking.chance.uniform(0.3, 1.0)
    disk.struck = striking.fired
    await striking.wait(2.0, 15.0)
    disk.failing, disk.struck = 0.0, lambda: None
    striking.mended()


async def lose_journal(striking: Striking) -> None:
    world, name = striking.world, striking.target
    world.end_agent(name)  # its disk is changed meanwhile
    world.any_host(name).journal.lose()
    striking.fired()
    await striking.wait(*RESTART_S)
    world.start_agent(name)
    striking.mended()


async def set_wall_clock(striking: Striking) -> None:
    striking.world.clock_of(striking.target).set_wall(striking.chance.uniform(-7200.0, 7200.0))
    striking.fired()


async def kill_guest(striking: Striking) -> None:
    hypervisor = striking.world.hosts[striking.target].hypervisor
    guests = sorted(hypervisor.executing())
    if guests:
        server = guests[int(striking.chance.uniform(0, len(guests)))]
        if striking.often(0.5):
            hypervisor.crash(server)
        else:
            hypervisor.power_off_inside(server)
        striking.fired(server)


async def lose_hypervisor(striking: Striking) -> None:
    hypervisor = striking.world.hosts[striking.target].hypervisor
    hypervisor.go_away()
    striking.fired()
    await striking.wait(0.5, 20.0)
    hypervisor.come_back()
    striking.mended()


async def lose_exports(striking: Striking) -> None:
    host = striking.world.storage_hosts[striking.target]
    if any(host.volumes.served.values()):
        host.volumes.lose_exports()
        striking.fired()


async def stick(striking: Striking, *, immortal: bool) -> None:
    host = striking.world.hosts[striking.target.removeprefix("the gate of ")]
    gate = host.gate
    assert gate is not None
    gate.sticks, gate.immortal = True, immortal
    if host.hypervisor.frozen:
        gate.sticks = False  # it cannot come loose by itself
    striking.fired()
    await striking.wait(10.0, 60.0)
    gate.sticks = gate.immortal = False
    striking.mended()


KINDS = (
    Kind("host loses power", targets.hosts, cut_power),
    Kind("storage host loses power", targets.storage_hosts, cut_power, 0.5),
    Kind("host suspended and woken", targets.hosts, partial(suspend, virtual=False)),
    # Not an armed one: its guard would be of class V, and prove nothing.
    Kind("virtual host paused and woken", targets.unarmed_hosts, partial(suspend, virtual=True)),
    Kind("storage host suspended and woken", targets.storage_hosts, partial(suspend, virtual=False), 0.5),
    Kind("gate of a host sticks", targets.gates, partial(stick, immortal=False)),
    Kind("gate of a host sticks, and its guests do not die", targets.gates, partial(stick, immortal=True), 0.5),
    Kind("disk of a host slow", targets.hosts, slow_disk),
    Kind("disk of a storage host slow", targets.storage_hosts, slow_disk),
    Kind("disk of a host fails", targets.hosts, fail_disk),
    Kind("disk of a storage host fails", targets.storage_hosts, fail_disk),
    Kind("journal of a host lost", targets.hosts, lose_journal, 0.3),
    Kind("journal of a storage host lost", targets.storage_hosts, lose_journal, 0.3),
    Kind("wall clock of a host jumps", targets.agents, set_wall_clock),
    Kind("wall clock of a controller jumps", targets.every_controller, set_wall_clock),
    Kind("wall clock of the database jumps", targets.database, set_wall_clock, 0.5),
    Kind("guest dies", targets.hosts_with_guests, kill_guest, 2.0),
    Kind("hypervisor away", targets.hosts, lose_hypervisor),
    Kind("exports lost", targets.storage_hosts, lose_exports),
)
