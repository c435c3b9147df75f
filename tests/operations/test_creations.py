"""A server is built once and somewhere, or nowhere and says why; what began elsewhere is gone, or owed."""

from typing import Any

import msgspec
import pytest

from renova.model.errors import Refused
from renova.model.server import VmState
from renova.operations.delete import accept_delete
from renova.store.placement import allocations
from tests.operations.failing_hosts import break_start, ends_nothing
from tests.operations.story import FLAVOR, Told, told_story


def test_a_host_that_cannot_build_the_guest_gives_it_back_and_another_is_tried() -> None:
    async def story(told: Told) -> None:
        break_start(told.cloud, "host1", Refused("no such machine type"))
        server = await told.get(await told.created())
        assert server.host_name != "host1"

    told_story(story)


def test_a_create_that_fails_everywhere_leaves_only_the_reason() -> None:
    async def story(told: Told) -> None:
        for name in told.cloud.hosts:
            break_start(told.cloud, name, Refused("no such machine type"))
        server = await told.idle(await told.create())
        assert (server.vm_state, server.host, server.networks) == (VmState.ERROR, None, ())
        assert server.fault is not None
        assert "no such machine type" in server.fault.message
        assert await told.cloud.database.read(lambda tx: allocations.held(tx, server.id)) == []
        assert await told.cloud.networks.ports(server.id) == []

    told_story(story)


def test_a_create_that_fails_while_its_guest_may_run_leaves_nobody_else_its_addresses() -> None:
    async def story(told: Told) -> None:
        for host in told.cloud.hosts.values():
            machine: Any = host.hypervisor

            async def start_unheard(guest: object, really: Any = machine.start, line: Any = host.line) -> object:
                started = await really(guest)
                line.cut()
                return started

            machine.start = start_unheard
        server = await told.create()
        after = await told.idle(server)
        assert after.vm_state is VmState.ERROR
        (name,) = told.cloud.running(server)
        has = [nic.port for nic in told.cloud.hosts[name].hypervisor.nics(server)]
        assert [port.id for port in await told.cloud.networks.ports(server)] == has
        told.cloud.hosts[name].line.heal()
        await told.host_up(name)
        assert told.cloud.running(server) == []
        await told.ask(accept_delete, server)
        await told.idle(server)
        assert await told.cloud.networks.ports(server) == []

    told_story(story)


def test_a_server_that_fits_nowhere_says_which_rule_refused_which_hosts() -> None:
    async def story(told: Told) -> None:
        huge = msgspec.structs.replace(FLAVOR, memory_mb=10_000_000)
        server = await told.idle(await told.create(flavor=huge))
        assert server.vm_state is VmState.ERROR
        assert server.fault is not None
        assert "3 hosts: needs 10000000 MEMORY_MB" in server.fault.message

    told_story(story)


def test_hosts_are_filled_to_the_last_place_and_never_beyond() -> None:
    async def story(told: Told) -> None:
        half = msgspec.structs.replace(FLAVOR, memory_mb=30_000)
        made = [await told.create(f"server-{number}", flavor=half) for number in range(8)]
        ended = [await told.idle(server) for server in made]
        assert sorted(str(server.vm_state) for server in ended) == ["active"] * 6 + ["error"] * 2

    told_story(story)


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.06, 0.2])
def test_a_server_deleted_while_it_is_created_leaves_nothing(after_s: float) -> None:
    async def story(told: Told) -> None:
        server = await told.create()
        await told.cloud.clock.sleep(after_s)
        await told.ask(accept_delete, server)
        assert (await told.idle(server)).vm_state is VmState.DELETED
        assert await told.cloud.networks.ports(server) == []
        assert not any(key[0] == server for key in told.cloud.hosts["host1"].storage.disks)

    told_story(story)


def test_a_host_that_cannot_end_the_guest_of_a_failed_create_owes_it() -> None:
    async def story(told: Told) -> None:
        mend = ends_nothing(told, *told.cloud.hosts)
        server = await told.create()
        failed = await told.idle(server)
        assert (failed.vm_state, [failed.host_name]) == (VmState.ERROR, told.cloud.running(server))
        mend()
        await told.cloud.until(lambda: not told.cloud.running(server), 60)
        await told.cloud.clock.sleep(1)
        assert (await told.get(server)).host is None
        assert not any(disks for disks in (host.storage.disks for host in told.cloud.hosts.values()))

    told_story(story)


def test_a_host_whose_clean_up_failed_for_an_unforeseen_reason_owes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **_also: object) -> None:
        raise RuntimeError("a bug")

    async def story(told: Told) -> None:
        name, host = next(iter(told.cloud.hosts.items()))
        really = host.hypervisor.start

        async def start(guest: Any) -> Any:
            await really(guest)
            raise Refused("it ended badly")

        host.hypervisor.start = start  # type: ignore[method-assign]
        monkeypatch.setattr("renova.operations.create.clear", broken)
        server = await told.create()
        failed = await told.idle(server)
        assert (failed.vm_state, failed.host_name) == (VmState.ERROR, name), "it may run there"
        await told.cloud.until(lambda: not told.cloud.running(server), 60)
        await told.cloud.clock.sleep(1)
        assert (await told.get(server)).host is None, "it is nowhere once its host has confirmed that"

    told_story(story, count=1)
