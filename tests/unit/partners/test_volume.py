"""The built-in volume service, as operations use it: over a whole simulated cloud with one storage host."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from msgspec.structs import replace

from renova.drivers.volume.simulated import FACTS
from renova.hosts import eras
from renova.model.errors import CloudError, Conflict, Invalid, NotFound, NotNow, Refused
from renova.model.ids import AttachmentId, ImageId, ProjectId, ServerId, UserId, VolumeId
from renova.model.image import Image
from renova.model.volume import NbdExport
from renova.partners.volume import NewVolume
from renova.partners.volume.builtin import BuiltinVolumes
from renova.simulation.cloud import SimulatedCloud
from renova.simulation.loop import run_virtual
from renova.simulation.surroundings import an_image
from renova.store import hosts as host_rows
from renova.store import volume_attachments, volumes
from renova.store.database import Tx

VOLUME = VolumeId("00000000-0000-4000-8000-0000000000a1")
OTHER = VolumeId("00000000-0000-4000-8000-0000000000a2")
FIRST, SECOND = (AttachmentId(f"00000000-0000-4000-8000-0000000000b{n}") for n in (1, 2))
SERVER, STRANGER = (ServerId(f"00000000-0000-4000-8000-0000000000c{n}") for n in (1, 2))
IMAGE = ImageId("00000000-0000-4000-8000-0000000000d1")
BYTES = b"an image's bytes"

Story = Callable[[SimulatedCloud, BuiltinVolumes], Coroutine[Any, Any, None]]


def image() -> Image:
    return an_image(IMAGE, BYTES, properties={"os_distro": "debian"})


def new(volume: VolumeId = VOLUME, **given: Any) -> NewVolume:
    values = {"id": volume, "project": ProjectId("p"), "user": UserId("u"), "name": "data", "size_gb": 1, **given}
    return NewVolume(**values)


def play(story: Story) -> None:
    async def main() -> None:
        cloud = SimulatedCloud(count=2)
        cloud.images.have(image(), BYTES)
        await cloud.up()
        await story(cloud, cloud.cloud.volumes)
        await cloud.down()
        assert cloud.ended == []

    run_virtual(main())


async def patiently(cloud: SimulatedCloud, ask: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Ask again for as long as the answer is "not now", as a step of an operation does."""
    for _ in range(200):
        try:
            return await ask()
        except NotNow:
            await cloud.clock.sleep(1)
    raise TimeoutError("not now for ever")


async def status(cloud: SimulatedCloud, volume: VolumeId = VOLUME) -> str | None:
    row = await cloud.database.read(lambda tx: volumes.volume(tx, volume))
    return row.status if row else None


def served(cloud: SimulatedCloud, volume: VolumeId = VOLUME) -> list[str]:
    return list(cloud.storage_hosts["storage1"].volumes.served.get(volume, {}))


def test_a_volume_from_its_making_to_its_end() -> None:
    async def story(cloud: SimulatedCloud, service: BuiltinVolumes) -> None:
        made = await service.create(new())
        assert (made.status, made.size_gb, made.bootable) == ("available", 1, False)
        assert await service.create(new()) == made
        assert await service.volume(VOLUME, ProjectId("another")) is None
        await service.reserve(FIRST, VOLUME, SERVER)
        await service.reserve(FIRST, VOLUME, SERVER)
        assert await status(cloud) == "reserved"
        with pytest.raises(Conflict):
            await service.reserve(SECOND, VOLUME, STRANGER)
        there = await service.connect(FIRST, "host1", "10.1.0.1")
        assert isinstance(there, NbdExport)
        assert (there.address, there.port, there.tls) == (cloud.storage_hosts["storage1"].address, 10809, True)
        assert there.tls_name == cloud.storage_hosts["storage1"].id
        assert await service.connect(FIRST, "host1", "10.1.0.1") == there
        assert served(cloud) == [there.name]
        assert await status(cloud) == "attaching"
        await service.complete(FIRST, "/dev/vdb")
        assert await status(cloud) == "in-use"
        assert [(each.id, each.connected) for each in await service.attachments(SERVER)] == [(FIRST, True)]
        with pytest.raises(CloudError):
            await service.delete(VOLUME)
        await service.begin_detaching(VOLUME)
        assert await status(cloud) == "detaching"
        await service.detach(FIRST)
        await service.detach(FIRST)
        assert served(cloud) == []
        assert await status(cloud) == "available"
        await service.delete(VOLUME)
        await service.delete(VOLUME)
        assert cloud.storage_hosts["storage1"].volumes.volumes == {}
        assert await status(cloud) is None

    play(story)


