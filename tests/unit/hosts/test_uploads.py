"""Images come in only from the host that was asked, in order, and whole."""

import asyncio
import hashlib

import pytest

from renova.hosts.uploads import Upload, Uploads
from renova.model.errors import Broken
from renova.model.ids import HostId, ImageId
from renova.wire.images import ImageBytes, ImageTaken

HOST, OTHER = HostId("host"), HostId("other")
IMAGE, WRONG = ImageId("image"), ImageId("wrong")


def piece(offset: int, data: bytes, image: ImageId = IMAGE) -> ImageBytes:
    return ImageBytes(id=7, image=image, offset=offset, data=data)


def end(content: bytes) -> ImageBytes:
    return ImageBytes(id=8, image=IMAGE, offset=len(content), sha256=hashlib.sha256(content).hexdigest())


async def whole(upload: Upload) -> bytes:
    return b"".join([each async for each in upload.pieces()])


async def test_an_image_comes_in_piece_by_piece() -> None:
    uploads = Uploads()
    with uploads.of(HOST, IMAGE) as upload:
        reading = asyncio.create_task(whole(upload))
        assert await uploads.take(HOST, piece(0, b"one")) == ImageTaken(id=7)
        assert await uploads.take(HOST, piece(3, b"two")) == ImageTaken(id=7)
        assert await uploads.take(HOST, end(b"onetwo")) == ImageTaken(id=8)
        assert await reading == b"onetwo"


@pytest.mark.parametrize(("host", "image"), [(OTHER, IMAGE), (HOST, WRONG)])
async def test_what_nobody_asked_a_host_for_is_refused(host: HostId, image: ImageId) -> None:
    uploads = Uploads()
    with uploads.of(HOST, IMAGE):
        answer = await uploads.take(host, piece(0, b"mine", image))
        assert (answer.why, answer.error) == ("refused", "no operation asks this host for the image")
    assert (await uploads.take(HOST, piece(0, b"late"))).why == "refused"


async def test_a_gap_is_refused() -> None:
    uploads = Uploads()
    with uploads.of(HOST, IMAGE) as upload:
        reading = asyncio.create_task(whole(upload))
        await uploads.take(HOST, piece(0, b"one"))
        answer = await uploads.take(HOST, piece(4, b"two"))
        assert (answer.why, answer.error) == ("refused", "the bytes from 3 on are expected, not from 4")
        assert (await uploads.take(HOST, piece(0, b"one"))).why == "refused"
        reading.cancel()


async def test_an_image_with_another_sum_is_no_image() -> None:
    uploads = Uploads()
    with uploads.of(HOST, IMAGE) as upload:
        reading = asyncio.create_task(whole(upload))
        await uploads.take(HOST, piece(0, b"one"))
        await uploads.take(HOST, ImageBytes(id=8, image=IMAGE, offset=3, sha256=hashlib.sha256(b"two").hexdigest()))
        with pytest.raises(Broken, match="did not arrive"):
            await reading


async def test_a_host_that_sends_hears_when_nobody_takes_any_more() -> None:
    uploads = Uploads()
    with uploads.of(HOST, IMAGE) as upload:
        await uploads.take(HOST, piece(0, b"one"))  # there is room for one
        waiting = asyncio.create_task(uploads.take(HOST, piece(3, b"two")))
        await asyncio.sleep(0)
        assert not waiting.done()
        upload.end("the disk is full")
        assert await waiting == ImageTaken(id=7, error="the disk is full", why="refused")


async def test_who_asks_anew_takes_the_place_of_who_asked_before() -> None:
    uploads = Uploads()
    with uploads.of(HOST, IMAGE) as former:
        await uploads.take(HOST, piece(0, b"one"))
        with uploads.of(HOST, IMAGE) as upload:
            reading = asyncio.create_task(whole(upload))
            await uploads.take(HOST, piece(0, b"new"))
            await uploads.take(HOST, end(b"new"))
            assert await reading == b"new"
        former.end()
        assert (await uploads.take(HOST, piece(3, b"two"))).why == "refused"
