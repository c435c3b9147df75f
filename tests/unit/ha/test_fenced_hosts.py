"""A controller switches silent hosts off by itself, and only those: then they are dead, and their guests are."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog
from msgspec.structs import replace

from renova.ha import brake
from renova.model.host import HostState, Proof
from renova.model.ids import HostId
from renova.model.power import Said
from renova.power import HostPower
from renova.settings import ControllerSettings
from renova.simulation.cloud import QUICK_LEASE, SimulatedCloud
from renova.simulation.loop import run_virtual
from renova.simulation.power import SpoilableSwitch, SwitchBoard, system_of
from renova.store import hosts
from renova.store.database import Tx

SETTINGS = ControllerSettings(lease=QUICK_LEASE, fence_after=10.0)
Story = Callable[[SimulatedCloud], Awaitable[None]]


def tell(story: Story, kind: type[SimulatedCloud] = SimulatedCloud, **options: Any) -> list[MutableMapping[str, Any]]:
    """Run the story on a cloud whose power controllers switch; return the log."""

    async def main() -> None:
        whole: dict[str, Any] = {"count": 3, "switchable": True, "settings": SETTINGS}
        cloud = kind(**whole | options)
        await cloud.up()
        await story(cloud)
        await cloud.down()
        assert cloud.ended == []

    with structlog.testing.capture_logs() as events:
        run_virtual(main(), limit_s=3000)
    return events


def cut(cloud: SimulatedCloud, *names: str) -> None:
    """Have these hosts reach nobody, nor their storage, while they run on."""
    for name in names:
        cloud.hosts[name].walled = True
        isolate(cloud, name)


def heal(cloud: SimulatedCloud, *names: str) -> None:
    for name in names:
        cloud.hosts[name].walled = False
        for line in cloud.hosts[name].lines.values():
            line.heal()


async def proof(cloud: SimulatedCloud, name: str = "host1") -> Proof | None:
    return await cloud.database.read(lambda tx: hosts.proof(tx, cloud.hosts[name].id))


async def proven(cloud: SimulatedCloud, name: str = "host1", within_s: float = 60.0) -> Proof:
    until = cloud.clock.monotonic() + within_s
    while (found := await proof(cloud, name)) is None:
        assert cloud.clock.monotonic() < until, f"{name} is not proven dead"
        await cloud.clock.sleep(0.1)
    return found


def powered(cloud: SimulatedCloud) -> list[str]:
    return [name for name, host in cloud.hosts.items() if host.powered]


def test_a_host_that_is_cut_off_is_switched_off_and_then_dead() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        began = cloud.clock.monotonic()
        cut(cloud, "host1")
        found = await proven(cloud)
        assert powered(cloud) == ["host2", "host3"]
        assert SETTINGS.fence_after - 1 <= cloud.clock.monotonic() - began <= SETTINGS.fence_after + 5
        assert (found.kind, found.who) == ("power_off", "controller controller1, by simulated switch")
        readings = found.readings
        assert (readings["reading_1"], readings["reading_2"]) == ("off", "off")
        assert readings["commanded"] <= readings["reading_1_at"] < readings["reading_2_at"]
        assert readings["system"].startswith("5157e300")

    events = tell(story)
    assert [event["host"] for event in events if event["event"] == "host to be switched off"] == ["host1"]


def test_a_host_without_power_is_found_so_at_once_and_told_nothing() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        began = cloud.clock.monotonic()
        await cloud.cut_power("host1")
        assert "commanded" not in (await proven(cloud)).readings
        assert cloud.clock.monotonic() - began <= QUICK_LEASE.suspect_after + 5

    assert not [event for event in tell(story) if event["event"] == "host to be switched off"]


def test_a_host_that_is_silent_for_a_while_only_stays_on() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        cut(cloud, "host1")
        await cloud.clock.sleep(SETTINGS.fence_after - 2)
        heal(cloud, "host1")
        await cloud.until(lambda: cloud.cloud.hosts.up(cloud.hosts["host1"].id))
        await cloud.clock.sleep(60)
        assert powered(cloud) == ["host1", "host2", "host3"]
        assert await proof(cloud) is None

    tell(story)


def test_where_too_many_fall_silent_at_once_none_is_switched_off_until_an_operator_says_so() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        cut(cloud, "host1", "host2", "host3")
        await cloud.clock.sleep(120)
        assert powered(cloud) == ["host1", "host2", "host3"]
        heal(cloud, "host2", "host3")
        await cloud.clock.sleep(120)
        assert powered(cloud) == ["host1", "host2", "host3"], "it may have been the controllers that were cut off"
        await cloud.database.transact(lambda tx: brake.release(cloud.cloud, tx, "an operator"))
        await proven(cloud)
        assert powered(cloud) == ["host2", "host3"]

    tell(story, storage_count=1)  # which is heard


def test_a_controller_that_has_just_begun_switches_nobody_off_for_what_it_did_not_see() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        cut(cloud, "host1")
        await cloud.kill_controller()
        await cloud.clock.sleep(100)
        await cloud.start_controller()
        began = cloud.clock.monotonic()
        await proven(cloud)
        assert cloud.clock.monotonic() - began >= SETTINGS.fence_after

    tell(story)


def test_hosts_where_somebody_is_at_work_and_clouds_that_do_not_want_it_are_left_on() -> None:
    async def disabled(cloud: SimulatedCloud) -> None:
        host = cloud.hosts["host1"].id
        await cloud.database.transact(lambda tx: hosts.change(tx, host, disabled=True))
        await left_on(cloud)

    async def left_on(cloud: SimulatedCloud) -> None:
        cut(cloud, "host1")
        await cloud.clock.sleep(100)
        assert powered(cloud) == ["host1", "host2", "host3"]
        assert await proof(cloud) is None

    tell(disabled)
    tell(left_on, settings=replace(SETTINGS, fencing=False))
    tell(left_on, settings=replace(SETTINGS, accepted_proofs=("operator",)))
    tell(left_on, switchable=False)


class SlowSwitch(SpoilableSwitch):
    """A power controller that takes some seconds to answer."""

    async def read(self) -> Said:
        await self._machines.clock.sleep(5.0)
        return await super().read()


class SlowBoard(SwitchBoard):
    """These, for all hosts."""

    async def of(self, host: HostId, name: str) -> HostPower | None:
        return HostPower(SlowSwitch(self, name), by="slow switch", system=system_of(name))


class SlowCloud(SimulatedCloud):
    """A cloud whose hosts have these."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.power = self.switches = SlowBoard(self, switchable=True)


