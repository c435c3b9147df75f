"""What it takes to bring back the servers of a host that has lost its power: a hundred of them, or a thousand."""

from typing import Any

from bench.changing import COUNT, Rounds, one_round
from bench.cloud import own_cloud
from bench.figures import Figure
from bench.subject import Subject
from bench.tenant import make_tenant, until
from renova.model.errors import Broken

ROUNDS = 3
VICTIM = "host1"
OTHERS = 20
THOUSAND, ROUNDS_OF_THOUSAND = 1000, 2
ROOM = 64.0  # allocation ratio with which the victim has room for all of them


async def evacuate(subject: Subject) -> list[Figure]:
    """From the first POST evacuate to the last server ACTIVE elsewhere; the host is known to be dead by then."""
    tenant, rounds = subject.tenant, Rounds("evacuate", COUNT)
    await tenant.have(0)
    await tenant.end(await tenant.begin(COUNT))
    for _ in range(ROUNDS):
        await _lose_victim(subject, rounds)
    return rounds.figures(most_wall_s=1.5)


async def evacuations() -> list[Figure]:
    """A thousand servers of one dead host, to twenty others, none of which is claimed beyond its capacity."""
    rounds = Rounds("evacuations", THOUSAND)
    with own_cloud(OTHERS + 1) as own:
        own.up()
        subject = Subject(await make_tenant(own.login, "bench"), own)
        await _make_room(subject)
        for _ in range(ROUNDS_OF_THOUSAND):
            await _lose_victim(subject, rounds)
        await subject.tenant.session.client.close()
    return rounds.figures(most_wall_s=6.0)


async def _lose_victim(subject: Subject, rounds: Rounds) -> None:
    """Fill the victim, cut its power, note what evacuating it takes, and have it back and empty."""
    own, tenant = subject.own, subject.tenant
    assert own is not None, "only the bench's own hosts lose their power"
    servers = await tenant.begin(rounds.count, host=VICTIM)
    own.lab.kill(VICTIM)
    await until(lambda: _stands(subject, "dead"), f"{VICTIM} was not proven dead")
    await one_round(subject, rounds, [tenant.act(server, "evacuate", {}) for server in servers], "REBUILD")
    if left := [server["id"] for server in await tenant.servers() if server["OS-EXT-SRV-ATTR:host"] == VICTIM]:
        raise Broken(f"{len(left)} evacuated servers are still on {VICTIM}, {left[0]} for one")
    await _demand_within_capacity(subject)
    own.lab.start(VICTIM)
    await until(lambda: _stands(subject, "up"), f"{VICTIM} did not come back")
    await tenant.have(0)


async def _stands(subject: Subject, state: str) -> bool:
    """Say whether the victim stands so with the controller."""
    assert subject.own is not None
    url = f"{subject.own.lab.plan.api_url}/renova/v1/hosts"
    answer = await subject.tenant.session.client.ask("GET", url)
    return any(host["name"] == VICTIM and host["state"] == state for host in answer.json()["hosts"])


async def _make_room(subject: Subject) -> None:
    """Have room on the victim for a thousand servers, as an operator does: by its allocation ratios."""
    for provider in await _ask_placement(subject, f"?name={VICTIM}", "resource_providers"):
        path = f"/{provider['uuid']}/inventories"
        inventories = await _ask_placement(subject, path, "inventories")
        wanted = {name: item | {"allocation_ratio": ROOM} for name, item in inventories.items()}
        body = {"resource_provider_generation": provider["generation"], "inventories": wanted}
        await subject.tenant.session.ask("PUT", "placement", f"/resource_providers{path}", body)


async def _demand_within_capacity(subject: Subject) -> None:
    """Raise Broken if more is claimed of a host than it offers."""
    for provider in await _ask_placement(subject, "", "resource_providers"):
        usages = await _ask_placement(subject, f"/{provider['uuid']}/usages", "usages")
        inventories = await _ask_placement(subject, f"/{provider['uuid']}/inventories", "inventories")
        for name, item in inventories.items():
            if usages[name] > (item["total"] - item["reserved"]) * item["allocation_ratio"]:
                raise Broken(f"{provider['name']} is claimed beyond its capacity: {usages[name]} {name}")


async def _ask_placement(subject: Subject, path: str, what: str) -> Any:
    return (await subject.tenant.session.ask("GET", "placement", f"/resource_providers{path}"))[what]
