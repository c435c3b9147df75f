"""Known failure modes A1 to A17, B26 and B27: a server that runs twice, and data that is lost (docs/known-bugs.md)."""

from typing import Any

import pytest

from renova.model.errors import BadSetup, Broken, Conflict, Invalid, NotNow, Refused
from renova.model.guest import PowerState
from renova.model.host import HostState, ProofKind
from renova.model.ids import HostId, ServerId
from renova.model.server import Server, VmState
from renova.operations.delete import accept_delete
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.settings import AgentSettings, ControllerSettings
from renova.simulation.cloud import BY_HAND, NO_BRAKE, QUICK_LEASE
from renova.simulation.hosts import SimulatedHost
from renova.store import hosts, migrations, rights
from renova.uplink.identity import Identity, check_name
from tests.operations.failing_hosts import break_start, dead_host_of
from tests.operations.story import Told, told_story


def host_of(told: Told, server: Server) -> SimulatedHost:
    return told.cloud.hosts[server.host_name or ""]


async def evacuated(told: Told, server: ServerId, **how: Any) -> Server:
    """Evacuate the server and wait until that has ended."""
    await told.ask(accept_evacuate, server, Evacuation(**how))
    return await told.idle(server)


async def cut_off(told: Told, server: ServerId) -> SimulatedHost:
    """Cut the server's host off, its guest running, and have somebody vouch for its death, wrongly."""
    row = await told.get(server)
    host = host_of(told, row)
    host.line.cut()
    await told.cloud.until(lambda: not told.cloud.cloud.hosts.up(host.id))
    await told.cloud.cloud.hosts.vouch(host.id, "somebody", True)
    return host


async def set_disabled(told: Told, host: SimulatedHost, disabled: bool) -> None:
    await told.cloud.database.transact(lambda tx: hosts.change(tx, host.id, disabled=disabled))


async def statuses(told: Told) -> list[str]:
    return await told.cloud.database.read(lambda tx: [each.status for each in migrations.find(tx)])


async def row(told: Told, host: HostId) -> Any:
    return await told.cloud.database.read(lambda tx: hosts.get(tx, host))


def disks(host: SimulatedHost, server: ServerId) -> list[int]:
    return [generation for of, generation in host.storage.disks if of == server]


# --- A1: proof before evacuation ---


def test_a1_without_a_proof_nothing_is_evacuated_and_the_refusal_says_what_is_missing_and_when() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        host_of(told, server).line.cut()
        await told.cloud.until(lambda: not told.cloud.cloud.hosts.up(server.host))
        ways = r"Switch its power off.*`renova host vouch host1`.*in 1\d s.*no armed guard runs there"
        with pytest.raises(Invalid, match=f"nothing proves.*{ways}"):
            await told.ask(accept_evacuate, server.id, Evacuation())
        host_of(told, server).line.heal()
        await told.host_up(server.host_name or "")

    told_story(story)


def test_a1_a_word_is_not_taken_of_a_host_that_renews_nor_before_its_lease_has_lapsed() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        vouch = told.cloud.cloud.hosts.vouch
        with pytest.raises(Conflict, match="still renews its lease"):
            await vouch(server.host, "somebody", True)
        await told.cloud.cut_power(server.host_name or "")
        told.cloud.cloud.hosts.seek_proof = told.cloud.cloud.agents.connected
        await told.cloud.until(lambda: not told.cloud.cloud.hosts.leases.alive(server.host))
        with pytest.raises(Conflict, match="lapses in"):
            await vouch(server.host, "somebody", False)
        await vouch(server.host, "somebody", True)
        proof = await told.cloud.database.read(lambda tx: hosts.proof(tx, server.host))  # type: ignore[arg-type]
        assert proof is not None
        assert (proof.kind, proof.who, proof.readings["at_once"]) == (ProofKind.OPERATOR, "somebody", "yes")
        ended = await evacuated(told, server.id)
        assert ended.host != server.host
        (record,) = await told.cloud.database.read(migrations.find)
        assert record.proof == proof.id, "the evacuation keeps what it rested on"

    told_story(story)


