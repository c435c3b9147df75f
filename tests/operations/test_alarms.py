"""What monitors say has failed is heeded: a proof is sought for a host, a server restarted, a service disabled."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from renova.ha.alarms import raise_alarm
from renova.ha.draining import begin_drain, undo_drain
from renova.ha.heed import PATIENCE_S
from renova.ha.moves import MoveState, moves_of
from renova.ha.segments import MAINTENANCE, RESERVED, follow_flags
from renova.model.alarm import OPEN, Alarm, AlarmKind, AlarmStatus
from renova.model.errors import Conflict, NotNow
from renova.model.guest import PowerState
from renova.model.host import Host, HostState, ProofKind
from renova.model.ids import HostId, ServerId
from renova.model.segment import RecoveryMethod
from renova.model.server import VmState
from renova.operations.compute_service import DRAINED
from renova.operations.heal_ports import accept_heal_ports
from renova.operations.stop import accept_stop
from renova.power import HostPower
from renova.settings import BrakeSettings, ControllerSettings, RecoverySettings
from renova.simulation.cloud import NO_BRAKE, QUICK_LEASE, SimulatedCloud
from renova.store import actions, alarms, hosts, segments
from renova.store.database import Tx
from tests.operations.story import Told, told_story

SETTINGS = ControllerSettings(
    lease=QUICK_LEASE,
    soft_reboot_wait=10,
    shutdown_wait=10,
    recovery=RecoverySettings(automatic=True, again=10.0),
    brake=NO_BRAKE,
    accepted_proofs=("operator",),  # so that nothing but a word proves a death
)
BY_POWER = replace(SETTINGS, accepted_proofs=("power_off",))
VOUCHED = replace(SETTINGS, masakari_notifications_vouch=True)
DOWN = {"event": "STOPPED", "cluster_status": "OFFLINE", "host_status": "NORMAL"}
Story = Callable[[Told], Awaitable[None]]


def tell(story: Story, settings: ControllerSettings = BY_POWER, **options: Any) -> None:
    async def with_segment(told: Told) -> None:
        await told.cloud.database.transact(lambda tx: have_segment(told, tx))
        await story(told)

    told_story(with_segment, settings=settings, **options)


def have_segment(told: Told, tx: Tx) -> None:
    """Have all hosts in one segment."""
    method, kind = RecoveryMethod.AUTO, "COMPUTE"
    words = {"uuid": "rack", "name": "rack", "description": None, "service_type": kind}
    segments.add(tx, **words, recovery_method=method, enabled=True)
    for name in told.cloud.hosts:
        place = {"uuid": f"place-{name}", "segment": "rack", "name": name, "type": kind, "control_attributes": None}
        segments.add_host(tx, **place, reserved=False, on_maintenance=False)


async def put(told: Told, name: str, *, reserved: bool = False, on_maintenance: bool = False) -> None:
    """Have the host's place say this, as the API does."""

    def work(tx: Tx) -> None:
        segments.change_host(tx, f"place-{name}", reserved=reserved, on_maintenance=on_maintenance)
        flags = {"reserved": reserved, "on_maintenance": on_maintenance}
        follow_flags(told.cloud.cloud, tx, name, **flags, who="operator")

    await told.cloud.database.transact(work)


async def recover_by(told: Told, method: RecoveryMethod) -> None:
    await told.cloud.database.transact(lambda tx: segments.change(tx, "rack", recovery_method=method))


async def say(told: Told, kind: AlarmKind = AlarmKind.HOST, host: str = "host1", **payload: str) -> str:
    """Raise an alarm; returns its uuid."""
    cloud = told.cloud.cloud

    def work(tx: Tx) -> str:
        raised = raise_alarm(
            cloud, tx, kind=kind, host_name=host, generated_at=tx.now, payload=payload or DOWN, who="monitor"
        )
        return raised.uuid

    return str(await cloud.database.transact(work))


