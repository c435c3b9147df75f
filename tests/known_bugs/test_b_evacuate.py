"""Evacuations as a state machine (rows B1 to B7 and B16 to B27), and what they do to data (A10 to A14)."""

from typing import Any

import msgspec
import pytest

from renova.drivers.hypervisor.simulated.machine import SMALL_HOST
from renova.model.errors import Broken, Conflict, Invalid, NotFound, Refused
from renova.model.guest import Capabilities, Guest, PowerState
from renova.model.ids import ServerId
from renova.model.server import TaskState, VmState
from renova.operations.delete import accept_delete
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.reboot import accept_reboot
from renova.operations.rebuild import Rebuild, accept_rebuild
from renova.operations.start import accept_start
from renova.operations.stop import accept_stop
from renova.settings import ControllerSettings
from renova.simulation.cloud import BY_HAND, NO_BRAKE, QUICK_LEASE
from renova.store import actions, migrations, servers
from renova.store.actions import Action, Event
from renova.store.placement import allocations
from tests.operations.failing_hosts import break_start, dead_host_of, evacuating
from tests.operations.story import FLAVOR, Told, an_image, told_story


async def last(told: Told, server: ServerId) -> tuple[Action, list[Event]]:
    """Return the newest action with its events, the oldest first."""

    def work(tx: Any) -> tuple[Action, list[Event]]:
        action = actions.of_server(tx, server)[0]
        return action, list(reversed(actions.events_of(tx, action.id)))

    return await told.cloud.database.read(work)


def started(told: Told) -> list[Guest]:
    """Note every guest that any host starts from now on."""
    found: list[Guest] = []

    def watch(hypervisor: Any) -> None:
        really = hypervisor.start

        async def start(guest: Guest) -> object:
            found.append(guest)
            return await really(guest)

        hypervisor.start = start

    for host in told.cloud.hosts.values():
        watch(host.hypervisor)
    return found


def prepared(told: Told) -> list[Guest]:
    """Note every guest whose disks any host makes ready from now on."""
    found: list[Guest] = []

    def watch(hypervisor: Any) -> None:
        really = hypervisor.prepare

        async def prepare(guest: Guest, images: object) -> object:
            found.append(guest)
            return await really(guest, images)

        hypervisor.prepare = prepare

    for host in told.cloud.hosts.values():
        watch(host.hypervisor)
    return found


async def fill(told: Told, name: str) -> None:
    """Have hardly any memory left on the host."""
    host = told.cloud.hosts[name]
    await told.created(f"filler-{name}", host=name, flavor=msgspec.structs.replace(FLAVOR, memory_mb=63_000))
    assert host.hypervisor.executing()


UNDER_WAY: dict[str, tuple[Any, dict[str, Any]]] = {
    "stop": (accept_stop, {}),
    "soft reboot": (accept_reboot, {"hard": False}),
    "hard reboot": (accept_reboot, {"hard": True}),
    "rebuild": (accept_rebuild, {"rebuild": Rebuild(image=an_image("two"), admin_pass="x")}),
}


@pytest.mark.parametrize("task", UNDER_WAY)
def test_b1_whatever_the_dead_host_was_doing_is_no_obstacle_and_is_closed_as_failed(task: str) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        source = await dead_host_of(told, server)
        accept, options = UNDER_WAY[task]
        await told.ask(accept, server, **options)
        assert (await told.get(server)).task_state is not None
        await told.ask(accept_evacuate, server, Evacuation())
        ended = await told.idle(server)
        assert (ended.vm_state, ended.task_state) == (VmState.ACTIVE, None)
        done = await told.cloud.database.read(lambda tx: actions.of_server(tx, server))
        assert [(action.action, action.message) for action in done[:2]] == [
            ("evacuate", None),
            (done[1].action, "Error"),
        ]
        await told.back(source)
        assert told.cloud.running(server) == [ended.host_name]  # the late worker cannot act

    told_story(story)


def test_b1_a_delete_wins_for_it_needs_no_evacuation_to_come_to_its_end() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        source = await dead_host_of(told, server)
        await told.ask(accept_delete, server)
        assert (await told.idle(server, 60)).vm_state is VmState.DELETED
        with pytest.raises(NotFound):
            await told.ask(accept_evacuate, server, Evacuation())
        await told.back(source)

    told_story(story)