def test_a1_a_wrong_word_meets_the_disks_lock_where_storage_is_shared() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        host = await cut_off(told, server)
        ended = await evacuated(told, server)
        assert told.cloud.running(server) == [host.name]
        assert "the old guest may live" in (ended.fault.message if ended.fault else "")
        host.line.heal()
        await told.host_up(host.name)
        await told.cloud.until(lambda: told.cloud.running(server) == [host.name])
        await told.idle(server)

    told_story(story)


def test_a1_silence_alone_counts_only_where_it_was_chosen() -> None:
    settings = ControllerSettings(
        lease=QUICK_LEASE,
        recovery=BY_HAND,
        brake=NO_BRAKE,
        accepted_proofs=("heartbeat_age",),
        heartbeat_age=30.0,
        shutdown_wait=10,
        soft_reboot_wait=10,
    )

    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await told.cloud.cut_power(server.host_name or "")
        await told.cloud.clock.sleep(25)
        with pytest.raises(Invalid, match=r"wait \d s, after which its silence is accepted"):
            await told.ask(accept_evacuate, server.id, Evacuation())
        await told.cloud.clock.sleep(10)
        ended = await evacuated(told, server.id)
        assert ended.host != server.host
        proof = await told.cloud.database.read(lambda tx: hosts.proof(tx, server.host))  # type: ignore[arg-type]
        assert proof is not None
        assert (proof.kind, proof.who) == (ProofKind.HEARTBEAT_AGE, "setting accepted_proofs")

    told_story(story, settings=settings)


def test_a1_a_power_reading_that_the_host_belies_is_taken_back_and_not_believed_again() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        host = host_of(told, server)
        host.line.cut()
        host.powered = False  # so the switch says; the machine runs on
        await told.cloud.until(lambda: not told.cloud.cloud.hosts.up(host.id))
        assert await told.cloud.cloud.hosts.seek_proof(host.id)
        host.line.heal()
        await told.host_up(host.name)
        (proof,) = await told.cloud.database.read(lambda tx: hosts.proofs_of(tx, host.id))
        assert proof.kind == ProofKind.POWER_OFF
        assert "has not booted since" in (proof.withdrawn or "")
        assert (await row(told, host.id)).power_barred
        host.line.cut()
        await told.cloud.clock.sleep(120)
        assert (await row(told, host.id)).state is HostState.UP, "its power is not believed again"
        with pytest.raises(Invalid, match="not believed of this host"):
            await told.ask(accept_evacuate, server.id, Evacuation())
        host.powered = True
        host.line.heal()
        await told.host_up(host.name)

    told_story(story)


# --- A2, A3: a failed evacuation's record is final, and its source destroys nothing ---


def stumble(told: Told, what: str) -> None:
    """Have one thing that evacuations depend on fail for good."""
    controller = told.cloud.cloud

    async def fail(*_: object, **__: object) -> Any:
        raise Broken(f"{what} is broken")

    if what == "network":
        controller.networks.bind = fail
    elif what == "image":
        told.cloud.images.images.clear()
    elif what == "hypervisor":
        for name in told.cloud.hosts:
            break_start(told.cloud, name, Refused("no such machine type"))
    else:
        for name, host in told.cloud.hosts.items():
            del name
            host.hypervisor.prepare = fail  # type: ignore[method-assign]


@pytest.mark.parametrize("what", ["network", "image", "hypervisor", "storage"])
def test_a3_whatever_fails_an_evacuation_its_record_is_final_and_its_source_keeps_its_server(what: str) -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        source = await dead_host_of(told, server.id)
        kept, images = told.cloud.cloud.networks.bind, dict(told.cloud.images.images)
        for host in told.cloud.hosts.values():
            host.storage._images.clear()
        stumble(told, what)
        ended = await evacuated(told, server.id)
        assert (ended.host, ended.task_state) == (server.host, None)
        assert ended.fault is not None
        assert set(await statuses(told)) <= {"error", "failed"}
        told.cloud.cloud.networks.bind = kept
        told.cloud.images.images.update(images)
        for host in told.cloud.hosts.values():
            vars(host.hypervisor).pop("prepare", None)
            vars(host.hypervisor).pop("start", None)
        await told.back(source)
        assert disks(told.cloud.hosts[source], server.id), "the only disk the server has"
        assert told.cloud.hosts[source].storage.asides == []
        await told.cloud.until(lambda: told.cloud.running(server.id) == [source])
        await told.idle(server.id)

    told_story(story, shared=False)


