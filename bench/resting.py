"""What a cloud takes that nobody uses: memory, and the CPU that heartbeats cost."""

import asyncio
import os
from importlib.util import find_spec

from bench.cloud import CONTROLLER, HOSTS, OwnCloud, own_cloud
from bench.figures import Figure
from bench.meter import Memory, memory
from bench.subject import Subject
from renova.model.errors import BadSetup

ROUNDS = 3
IDLE_S = 5.0
CONTROLLER_MB, AGENT_MB = 120.0, 70.0


async def idle(subject: Subject) -> list[Figure]:
    """A cloud without servers that is left alone."""
    assert subject.own is not None, "only the bench's own processes can be measured"
    await subject.tenant.have(0)
    return await idle_cloud("idle", subject.own, CONTROLLER_MB)


async def idle_cloud(measure: str, own: OwnCloud, most_mb: float | None = None) -> list[Figure]:
    """Measure memory and CPU of a cloud's processes while nobody asks for anything."""
    meter, shares = own.meter, []
    await asyncio.sleep(IDLE_S)
    for _ in range(ROUNDS):
        with meter.spent() as spent:
            await asyncio.sleep(IDLE_S)
        shares.append({process: 100 * cpu / spent.wall for process, cpu in spent.cpu.items()})
    hosts = own.lab.plan.hosts
    what = {CONTROLLER: f"CPU of a core, controller of {hosts} hosts", HOSTS: f"CPU of a core, {hosts} hosts"}
    return [
        *_memory(measure, "controller", memory(meter.pids[CONTROLLER]), most_mb),
        *_memory(measure, f"{hosts} hosts", memory(meter.pids[HOSTS])),
        *(
            Figure(measure=measure, what=what[process], unit="%", samples=tuple(share[process] for share in shares))
            for process in what
        ),
    ]


async def agent() -> list[Figure]:
    """A real agent, with libvirt, on a host of the lab. Raises BadSetup where there can be none."""
    if os.geteuid() != 0 or find_spec("libvirt") is None:
        raise BadSetup("a real agent needs root and libvirt: run script/bootstrap, then script/bench, as root")
    with own_cloud(1, simulated=False) as own:
        own.up()
        await asyncio.sleep(IDLE_S)
        return _memory("agent", "a real agent, no guests", memory(own.pid("agent-host1")), AGENT_MB)


def _memory(measure: str, whose: str, found: Memory, most_mb: float | None = None) -> list[Figure]:
    # The target is for RSS, the larger one: what is shared now may be shared with nobody tomorrow.
    return [
        Figure(measure=measure, what=f"RSS, {whose}", unit="MB", samples=(found.rss,), most=most_mb),
        Figure(measure=measure, what=f"PSS, {whose}", unit="MB", samples=(found.pss,)),
    ]
