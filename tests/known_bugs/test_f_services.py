"""Known failure modes F1 to F6: services and periodic jobs (docs/known-bugs.md)."""

from pathlib import Path

import pytest

from renova.api.compute import compute_services
from renova.drivers import hypervisor
from renova.model.server import VmState
from renova.operations.start import accept_start
from renova.operations.stop import accept_stop
from renova.store import hosts, migrations, servers
from renova.store.database import Tx
from tests.known_bugs.test_c_allocations_ports_volumes import change, do
from tests.operations.story import Told, told_story


@pytest.mark.parametrize(("status", "after"), [("accepted", "error"), ("pre-migrating", "failed")])
def test_f6_a_record_that_nobody_works_on_is_closed(status: str, after: str) -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        source = server.host
        assert source is not None
        made = await change(
            told,
            lambda tx: migrations.add(
                tx,
                uuid=told.cloud.chance.uuid(),
                server=server.id,
                type="evacuation",
                status=status,
                source=source,
                source_name=server.host_name,
                user=server.user,
                project=server.project,
            ),
        )
        assert (await do(told, "evacuations")).mended == 1
        record = await told.cloud.database.read(lambda tx: migrations.get(tx, made))
        assert record is not None
        assert record.status == after

    told_story(story)


def test_f1_a_service_whose_host_has_servers_or_may_still_run_their_guests_is_not_deleted() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        host = told.cloud.hosts[server.host_name or ""]

        def refusal(tx: Tx) -> str:
            row = hosts.get(tx, host.id)
            assert row is not None
            return compute_services.refusal_to_remove(tx, row) or ""

        assert "hosting instances" in await told.cloud.database.read(refusal)
        await change(told, lambda tx: servers.change(tx, server.id, host=None, host_name=None))
        assert "may still run guests" in await told.cloud.database.read(refusal)
        await change(told, lambda tx: servers.change(tx, server.id, host=host.id, host_name=host.name))

    told_story(story)


def test_f3_a_host_that_is_forced_down_starts_no_guest() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        host = told.cloud.hosts[server.host_name or ""]
        await told.ask(accept_stop, server.id)
        await told.idle(server.id)
        await change(told, lambda tx: hosts.change(tx, host.id, forced_down=True))
        await told.cloud.clock.sleep(5)
        await told.ask(accept_start, server.id)
        await told.cloud.clock.sleep(60)
        assert told.cloud.running(server.id) == []
        await change(told, lambda tx: hosts.change(tx, host.id, forced_down=False))
        await told.cloud.until(lambda: told.cloud.running(server.id) == [host.name])
        assert (await told.idle(server.id)).vm_state is VmState.ACTIVE

    told_story(story)


def test_f4_no_guest_starts_with_its_hypervisor() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await told.cloud.cut_power(server.host_name or "")
        host = told.cloud.hosts[server.host_name or ""]
        host.hypervisor.power_on()
        await told.cloud.clock.sleep(60)
        assert host.hypervisor.executing() == {}
        await told.cloud.power_on(host.name)
        await told.cloud.until(lambda: told.cloud.running(server.id) == [host.name])
        await told.idle(server.id)

    told_story(story)
    for file in Path(hypervisor.__file__).parent.rglob("*.py"):
        assert "setAutostart(" not in file.read_text(), "no domain is ever marked to start by itself"