def test_a2_a_returning_source_keeps_a_server_that_no_host_could_take() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        source = await dead_host_of(told, server.id)
        for name, host in told.cloud.hosts.items():
            if name != source:
                await set_disabled(told, host, True)
        told.cloud.cloud.fleet.stale()
        await evacuated(told, server.id)
        assert await statuses(told) == ["error"]
        boots = host_of(told, server).storage.disks[server.id, server.root_generation].boots
        await told.back(source)
        await told.cloud.until(lambda: told.cloud.running(server.id) == [source])
        await told.idle(server.id)
        assert host_of(told, server).storage.disks[server.id, server.root_generation].boots >= boots

    told_story(story)


# --- A4: identity ---


def test_a4_a_renamed_host_does_not_start() -> None:
    with pytest.raises(BadSetup, match=r"enrolled as host1, and now calls itself host9.*RENOVA_NAME=host1"):
        check_name(Identity(HostId("id"), "host1", ()), "host9")
    check_name(Identity(HostId("id"), "host1", ()), "host1")


# --- A5: disks ---


def test_a5_disks_on_shared_storage_are_never_touched_by_a_returning_source() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        source = await dead_host_of(told, server.id)
        ended = await evacuated(told, server.id)
        before = dict(host_of(told, ended).storage.disks)
        await told.back(source)
        assert host_of(told, ended).storage.disks == before
        assert host_of(told, ended).storage.asides == []

    told_story(story)


def test_a5_disks_are_kept_where_nobody_can_say_whose_storage_it_is() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        source = await dead_host_of(told, server.id)
        await evacuated(told, server.id)
        host = told.cloud.hosts[source]
        host.hypervisor._facts = type(host.hypervisor._facts)(
            **{name: getattr(host.hypervisor._facts, name) for name in host.hypervisor._facts.__struct_fields__}
            | {"storage_id": ""}
        )
        await told.back(source)
        assert disks(host, server.id)
        assert host.storage.asides == []

    told_story(story, shared=False)


@pytest.mark.slow
def test_a5_local_disks_of_a_server_that_left_are_set_aside_with_what_was_written() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        host = host_of(told, server)
        await told.cloud.clock.sleep(2)
        host.hypervisor.write(server.id, "the user's work")
        source = await dead_host_of(told, server.id)
        await evacuated(told, server.id)
        await told.back(source)
        assert disks(host, server.id) == []
        ((aside, kept),) = host.storage.asides
        assert (aside.server, aside.incarnation) == (server.id, 1)
        assert "the user's work" in [write.text for disk in kept.values() for write in disk.writes]
        assert await told.cloud.cloud.agents.asides(host.id) == (aside,)
        await told.cloud.clock.sleep(1500)
        assert host.storage.asides, "kept for a while"
        await told.cloud.clock.sleep(2500)
        assert host.storage.asides == [], "and not for ever"

    told_story(story, shared=False, agent_settings=AgentSettings(aside_days=1800 / 86400))


# --- A6 to A9: the return ---


def test_a6_a_returning_source_leaves_a_server_alone_that_is_being_evacuated() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        source = await dead_host_of(told, server.id)
        await told.ask(accept_evacuate, server.id, Evacuation())
        await told.cloud.clock.sleep(0.05)
        await told.back(source)
        now = await told.get(server.id)
        assert now.task_state is not None
        assert now.vm_state is VmState.ACTIVE
        ended = await told.idle(server.id)
        assert ended.fault is None
        assert ended.host != server.host

    told_story(story, start_s=20.0)


def test_a7_a_server_that_moved_back_is_not_destroyed_by_an_old_record() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        first = await dead_host_of(told, server.id)
        moved = await evacuated(told, server.id)
        await told.back(first)
        second = await dead_host_of(told, server.id)
        back = await evacuated(told, server.id, host=first)
        assert back.host_name == first
        assert moved.host_name == second
        # An old duty, told once more by whoever was late, and a restart: what runs now is newer than both.
        await told.cloud.database.transact(lambda tx: rights.owe(tx, server.host, server.id, 2))  # type: ignore[arg-type]
        await told.cloud.kill_agent(first)
        told.cloud.start_agent(first)
        await told.cloud.until(lambda: told.cloud.cloud.agents.connected(server.host))
        await told.cloud.clock.sleep(30)
        assert told.cloud.running(server.id) == [first]
        assert disks(told.cloud.hosts[first], server.id)
        await told.back(second)
        assert await statuses(told) == ["completed", "completed"]

    told_story(story)