async def say_died(told: Told, server: ServerId, host: str, event: str = "LIFECYCLE") -> str:
    words = {"event": event, "vir_domain_event": "STOPPED_FAILED", "instance_uuid": server}
    return await say(told, AlarmKind.SERVER, host, **words)


async def rebooted(told: Told, server: ServerId, times: int) -> None:
    """Wait until the server was rebooted so many times, and not once more."""

    async def count() -> int:
        done = await told.cloud.database.read(lambda tx: actions.of_server(tx, server))
        return [each.action for each in done].count("reboot")

    until = told.cloud.clock.monotonic() + 120
    while (done := await count()) < times:
        assert told.cloud.clock.monotonic() < until, done
        await told.cloud.clock.sleep(0.2)
    assert done == times


async def alarm(told: Told, uuid: str) -> Alarm:
    found = await told.cloud.database.read(lambda tx: alarms.get(tx, uuid))
    assert found is not None
    return found


async def heeded(told: Told, uuid: str, *statuses: AlarmStatus, within_s: float = 120.0) -> Alarm:
    """Wait until the alarm stands so."""
    until = told.cloud.clock.monotonic() + within_s
    while (found := await alarm(told, uuid)).status not in statuses:
        assert told.cloud.clock.monotonic() < until, found
        await told.cloud.clock.sleep(0.2)
    return found


async def host(told: Told, name: str) -> Host:
    found = await told.cloud.database.read(lambda tx: hosts.by_name(tx, name))
    assert found is not None
    return found


async def on(told: Told, name: str, **changes: Any) -> ServerId:
    """Have a server on this host."""
    for each in told.cloud.hosts.values():
        if each.name != name:
            await told.cloud.database.transact(lambda tx, of=each.id: hosts.change(tx, of, disabled=True))  # type: ignore[misc]
    server = await told.created(**changes)
    for each in told.cloud.hosts.values():
        if (await host(told, each.name)).disabled_reason is None:
            await told.cloud.database.transact(lambda tx, of=each.id: hosts.change(tx, of, disabled=False))  # type: ignore[misc]
    return server


# --- hosts ---


def test_an_alarm_has_a_proof_sought_and_is_followed_until_the_servers_are_up_elsewhere() -> None:
    async def story(told: Told) -> None:
        server = await on(told, "host1")
        await told.cloud.cut_power("host1")
        uuid = await say(told)
        found = await heeded(told, uuid, AlarmStatus.FINISHED)
        proof = await told.cloud.database.read(lambda tx: hosts.proof(tx, told.cloud.hosts["host1"].id))
        assert proof is not None
        assert (proof.kind, found.proof) == (ProofKind.POWER_OFF, proof.id)
        assert told.cloud.running(server) == [(await told.get(server)).host_name] != ["host1"]
        (move,) = await told.cloud.database.read(lambda tx: moves_of(tx, proof.id))
        assert (move.server, move.source, move.state) == (server, "host1", MoveState.SUCCEEDED)
        assert move.destination == (await told.get(server)).host_name
        assert [each.message for each in found.told][-1] == "1 server brought up elsewhere"

    tell(story)


def test_a_host_that_renews_its_lease_is_not_believed_dead_whatever_is_said_of_it() -> None:
    async def story(told: Told) -> None:
        server = await on(told, "host1")
        found = await heeded(told, await say(told), AlarmStatus.IGNORED)
        assert "renews its lease" in found.told[-1].message
        await told.cloud.clock.sleep(60)
        assert (await host(told, "host1")).state is HostState.UP
        assert told.cloud.running(server) == ["host1"]

    tell(story, VOUCHED)


