"""What a witness is for, and what it never costs: guests go on while the control plane is away, and none runs twice.

Times are virtual, powers read as on: so only the end of a lease can prove a host dead here.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from renova.model.host import Lease, Proof
from renova.model.ids import ServerId
from renova.model.server import VmState
from renova.settings import ControllerSettings, RecoverySettings
from renova.simulation.cloud import NO_BRAKE, QUICK_LEASE
from renova.simulation.world import World
from renova.store import hosts, rights
from renova.witness import Shown
from tests.operations.story import Told, told_story

SETTINGS = ControllerSettings(lease=QUICK_LEASE, recovery=RecoverySettings(automatic=True, again=10.0), brake=NO_BRAKE)
LAPSED_S = QUICK_LEASE.ttl + QUICK_LEASE.margin
LOOK_S = 0.1
Story = Callable[["Watched"], Awaitable[None]]


class Watched:
    """A server on host1, and what is seen of it again and again."""

    def __init__(self, told: Told, server: ServerId) -> None:
        self.told = told
        self.server = server
        assert isinstance(told.cloud, World)
        self.world = told.cloud
        self.now = told.cloud.clock.monotonic
        self.killed = 0
        for host in self.world.hosts.values():
            if host.gate is not None:
                host.gate.on_kill = self._count

    def _count(self) -> None:
        self.killed += 1

    @property
    def storage(self) -> Any:
        assert self.world.witness is not None
        return self.world.witness

    def on(self, name: str) -> bool:
        return name in self.world.running(self.server)

    async def runs_for(self, seconds: float) -> float:
        """Watch it for so long: it never runs twice. Return for how many seconds it ran on host1."""
        until, ran = self.now() + seconds, 0.0
        while self.now() < until:
            await self.world.clock.sleep(LOOK_S)
            assert len(self.world.running(self.server)) <= 1
            ran += LOOK_S * self.on("host1")
        return ran

    async def until(self, true: Callable[[], Awaitable[bool]], limit_s: float = 200.0) -> float:
        """Watch it until that is so; return how long it took. It never runs twice meanwhile."""
        began = self.now()
        while not await true():
            assert self.now() < began + limit_s, "this did not come"
            await self.runs_for(LOOK_S)
        return self.now() - began

    async def lease(self) -> Lease:
        host = self.world.hosts["host1"].id
        found = await self.world.database.read(lambda tx: hosts.lease(tx, host))
        assert found is not None
        return found

    async def proof(self) -> Proof | None:
        host = self.world.hosts["host1"].id
        return await self.world.database.read(lambda tx: hosts.proof(tx, host))

    async def is_revoked(self) -> bool:
        return (await self.lease()).revoked > 0

    async def is_proven(self) -> bool:
        return await self.proof() is not None

    async def is_elsewhere(self) -> bool:
        return bool(self.world.running(self.server)) and not self.on("host1")

    def isolate(self) -> None:
        """Cut host1 off from all controllers; not from the witness."""
        for line in self.world.hosts["host1"].lines.values():
            line.cut()

    def heal(self) -> None:
        for line in self.world.hosts["host1"].lines.values():
            line.heal()

    async def boots(self) -> int:
        """Count how often its guest has booted on host1."""
        await self.world.hosts["host1"].hypervisor.console(self.server)
        return self.world.hosts["host1"].storage.disks[self.server, 1].boots

    async def settled(self) -> None:
        """Wait until host1's guard goes by the witness, if there is one."""
        guard = self.world.hosts["host1"].guarding
        assert guard is not None
        if (witnessed := guard.lease.witnessed) is not None:
            await self.world.until(lambda: witnessed.until > 0, 30.0)


def watch(story: Story, **options: Any) -> None:
    async def whole(told: Told) -> None:
        other = told.cloud.hosts["host2"].id
        await told.cloud.database.transact(lambda tx: hosts.change(tx, other, disabled=True))
        watched = Watched(told, await told.created())
        await told.cloud.database.transact(lambda tx: hosts.change(tx, other, disabled=False))
        await watched.settled()
        assert watched.on("host1")
        await story(watched)
        await told.idle(watched.server)

    usual = {"kind": World, "settings": SETTINGS, "armed": True, "witnessed": True, "count": 2, "storage_count": 0}
    told_story(whole, **usual | options)


@pytest.mark.parametrize(
    ("options", "least_s", "most_s"),
    [
        ({"armed": False}, 600, 600),
        ({"armed": True, "witnessed": True}, 600, 600),
        ({"armed": True, "witnessed": False}, QUICK_LEASE.ttl - 2, QUICK_LEASE.ttl + 1),
    ],
    ids=["unarmed: no guest stands still", "armed, with a witness: no guest stands still", "armed: they freeze"],
)
def test_controllers_and_database_away_for_ten_minutes_harm_no_guest(
    options: dict[str, bool], least_s: float, most_s: float
) -> None:
    async def story(watched: Watched) -> None:
        world, host = watched.world, watched.world.hosts["host1"]
        before = await world.database.read(lambda tx: rights.right(tx, watched.server))
        for name in world.controllers:
            world.end_controller(name)
        world.data.go_away()
        ran = await watched.runs_for(600)
        assert least_s - 1 <= ran <= most_s + 1
        assert watched.server in host.hypervisor.active(), "whoever stands still has not been killed"
        world.data.come_back()
        for name in world.controllers:
            await world.start_controller(name)
        await watched.runs_for(15)
        assert watched.on("host1")
        await watched.runs_for(120)
        assert watched.on("host1"), "nor is it recovered afterwards"
        assert (await watched.boots(), watched.killed) == (1, 0)
        assert (await watched.told.get(watched.server)).vm_state is VmState.ACTIVE
        assert await world.database.read(lambda tx: rights.right(tx, watched.server)) == before

    watch(story, **options)