def test_a8_a_live_host_cleans_up_while_it_runs_and_says_what_keeps_it() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        host = await cut_off(told, server)
        host.hypervisor._domains[server].disk.open_by = None  # type: ignore[union-attr]
        await evacuated(told, server)
        assert sorted(told.cloud.running(server)) != [host.name], "somebody's word was wrong, and no lock reached"
        undefine = host.hypervisor.undefine

        async def stuck(_server: ServerId) -> None:
            raise NotNow("libvirtd is stuck")

        host.hypervisor.undefine = stuck  # type: ignore[method-assign,assignment]
        host.line.heal()
        await told.cloud.until(lambda: told.cloud.cloud.agents.connected(host.id))
        await told.cloud.clock.sleep(30)
        assert (await row(told, host.id)).state is HostState.RETURNING
        (debt,) = await told.cloud.database.read(lambda tx: rights.debts_of(tx, host.id))
        assert debt.trouble == "libvirtd is stuck"
        host.hypervisor.undefine = undefine  # type: ignore[method-assign]
        told.cloud.cloud.agents.call_in_debts(host.id)
        await told.host_up(host.name)
        assert len(told.cloud.running(server)) == 1

    told_story(story, shared=False)


def test_a9_a_host_whose_agent_never_died_cleans_up_before_it_is_up() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        host = await cut_off(told, server)
        await evacuated(told, server)
        seen: list[list[str]] = []
        host.line.heal()

        def up() -> bool:
            if told.cloud.cloud.hosts.up(host.id):
                seen.append(told.cloud.running(server))
            return bool(seen)

        await told.cloud.until(up)
        assert host.name not in seen[0]
        assert await statuses(told) == ["completed"]

    told_story(story, shared=False)


# --- A11 to A14: what an evacuation leaves of disks ---


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("where", ["prepare", "start"])
def test_a11_a_failed_evacuation_deletes_only_what_it_made(where: str, shared: bool) -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        host = host_of(told, server)
        await told.cloud.clock.sleep(2)
        host.hypervisor.write(server.id, "the user's work")
        source = await dead_host_of(told, server.id)

        async def fail(*_: object) -> Any:
            raise Refused("out of order")

        for other in told.cloud.hosts.values():
            setattr(other.hypervisor, where, fail)
        await evacuated(told, server.id)
        disk = host.storage.disks[server.id, server.root_generation]
        assert "the user's work" in [write.text for write in disk.writes]
        for name, other in told.cloud.hosts.items():
            vars(other.hypervisor).pop(where)
            if name != source and not shared:
                assert disks(other, server.id) == []
        await told.back(source)
        await told.cloud.until(lambda: told.cloud.running(server.id) == [source])
        await told.idle(server.id)

    told_story(story, shared=shared)


def test_a12_where_storage_is_shared_a_disk_that_is_gone_is_not_made_anew_in_silence() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await dead_host_of(told, server.id)
        host = host_of(told, server)
        lost = host.storage.disks.pop((server.id, server.root_generation))
        ended = await evacuated(told, server.id)
        assert ended.host == server.host
        assert ended.fault is not None
        host.storage.disks[server.id, server.root_generation] = lost
        assert (await evacuated(told, server.id)).host != server.host

    told_story(story)


def test_a13_what_a_failed_try_left_is_not_taken_for_shared_storage() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await dead_host_of(told, server.id)
        for host in told.cloud.hosts.values():
            break_start(told.cloud, host.name, Refused("no such machine type"))
        await evacuated(told, server.id)
        for host in told.cloud.hosts.values():
            vars(host.hypervisor).pop("start")
            if host.id != server.host:
                host.storage.owners.setdefault(server.id, 1)  # as a directory that nobody emptied
        ended = await evacuated(told, server.id)
        assert ended.host != server.host
        disk = host_of(told, ended).storage.disks[server.id, server.root_generation]
        assert all(write.incarnation > 1 for write in disk.writes), "a fresh disk"

    told_story(story, shared=False)


