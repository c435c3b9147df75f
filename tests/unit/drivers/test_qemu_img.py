"""Images that must not be opened, told by their headers."""

from pathlib import Path

import pytest

from renova.drivers.hypervisor.qemu_img import DATA_FILE_FEATURE, HEADER, check_image, virtual_bytes
from renova.model.errors import Refused


def header(
    magic: bytes = b"QFI\xfb", version: int = 3, backing: int = 0, encryption: int = 0, features: int = 0
) -> bytes:
    return HEADER.pack(magic, version, backing, 10 if backing else 0, 16, 1 << 30, encryption, features)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(header(backing=512), "backing file", id="backing"),
        pytest.param(header(features=DATA_FILE_FEATURE), "data file", id="data file"),
        pytest.param(header(encryption=1), "encrypted", id="encrypted"),
        pytest.param(header(version=1), "version 1", id="version"),
        pytest.param(header(magic=b"KDMV"), "not qcow2", id="other"),
        pytest.param(header()[:40], "not qcow2", id="cut off"),
        pytest.param(b"", "not qcow2", id="empty"),
    ],
)
async def test_a_dangerous_image_is_refused_before_qemu_sees_it(content: bytes, reason: str, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(content)
    with pytest.raises(Refused, match=reason):
        await check_image(image, "qcow2")


async def test_other_formats_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="vmdk"):
        await check_image(tmp_path / "image", "vmdk")


def test_the_size_of_the_disk_is_not_that_of_the_file(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(header())
    assert virtual_bytes(image, "qcow2") == 1 << 30
    assert virtual_bytes(image, "raw") == len(header())
