"""What is taken for an image, and what is refused; against files that qemu-img writes."""

import struct
import subprocess
from pathlib import Path

import pytest

from renova.model.errors import Invalid
from renova.partners.image.formats import HEAD_BYTES, virtual_size


def qemu_img(*arguments: str | Path) -> None:
    subprocess.run(["qemu-img", *arguments], check=True, capture_output=True)


def seen(disk_format: str, file: Path) -> int:
    content = file.read_bytes()
    return virtual_size(disk_format, content[:HEAD_BYTES], len(content))


@pytest.mark.parametrize("options", ["compat=0.10", "compat=1.1", "compression_type=zstd", "extended_l2=on"])
def test_a_plain_qcow2_file_tells_its_size(tmp_path: Path, options: str) -> None:
    file = tmp_path / "disk.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", options, file, "100M")
    assert seen("qcow2", file) == 100 * 1024 * 1024


def test_a_raw_file_is_as_large_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "disk.raw"
    file.write_bytes(b"\0" * 4097)
    assert seen("raw", file) == 4097


def test_a_file_that_names_another_is_refused(tmp_path: Path) -> None:
    base, overlay, split = tmp_path / "base.qcow2", tmp_path / "overlay.qcow2", tmp_path / "split.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", base, "10M")
    qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", overlay)
    qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={tmp_path / 'data'}", split, "10M")
    with pytest.raises(Invalid, match="backing file"):
        seen("qcow2", overlay)
    with pytest.raises(Invalid, match="another file"):
        seen("qcow2", split)


@pytest.mark.parametrize("other", ["qcow2", "vmdk", "vhdx", "qed"])
def test_a_file_that_claims_to_be_raw_and_is_not_is_refused(tmp_path: Path, other: str) -> None:
    file = tmp_path / "disk"
    qemu_img("create", "-q", "-f", other, file, "10M")
    with pytest.raises(Invalid, match=f"its content is {other}"):
        seen("raw", file)
    if other != "qcow2":
        with pytest.raises(Invalid, match="its content is not"):
            seen("qcow2", file)


def header(**changes: int) -> bytes:
    fields = {
        "version": 3,
        "backing": 0,
        "backing_size": 0,
        "cluster_bits": 16,
        "size": 2**20,
        "crypt": 0,
        "l1_entries": 1,
        "l1_offset": 512,
        "refcounts": 512,
    } | {name: value for name, value in changes.items() if name != "features"}
    packed = struct.pack(">IQIIQIIQQ", *fields.values())
    return b"QFI\xfb" + packed.ljust(68, b"\0") + struct.pack(">Q", changes.get("features", 0)) + bytes(24)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": 4}, "version 4"),
        ({"crypt": 1}, "encrypted"),
        ({"features": 2}, "corrupt"),
        ({"features": 1 << 40}, "unknown features"),
        ({"cluster_bits": 63}, "no program writes"),
        ({"size": 0}, "no program writes"),
        ({"size": 2**61 + 1}, "no program writes"),
        ({"size": 2**64 - 1}, "no program writes"),
        ({"l1_offset": 2**63}, "cut off"),
        ({"refcounts": 1024}, "cut off"),
    ],
)
def test_a_crafted_header_is_refused(changes: dict[str, int], reason: str) -> None:
    assert virtual_size("qcow2", header(), 1024) == 2**20
    with pytest.raises(Invalid, match=reason):
        virtual_size("qcow2", header(**changes), 1024)


def test_a_file_too_short_is_refused() -> None:
    for disk_format, content in (("raw", b""), ("qcow2", b""), ("qcow2", header()[:60])):
        with pytest.raises(Invalid):
            virtual_size(disk_format, content, len(content))