def test_a_volume_that_moves_with_its_server_is_served_to_one_host_at_a_time_under_a_name_never_used_before() -> None:
    async def story(cloud: SimulatedCloud, service: BuiltinVolumes) -> None:
        await service.create(new())
        await service.reserve(FIRST, VOLUME, SERVER)
        old = await service.connect(FIRST, "host1", "10.1.0.1")
        await service.complete(FIRST, "/dev/vdb")
        await service.reserve(SECOND, VOLUME, SERVER)
        with pytest.raises(Conflict, match="host1"):
            await service.connect(SECOND, "host2", "10.1.0.2")
        await service.detach(FIRST)
        assert await status(cloud) == "reserved"
        young = await service.connect(SECOND, "host2", "10.1.0.2")
        assert isinstance(old, NbdExport)
        assert isinstance(young, NbdExport)
        assert served(cloud) == [young.name]
        with pytest.raises(NotNow):
            cloud.storage_hosts["storage1"].volumes.write(old.name, "late")
        cloud.storage_hosts["storage1"].volumes.write(young.name, "new")

    play(story)


def test_while_the_storage_host_is_away_a_cut_is_not_claimed_and_nobody_else_gets_the_volume() -> None:
    async def story(cloud: SimulatedCloud, service: BuiltinVolumes) -> None:
        await service.create(new())
        await service.reserve(FIRST, VOLUME, SERVER)
        await service.connect(FIRST, "host1", "10.1.0.1")
        await service.reserve(SECOND, VOLUME, SERVER)
        await cloud.cut_power("storage1")
        with pytest.raises(NotNow):
            await service.detach(FIRST)
        with pytest.raises(NotNow):
            await service.connect(SECOND, "host2", "10.1.0.2")
        rows = await cloud.database.read(lambda tx: volume_attachments.of_volume(tx, VOLUME))
        assert [row.export is not None for row in rows] == [True, False]
        await cloud.power_on("storage1")
        there = await patiently(cloud, lambda: service.connect(SECOND, "host2", "10.1.0.2"))
        assert served(cloud) == [there.name]
        assert [each.id for each in await service.attachments(SERVER)] == [SECOND]

    play(story)


@pytest.mark.parametrize("fault", ["agent", "power", "exports", "controller"])
def test_what_should_be_served_is_served_again_after(fault: str) -> None:
    async def story(cloud: SimulatedCloud, service: BuiltinVolumes) -> None:
        await service.create(new())
        await service.create(new(OTHER))
        await service.reserve(FIRST, VOLUME, SERVER)
        there = await service.connect(FIRST, "host1", "10.1.0.1")
        assert isinstance(there, NbdExport)
        if fault == "agent":
            await cloud.kill_agent("storage1")
            assert served(cloud) == []
            cloud.start_agent("storage1")
        elif fault == "power":
            await cloud.cut_power("storage1")
            await cloud.power_on("storage1")
        elif fault == "exports":
            cloud.storage_hosts["storage1"].volumes.lose_exports()
            assert served(cloud) == []
        else:
            await cloud.kill_controller()
            await cloud.start_controller()
        await cloud.until(lambda: served(cloud) == [there.name])
        assert served(cloud, OTHER) == []

    play(story)


def test_a_storage_host_that_has_booted_and_serves_again_is_told_nothing_more() -> None:
    async def story(cloud: SimulatedCloud, service: BuiltinVolumes) -> None:
        await service.create(new())
        await service.reserve(FIRST, VOLUME, SERVER)
        there = await service.connect(FIRST, "host1", "10.1.0.1")
        assert isinstance(there, NbdExport)
        await cloud.cut_power("storage1")
        await cloud.power_on("storage1")
        await cloud.until(lambda: served(cloud) == [there.name])
        told: list[Any] = []
        host: Any = cloud.storage_hosts["storage1"].volumes
        have = host.have

        async def noted(*asked: Any) -> Any:
            told.append(asked)
            return await have(*asked)

        host.have = noted
        await cloud.clock.sleep(60)
        assert told == []

    play(story)


