"""How long it takes from nothing to a server; and what a cloud of a thousand hosts is like."""

import subprocess
import time
from pathlib import Path

from bench.changing import Rounds, one_round
from bench.cloud import OwnCloud, own_cloud
from bench.figures import Figure
from bench.resting import idle_cloud
from bench.subject import Subject
from bench.tenant import make_tenant, tenant_of
from renova.lab.programs import environment, renova_argv
from renova.model.errors import NotNow

ROUNDS = 3
FEW_HOSTS = 3
MANY_HOSTS = 1000
MANY_SERVERS = 1000
FIRST_ACTIVE_S = 4.0


async def cold_start() -> list[Figure]:
    """From the command that starts a cloud to its first server ACTIVE: in a new home, and in a used one."""
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(ROUNDS):
        with own_cloud(FEW_HOSTS) as own:
            for home in ("a new home", "a used home"):
                began = time.perf_counter()
                _renova_lab_up(own)
                seconds.setdefault((home, "all up"), []).append(time.perf_counter() - began)
                tenant = await tenant_of(own.login)
                servers = await tenant.begin(1)
                seconds.setdefault((home, "first ACTIVE"), []).append(time.perf_counter() - began)
                await tenant.end(servers)  # a simulated guest does not outlive its process
                await tenant.session.client.close()
                own.down()
    return [
        Figure(
            measure="cold-start",
            what=f"{what}, {home}",
            unit="s",
            samples=tuple(samples),
            most=FIRST_ACTIVE_S if what == "first ACTIVE" else None,
        )
        for (home, what), samples in seconds.items()
    ]


async def many_hosts() -> list[Figure]:
    """A thousand hosts: until all are up for the first time and again; at rest; and a thousand servers on them."""
    name = f"hosts-{MANY_HOSTS}"
    with own_cloud(MANY_HOSTS) as own:
        first = _seconds_up(own)
        own.down()
        again = _seconds_up(own)
        figures = [
            Figure(measure=name, what="all up, a new home", unit="s", samples=(first,)),
            Figure(measure=name, what="all up, a used home", unit="s", samples=(again,)),
            *await idle_cloud(name, own),
        ]
        subject = Subject(await make_tenant(own.login, "bench"), own)
        rounds = Rounds(name, MANY_SERVERS)
        requests = [subject.tenant.create(f"bench-{number}") for number in range(MANY_SERVERS)]
        await one_round(subject, rounds, requests, "BUILD")
        await subject.tenant.session.client.close()
        return [*figures, *rounds.figures()]


def _seconds_up(own: OwnCloud) -> float:
    began = time.perf_counter()
    own.up()
    return time.perf_counter() - began


def _renova_lab_up(own: OwnCloud) -> None:
    """Start the cloud as its user does, by the command, whose own time counts."""
    plan = own.lab.plan
    options: list[str | Path] = [
        "--home",
        own.lab.home.path,
        "--simulated",
        str(plan.hosts),
        "--api-port",
        str(plan.api_port),
    ]
    done = subprocess.run(
        renova_argv("lab", "up", *options), env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise NotNow(f"renova lab up failed: {done.stderr.strip() or done.stdout.strip()}")
