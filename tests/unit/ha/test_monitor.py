"""A host counts as dead only by what was read, twice, while it stayed silent; and never by its silence."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from typing import Any

import pytest
import structlog

from renova.ha.fencing import BETWEEN_READINGS
from renova.ha.monitor import Monitor
from renova.hosts import eras
from renova.model.errors import NotNow
from renova.model.host import Host, HostState, Proof, ProofKind
from renova.model.ids import HostId
from renova.model.power import Reading, Said
from renova.power import HostPower
from renova.settings import ControllerSettings
from renova.simulation.cloud import NO_BRAKE, QUICK_LEASE, SimulatedCloud
from renova.simulation.loop import run_virtual
from renova.store import hosts, rights
from renova.store.database import Database, Tx
from tests.unit.store.tables import ONE

ON, OFF, UNKNOWN = Reading.ON, Reading.OFF, Reading.UNKNOWN
LAPSED_S = 5.0 + 12.0  # ttl and margin of the simulated cloud's leases


class Script:
    """A power switch that says what the test wrote down, and then the last of it for ever."""

    def __init__(self, *readings: Reading) -> None:
        self.readings = list(readings)
        self.read_at: list[tuple[float, str]] = []
        self.before: Callable[[int], Awaitable[None]] | None = None  # what happens while reading number n is taken

    async def of(self, host: HostId, name: str) -> HostPower:
        return HostPower(ScriptedSwitch(self, name), by="a script", can_switch=False)


class ScriptedSwitch:
    """One host's."""

    def __init__(self, script: Script, name: str) -> None:
        self._script = script
        self._name = name

    async def check(self) -> None: ...

    async def read(self) -> Said:
        script = self._script
        script.read_at.append((asyncio.get_running_loop().time(), self._name))
        if script.before is not None:
            await script.before(len(script.read_at))
        return Said(script.readings.pop(0) if len(script.readings) > 1 else script.readings[0])

    async def switch_off(self) -> None:
        raise AssertionError("a script only reads")

    switch_on = switch_off


class Watch:
    """A cloud whose own power switch says that all is on, and a monitor beside it that reads the script."""

    def __init__(self, cloud: SimulatedCloud, script: Script) -> None:
        self.cloud = cloud
        self.script = script
        self.monitor = Monitor(replace(cloud.cloud, power=script))
        self.clock = cloud.clock

    def id(self, name: str = "host1") -> HostId:
        return self.cloud.hosts[name].id

    async def row(self, name: str = "host1") -> Host:
        found = await self.cloud.database.read(lambda tx: hosts.get(tx, self.id(name)))
        assert found is not None
        return found

    async def proof(self, name: str = "host1") -> Proof | None:
        return await self.cloud.database.read(lambda tx: hosts.proof(tx, self.id(name)))

    async def silence(self, name: str = "host1") -> None:
        """Cut the host's line, and wait until it is suspect."""
        self.cloud.hosts[name].line.cut()
        await self.cloud.until(lambda: not self.cloud.cloud.hosts.up(self.id(name)))

    async def force_down(self, name: str = "host1") -> None:
        await self.cloud.database.transact(lambda tx: hosts.change(tx, self.id(name), forced_down=True))


def watching(
    story: Callable[[Watch], Awaitable[None]], *readings: Reading, **options: Any
) -> list[MutableMapping[str, Any]]:
    """Run the story on a cloud that is up; return the log."""

    async def main() -> None:
        cloud = SimulatedCloud(**{"count": 2} | options)
        await cloud.up()
        await story(Watch(cloud, Script(*readings)))
        await cloud.down()
        assert cloud.ended == []

    with structlog.testing.capture_logs() as events:
        run_virtual(main(), limit_s=3000)
    return events


def test_two_readings_of_off_a_second_apart_prove_a_silent_host_dead() -> None:
    async def story(watch: Watch) -> None:
        await watch.silence()
        await watch.monitor.look()
        (first, one), (second, two) = watch.script.read_at
        assert (one, two) == ("host1", "host1")
        assert second - first >= BETWEEN_READINGS
        proof = await watch.proof()
        assert proof is not None
        assert (proof.kind, proof.epoch, proof.who) == ("power_off", 2, "controller controller1, by a script")
        assert (proof.readings["reading_1"], proof.readings["reading_2"]) == ("off", "off")
        assert (await watch.row()).state is HostState.DEAD
        assert await watch.proof("host2") is None

    assert [e["host"] for e in watching(story, OFF) if e["event"] == "host proven dead"] == ["host1"]