def test_what_somebody_waits_to_have_served_is_served_again_though_confirmed_meanwhile() -> None:
    async def story(cloud: SimulatedCloud, service: BuiltinVolumes) -> None:
        await service.create(new())
        await service.reserve(FIRST, VOLUME, SERVER)
        await cloud.cut_power("storage1")
        with pytest.raises(NotNow):
            await service.connect(FIRST, "host1", "10.1.0.1")
        await cloud.clock.sleep(30)
        await cloud.power_on("storage1")
        there = await patiently(cloud, lambda: service.connect(FIRST, "host1", "10.1.0.1"))
        waiting = {task.get_name() for task in asyncio.all_tasks()}
        assert f"settle-{VOLUME}" in waiting, "nobody is left who waits: this test is about nothing"
        cloud.storage_hosts["storage1"].volumes.lose_exports()
        await cloud.clock.sleep(10)
        assert served(cloud) == [there.name]

    play(story)


def test_a_volume_can_be_made_of_an_image_of_a_snapshot_and_of_another_volume() -> None:
    async def story(cloud: SimulatedCloud, service: BuiltinVolumes) -> None:
        made = await service.create(new(image=IMAGE))
        assert made.bootable
        assert made.image_properties["image_id"] == IMAGE
        assert made.image_properties["os_distro"] == "debian"
        copy = await service.create(new(OTHER, source=VOLUME, size_gb=2))
        assert copy.image_properties == made.image_properties
        held = cloud.storage_hosts["storage1"].volumes.volumes
        assert held[OTHER].content == held[VOLUME].content
        with pytest.raises(Refused):
            await service.create(new(VolumeId("00000000-0000-4000-8000-0000000000a3"), image=ImageId("none")))
        with pytest.raises(NotFound):
            await service.create(new(VolumeId("00000000-0000-4000-8000-0000000000a3"), snapshot="none"))

    play(story)


def test_a_volume_is_filled_anew_from_an_image_once_an_attachment() -> None:
    async def story(cloud: SimulatedCloud, service: BuiltinVolumes) -> None:
        await service.create(new())
        await service.reserve(FIRST, VOLUME, SERVER)
        there = await service.connect(FIRST, "host1", "10.1.0.1")
        assert isinstance(there, NbdExport)
        with pytest.raises(Conflict):
            await service.reimage(FIRST, IMAGE)
        await service.reserve(SECOND, VOLUME, SERVER)
        await service.detach(FIRST)
        await service.reimage(SECOND, IMAGE)
        held = cloud.storage_hosts["storage1"].volumes.volumes[VOLUME]
        assert held.content.startswith("image ")
        held.writes.append("a guest's")
        await service.reimage(SECOND, IMAGE)
        assert cloud.storage_hosts["storage1"].volumes.volumes[VOLUME].writes == ["a guest's"]
        assert await status(cloud) == "reserved"
        found = await service.volume(VOLUME, None)
        assert found is not None
        assert found.image_properties["image_id"] == IMAGE

    play(story)


def test_a_volume_that_cannot_be_made_says_why_and_can_be_deleted() -> None:
    async def story(cloud: SimulatedCloud, service: BuiltinVolumes) -> None:
        cloud.images.have(image(), b"other bytes    ?")
        with pytest.raises(Refused, match="checksum"):
            await service.create(new(image=IMAGE))
        assert await status(cloud) == "error"
        await service.delete(VOLUME)
        assert await status(cloud) is None

    play(story)


def test_without_a_storage_host_nothing_is_begun() -> None:
    async def story(cloud: SimulatedCloud, service: BuiltinVolumes) -> None:
        await cloud.cut_power("storage1")
        await cloud.until(lambda: not cloud.cloud.hosts.up(cloud.storage_hosts["storage1"].id))
        with pytest.raises(NotNow):
            await service.create(new())
        assert await status(cloud) is None

    play(story)


def test_while_the_cluster_is_on_hold_nothing_changes_on_storage_hosts_and_in_a_new_era_all_are_told_anew() -> None:
    async def story(cloud: SimulatedCloud, service: BuiltinVolumes) -> None:
        await service.create(new())
        await service.reserve(FIRST, VOLUME, SERVER)
        there = await service.connect(FIRST, "host1", "")
        assert isinstance(there, NbdExport)

        def forget(tx: Tx) -> None:
            """Have the database as it was before the volume was connected."""
            volume_attachments.change(tx, FIRST, export=None, status="reserved")
            volumes.change(tx, VOLUME, version=1, confirmed=1, status="reserved")
            eras.hold(tx, "it is older than its hosts")

        await cloud.database.transact(forget)
        with pytest.raises(NotNow, match="on hold"):
            await service.connect(FIRST, "host2", "")
        assert served(cloud) == [there.name]
        await cloud.database.transact(lambda tx: eras.begin(tx, "an operator"))
        for name in ("host1", "storage1"):
            await cloud.kill_agent(name)
            cloud.start_agent(name)
        second = await patiently(cloud, lambda: service.connect(FIRST, "host2", ""))
        assert served(cloud) == [second.name]

    play(story)