@pytest.mark.parametrize(
    ("settings", "host_status"),
    [(SETTINGS, "NORMAL"), (VOUCHED, "UNKNOWN"), (replace(VOUCHED, accepted_proofs=()), "NORMAL")],
)
def test_an_alarm_is_no_proof_unless_it_was_chosen_that_one_who_knows_is_believed(
    settings: ControllerSettings, host_status: str
) -> None:
    async def story(told: Told) -> None:
        server = await on(told, "host1")
        for line in told.cloud.hosts["host1"].lines.values():
            line.cut()
        uuid = await say(told, event="STOPPED", host_status=host_status)
        found = await heeded(told, uuid, AlarmStatus.ERROR, within_s=PATIENCE_S + 10)
        assert "nothing proves it dead yet" in found.told[-1].message
        assert told.cloud.running(server) == ["host1"], "it runs on there"
        assert (await host(told, "host1")).state is not HostState.DEAD
        assert len(found.told) < 5, "it is not told again and again"

    tell(story, settings)


def test_where_it_was_chosen_a_notification_is_taken_as_a_word_once_the_lease_has_lapsed() -> None:
    async def story(told: Told) -> None:
        server = await on(told, "host1")
        await told.cloud.cut_power("host1")
        died = told.cloud.clock.monotonic()
        uuid = await say(told)
        await heeded(told, uuid, AlarmStatus.FINISHED)
        proof = await told.cloud.database.read(lambda tx: hosts.proof(tx, told.cloud.hosts["host1"].id))
        assert proof is not None
        assert (proof.kind, proof.who) == (ProofKind.OPERATOR, f"monitor (notification {uuid})")
        assert told.cloud.clock.monotonic() - died >= QUICK_LEASE.ttl + QUICK_LEASE.margin - QUICK_LEASE.renew
        assert told.cloud.running(server) != []

    tell(story, VOUCHED)


def test_a_notification_is_taken_as_a_word_about_a_host_that_was_cut_off_for_that_very_silence() -> None:
    async def story(told: Told) -> None:
        server = await on(told, "host1")
        await told.cloud.cut_power("host1")
        uuid = await say(told)
        await heeded(told, uuid, AlarmStatus.FINISHED)
        kinds = await told.cloud.database.read(lambda tx: [proof.kind for proof in hosts.proofs_of(tx)])
        assert kinds == [ProofKind.OPERATOR, ProofKind.STORAGE_CUT]
        assert told.cloud.running(server) != []

    tell(story, replace(VOUCHED, accepted_proofs=("operator", "storage_cut")))


@pytest.mark.parametrize("accepted", [("operator",), ("operator", "storage_cut")])
def test_what_was_said_of_a_host_that_was_well_since_is_no_word_about_its_next_silence(
    accepted: tuple[str, ...],
) -> None:
    async def story(told: Told) -> None:
        server = await on(told, "host1")
        for line in told.cloud.hosts["host1"].lines.values():
            line.cut()
        await told.down(told.cloud.hosts["host1"].id)
        uuid = await say(told)
        await told.cloud.kill_controller()  # so that nobody who heeds alarms sees it well
        lease = await told.cloud.database.read(lambda tx: hosts.lease(tx, told.cloud.hosts["host1"].id))
        assert lease is not None
        for _ in range(10):
            await told.cloud.database.transact(lambda tx: hosts.renew(tx, lease.host, lease.epoch, lease.boot))
        await told.cloud.start_controller()
        await heeded(told, uuid, AlarmStatus.ERROR, within_s=PATIENCE_S + 10)
        assert told.cloud.running(server) == ["host1"], "it runs on there"
        assert (await host(told, "host1")).state is not HostState.DEAD

    tell(story, replace(VOUCHED, accepted_proofs=accepted, fence_isolated=True))


def test_an_alarm_about_a_host_at_whose_power_controller_the_driver_stumbles_ends_no_controller() -> None:
    async def story(told: Told) -> None:
        def stumble() -> None:
            raise RuntimeError("an answer that nobody foresaw")

        told.cloud.switches.hanging["host1"] = stumble
        await told.cloud.cut_power("host1")
        uuid = await say(told)
        await heeded(told, uuid, AlarmStatus.RUNNING)
        await told.cloud.clock.sleep(30)
        assert told.cloud.ended == []
        del told.cloud.switches.hanging["host1"]
        await heeded(told, uuid, AlarmStatus.FINISHED)

    tell(story)


