"""Where a fault can strike, as the world is now."""

from renova.simulation.receiver import Receiver
from renova.simulation.world import World


def controllers(world: World) -> list[str]:
    return [name for name, one in world.controllers.items() if one.process is not None and not one.process.frozen]


def every_controller(world: World) -> list[str]:
    return list(world.controllers)


def agents(world: World) -> list[str]:
    return [host.name for host in world.every_host() if host.agent is not None and not host.agent.frozen]


def guards(world: World) -> list[str]:
    every = world.every_host()
    return [f"the guard of {host.name}" for host in every if host.guard is not None and not host.guard.frozen]


def readers(world: World) -> list[str]:
    every = world.hosts.values()
    return [f"the reader of {host.name}" for host in every if host.reader is not None and not host.reader.frozen]


def hosts(world: World) -> list[str]:
    return [name for name in agents(world) if name in world.hosts]


def gates(world: World) -> list[str]:
    return [f"the gate of {name}" for name in hosts(world) if world.hosts[name].gate is not None]


def unarmed_hosts(world: World) -> list[str]:
    return [name for name in hosts(world) if world.hosts[name].gate is None]


def hosts_with_guests(world: World) -> list[str]:
    return [name for name in hosts(world) if world.hosts[name].hypervisor.executing()]


def guests_with_agents(world: World) -> list[str]:
    return sorted(server for host in world.hosts.values() for server in host.hypervisor.answering())


def guests_with_watchdogs(world: World) -> list[str]:
    return sorted(server for host in world.hosts.values() for server in host.hypervisor.watched())


def storage_hosts(world: World) -> list[str]:
    return [name for name in agents(world) if name in world.storage_hosts]


def lines(world: World) -> list[str]:
    return [f"{host.name}-{controller}" for host in world.every_host() for controller in host.lines]


def database(world: World) -> list[str]:
    return [] if world.data.away or world.data.full else ["database"]


def commits(world: World) -> list[str]:
    return [] if world.data.away or world.data.full else ["the next commit"]


def power_controllers(world: World) -> list[str]:
    return [f"the power controller of {name}" for name in world.hosts]


def receiver(world: World) -> list[str]:
    return ["the receiver of events"] if isinstance(world.sink, Receiver) else []


def receivers_answers(world: World) -> list[str]:
    return ["the receiver's answers"] if isinstance(world.sink, Receiver) else []


def aimed_points(world: World) -> list[str]:
    """Several, that one is armed while the dead of others have not come back: a run that is told again goes no other
    way, and would come to its point unarmed each time."""
    return [f"crash points aimed at, {nth}" for nth in range(8)] if not world.points.done else []


def crash_points(_world: World) -> list[str]:
    return ["crash points, one", "crash points, two"]