def test_a_volume_of_which_its_host_knows_more_than_the_database_does_not_fail_but_waits_for_the_new_era() -> None:
    async def story(cloud: SimulatedCloud, service: BuiltinVolumes) -> None:
        await service.create(new())
        await service.reserve(FIRST, VOLUME, SERVER)
        await service.connect(FIRST, "host1", "")

        def forget(tx: Tx) -> None:
            """Have the database as it was while the volume was being made."""
            volume_attachments.remove(tx, FIRST)
            volumes.change(tx, VOLUME, version=1, confirmed=0, status="creating")

        await cloud.database.transact(forget)
        with pytest.raises(NotNow):
            await service.create(new())
        await cloud.clock.sleep(30)
        assert await status(cloud) == "creating"
        await cloud.database.transact(lambda tx: eras.begin(tx, "an operator"))
        await patiently(cloud, lambda: service.create(new()))
        assert await status(cloud) == "available"

    play(story)


def test_a_volume_whose_content_was_lost_says_so() -> None:
    async def story(cloud: SimulatedCloud, service: BuiltinVolumes) -> None:
        await service.create(new())
        cloud.storage_hosts["storage1"].volumes.volumes.clear()
        await service.reserve(FIRST, VOLUME, SERVER)
        with pytest.raises(Refused, match="not on this host any more"):
            await service.connect(FIRST, "host1", "")
        await service.detach(FIRST)
        assert served(cloud) == []

    play(story)


def port(connection: object) -> int:
    assert isinstance(connection, NbdExport)
    return connection.port


def test_each_host_is_served_on_a_port_of_its_own_and_keeps_it_for_as_long_as_it_has_a_volume() -> None:
    third, fourth = (AttachmentId(f"00000000-0000-4000-8000-0000000000b{n}") for n in (3, 4))
    third_volume, fourth_volume = (VolumeId(f"00000000-0000-4000-8000-0000000000a{n}") for n in (3, 4))

    async def story(cloud: SimulatedCloud, service: BuiltinVolumes) -> None:
        pairs = {FIRST: VOLUME, SECOND: OTHER, third: third_volume, fourth: fourth_volume}
        for attachment, volume in pairs.items():
            await service.create(new(volume))
            await service.reserve(attachment, volume, SERVER)
        one = port(await service.connect(FIRST, "host1", ""))
        two = port(await service.connect(SECOND, "host2", ""))
        assert one != two
        (export,) = cloud.storage_hosts["storage1"].volumes.served[OTHER].values()
        assert (export.host, export.port) == (cloud.hosts["host2"].id, two)
        await service.detach(FIRST)
        await cloud.kill_agent("storage1")
        cloud.start_agent("storage1")
        assert port(await patiently(cloud, lambda: service.connect(third, "host2", ""))) == two
        await service.detach(SECOND)
        assert port(await service.connect(third, "host2", "")) == two
        assert port(await service.connect(fourth, "host1", "")) == one, "it was free"

    play(story)


def test_a_volume_is_connected_only_for_a_compute_host_and_only_while_a_port_is_free() -> None:
    async def story(cloud: SimulatedCloud, service: BuiltinVolumes) -> None:
        for attachment, volume in {FIRST: VOLUME, SECOND: OTHER}.items():
            await service.create(new(volume))
            await service.reserve(attachment, volume, SERVER)
        for nobody in ("storage1", "elsewhere"):
            with pytest.raises(Invalid, match="no compute host of this cloud"):
                await service.connect(FIRST, nobody, "")
        storage = cloud.storage_hosts["storage1"]
        few = replace(FACTS, ports=1)
        await cloud.database.transact(lambda tx: host_rows.change(tx, storage.id, storage=few))
        await service.connect(FIRST, "host1", "")
        with pytest.raises(Conflict, match="raise its nbd_ports"):
            await service.connect(SECOND, "host2", "")
        assert served(cloud, OTHER) == []
        await service.detach(FIRST)
        await service.connect(SECOND, "host2", "")

    play(story)
