"""Volumes and their attachments: at most one export a volume, and what their hosts have yet to confirm."""

from collections.abc import Iterator

import pytest
from sqlalchemy.exc import IntegrityError

from renova.model.clock import SystemClock
from renova.model.ids import AttachmentId, HostId, ProjectId, ServerId, UserId, VolumeId
from renova.model.storage import Blank
from renova.store import volume_attachments, volumes
from renova.store.database import Database, Tx
from renova.store.volume_attachments import StoredAttachment
from renova.store.volumes import StoredVolume
from tests.databases import open_empty

VOLUME = VolumeId("v")


@pytest.fixture
def database() -> Iterator[Database]:
    opened = open_empty(SystemClock())
    yield opened
    opened.close()


def a_volume(tx: Tx, volume: VolumeId = VOLUME) -> None:
    volumes.add(
        tx,
        StoredVolume(
            id=volume,
            project=ProjectId("p"),
            user=UserId("u"),
            name="",
            size_gb=3,
            status="available",
            zone="nova",
            host=HostId("h"),
            type="t",
            source=Blank(),
            created_at=tx.now,
            updated_at=tx.now,
        ),
    )


def an_attachment(tx: Tx, attachment: str, export: str | None) -> None:
    volume_attachments.add(
        tx,
        StoredAttachment(
            id=AttachmentId(attachment),
            volume=VOLUME,
            project=ProjectId("p"),
            server=ServerId("s"),
            export=export,
            created_at=tx.now,
        ),
    )


async def test_the_database_itself_refuses_a_second_export_of_a_volume(database: Database) -> None:
    def two(tx: Tx) -> None:
        an_attachment(tx, "a", "first")
        an_attachment(tx, "b", None)
        an_attachment(tx, "c", None)

    await database.transact(two)
    with pytest.raises(IntegrityError):
        await database.transact(lambda tx: volume_attachments.change(tx, AttachmentId("b"), export="second"))
    await database.transact(lambda tx: volume_attachments.remove(tx, AttachmentId("a")))
    await database.transact(lambda tx: volume_attachments.change(tx, AttachmentId("b"), export="second"))
    assert await database.read(volume_attachments.served) == {VOLUME}


async def test_what_is_wanted_stays_unconfirmed_until_it_is_confirmed(database: Database) -> None:
    await database.transact(a_volume)
    assert await database.read(volumes.unconfirmed) == [VOLUME]
    await database.transact(lambda tx: volumes.change(tx, VOLUME, confirmed=1))
    assert await database.read(volumes.unconfirmed) == []
    await database.transact(lambda tx: volumes.want(tx, VOLUME, size_gb=4))
    assert await database.read(volumes.unconfirmed) == [VOLUME]
    await database.transact(lambda tx: volumes.change(tx, VOLUME, confirmed=2))
    await database.transact(lambda tx: volumes.raise_versions(tx, 10))
    row = await database.read(lambda tx: volumes.volume(tx, VOLUME))
    assert row is not None
    assert (row.version, row.confirmed, row.size_gb) == (10, 2, 4)
    await database.transact(lambda tx: volumes.raise_versions(tx, 10))
    assert await database.read(lambda tx: getattr(volumes.volume(tx, VOLUME), "version", None)) == 11


async def test_the_loser_of_a_race_for_a_status_is_told(database: Database) -> None:
    await database.transact(a_volume)
    wins = [
        await database.transact(lambda tx: volumes.swap_status(tx, VOLUME, ("available",), "reserved"))
        for _ in range(2)
    ]
    assert wins == [True, False]