def test_b2_a_second_evacuation_of_the_server_is_refused() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await dead_host_of(told, server)
        await told.ask(accept_evacuate, server, Evacuation())
        with pytest.raises(Conflict, match="another evacuation"):
            await told.ask(accept_evacuate, server, Evacuation(host="host3"))
        await told.idle(server)
        assert len(await told.cloud.database.read(migrations.find)) == 1

    told_story(story)


@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.003, 0.1, 0.21])
@pytest.mark.parametrize("who", ["controller", "agent"])
def test_b3_b26_an_evacuation_goes_on_whoever_dies(who: str, after_s: float) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        source = await dead_host_of(told, server)
        (other,) = [name for name in told.cloud.hosts if name != source]
        await told.ask(accept_evacuate, server, Evacuation())
        await told.cloud.clock.sleep(after_s)
        if who == "controller":
            await told.cloud.kill_controller()
            await told.cloud.clock.sleep(1)
            await told.cloud.start_controller()
        else:
            await told.cloud.kill_agent(other)
            await told.cloud.clock.sleep(1)
            told.cloud.start_agent(other)
        ended = await told.idle(server)
        assert (ended.vm_state, ended.host_name) == (VmState.ACTIVE, other)
        assert [each.status for each in await told.cloud.database.read(migrations.find)] == ["done"]

    told_story(story, count=2, start_s=0.2)


def test_b7_what_cannot_be_is_refused_before_anything_is_written() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        source = await dead_host_of(told, server)
        before = await told.get(server)
        with pytest.raises(NotFound, match="mars"):
            await told.ask(accept_evacuate, server, Evacuation(host="mars"))
        with pytest.raises(Invalid, match="can't be the same one"):
            await told.ask(accept_evacuate, server, Evacuation(host=source))
        assert await told.get(server) == before
        assert await told.cloud.database.read(migrations.find) == []
        await told.back(source)
        await told.cloud.until(lambda: told.cloud.running(server) == [source])
        await told.idle(server)

    told_story(story)


ROUTES = {
    "forced": Evacuation(host="host3", forced=True),
    "verified": Evacuation(host="host3"),
    "anywhere": Evacuation(),
}


@pytest.mark.parametrize("state", [VmState.ACTIVE, VmState.ERROR])
@pytest.mark.parametrize("fails", ["full", "down", "start", "unexpected"])
@pytest.mark.parametrize("route", ROUTES)
def test_b10_a_failure_is_the_same_on_every_route(route: str, fails: str, state: VmState) -> None:
    async def story(told: Told) -> None:
        server = await told.created(flavor=msgspec.structs.replace(FLAVOR, memory_mb=4_000))
        before = await told.get(server)
        source = await dead_host_of(told, server)
        await told.cloud.database.transact(lambda tx: servers.change(tx, server, vm_state=state))
        others = [name for name in told.cloud.hosts if name != source]
        for name in others:
            if fails == "full":
                await fill(told, name)
            elif fails == "down":
                await told.cloud.cut_power(name)
            else:
                error = Refused("no such machine type") if fails == "start" else Broken("nobody expected this")
                break_start(told.cloud, name, error)
        if fails == "down":
            await told.cloud.until(lambda: not any(told.cloud.cloud.hosts.up(told.cloud.hosts[n].id) for n in others))
        wanted = ROUTES[route]
        if wanted.host == source:
            wanted = msgspec.structs.replace(wanted, host=others[0])
        await told.ask(accept_evacuate, server, wanted)
        ended = await told.idle(server)
        assert (ended.vm_state, ended.task_state, ended.host) == (state, None, before.host)
        assert ended.fault is not None
        (migration,) = await told.cloud.database.read(migrations.find)
        assert migration.status == ("error" if fails in ("full", "down") else "failed")
        action, events = await last(told, server)
        assert (action.message, events[-1].result) == ("Error", "Error")
        assert events[-1].details == ended.fault.in_full
        held = await told.cloud.database.read(lambda tx: allocations.held(tx, server))
        assert {allocation.provider for allocation in held} == {before.host}
        await told.back(source, *(others if fails == "down" else ()))
        if state is VmState.ERROR:
            await told.ask(accept_delete, server)
        else:
            await told.cloud.until(lambda: told.cloud.running(server) == [source] or fails in ("start", "unexpected"))
        await told.idle(server)

    told_story(story)