@pytest.mark.parametrize(
    "readings",
    [(OFF, ON), (OFF, UNKNOWN), (ON,), (UNKNOWN,), (OFF, ON, OFF, ON, OFF, UNKNOWN, UNKNOWN)],
    ids=", ".join,
)
def test_one_reading_of_off_or_none_at_all_proves_nothing(readings: tuple[Reading, ...]) -> None:
    async def story(watch: Watch) -> None:
        await watch.silence()
        for _ in range(40):
            await watch.monitor.look()
            await watch.clock.sleep(1)
        assert await watch.proof() is None
        assert (await watch.row()).state is HostState.UP
        assert len(watch.script.read_at) >= 40

    watching(story, *readings)


def test_the_power_of_a_host_that_is_heard_is_not_even_read() -> None:
    async def story(watch: Watch) -> None:
        for _ in range(40):
            await watch.monitor.look()
            await watch.clock.sleep(0.7)
        assert watch.script.read_at == []
        assert await watch.proof() is None

    watching(story, OFF)


def test_a_host_that_renews_between_the_readings_is_alive() -> None:
    async def story(watch: Watch) -> None:
        async def come_back(number: int) -> None:
            if number == 2:
                watch.cloud.hosts["host1"].line.heal()
                await watch.cloud.until(lambda: watch.cloud.cloud.hosts.up(watch.id()))

        await watch.silence()
        watch.script.before = come_back
        await watch.monitor.look()
        assert len(watch.script.read_at) == 2
        assert await watch.proof() is None
        assert (await watch.row()).state is HostState.UP
        watch.script.before = None
        await watch.clock.sleep(20)
        assert watch.cloud.cloud.hosts.up(watch.id())

    watching(story, OFF)


def test_a_host_that_boots_between_the_readings_is_alive() -> None:
    async def story(watch: Watch) -> None:
        async def boot(number: int) -> None:
            if number == 2:
                await watch.cloud.power_on("host1")
                await watch.cloud.until(lambda: watch.cloud.cloud.agents.connected(watch.id()))

        await watch.cloud.cut_power("host1")
        await watch.cloud.until(lambda: not watch.cloud.cloud.hosts.up(watch.id()))
        watch.script.before = boot
        await watch.monitor.look()
        assert await watch.proof() is None
        await watch.cloud.until(lambda: watch.cloud.cloud.hosts.up(watch.id()))

    watching(story, OFF)


def test_silent_hosts_are_proven_dead_side_by_side() -> None:
    async def story(watch: Watch) -> None:
        for name in watch.cloud.hosts:
            watch.cloud.hosts[name].line.cut()
        await watch.cloud.until(lambda: not any(watch.cloud.cloud.hosts.up(h.id) for h in watch.cloud.hosts.values()))
        began = watch.clock.monotonic()
        await watch.monitor.look()
        assert watch.clock.monotonic() - began < 2 * BETWEEN_READINGS
        assert [await watch.proof(name) is not None for name in watch.cloud.hosts] == [True] * 5

    watching(story, OFF, count=5)


def test_the_operators_word_is_taken_when_the_lease_has_lapsed_and_not_before() -> None:
    async def story(watch: Watch) -> None:
        cut = watch.clock.monotonic()
        watch.cloud.hosts["host1"].line.cut()
        await watch.force_down()
        while await watch.proof() is None:
            assert watch.clock.monotonic() - cut < LAPSED_S + 5
            await watch.clock.sleep(0.5)
        # The last renewal that was committed may have left a moment before the cut.
        assert watch.clock.monotonic() - cut >= LAPSED_S - 1.1
        proof = await watch.proof()
        assert proof is not None
        assert (proof.kind, float(proof.readings["silent_s"]) >= LAPSED_S) == ("operator", True)

    watching(story, UNKNOWN)


def test_the_operators_word_about_a_host_that_renews_is_not_taken() -> None:
    async def story(watch: Watch) -> None:
        await watch.force_down()
        await watch.clock.sleep(200)
        assert await watch.proof() is None

    watching(story, UNKNOWN)


