"""Finding out whether the storage hosts of volumes answer."""

import asyncio
import socket
from time import monotonic

import pytest

from renova.drivers.hypervisor import volume_reach
from renova.drivers.hypervisor.volume_reach import storage_answers
from renova.model.errors import StorageAway, whole
from renova.model.guest import VolumeDisk
from renova.model.ids import AttachmentId, VolumeId
from renova.model.volume import NbdExport


def on(port: int) -> VolumeDisk:
    export = NbdExport("127.0.0.1", port, "secret", tls=True)
    return VolumeDisk(VolumeId("volume"), AttachmentId("attachment"), "vdb", export)


async def saying(words: bytes) -> asyncio.Server:
    def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        writer.close()

    return await asyncio.start_server(greet, "127.0.0.1", 0)


async def test_a_storage_host_that_answers_is_fine() -> None:
    async with await saying(b"NBDMAGICIHAVEOPT") as server:
        await storage_answers([on(server.sockets[0].getsockname()[1])])


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request"])
async def test_one_that_is_no_nbd_server_does_not_answer(said: bytes) -> None:
    async with await saying(said) as server:
        with pytest.raises(StorageAway):
            await storage_answers([on(server.sockets[0].getsockname()[1])])


async def test_one_whose_daemon_stands_still_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes the connection; QEMU would wait for the first word without end, and libvirt with it."""
    monkeypatch.setattr(volume_reach, "ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as still, pytest.raises(StorageAway):
        await storage_answers([on(still.getsockname()[1])])


async def test_one_that_serves_nothing_is_away_and_the_exports_name_is_not_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(StorageAway, match=r"storage host of volume .* does not answer") as away:
        await storage_answers([on(port)])
    assert "127.0.0.1" not in str(away.value), "it is for operators"
    assert "127.0.0.1" in whole(away.value)
    assert "secret" not in whole(away.value)


async def test_one_that_is_silent_is_not_waited_for_as_long_as_tcp_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_reach, "ANSWER_S", 0.2)
    with socket.socket() as deaf, socket.socket() as first:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)  # and never accepts: the second to come is not answered
        first.connect(deaf.getsockname())
        began = monotonic()
        with pytest.raises(StorageAway):
            await storage_answers([on(deaf.getsockname()[1])])
        assert monotonic() - began < 2