def test_b11_another_host_is_tried_and_the_events_tell_of_both() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        source = await dead_host_of(told, server)
        first, second = sorted(name for name in told.cloud.hosts if name != source)
        break_start(told.cloud, first, Refused("no such machine type"))
        await told.ask(accept_evacuate, server, Evacuation())
        assert (await told.idle(server)).host_name == second
        action, events = await last(told, server)
        assert action.message is None
        assert [(event.event, event.host_name, event.result) for event in events] == [
            ("rebuild_server", None, "Success"),
            ("compute_rebuild_instance", first, "Error"),
            ("compute_rebuild_instance", second, "Success"),
        ]
        assert "no such machine type" in str(events[1].details)

    told_story(story)


def test_b9_a_host_that_was_asked_for_is_the_only_one_tried() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        source = await dead_host_of(told, server)
        first = next(name for name in told.cloud.hosts if name != source)
        break_start(told.cloud, first, Refused("no such machine type"))
        await told.ask(accept_evacuate, server, Evacuation(host=first))
        assert (await told.idle(server)).host_name == source
        await told.ask(accept_evacuate, server, Evacuation())  # and it may be tried again
        assert (await told.idle(server)).vm_state is VmState.ACTIVE

    told_story(story)


ENDS = [
    (VmState.ACTIVE, False, VmState.ACTIVE, 1),
    (VmState.ACTIVE, True, VmState.STOPPED, 0),
    (VmState.STOPPED, False, VmState.STOPPED, 0),
    (VmState.STOPPED, True, VmState.STOPPED, 0),
    (VmState.ERROR, False, VmState.ACTIVE, 1),
    (VmState.ERROR, True, VmState.ACTIVE, 1),  # B17: as in Nova
]


@pytest.mark.parametrize(("before", "end_stopped", "after", "starts"), ENDS)
def test_b16_b17_the_final_state_is_the_tables_and_what_ends_stopped_never_runs(
    before: VmState, end_stopped: bool, after: VmState, starts: int
) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        if before is VmState.STOPPED:
            await told.ask(accept_stop, server)
            await told.idle(server)
        await dead_host_of(told, server)
        await told.cloud.database.transact(lambda tx: servers.change(tx, server, vm_state=before))
        guests = started(told)
        await told.ask(accept_evacuate, server, Evacuation(end_stopped=end_stopped))
        ended = await told.idle(server)
        power = PowerState.RUNNING if after is VmState.ACTIVE else PowerState.SHUTDOWN
        assert (ended.vm_state, ended.power_state, ended.task_state) == (after, power, None)
        assert len(guests) == starts
        _, events = await last(told, server)
        names = ["rebuild_server", "compute_rebuild_instance"] + ["compute_stop_instance"] * (after is VmState.STOPPED)
        assert [event.event for event in events] == names
        if after is VmState.STOPPED:
            await told.ask(accept_start, server)
            assert (await told.idle(server)).vm_state is VmState.ACTIVE

    told_story(story)


@pytest.mark.parametrize("state", [VmState.PAUSED, VmState.SUSPENDED, VmState.RESCUED, VmState.RESIZED])
def test_b18_states_that_cannot_be_evacuated_are_refused_and_kept(state: VmState) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        source = await dead_host_of(told, server)
        await told.cloud.database.transact(lambda tx: servers.change(tx, server, vm_state=state))
        with pytest.raises(Conflict, match=f"vm_state {state}"):
            await told.ask(accept_evacuate, server, Evacuation())
        assert (await told.get(server)).vm_state is state
        await told.cloud.database.transact(lambda tx: servers.change(tx, server, vm_state=VmState.ERROR))
        await told.ask(accept_evacuate, server, Evacuation())  # as HA tools do
        assert (await told.idle(server)).vm_state is VmState.ACTIVE
        await told.back(source)

    told_story(story)