def test_a_controller_that_has_just_begun_takes_nobodys_silence_for_its_own() -> None:
    async def story(watch: Watch) -> None:
        await watch.force_down()
        await watch.silence()
        await watch.clock.sleep(LAPSED_S - 5)
        await watch.cloud.kill_controller()
        await watch.clock.sleep(100)
        await watch.cloud.start_controller()
        began = watch.clock.monotonic()
        while await watch.proof() is None:
            await watch.clock.sleep(0.5)
        assert watch.clock.monotonic() - began >= LAPSED_S

    watching(story, UNKNOWN)


def test_a_controller_that_has_just_begun_takes_no_word_about_a_host_that_may_renew() -> None:
    async def story(watch: Watch) -> None:
        await watch.cloud.kill_controller()
        await watch.cloud.start_controller()
        leases, said = watch.cloud.cloud.hosts.leases, 0
        while not leases.renews(watch.id()):
            if leases.silence(watch.id()) is not None:
                said += 1
                with pytest.raises(NotNow):
                    await watch.cloud.cloud.hosts.vouch(watch.id(), "ada", True)
            await watch.clock.sleep(0.05)
        assert said, "it had looked at the leases, and heard nobody yet"
        assert (await watch.row()).state is HostState.UP

    watching(story, UNKNOWN)


def test_who_asks_for_a_proof_gets_it_at_once() -> None:
    async def story(watch: Watch) -> None:
        assert not await watch.monitor.seek(watch.id()), "it is heard"
        assert not await watch.monitor.seek(HostId("nobody"))
        await watch.silence()
        assert await watch.monitor.seek(watch.id())
        assert await watch.proof() is not None

    watching(story, OFF)


def test_who_asks_for_a_proof_of_a_silence_that_was_not_listened_to_waits_until_it_was() -> None:
    async def story(watch: Watch) -> None:
        await watch.silence()
        watch.cloud.cloud.operations.me.steady_since = began = watch.clock.monotonic()
        assert await watch.monitor.seek(watch.id())
        assert watch.clock.monotonic() - began >= watch.cloud.cloud.settings.lease.suspect_after

    watching(story, OFF)


def test_who_asks_for_a_proof_that_is_there_is_told_so() -> None:
    async def story(watch: Watch) -> None:
        await watch.silence()
        await watch.monitor.look()
        assert await watch.proof() is not None
        assert await watch.monitor.seek(watch.id())
        assert len(watch.script.read_at) == 2

    watching(story, OFF)


def test_a_power_controller_that_does_not_answer_holds_up_no_other_host() -> None:
    async def story(watch: Watch) -> None:
        never = asyncio.Event()

        async def hang(_number: int) -> None:
            if watch.script.read_at[-1][1] == "host1":
                await never.wait()

        watch.script.before = hang
        serving = asyncio.ensure_future(watch.monitor.serve())
        await watch.silence("host1")
        await watch.silence("host2")
        await watch.cloud.until(lambda: watch.script.read_at[-1][1] == "host2")
        assert [name for _, name in watch.script.read_at].count("host1") == 1, "it is being read"
        await watch.clock.sleep(10)
        assert await watch.proof("host2") is not None
        assert await watch.proof("host1") is None
        serving.cancel()
        await asyncio.wait([serving])

    watching(story, OFF)


def test_a_host_that_owes_and_reads_nothing_keeps_no_other_from_its_proof() -> None:
    async def story(watch: Watch) -> None:
        async def send(_frame: bytes) -> None:
            await asyncio.get_running_loop().create_future()

        watch.cloud.cloud.agents._links[watch.id("host2")].channel.send = send
        await watch.cloud.database.transact(lambda tx: rights.owe(tx, watch.id("host2"), ONE, 5))
        serving = asyncio.ensure_future(watch.monitor.serve())
        await watch.silence("host1")
        await watch.clock.sleep(5)
        assert await watch.proof("host1") is not None
        serving.cancel()
        await asyncio.wait([serving])

    watching(story, OFF)


