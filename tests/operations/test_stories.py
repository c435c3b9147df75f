"""Every operation, told from its request to its end on simulated hosts."""

import structlog

from renova.model.guest import PowerState
from renova.model.server import TaskState, VmState
from renova.operations.delete import accept_delete
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.reboot import accept_reboot
from renova.operations.rebuild import Rebuild, accept_rebuild
from renova.operations.start import accept_start
from renova.operations.stop import accept_stop
from renova.simulation.loop import run_virtual
from tests.operations.story import Told, an_image


def test_a_created_server_runs_on_the_host_that_claimed_it() -> None:
    async def story() -> None:
        told = await Told().begin()
        server = await told.get(await told.created())
        assert server.power_state is PowerState.RUNNING
        assert told.cloud.running(server.id) == [server.host_name]
        assert server.networks[0].addresses[0].ip.startswith("10.0.0.")
        await told.check()
        await told.cloud.down()

    run_virtual(story())


def test_a_deleted_server_leaves_nothing_behind() -> None:
    async def story() -> None:
        told = await Told().begin()
        server = await told.created()
        await told.ask(accept_delete, server)
        assert (await told.idle(server)).vm_state is VmState.DELETED
        assert told.cloud.running(server) == []
        assert not any(key[0] == server for key in told.cloud.hosts["host1"].storage.disks)
        await told.check()
        await told.cloud.down()

    run_virtual(story())


def test_a_stopped_server_starts_again_on_the_disk_it_had() -> None:
    async def story() -> None:
        told = await Told().begin()
        server = await told.created()
        await told.ask(accept_stop, server)
        assert (await told.idle(server)).vm_state is VmState.STOPPED
        await told.check()
        await told.ask(accept_start, server)
        assert (await told.idle(server)).vm_state is VmState.ACTIVE
        await told.check()
        await told.cloud.down()

    run_virtual(story())


def test_a_reboot_ends_active_softly_and_hard() -> None:
    async def story() -> None:
        told = await Told().begin()
        server = await told.created()
        for hard in (False, True):
            await told.ask(accept_reboot, server, hard=hard)
            assert (await told.get(server)).task_state is (TaskState.REBOOTING_HARD if hard else TaskState.REBOOTING)
            assert (await told.idle(server)).vm_state is VmState.ACTIVE
        await told.check()
        await told.cloud.down()

    run_virtual(story())


def test_a_rebuild_gives_a_fresh_disk_and_keeps_the_address() -> None:
    async def story() -> None:
        told = await Told().begin()
        before = await told.get(await told.created())
        rebuild = Rebuild(image=an_image("two"), name="renamed", admin_pass="secret")
        await told.ask(accept_rebuild, before.id, rebuild)
        after = await told.idle(before.id)
        assert (after.vm_state, after.image, after.name) == (VmState.ACTIVE, "image-two", "renamed"), after.fault
        assert (after.networks, after.host) == (before.networks, before.host)
        disks = told.cloud.hosts["host1"].storage.disks
        assert {key[1]: disk.image for key, disk in disks.items() if key[0] == after.id} == {2: "image-two"}
        await told.check()
        await told.cloud.down()

    run_virtual(story())


def test_an_evacuated_server_runs_elsewhere_and_its_returning_host_is_cleaned() -> None:
    async def story() -> None:
        told = await Told().begin()
        before = await told.get(await told.created())
        source = before.host_name or ""
        await told.cloud.cut_power(source)
        await told.cloud.until(lambda: not told.cloud.cloud.hosts.up(before.host))
        await told.cloud.cloud.hosts.seek_proof(before.host)
        await told.ask(accept_evacuate, before.id, Evacuation())
        after = await told.idle(before.id)
        assert after.vm_state is VmState.ACTIVE, after.fault
        assert after.host_name != source
        assert after.networks == before.networks
        assert after.root_generation == before.root_generation
        await told.check()
        await told.back(source)
        await told.check()
        await told.cloud.down()

    run_virtual(story())


def test_servers_start_again_when_their_host_has_booted() -> None:
    async def story() -> None:
        told = await Told().begin()
        server = await told.get(await told.created())
        host = server.host_name or ""
        await told.cloud.cut_power(host)
        await told.back(host)
        await told.cloud.until(lambda: told.cloud.running(server.id) == [host])
        assert (await told.idle(server.id)).vm_state is VmState.ACTIVE
        await told.check()
        await told.cloud.down()

    run_virtual(story())


def test_a_guest_that_powers_itself_off_makes_its_server_stopped() -> None:
    async def story() -> None:
        told = await Told().begin()
        server = await told.get(await told.created())
        told.cloud.hosts[server.host_name or ""].hypervisor.power_off_inside(server.id)
        await told.cloud.clock.sleep(5)
        assert (await told.get(server.id)).vm_state is VmState.STOPPED
        await told.check()
        await told.cloud.down()

    run_virtual(story())


def test_one_seed_tells_one_history() -> None:
    def history(seed: int) -> list[dict[str, object]]:
        async def story() -> None:
            told = await Told(seed).begin()
            servers = [await told.create(f"server-{number}") for number in range(5)]
            for server in servers:
                await told.idle(server)
            await told.cloud.cut_power("host1")
            await told.cloud.clock.sleep(20)
            await told.back("host1")
            for server in servers:
                await told.ask(accept_delete, server)
            for server in servers:
                await told.idle(server)
            await told.check()
            await told.cloud.down()

        with structlog.testing.capture_logs() as events:
            run_virtual(story())
        return [{name: value for name, value in event.items() if name != "exc_info"} for event in events]

    assert history(7) == history(7)
    assert history(7) != history(8)