def test_b19_host_state_and_record_change_in_one_transaction() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        source = await dead_host_of(told, server)
        seen: list[tuple[Any, ...]] = []
        really = servers.change

        def change(tx: Any, of: ServerId, **values: Any) -> None:
            if "host" in values:
                seen.append(tuple(values[name] for name in ("host_name", "vm_state", "task_state")))
                tx.then(lambda: seen.append(("committed",)))
                assert migrations.active(tx, of) is not None
            really(tx, of, **values)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(servers, "change", change)
            await told.ask(accept_evacuate, server, Evacuation())
            ended = await told.idle(server)
        assert seen == [(ended.host_name, VmState.ACTIVE, None), ("committed",)]
        assert ended.host_name != source
        assert [each.status for each in await told.cloud.database.read(migrations.find)] == ["done"]

    told_story(story)


def test_b20_the_record_tells_when_it_is_over_and_with_which_fields() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        before = await told.get(server)
        source = await dead_host_of(told, server)
        seen: list[str] = []
        really = migrations.move

        def move(tx: Any, migration: int, expected: Any, status: str, **values: Any) -> bool:
            moved = really(tx, migration, expected, status, **values)
            if moved:
                seen.append(status)
            return moved

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(migrations, "move", move)
            await told.ask(accept_evacuate, server, Evacuation())
            ended = await told.idle(server)
            await told.back(source)
        assert seen == ["pre-migrating", "done", "completed"]
        (found,) = await told.cloud.database.read(migrations.find)
        assert (found.source, found.source_name) == (before.host, source)
        assert (found.destination, found.destination_name) == (ended.host, ended.host_name)
        assert found.destination_address == told.cloud.hosts[ended.host_name or ""].address
        assert found.proof is not None

    told_story(story)


def test_b23_on_kept_disks_the_password_is_not_applied_and_the_action_says_so() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await dead_host_of(told, server)
        made = prepared(told)
        await told.ask(accept_evacuate, server, Evacuation(admin_pass="secret-word"))
        await told.idle(server)
        assert [guest.personal.admin_pass for guest in made] == [None]
        _, events = await last(told, server)
        assert all("adminPass is not applied" in str(event.details) for event in events)

    told_story(story)


def test_a10_b23_on_new_disks_the_password_is_applied_and_the_loss_is_told() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        source = await dead_host_of(told, server)
        made = prepared(told)
        await told.ask(accept_evacuate, server, Evacuation(admin_pass="secret-word"))
        await told.idle(server)
        assert [guest.personal.admin_pass for guest in made] == ["secret-word"]
        _, events = await last(told, server)
        for event in events:
            assert "made anew" in str(event.details)
            assert "is lost" in str(event.details)
            assert "given to the new guest" in str(event.details)
            assert "secret-word" not in str(event.details)
        await told.back(source)

    told_story(story, shared=False)


def test_a10_an_operator_may_forbid_to_lose_disks() -> None:
    async def story(told: Told) -> None:
        server, source = await evacuating(told)
        ended = await told.idle(server)
        assert (ended.vm_state, ended.host_name) == (VmState.ACTIVE, source)
        assert ended.fault is not None
        assert "not on shared storage with the server's disks" in ended.fault.message
        await told.back(source)
        await told.cloud.until(lambda: told.cloud.running(server) == [source])
        await told.idle(server)

    settings = ControllerSettings(lease=QUICK_LEASE, recovery=BY_HAND, brake=NO_BRAKE, evacuate_keeping_disks_only=True)
    told_story(story, shared=False, settings=settings)


@pytest.mark.parametrize("broken", ["prepare", "start", "define"])
def test_a11_a_failed_attempt_deletes_nothing_of_what_was_there_before(broken: str) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.cloud.clock.sleep(1.5)
        home = told.cloud.hosts[(await told.get(server)).host_name or ""]
        home.hypervisor.write(server, "precious")
        source = await dead_host_of(told, server)
        repairs = []
        for host in told.cloud.hosts.values():
            if host.name != source:
                repairs.append((host.hypervisor, getattr(host.hypervisor, broken)))

                async def fail(*_: object) -> None:
                    raise Refused(f"{broken} does not work")

                setattr(host.hypervisor, broken, fail)
        await told.ask(accept_evacuate, server, Evacuation(end_stopped=broken == "define"))
        assert (await told.idle(server)).fault is not None
        (disk,) = [disk for at, disk in home.storage.disks.items() if at[0] == server]
        assert "precious" in [write.text for write in disk.writes]
        for hypervisor, really in repairs:
            setattr(hypervisor, broken, really)
        await told.ask(accept_evacuate, server, Evacuation())
        assert (await told.idle(server)).vm_state is VmState.ACTIVE
        assert "precious" in [write.text for write in disk.writes]

    told_story(story)