def test_a_host_that_is_cut_off_runs_on_until_the_witness_shows_that_its_lease_is_revoked() -> None:
    async def story(watched: Watched) -> None:
        watched.isolate()
        assert await watched.until(watched.is_revoked) >= LAPSED_S - 1
        assert watched.on("host1"), "the end of its lease alone is not yet the end of its guests"
        assert not await watched.is_proven()
        shown_at = watched.now()
        assert await watched.until(lambda: _not(watched.on("host1"))) < 2 * QUICK_LEASE.renew
        await watched.until(watched.is_proven)
        assert watched.now() - shown_at >= LAPSED_S - 1
        proof = await watched.proof()
        assert proof is not None
        assert proof.kind == "lease_revoked"
        assert float(proof.readings["witness_shows_s"]) >= LAPSED_S
        await watched.until(watched.is_elsewhere)

    watch(story)


def test_a_host_that_is_cut_off_from_the_witness_too_stops_its_guests_before_they_run_elsewhere() -> None:
    async def story(watched: Watched) -> None:
        watched.isolate()
        watched.storage.cut.add("host1")
        assert await watched.until(lambda: _not(watched.on("host1"))) <= QUICK_LEASE.ttl + 1
        await watched.until(watched.is_elsewhere)

    watch(story)


def test_storage_that_the_controllers_do_not_reach_proves_nothing_and_harms_nobody() -> None:
    async def story(watched: Watched) -> None:
        controllers = list(watched.world.controllers)
        watched.storage.cut.update(controllers)
        watched.isolate()
        assert await watched.runs_for(200) >= 199
        assert not await watched.is_proven()
        for name in controllers:
            watched.storage.heal(name)
        await watched.until(watched.is_elsewhere)

    watch(story)


def test_a_host_that_goes_off_while_its_witness_is_away_is_proven_dead_by_its_power_as_ever() -> None:
    async def story(watched: Watched) -> None:
        watched.storage.cut.update(watched.world.controllers)
        watched.isolate()
        await watched.runs_for(LAPSED_S + 10)
        assert not await watched.is_proven()
        await watched.world.cut_power("host1")
        await watched.until(watched.is_elsewhere, 60.0)
        proof = await watched.proof()
        assert proof is not None
        assert proof.kind == "power_off"

    watch(story)


def test_a_host_that_goes_off_when_its_witness_has_gone_after_a_revocation_is_proven_dead_by_its_power() -> None:
    async def story(watched: Watched) -> None:
        watched.isolate()
        await watched.until(watched.is_revoked)
        await watched.runs_for(LAPSED_S / 2)
        watched.storage.cut.update(watched.world.controllers)
        await watched.runs_for(LAPSED_S)
        assert not await watched.is_proven()
        await watched.world.cut_power("host1")
        await watched.until(watched.is_elsewhere, 60.0)

    watch(story)


def test_a_host_that_comes_back_after_it_was_revoked_keeps_its_servers_and_is_never_proven_dead_by_that() -> None:
    async def story(watched: Watched) -> None:
        watched.isolate()
        await watched.until(watched.is_revoked)
        watched.heal()
        await watched.until(lambda: _not(not watched.on("host1")))
        await watched.runs_for(2 * LAPSED_S)
        assert watched.on("host1")
        assert not await watched.is_proven()
        assert (await watched.lease()).revoked == 0
        assert await watched.boots() == 1

    watch(story)


def test_whoever_takes_over_from_a_controller_shows_the_revocation_anew_and_waits_anew() -> None:
    async def story(watched: Watched) -> None:
        watched.isolate()
        await watched.until(watched.is_revoked)
        for name in list(watched.world.controllers):
            watched.world.end_controller(name)
        await watched.runs_for(LAPSED_S)
        began = watched.now()
        await watched.world.start_controller("controller2")
        await watched.until(watched.is_proven)
        assert watched.now() - began >= LAPSED_S - 1, "how long another has shown it, nobody knows"
        await watched.until(watched.is_elsewhere)

    watch(story)


def test_a_witness_that_has_lost_a_revocation_is_noticed_before_that_proves_anything() -> None:
    async def story(watched: Watched) -> None:
        watched.isolate()
        await watched.until(watched.is_revoked)
        await watched.runs_for(LAPSED_S / 2)
        ((lease, shown),) = [each for each in watched.storage.files.items() if each[1].revoked]
        watched.storage.files[lease] = Shown(shown.word, revoked=False)  # a snapshot of the storage is restored
        lost_at = watched.now()
        await watched.until(watched.is_elsewhere)
        assert watched.now() - lost_at >= LAPSED_S

    watch(story)


def test_a_guard_that_is_started_anew_opens_nothing_by_the_witness_alone() -> None:
    async def story(watched: Watched) -> None:
        world = watched.world
        for name in world.controllers:
            world.end_controller(name)
        world.end_guard("host1")
        await watched.runs_for(2)
        world.start_guard("host1")
        assert await watched.runs_for(60) == 0
        for name in world.controllers:
            await world.start_controller(name)
        await watched.runs_for(15)
        assert watched.on("host1")

    watch(story)


def test_a_reader_that_stands_still_is_no_witness() -> None:
    async def story(watched: Watched) -> None:
        watched.isolate()
        watched.world.freeze_reader("host1")
        assert await watched.until(lambda: _not(watched.on("host1"))) <= QUICK_LEASE.ttl + 1
        await watched.until(watched.is_revoked)
        watched.world.thaw_reader("host1")
        await watched.until(watched.is_elsewhere)

    watch(story)


async def _not(so: bool) -> bool:
    return not so
