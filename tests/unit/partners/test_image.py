"""Images' bytes: stored whole or not at all, whatever happens on the way."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from renova.engine.executor import Executor
from renova.model.chance import SystemChance
from renova.model.clock import SystemClock
from renova.model.errors import Conflict, Invalid, NotFound, NotNow
from renova.model.ids import ExecutorId, ImageId, ProjectId, UserId
from renova.model.image import Image
from renova.partners.identity import Caller
from renova.partners.image.builtin import BuiltinImages
from renova.partners.image.files import _Reading
from renova.settings import ControllerSettings
from renova.store import executors
from renova.store import images as store
from renova.store.database import Database, Tx
from tests.databases import open_empty

IMAGE = ImageId("the-image")
OWNER = ProjectId("apollo")


def queue_image(tx: Tx, disk_format: str = "raw", visibility: str = "private") -> None:
    new = Image(
        id=IMAGE,
        name="disk",
        status="queued",
        owner=OWNER,
        visibility=visibility,
        disk_format=disk_format,
        container_format="bare",
        size=None,
        virtual_size=None,
        sha256=None,
        md5=None,
        min_disk=0,
        min_ram=0,
        protected=False,
        tags=(),
        properties={},
        created_at=tx.now,
        updated_at=tx.now,
    )
    store.add(tx, new)


@pytest.fixture
def database() -> Database:
    return open_empty(SystemClock())


@pytest.fixture
def images(database: Database, tmp_path: Path) -> BuiltinImages:
    return of_controller(database, tmp_path, "one")


def of_controller(database: Database, tmp_path: Path, name: str) -> BuiltinImages:
    """Return the images as the controller of this name has them."""
    settings = ControllerSettings(state_dir=str(tmp_path / name), shared_dir=str(tmp_path))
    return BuiltinImages(database, SystemChance(), settings, Executor(ExecutorId(name)))


async def enlist(database: Database, *names: str) -> None:
    """Have these controllers, and no other, live."""

    def work(tx: Tx) -> None:
        executors.bury_all(tx)
        for name in names:
            executors.enlist(tx, ExecutorId(name), executors.Controller(name), 5.0)

    await database.transact(work)


class Away:
    """A database that does not answer while it is away."""

    def __init__(self, executor: Any) -> None:
        self.executor = executor
        self.now = False

    async def transact(self, fn: Any) -> Any:
        if self.now:
            raise NotNow("the database is away")
        return await self.executor.transact(fn)

    async def read(self, fn: Any) -> Any:
        return await self.executor.read(fn)

    def close(self) -> None:
        self.executor.close()


async def pieces(*given: bytes, then: Exception | None = None) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece
    if then is not None:
        raise then


async def status(images: BuiltinImages) -> str:
    found = await images.image(IMAGE, None)
    assert found is not None
    return found.status


async def test_bytes_come_back_as_they_went_in(images: BuiltinImages, database: Database, tmp_path: Path) -> None:
    await database.transact(queue_image)
    content = bytes(range(256)) * 10_000
    await images.write(IMAGE, pieces(*(content[at : at + 65_536] for at in range(0, len(content), 65_536))))
    found = await images.image(IMAGE, None)
    assert found is not None
    assert (found.status, found.size, found.virtual_size) == ("active", len(content), len(content))
    assert found.md5 == hashlib.md5(content).hexdigest()
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.sha512 == hashlib.sha512(content).hexdigest()
    read = [piece async for piece in images.read(IMAGE)]
    assert b"".join(read) == content
    assert max(map(len, read)) <= 1024 * 1024
    assert b"".join([piece async for piece in images.read(IMAGE, 2_000_000)]) == content[2_000_000:]
    assert len(list((tmp_path / "images").iterdir())) == 1
    with pytest.raises(Conflict):
        await images.write(IMAGE, pieces(b"again"))


async def test_an_upload_that_fails_leaves_nothing_and_may_be_repeated(
    images: BuiltinImages, database: Database, tmp_path: Path
) -> None:
    await database.transact(lambda tx: queue_image(tx, "qcow2"))
    with pytest.raises(Invalid):
        await images.write(IMAGE, pieces(b"not qcow2"))
    with pytest.raises(ConnectionResetError):
        await images.write(IMAGE, pieces(b"QFI\xfb", then=ConnectionResetError()))
    assert await status(images) == "queued"
    assert list((tmp_path / "images").iterdir()) == []
    with pytest.raises(NotFound):
        _ = [piece async for piece in images.read(IMAGE)]


async def test_an_image_deleted_while_its_bytes_come_in_leaves_none(
    images: BuiltinImages, database: Database, tmp_path: Path
) -> None:
    await database.transact(queue_image)

    async def deleting() -> AsyncIterator[bytes]:
        yield b"first"
        await images.remove(IMAGE)
        yield b"second"

    with pytest.raises(NotFound):
        await images.write(IMAGE, deleting())
    assert list((tmp_path / "images").iterdir()) == []
    assert await images.image(IMAGE, None) is None


async def test_a_disk_that_cannot_be_written_is_said_so(
    images: BuiltinImages, database: Database, tmp_path: Path
) -> None:
    await database.transact(queue_image)
    (tmp_path / "images").write_text("in the way")
    with pytest.raises(NotNow, match="image store"):
        await images.write(IMAGE, pieces(b"bytes"))
    assert await status(images) == "queued"


async def test_what_a_crash_left_behind_is_swept_away(
    images: BuiltinImages, database: Database, tmp_path: Path
) -> None:
    await database.transact(queue_image)
    await images.write(IMAGE, pieces(b"whole"))
    (whole,) = (tmp_path / "images").iterdir()
    for name in ("gone", "unfinished.part"):
        (tmp_path / "images" / name).write_bytes(b"left behind")
    assert await images.sweep() == 2
    assert list((tmp_path / "images").iterdir()) == [whole]
    assert [piece async for piece in images.read(IMAGE)] == [b"whole"]


async def test_an_upload_whose_controller_died_may_be_begun_again_and_one_whose_controller_lives_may_not(
    database: Database, tmp_path: Path
) -> None:
    one, two = of_controller(database, tmp_path, "one"), of_controller(database, tmp_path, "two")
    await enlist(database, "one", "two")
    await database.transact(queue_image)
    arrives, begun = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        begun.set()
        yield b"of one that"
        await arrives.wait()
        yield b" was only frozen"

    frozen = asyncio.create_task(one.write(IMAGE, slowly()))
    await begun.wait()
    await two.recover()
    with pytest.raises(Conflict):
        await two.write(IMAGE, pieces(b"too early"))
    assert await two.sweep() == 0, "somebody writes it"
    await enlist(database, "two")
    await two.recover()
    assert await status(two) == "queued"
    await two.write(IMAGE, pieces(b"of the other"))
    arrives.set()
    with pytest.raises(NotFound):
        await frozen
    assert await status(one) == "active"
    assert [piece async for piece in one.read(IMAGE)] == [b"of the other"]
    assert len(list((tmp_path / "images").iterdir())) == 1
    await two.remove(IMAGE)
    assert list((tmp_path / "images").iterdir()) == []


async def test_an_upload_that_could_not_say_that_it_failed_is_queued_again_by_its_own_controller(
    database: Database, tmp_path: Path
) -> None:
    away = Away(database._executor)
    images = of_controller(Database(away), tmp_path, "one")
    await enlist(database, "one")
    await database.transact(queue_image)

    async def failing() -> AsyncIterator[bytes]:
        away.now = True
        yield b"bytes"
        raise ConnectionResetError

    with pytest.raises(NotNow):
        await images.write(IMAGE, failing())
    away.now = False
    assert await status(images) == "saving"
    await images.recover()
    assert await status(images) == "queued"
    await images.write(IMAGE, pieces(b"bytes"))
    assert await status(images) == "active"


@pytest.mark.parametrize(
    ("visibility", "project", "roles", "sees"),
    [
        ("private", OWNER, {"reader"}, True),
        ("private", "gemini", {"reader"}, False),
        ("shared", "gemini", {"reader"}, False),
        ("private", "gemini", {"admin"}, True),
        ("public", "gemini", {"reader"}, True),
        ("community", "gemini", {"reader"}, True),
    ],
)
async def test_who_sees_an_image(
    images: BuiltinImages, database: Database, visibility: str, project: str, roles: set[str], sees: bool
) -> None:
    await database.transact(lambda tx: queue_image(tx, visibility=visibility))
    caller = Caller(UserId("u"), "ada", ProjectId(project), "", frozenset(roles), "")
    assert (await images.image(IMAGE, caller) is not None) == sees


def test_a_file_opened_for_a_reader_that_was_cancelled_meanwhile_is_closed(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"content")
    reading = _Reading()
    reading.close()
    reading.begin(tmp_path / "image", 0)  # what its thread does later
    with pytest.raises(ValueError, match="closed file"):
        reading.read()