def test_a12_a13_shared_storage_without_the_disk_is_no_reason_for_a_fresh_one() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        source = await dead_host_of(told, server)
        storage = told.cloud.hosts[source].storage
        lost = {at: storage.disks.pop(at) for at in list(storage.disks) if at[0] == server}
        await told.ask(accept_evacuate, server, Evacuation())
        ended = await told.idle(server)
        assert (ended.vm_state, ended.host_name) == (VmState.ACTIVE, source)
        assert ended.fault is not None
        assert "not on this host" in ended.fault.message
        assert not any(at[0] == server for at in storage.disks), "a fresh disk was made"
        storage.disks.update(lost)
        await told.ask(accept_evacuate, server, Evacuation())
        assert (await told.idle(server)).fault is None

    told_story(story)


@pytest.mark.parametrize(("shared", "said"), [(True, False), (False, True)])
def test_on_shared_storage_must_be_true_where_it_is_said(shared: bool, said: bool) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        source = await dead_host_of(told, server)
        await told.ask(accept_evacuate, server, Evacuation(on_shared_storage=said))
        ended = await told.idle(server)
        assert (ended.vm_state, ended.host_name) == (VmState.ACTIVE, source)
        assert ended.fault is not None
        assert "shared storage" in ended.fault.message
        await told.ask(accept_evacuate, server, Evacuation(on_shared_storage=shared))
        assert (await told.idle(server)).fault is None
        await told.back(source)

    told_story(story, shared=shared)


def test_b24_a_source_comes_back_although_an_evacuated_server_was_deleted_meanwhile() -> None:
    async def story(told: Told) -> None:
        server, source = await evacuating(told)
        await told.idle(server)
        await told.ask(accept_delete, server)
        assert (await told.idle(server)).vm_state is VmState.DELETED
        await told.back(source)
        assert not any(at[0] == server for at in told.cloud.hosts[source].storage.disks)

    told_story(story, shared=False)


def test_b27_a_second_try_on_the_same_host_meets_nothing_of_the_first() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        source = await dead_host_of(told, server)
        (other,) = [name for name in told.cloud.hosts if name != source]
        hypervisor: Any = told.cloud.hosts[other].hypervisor
        really = hypervisor.start

        async def half(guest: Guest) -> None:
            await really(guest)
            raise Broken("it runs, and then something else went wrong")

        hypervisor.start = half
        await told.ask(accept_evacuate, server, Evacuation(host=other))
        assert (await told.idle(server)).fault is not None
        assert told.cloud.running(server) == []
        hypervisor.start = really
        await told.ask(accept_evacuate, server, Evacuation(host=other))
        ended = await told.idle(server)
        assert (ended.vm_state, ended.host_name) == (VmState.ACTIVE, other)

    told_story(story, count=2)


def test_a_hypervisor_that_cannot_evacuate_says_so() -> None:
    async def story(told: Told) -> None:
        server, source = await evacuating(told)
        ended = await told.idle(server)
        assert (ended.vm_state, ended.task_state) == (VmState.ACTIVE, None)
        assert ended.fault is not None
        assert "its hypervisor does not support evacuation" in ended.fault.message
        await told.back(source)
        await told.cloud.until(lambda: told.cloud.running(server) == [source])
        await told.idle(server)

    told_story(story, facts=msgspec.structs.replace(SMALL_HOST, capabilities=Capabilities(evacuate=False)))


def test_every_task_of_an_evacuation_is_a_rebuilds() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await dead_host_of(told, server)
        seen = told.watch_tasks()
        await told.ask(accept_evacuate, server, Evacuation())
        await told.idle(server)
        assert seen == [
            TaskState.REBUILDING,
            TaskState.REBUILD_BLOCK_DEVICE_MAPPING,
            TaskState.REBUILD_SPAWNING,
            None,
        ]

    told_story(story)