def test_a_power_controller_at_which_the_driver_stumbles_keeps_no_other_host_from_its_proof() -> None:
    async def story(watch: Watch) -> None:
        async def stumble(_number: int) -> None:
            if watch.script.read_at[-1][1] == "host1":
                raise RuntimeError("an answer that nobody foresaw")

        watch.script.before = stumble
        serving = asyncio.ensure_future(watch.monitor.serve())
        await watch.silence("host1")
        await watch.silence("host2")
        await watch.clock.sleep(15)
        assert await watch.proof("host2") is not None
        assert await watch.proof("host1") is None
        assert [name for _, name in watch.script.read_at].count("host1") > 1, "it is tried again"
        serving.cancel()
        await asyncio.wait([serving])

    events = watching(story, OFF)
    assert "proof of a host's death failed" in {event["event"] for event in events}


def test_of_two_who_seek_a_proof_at_once_both_are_told_of_it() -> None:
    async def story(watch: Watch) -> None:
        await watch.silence()
        looking = asyncio.ensure_future(watch.monitor.look())
        await watch.clock.sleep(0.5)
        assert await watch.monitor.seek(watch.id())
        await looking
        proof = await watch.proof()
        assert proof is not None
        assert proof.epoch == 2

    watching(story, OFF)


def test_a_database_that_is_away_proves_nothing_and_stops_nobody_from_watching() -> None:
    class Away:
        async def transact(self, _fn: Any) -> Any:
            raise NotNow("away")

        read = transact

        def close(self) -> None: ...

    async def story(watch: Watch) -> None:
        database: Database = watch.cloud.database
        really = database._executor
        await watch.cloud.cut_power("host1")
        database._executor = Away()
        await watch.clock.sleep(60)
        database._executor = really
        assert await watch.proof() is None
        await watch.cloud.until(lambda: watch.cloud.cloud.hosts.up(watch.id("host2")))
        while await watch.proof() is None:
            await watch.clock.sleep(0.5)

    assert [e for e in watching(story, UNKNOWN) if e["event"] == "hosts not watched"]


def test_a_dead_host_that_was_welcomed_elsewhere_is_not_taken_for_silent_since_its_death() -> None:
    async def story(watch: Watch) -> None:
        await watch.silence()
        await watch.monitor.look()
        await watch.clock.sleep(10 * LAPSED_S)
        await watch.monitor.look()
        proof, readings = await watch.proof(), len(watch.script.read_at)
        assert proof is not None

        def welcome(tx: Tx) -> None:
            hosts.begin_lease(tx, watch.id(), epoch=proof.epoch, boot="another", ttl=5.0, margin=12.0)
            hosts.change(tx, watch.id(), state=HostState.UP, boot="another")

        await watch.cloud.database.transact(welcome)
        await watch.monitor.look()
        assert (await watch.row()).state is HostState.UP
        assert len(watch.script.read_at) == readings, "it has not been silent for long"
        await watch.clock.sleep(LAPSED_S)
        await watch.monitor.look()
        assert (await watch.row()).state is HostState.DEAD, "it has never renewed"

    watching(story, OFF)


CUTTING = ControllerSettings(lease=QUICK_LEASE, brake=NO_BRAKE, accepted_proofs=("power_off", "storage_cut"))


def test_while_a_new_era_waits_for_a_host_its_power_proves_it_dead_though_storage_could_cut_it_off() -> None:
    async def story(watch: Watch) -> None:
        watch.cloud.hosts["host1"].walled = True  # nobody sees that it lives
        await watch.silence()
        await watch.cloud.database.transact(lambda tx: eras.begin(tx, "a test"))
        await watch.clock.sleep(LAPSED_S + 5.0)
        await watch.monitor.look()
        proof = await watch.proof()
        assert proof is not None
        assert proof.kind == ProofKind.POWER_OFF

    watching(story, OFF, settings=CUTTING)


def test_a_storage_host_is_never_cut_off_for_it_runs_no_guests() -> None:
    async def story(watch: Watch) -> None:
        storage = watch.cloud.storage_hosts["storage1"].id
        watch.cloud.storage_hosts["storage1"].line.cut()
        await watch.clock.sleep(LAPSED_S + 5.0)
        assert not await watch.cloud.database.read(lambda tx: hosts.is_cut_off(tx, storage))
        assert await watch.cloud.database.read(lambda tx: hosts.proofs_of(tx, storage)) == []

    watching(story, ON, settings=CUTTING)