# --- B24 to B27: the return goes on whatever it meets ---


def test_b24_a_server_deleted_since_does_not_stop_the_return() -> None:
    async def story(told: Told) -> None:
        gone, stays = await told.created("gone"), await told.created("stays")
        rows = [await told.get(gone), await told.get(stays)]
        for name in {each.host_name or "" for each in rows}:
            await told.cloud.cut_power(name)
        for each in rows:
            await told.down(each.host)
            assert await told.cloud.cloud.hosts.seek_proof(each.host)
        await evacuated(told, gone)
        await told.ask(accept_delete, gone)
        await told.idle(gone)
        for name in {each.host_name or "" for each in rows}:
            await told.back(name)
        await told.cloud.until(lambda: len(told.cloud.running(stays)) == 1)
        await told.idle(stays)
        assert told.cloud.running(gone) == []

    told_story(story, count=3)


def test_b25_one_guest_that_cannot_be_cleaned_up_keeps_no_other_from_it() -> None:
    async def story(told: Told) -> None:
        first = await told.get(await told.created("one"))
        source = first.host_name or ""
        for name, host in told.cloud.hosts.items():
            if name != source:
                await set_disabled(told, host, True)
        told.cloud.cloud.fleet.stale()
        second = await told.get(await told.created("two"))
        assert second.host_name == source
        for host in told.cloud.hosts.values():
            await set_disabled(told, host, False)
        await dead_host_of(told, first.id)
        for server in (first, second):
            assert (await evacuated(told, server.id)).host != server.host
        host = told.cloud.hosts[source]
        undefine = host.hypervisor.undefine

        async def stuck(server: ServerId) -> None:
            if server == first.id:
                raise NotNow("its monitor does not answer")
            await undefine(server)

        host.hypervisor.undefine = stuck  # type: ignore[method-assign]
        await told.cloud.power_on(source)
        await told.cloud.clock.sleep(60)
        debts = await told.cloud.database.read(lambda tx: rights.debts_of(tx, host.id))
        assert [(debt.server, debt.trouble) for debt in debts] == [(first.id, "its monitor does not answer")]
        await told.cloud.kill_agent(source)  # the record is kept for its next run
        host.hypervisor.undefine = undefine  # type: ignore[method-assign]
        told.cloud.start_agent(source)
        await told.host_up(source)

    told_story(story)


@pytest.mark.parametrize("away_s", [1.0, pytest.param(900.0, marks=pytest.mark.slow)])
def test_b26_a_destination_whose_agent_dies_in_the_middle_is_repaired(away_s: float) -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await dead_host_of(told, server.id)
        target = next(name for name in told.cloud.hosts if name != server.host_name)
        await told.ask(accept_evacuate, server.id, Evacuation(host=target))
        await told.cloud.clock.sleep(1.0)
        await told.cloud.kill_agent(target)
        await told.cloud.clock.sleep(away_s)
        told.cloud.start_agent(target)
        ended = await told.idle(server.id)
        await told.host_up(target)
        await told.cloud.clock.sleep(20)
        if ended.host == server.host:
            assert told.cloud.running(server.id) == [], "nothing is left where it failed"
            ended = await evacuated(told, server.id, host=target)
        assert (ended.host_name, told.cloud.running(server.id)) == (target, [target])

    told_story(story, start_s=3.0)


def test_b27_a_second_try_on_the_same_host_meets_nothing_of_the_first() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await dead_host_of(told, server.id)
        target = next(name for name in told.cloud.hosts if name != server.host_name)
        break_start(told.cloud, target, Refused("out of memory"))
        await evacuated(told, server.id, host=target)
        vars(told.cloud.hosts[target].hypervisor).pop("start")
        assert (await evacuated(told, server.id, host=target)).host_name == target

    told_story(story)


def test_a_power_state_is_not_followed_while_the_guest_is_elsewhere() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        host = await cut_off(told, server)
        moved = await evacuated(told, server)
        assert moved.power_state is PowerState.RUNNING
        host.hypervisor.power_off_inside(server)
        host.line.heal()
        await told.host_up(host.name)
        assert (await told.get(server)).vm_state is VmState.ACTIVE

    told_story(story, shared=False)