class Locked:
    """Power controllers whose secrets cannot be opened."""

    async def of(self, host: HostId, name: str) -> HostPower | None:
        raise NotNow(f"the key of {name} is not there")


class LockedCloud(SimulatedCloud):
    """A cloud with these."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.power = Locked()


def test_a_word_counts_though_the_power_of_its_host_cannot_be_read() -> None:
    async def story(told: Told) -> None:
        await told.cloud.cut_power("host1")
        uuid = await say(told)
        await heeded(told, uuid, AlarmStatus.FINISHED)
        proof = await told.cloud.database.read(lambda tx: hosts.proof(tx, told.cloud.hosts["host1"].id))
        assert proof is not None
        assert proof.kind == ProofKind.OPERATOR

    tell(story, replace(VOUCHED, accepted_proofs=("power_off", "operator")), kind=LockedCloud)


def test_the_brake_holds_up_what_programs_say() -> None:
    async def story(told: Told) -> None:
        for name in ("host1", "host2", "host3"):
            await told.cloud.cut_power(name)
            await say(told, host=name)
        await told.cloud.clock.sleep(60)
        states = [(await host(told, name)).state for name in ("host1", "host2", "host3")]
        assert states.count(HostState.DEAD) < 3, "one too many: it may be the observers who are cut off"

    tell(story, replace(VOUCHED, brake=BrakeSettings(share=0.25)), count=4)


def test_an_alarm_survives_the_controller_that_took_it() -> None:
    async def story(told: Told) -> None:
        server = await on(told, "host1")
        await told.cloud.cut_power("host1")
        uuid = await say(told)
        await told.cloud.kill_controller()
        await told.cloud.clock.sleep(30)
        await told.cloud.start_controller()
        assert (await alarm(told, uuid)).status in OPEN
        await heeded(told, uuid, AlarmStatus.FINISHED)
        assert told.cloud.running(server) == [(await told.get(server)).host_name]

    tell(story)


def test_servers_of_a_host_on_maintenance_are_not_moved_by_mistake() -> None:
    async def story(told: Told) -> None:
        server = await on(told, "host1")
        await put(told, "host1", on_maintenance=True)
        assert (await host(told, "host1")).disabled_reason == MAINTENANCE
        with pytest.raises(Conflict, match="on maintenance"):
            await say(told)
        await told.cloud.cut_power("host1")
        await told.cloud.clock.sleep(60)
        assert (await host(told, "host1")).state is HostState.DEAD, "its power is off"
        assert told.cloud.running(server) == []
        assert (await told.get(server)).host_name == "host1"
        await put(told, "host1")
        await told.cloud.until(lambda: told.cloud.running(server) != [])

    tell(story)


def test_alarms_of_a_segment_that_is_disabled_are_ignored() -> None:
    async def story(told: Told) -> None:
        await told.cloud.database.transact(lambda tx: segments.change(tx, "rack", enabled=False))
        for uuid in (await say(told), await say(told, AlarmKind.PROCESS, event="STOPPED", process_name="libvirtd")):
            found = await heeded(told, uuid, AlarmStatus.IGNORED)
            assert "disabled" in found.told[-1].message
        assert not (await host(told, "host1")).disabled

    tell(story)


def test_a_host_that_is_said_to_be_back_needs_nothing() -> None:
    async def story(told: Told) -> None:
        await heeded(told, await say(told, event="STARTED"), AlarmStatus.FINISHED)

    tell(story)


# --- reserved hosts ---


def test_a_reserved_host_stands_in_at_once_where_that_is_wished() -> None:
    async def story(told: Told) -> None:
        await put(told, "host3", reserved=True)
        assert (await host(told, "host3")).disabled_reason == RESERVED
        await on(told, "host2")
        server = await on(told, "host1")
        await recover_by(told, RecoveryMethod.RESERVED_HOST)
        await told.cloud.cut_power("host1")
        await told.cloud.until(lambda: told.cloud.running(server) == ["host3"])
        assert not (await host(told, "host3")).disabled
        place = await told.cloud.database.read(lambda tx: segments.host_named(tx, "host3"))
        assert place is not None
        assert not place.reserved, "it is in use now"

    tell(story)


async def drain(told: Told, name: str, *, undo: bool = False) -> None:
    row, cloud = await host(told, name), told.cloud.cloud
    await cloud.database.transact(
        lambda tx: undo_drain(cloud, tx, row) if undo else begin_drain(cloud, tx, row, who="ann")
    )


def test_a_reserved_host_that_is_drained_is_not_called_up() -> None:
    async def story(told: Told) -> None:
        await put(told, "host2", reserved=True)
        await put(told, "host3", reserved=True)
        await drain(told, "host2")
        server = await on(told, "host1")
        await recover_by(told, RecoveryMethod.RESERVED_HOST)
        await told.cloud.cut_power("host1")
        await told.cloud.until(lambda: told.cloud.running(server) == ["host3"])
        assert (await host(told, "host2")).disabled

    tell(story)


def test_a_host_that_is_drained_stays_out_of_use_when_its_maintenance_ends_and_no_longer_than_its_drain() -> None:
    async def story(told: Told) -> None:
        await put(told, "host2", on_maintenance=True)
        await drain(told, "host2")
        await put(told, "host2")
        row = await host(told, "host2")
        assert (row.disabled, row.disabled_reason, row.disabled_by) == (True, DRAINED, "ann")
        await drain(told, "host2", undo=True)
        assert not (await host(told, "host2")).disabled

    tell(story)


def test_a_host_on_maintenance_stays_out_of_use_when_its_drain_is_taken_back() -> None:
    async def story(told: Told) -> None:
        await drain(told, "host2")
        await put(told, "host2", on_maintenance=True)
        await drain(told, "host2", undo=True)
        row = await host(told, "host2")
        assert (row.disabled, row.disabled_reason) == (True, MAINTENANCE)
        await put(told, "host2")
        assert not (await host(told, "host2")).disabled

    tell(story)


def test_a_process_that_is_back_puts_no_host_into_use_that_is_drained() -> None:
    async def story(told: Told) -> None:
        for event in ("STOPPED", "STARTED"):
            uuid = await say(told, AlarmKind.PROCESS, "host2", event=event, process_name="libvirtd")
            await heeded(told, uuid, AlarmStatus.FINISHED)
            if event == "STOPPED":
                await drain(told, "host2")
        assert (await host(told, "host2")).disabled
        await drain(told, "host2", undo=True)
        assert not (await host(told, "host2")).disabled

    tell(story)


@pytest.mark.parametrize("method", [RecoveryMethod.AUTO, RecoveryMethod.AUTO_PRIORITY])
def test_a_reserved_host_stays_in_reserve_while_there_is_room_elsewhere(method: RecoveryMethod) -> None:
    async def story(told: Told) -> None:
        await put(told, "host3", reserved=True)
        server = await on(told, "host1")
        await recover_by(told, method)
        await told.cloud.cut_power("host1")
        await told.cloud.until(lambda: told.cloud.running(server) == ["host2"])
        assert (await host(told, "host3")).disabled_reason == RESERVED

    tell(story)


def test_a_reserved_host_stands_in_when_room_lacks_elsewhere() -> None:
    async def story(told: Told) -> None:
        await put(told, "host2", reserved=True)
        server = await on(told, "host1")
        await recover_by(told, RecoveryMethod.AUTO_PRIORITY)
        await told.cloud.cut_power("host1")
        await told.cloud.until(lambda: told.cloud.running(server) == ["host2"], limit_s=60)

    tell(story, count=2)


# --- servers ---


@pytest.mark.parametrize("event", ["LIFECYCLE", "QEMU_GUEST_AGENT_ERROR"])
def test_a_server_whose_guest_has_failed_is_restarted(event: str) -> None:
    async def story(told: Told) -> None:
        server = await on(told, "host1")
        await heeded(told, await say_died(told, server, "host1", event), AlarmStatus.FINISHED)
        await rebooted(told, server, 1)
        found = await told.idle(server)
        assert (found.vm_state, found.power_state) == (VmState.ACTIVE, PowerState.RUNNING)

    tell(story)


def test_a_crash_that_its_host_reports_too_is_mended_once() -> None:
    async def story(told: Told) -> None:
        server = await on(told, "host1")
        told.cloud.hosts["host1"].hypervisor.crash(server)
        await heeded(told, await say_died(told, server, "host1"), AlarmStatus.FINISHED, AlarmStatus.IGNORED)
        await told.cloud.until(lambda: told.cloud.running(server) == ["host1"])
        await told.cloud.clock.sleep(30)
        await rebooted(told, server, 1)

    tell(story)


@pytest.mark.parametrize("then", [None, accept_heal_ports])
def test_a_server_that_its_owner_has_stopped_stays_off(then: Any) -> None:
    async def story(told: Told) -> None:
        server = await on(told, "host1")
        await told.ask(accept_stop, server)
        await told.idle(server)
        if then is not None:
            await told.ask(then, server)
            await told.idle(server)
        found = await heeded(told, await say_died(told, server, "host1"), AlarmStatus.IGNORED)
        assert found.told[-1].message == "the server was stopped by its owner"
        assert told.cloud.running(server) == []

    tell(story)


def test_a_server_is_left_where_that_was_wished_and_where_it_is_not() -> None:
    async def story(told: Told) -> None:
        left = await on(told, "host1", metadata={"HA_Enabled": "false"})
        found = await heeded(told, await say_died(told, left, "host1"), AlarmStatus.IGNORED)
        assert "HA_Enabled=false" in found.told[-1].message
        found = await heeded(told, await say_died(told, left, "host2"), AlarmStatus.IGNORED)
        assert found.told[-1].message == "the server is not on host2"
        other = {"event": "LIFECYCLE", "vir_domain_event": "STOPPED_SHUTDOWN", "instance_uuid": left}
        await heeded(told, await say(told, AlarmKind.SERVER, "host1", **other), AlarmStatus.IGNORED)
        assert (await told.get(left)).last_number == 1, "nothing was done to it since its creation"

    tell(story)


def test_a_server_that_fails_again_and_again_is_given_up() -> None:
    async def story(told: Told) -> None:
        server = await on(told, "host1")
        for times in (1, 2, 3):
            await heeded(told, await say_died(told, server, "host1"), AlarmStatus.FINISHED)
            await rebooted(told, server, times)
            await told.idle(server)
        found = await heeded(told, await say_died(told, server, "host1"), AlarmStatus.FAILED)
        assert found.told[-1].message.startswith("given up")
        await told.cloud.clock.sleep(200)
        await rebooted(told, server, 3)

    tell(story)


# --- processes ---


def test_a_failed_process_has_nothing_new_be_put_on_its_host_until_it_is_back() -> None:
    async def story(told: Told) -> None:
        server = await on(told, "host1")
        said = {"process_name": "libvirtd"}
        await heeded(told, await say(told, AlarmKind.PROCESS, event="STOPPED", **said), AlarmStatus.FINISHED)
        found = await host(told, "host1")
        assert (found.disabled_reason, found.disabled_by) == ("process libvirtd has stopped", "monitor")
        assert told.cloud.running(server) == ["host1"], "what runs there runs on"
        other = await say(told, AlarmKind.PROCESS, event="STARTED", process_name="qemu")
        await heeded(told, other, AlarmStatus.FINISHED)
        assert (await host(told, "host1")).disabled
        await heeded(told, await say(told, AlarmKind.PROCESS, event="STARTED", **said), AlarmStatus.FINISHED)
        assert not (await host(told, "host1")).disabled

    tell(story)
