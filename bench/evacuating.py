"""What it takes to bring back the servers of a host that has lost its power: a hundred of them, to the other hosts."""

from bench.changing import COUNT, Rounds, one_round
from bench.figures import Figure
from bench.subject import Subject
from bench.tenant import until
from renova.model.errors import Broken

ROUNDS = 3
VICTIM = "host1"


async def evacuate(subject: Subject) -> list[Figure]:
    """From the first POST evacuate to the last server ACTIVE elsewhere; the host is known to be dead by then."""
    own, tenant, rounds = subject.own, subject.tenant, Rounds("evacuate", COUNT)
    assert own is not None, "only the bench's own hosts lose their power"
    await tenant.have(0)
    await tenant.end(await tenant.begin(COUNT))
    for _ in range(ROUNDS):
        servers = await tenant.begin(COUNT, host=VICTIM)
        own.lab.kill(VICTIM)
        await until(lambda: _stands(subject, "dead"), f"{VICTIM} was not proven dead")
        await one_round(subject, rounds, [tenant.act(server, "evacuate", {}) for server in servers], "REBUILD")
        if left := [server["id"] for server in await tenant.servers() if server["OS-EXT-SRV-ATTR:host"] == VICTIM]:
            raise Broken(f"{len(left)} evacuated servers are still on {VICTIM}, {left[0]} for one")
        own.lab.start(VICTIM)
        await until(lambda: _stands(subject, "up"), f"{VICTIM} did not come back")
        await tenant.have(0)
    return rounds.figures(most_wall_s=1.5)


async def _stands(subject: Subject, state: str) -> bool:
    """Say whether the victim stands so with the controller."""
    assert subject.own is not None
    url = f"{subject.own.lab.plan.api_url}/renova/v1/hosts"
    answer = await subject.tenant.session.client.ask("GET", url)
    return any(host["name"] == VICTIM and host["state"] == state for host in answer.json()["hosts"])
