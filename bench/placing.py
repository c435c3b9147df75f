"""What it takes to find a place among thousands: allocation candidates for others, a host for a server of ours.

Measured within this process, on tables in memory: the CPU time of the answer, without HTTP and without a disk.
"""

import random
import time
from dataclasses import fields
from functools import partial
from typing import Any

from bench.figures import Figure
from renova.api.http import Call
from renova.api.placement import candidates, service
from renova.api.placement.shown import Shown
from renova.api.policy import Policy
from renova.engine.journal import Held
from renova.hosts.capabilities import traits
from renova.hosts.registration import inventory
from renova.main.garbage import look_seldom
from renova.model.chance import SeededChance
from renova.model.clock import SystemClock
from renova.model.flavor import Flavor
from renova.model.guest import HostFacts, PowerState
from renova.model.host import HostState
from renova.model.ids import ExecutorId, HostId, OperationId, ProjectId, ServerId, UserId
from renova.model.server import Server, VmState
from renova.operations.cloud import Cloud
from renova.operations.parts.claim import Claim, claim
from renova.operations.parts.fleet import Fleet
from renova.operations.parts.needs import needs
from renova.operations.work import Work
from renova.partners.identity import Caller
from renova.settings import ControllerSettings
from renova.store import hosts, servers
from renova.store.database import Tx
from renova.store.everything import open_database
from renova.store.placement import claims, host_provider

ROUNDS = 25
PROVIDERS = 5000
LIMIT = 1000
CANDIDATES_MS, CHOICE_MS = 25.0, 3.0

_FACTS = HostFacts("QEMU", 7002000, "simulated", "x86_64", vcpus=64, memory_mb=262144, local_gb=4000)
_FLAVOR = Flavor(id="1", name="bench", vcpus=2, memory_mb=4096, root_gb=20)
_PROJECT, _USER = ProjectId("bench"), UserId("bench")


async def placing() -> list[Figure]:
    """Five thousand hosts, each somewhat in use: candidates for a server, and a host chosen and claimed for one."""
    cloud = _cloud()
    await cloud.database.transact(_have_hosts)
    answers, choices = [], []
    shown = Shown(cloud)
    answer = candidates.every(shown)
    call = _call(cloud)
    await answer(call)  # the first reads all providers
    look_seldom()  # as a controller does
    for number in range(ROUNDS):
        # As others claim meanwhile, so that each answer is another one.
        claimed = await cloud.database.transact(partial(_claim, cloud, number=number))
        choices.append(claimed)
        began = time.process_time()
        body = (await answer(call)).encoded()
        answers.append(1000 * (time.process_time() - began))
        assert body.count(b'"mappings"') == LIMIT, "not all candidates were written"
    cloud.database.close()
    note = f"{PROVIDERS} providers"
    return [
        Figure(
            measure="placing",
            what=f"CPU, {LIMIT} candidates",
            unit="ms",
            samples=tuple(answers),
            most=CANDIDATES_MS,
            note=note,
        ),
        Figure(
            measure="placing",
            what="CPU, a host chosen and claimed",
            unit="ms",
            samples=tuple(choices[1:]),  # the first reads all hosts
            most=CHOICE_MS,
            note=note,
        ),
    ]


class _Heard:
    """Hosts that are all heard."""

    settled = True

    @property
    def leases(self) -> "_Heard":
        return self


def _cloud() -> Cloud:
    clock = SystemClock()
    parts: dict[str, Any] = dict.fromkeys(each.name for each in fields(Cloud))
    parts |= {
        "settings": ControllerSettings(),
        "clock": clock,
        "chance": SeededChance(1),
        "database": open_database(None, clock),
        "hosts": _Heard(),
        "fleet": Fleet(clock, lambda _host: True),
    }
    return Cloud(**parts)


def _have_hosts(tx: Tx) -> None:
    chance = random.Random(1)  # noqa: S311
    for number in range(PROVIDERS):
        host = HostId(f"{number:08x}-0000-4000-8000-000000000000")
        hosts.add(tx, host, f"host{number}", "10.0.0.1", "certificate")
        hosts.begin_lease(tx, host, 1, "boot", ttl=20.0, margin=12.0)
        host_provider.provide(tx, host, f"host{number}", inventory(host, _FACTS), traits(_FACTS, disabled=False))
        hosts.change(tx, host, state=HostState.UP, facts=_FACTS)
        used = chance.randint(1, 40)
        amounts = {"VCPU": used, "MEMORY_MB": used * chance.randint(1024, 4096), "DISK_GB": used * 10}
        claims.claim(tx, ServerId(f"holder-{number}"), _PROJECT, _USER, host, amounts)


def _call(cloud: Cloud) -> Call:
    query = [("resources", "VCPU:2,MEMORY_MB:4096,DISK_GB:20"), ("required", "COMPUTE_NODE,!COMPUTE_STATUS_DISABLED")]
    return Call(
        cloud=cloud,
        policy=Policy(service.POLICY),
        method="GET",
        url_path="/placement/allocation_candidates",
        path={},
        query=[*query, ("limit", str(LIMIT))],
        headers={},
        body=b"",
        stream=_no_body,
        version=(1, 36),  # as Nova asks
        request_id="bench",
        base_url="/placement",
        signed_in=Caller(_USER, "bench", _PROJECT, "bench", frozenset({"admin"}), ""),
    )


def _no_body() -> Any:
    raise AssertionError("a GET has no body")


def _claim(cloud: Cloud, tx: Tx, number: int) -> float:
    """Choose and claim a host for a new server; returns how many milliseconds of CPU that took."""
    server = _server(tx, ServerId(f"{number:08x}-0000-4000-9000-000000000000"))
    held = Held(
        id=OperationId(number),
        created_at="",
        server=server.id,
        number=1,
        story="bench",
        version=1,
        want=b"",
        action=1,
        executor=ExecutorId("bench"),
        epoch=1,
        undoing=False,
        failure=None,
    )
    began = time.process_time()
    taken = claim(Work(cloud, held, 1), tx, server, needs(cloud, tx, server))
    spent = 1000 * (time.process_time() - began)
    assert isinstance(taken, Claim)
    return spent


def _server(tx: Tx, own: ServerId) -> Server:
    servers.add(
        tx,
        Server(
            id=own,
            serial=0,
            project=_PROJECT,
            user=_USER,
            name="bench",
            hostname="bench",
            vm_state=VmState.BUILDING,
            task_state=None,
            power_state=PowerState.NOSTATE,
            flavor=_FLAVOR,
            image=None,
            created_at=tx.now,
            updated_at=tx.now,
        ),
    )
    found = servers.get(tx, own)
    assert found is not None
    return found
