"""Power switches, simulated and real: what they say is so, and what they were asked for comes about.

The real ones speak to sushy-tools' BMC, whose machines are processes: Redfish by our own switch, and by fence_redfish,
one of the fence-agents.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from renova.aside import Aside
from renova.lab.bmc import USER
from renova.model.errors import NotNow, Refused
from renova.model.ids import HostId
from renova.model.power import Reading, same_system
from renova.power import HostPower, PowerSwitch
from renova.power.redfish import RedfishSwitch
from renova.simulation.cloud import SimulatedCloud
from renova.simulation.loop import run_virtual
from tests.contract.bmc import PASSWORD, Bmc, fence_redfish, needs_fence_agents, redfish_switch

HOST = HostId("11111111-1111-4111-8111-111111111111")
OTHER = "99999999-9999-4999-8999-999999999999"


@dataclass
class Bench:
    """A switch, and what it is wired to."""

    switch: PowerSwitch
    runs: Callable[[], bool]  # whether the machine does, seen without the switch
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep
    tells: str = ""  # the system UUID that it tells, if any

    async def until(self, wanted: Reading) -> None:
        for _ in range(100):
            if (await self.switch.read()).reading is wanted:
                return
            await self.sleep(0.1)
        raise TimeoutError(f"the power was never read as {wanted}")


Story = Callable[[Bench], Awaitable[None]]
Tell = Callable[[Story], None]


@pytest.fixture(params=["simulated", "redfish", pytest.param("fence_redfish", marks=needs_fence_agents)])
def tell(request: pytest.FixtureRequest) -> Tell:
    """Have stories told of a machine that is on."""
    if request.param == "simulated":

        async def simulated(story: Story) -> None:
            cloud = SimulatedCloud(count=1)
            await cloud.up()
            power = await cloud.power.of(HOST, "host1")
            assert power is not None
            await story(Bench(power.switch, lambda: cloud.hosts["host1"].agent is not None, cloud.clock.sleep))
            await cloud.down()

        return lambda story: run_virtual(simulated(story))

    found: Bmc = request.getfixturevalue("a_bmc")

    def real(story: Story) -> None:
        async def whole() -> None:
            switch: PowerSwitch = redfish_switch(found) if request.param == "redfish" else fence_redfish(found)
            tells = found.system if request.param == "redfish" else ""
            bench = Bench(switch, lambda: found.process(found.system) is not None, tells=tells)
            await switch.switch_on()
            await bench.until(Reading.ON)
            await story(bench)

        asyncio.run(whole())

    return real


def test_a_machine_that_is_switched_off_does_not_run_and_then_says_off(tell: Tell) -> None:
    async def story(bench: Bench) -> None:
        assert bench.runs()
        await bench.switch.switch_off()
        await bench.until(Reading.OFF)
        assert not bench.runs()
        await bench.switch.switch_on()
        await bench.until(Reading.ON)
        assert bench.runs()

    tell(story)


def test_what_is_so_already_may_be_asked_for(tell: Tell) -> None:
    async def story(bench: Bench) -> None:
        await bench.switch.switch_on()
        await bench.until(Reading.ON)
        for _ in range(2):
            await bench.switch.switch_off()
            await bench.until(Reading.OFF)
        assert not bench.runs()

    tell(story)


def test_a_reading_says_whose_it_is_where_that_can_be_told(tell: Tell) -> None:
    async def story(bench: Bench) -> None:
        said = await bench.switch.read()
        assert said.reading is Reading.ON
        if bench.tells:
            assert said.system == bench.tells

    tell(story)


async def test_powering_off_is_not_off(a_bmc: Bmc) -> None:
    machine = redfish_switch(a_bmc, system=f"/redfish/v1/Systems/{a_bmc.add()}")
    a_bmc.lag(1.0)
    try:
        await machine.switch_off()
        said = await machine.read()
        assert (said.reading, said.why) == (Reading.UNKNOWN, "its power state is 'PoweringOff'")
        await Bench(machine, lambda: True).until(Reading.OFF)
    finally:
        a_bmc.lag(0)


async def test_a_reading_of_another_machine_counts_for_nothing(a_bmc: Bmc) -> None:
    switch = redfish_switch(a_bmc)
    await switch.switch_off()
    power = HostPower(switch, by="", system=OTHER)
    said = await power.read()
    assert (said.reading, said.system) == (Reading.UNKNOWN, a_bmc.system)
    assert OTHER in said.why
    assert (await HostPower(switch, by="", system=a_bmc.system.upper()).read()).reading is Reading.OFF


async def test_a_bmc_of_several_machines_is_to_be_told_which(a_bmc: Bmc) -> None:
    a_bmc.add()
    with pytest.raises(Refused, match="option system"):
        await RedfishSwitch(a_bmc.url, USER, {"verify": str(a_bmc.authority)}, {"password": PASSWORD}, Aside()).read()


async def test_a_wrong_password_is_refused_and_shown_nowhere(a_bmc: Bmc) -> None:
    wrong = {"password": "w0rds that are wrong"}
    options = {"verify": str(a_bmc.authority), "system": f"/redfish/v1/Systems/{a_bmc.system}"}
    with pytest.raises(Refused, match="refuses user 'fencer'") as caught:
        await RedfishSwitch(a_bmc.url, USER, options, wrong, Aside()).read()
    assert wrong["password"] not in repr([caught.value, caught.value.__cause__])


async def test_a_bmc_that_nobody_vouches_for_is_told_no_password(a_bmc: Bmc) -> None:
    with pytest.raises(NotNow, match="certificate"):
        await redfish_switch(a_bmc, verify="yes").read()


def test_a_system_uuid_is_the_same_in_either_byte_order_and_case() -> None:
    assert same_system("00112233-4455-6677-8899-AABBCCDDEEFF", "00112233-4455-6677-8899-aabbccddeeff")
    assert same_system("33221100-5544-7766-8899-aabbccddeeff", "00112233-4455-6677-8899-aabbccddeeff")
    assert not same_system("00112233-4455-6677-8899-aabbccddeefe", "00112233-4455-6677-8899-aabbccddeeff")
    assert not same_system("", "00112233-4455-6677-8899-aabbccddeeff")
    assert not same_system("not a uuid", "nota-uuid-x")
