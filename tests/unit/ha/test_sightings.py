"""A host that is not heard and seen by others is isolated, not suspect; and what was seen stands in the certificate."""

import re
from collections.abc import Awaitable, Callable

import structlog

from renova.ha.sightings import GOOD_S, standing_of
from renova.ha.standing import Standing
from renova.simulation.cloud import SimulatedCloud
from renova.simulation.loop import run_virtual
from renova.store import hosts


def tell(story: Callable[[SimulatedCloud], Awaitable[None]], count: int = 3) -> None:
    async def main() -> None:
        cloud = SimulatedCloud(count=count)
        await cloud.up()
        await story(cloud)
        await cloud.down()
        assert cloud.ended == []

    with structlog.testing.capture_logs():
        run_virtual(main(), limit_s=3000)


def cut(cloud: SimulatedCloud, name: str = "host1") -> None:
    """Have the host reach no controller, while it runs on."""
    for line in cloud.hosts[name].lines.values():
        line.cut()


def heal(cloud: SimulatedCloud, name: str = "host1") -> None:
    for line in cloud.hosts[name].lines.values():
        line.heal()


def sees(cloud: SimulatedCloud, name: str = "host1") -> bool | None:
    found: bool | None = cloud.cloud.hosts.sighted(cloud.hosts[name].id).alive
    return found


async def stands(cloud: SimulatedCloud, name: str = "host1") -> Standing:
    row = await cloud.database.read(lambda tx: hosts.get(tx, cloud.hosts[name].id))
    assert row is not None
    return standing_of(cloud.cloud, row)


def test_a_host_that_is_cut_off_is_seen_by_others() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        assert sees(cloud) is None, "who is heard is not looked for"
        cut(cloud)
        await cloud.until(lambda: sees(cloud) is True, 20)
        assert await stands(cloud) is Standing.ISOLATED
        heal(cloud)
        await cloud.clock.sleep(GOOD_S + 10)
        assert sees(cloud) is None
        assert await stands(cloud) is Standing.UP

    tell(story)


def test_a_host_without_power_is_seen_by_nobody() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        await cloud.cut_power("host1")
        await cloud.until(lambda: sees(cloud) is False, 20)
        assert await stands(cloud) in (Standing.SUSPECT, Standing.DEAD)

    tell(story)


def test_the_certificate_says_what_others_saw() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        host = cloud.hosts["host1"].id
        cut(cloud)
        await cloud.until(lambda: "heartbeat" in cloud.cloud.hosts.sighted(host).readings, 20)
        await cloud.cloud.hosts.vouch(host, "ada", True)
        proof = await cloud.database.read(lambda tx: hosts.proof(tx, host))
        assert proof is not None
        assert proof.readings["other_hosts"] == "see it"
        assert re.fullmatch(r"rose from \d+ to \d+, as host[23] reads it", proof.readings["heartbeat"])

    tell(story)


def test_where_nobody_is_left_to_ask_nothing_is_said() -> None:
    async def story(cloud: SimulatedCloud) -> None:
        cut(cloud)
        await cloud.clock.sleep(30)
        assert sees(cloud) is None

    tell(story, count=1)