def test_a_host_at_which_somebody_goes_to_work_while_it_is_about_to_be_switched_off_is_left_on() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        host = cloud.hosts["host1"].id

        def condemned(tx: Tx) -> bool:
            row = hosts.get(tx, host)
            return row is not None and row.condemned_at is not None

        cut(cloud, "host1")
        while not await cloud.database.read(condemned):
            await cloud.clock.sleep(0.5)
        await cloud.database.transact(lambda tx: hosts.change(tx, host, disabled=True))
        await cloud.clock.sleep(100)
        assert powered(cloud) == ["host1", "host2", "host3"]
        await cloud.database.transact(lambda tx: hosts.change(tx, host, disabled=False))
        await proven(cloud, within_s=120)
        assert powered(cloud) == ["host2", "host3"]

    tell(story, kind=SlowCloud)


def test_a_storage_host_is_left_on() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        for line in cloud.storage_hosts["storage1"].lines.values():
            line.cut()
        await cloud.clock.sleep(100)
        assert cloud.storage_hosts["storage1"].powered

    tell(story)


def test_a_power_controller_that_refuses_is_asked_again_until_it_does_as_told() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        refused: list[float] = []
        cloud.switches.refusing["host1"] = lambda: refused.append(cloud.clock.monotonic())
        cut(cloud, "host1")
        await cloud.clock.sleep(60)
        assert refused
        assert await proof(cloud) is None
        del cloud.switches.refusing["host1"]
        await proven(cloud)
        assert "host1" not in powered(cloud)

    assert [event for event in tell(story) if event["event"] == "host not known to be off"]


def test_a_power_controller_that_hangs_holds_up_no_other_host() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        cloud.switches.hanging["host1"] = lambda: None
        cut(cloud, "host1", "host2")
        await proven(cloud, "host2")
        assert await proof(cloud) is None
        del cloud.switches.hanging["host1"]
        await proven(cloud, within_s=120)

    tell(story, count=5)


def test_a_host_that_is_heard_again_before_its_power_controller_answers_stays_on() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        asked: list[float] = []
        cloud.switches.hanging["host1"] = lambda: asked.append(cloud.clock.monotonic())
        cut(cloud, "host1")
        await cloud.clock.sleep(SETTINGS.fence_after + 5)
        assert asked
        del cloud.switches.hanging["host1"]
        heal(cloud, "host1")
        await cloud.clock.sleep(120)
        assert powered(cloud) == ["host1", "host2", "host3"]
        assert await proof(cloud) is None

    tell(story)


def test_a_power_controller_that_lies_is_not_believed_twice() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        cloud.switches.lying["host1"] = lambda: None
        cut(cloud, "host1")
        await proven(cloud)
        heal(cloud, "host1")
        await cloud.until(lambda: cloud.cloud.hosts.up(cloud.hosts["host1"].id))
        row = await cloud.database.read(lambda tx: hosts.get(tx, cloud.hosts["host1"].id))
        assert row is not None
        assert row.power_barred is not None
        del cloud.switches.lying["host1"]
        cut(cloud, "host1")
        await cloud.clock.sleep(100)
        assert powered(cloud) == ["host1", "host2", "host3"], "whose power is it that would be switched?"
        assert await proof(cloud) is None

    tell(story)


def test_of_two_controllers_whichever_is_first_writes_the_only_proof() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        cut(cloud, "host1")
        await proven(cloud)
        await cloud.clock.sleep(30)
        host = cloud.hosts["host1"].id
        assert len(await cloud.database.read(lambda tx: hosts.proofs_of(tx, host))) == 1
        row = await cloud.database.read(lambda tx: hosts.get(tx, host))
        assert row is not None
        assert row.state is HostState.DEAD

    tell(story, controller_count=2)


def test_a_host_that_is_switched_on_again_returns() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        cut(cloud, "host1")
        await proven(cloud)
        heal(cloud, "host1")
        await cloud.power_on("host1")
        await cloud.until(lambda: cloud.cloud.hosts.up(cloud.hosts["host1"].id))
        await cloud.clock.sleep(60)
        assert powered(cloud) == ["host1", "host2", "host3"]

    tell(story)


def isolate(cloud: SimulatedCloud, name: str = "host1") -> None:
    """Have the host reach no controller, while others reach it, and it its storage."""
    for line in cloud.hosts[name].lines.values():
        line.cut()


def test_a_host_that_others_see_alive_is_left_on_for_as_long_as_they_do() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        isolate(cloud)
        await cloud.clock.sleep(120)
        assert powered(cloud) == ["host1", "host2", "host3"]
        assert await proof(cloud) is None
        cut(cloud, "host1")
        found = await proven(cloud)
        assert powered(cloud) == ["host2", "host3"]
        assert found.readings["other_hosts"] == "do not see it"
        assert found.readings["heartbeat"].startswith("stays at ")

    events = [event for event in tell(story) if event["event"] == "host isolated, and left on"]
    assert [event["host"] for event in events] == ["host1"], "said once"
    assert "rose from" in events[0]["heartbeat"]


def test_where_isolated_hosts_are_to_be_switched_off_they_are() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        isolate(cloud)
        assert (await proven(cloud)).readings["other_hosts"] == "see it"

    tell(story, settings=replace(SETTINGS, fence_isolated=True))


def test_a_host_whose_kernel_answers_while_its_heart_has_stopped_is_switched_off() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        isolate(cloud)
        await cloud.kill_agent("host1")
        readings = (await proven(cloud)).readings
        assert readings["other_hosts"] == "see it"
        assert readings["heartbeat"].startswith("stays at ")

    tell(story)


def test_without_storage_in_common_it_is_the_kernel_that_says_it() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        isolate(cloud)
        await cloud.clock.sleep(120)
        assert powered(cloud) == ["host1", "host2", "host3"]

    tell(story, shared=False)


def test_an_armed_host_that_is_isolated_is_switched_off_for_its_guests_have_been_stopped() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        isolate(cloud)
        assert (await proven(cloud)).kind == "power_off"

    tell(story, armed=True)


def test_silence_alone_is_not_taken_for_the_death_of_a_host_that_others_see_alive() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        isolate(cloud)
        await cloud.clock.sleep(200)
        assert await proof(cloud) is None
        cut(cloud, "host1")
        assert (await proven(cloud)).kind == "heartbeat_age"

    tell(story, settings=replace(SETTINGS, accepted_proofs=("heartbeat_age",)))
