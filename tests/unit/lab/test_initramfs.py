import gzip
import shutil
import subprocess
from pathlib import Path

import pytest

from renova.lab.initramfs import depends, in_load_order, pack, unsigned


def module(directory: Path, name: str, needs: str = "") -> Path:
    path = directory / f"{name}.ko"
    path.write_bytes(b"\x7fELF\0license=GPL\0depends=" + needs.encode() + b"\0name=x\0")
    return path


def test_a_module_comes_after_what_it_needs(tmp_path: Path) -> None:
    ring = module(tmp_path, "virtio_ring")
    virtio = module(tmp_path, "virtio", "virtio_ring")
    disk = module(tmp_path, "virtio-blk", "virtio,virtio_ring")
    module(tmp_path, "unwanted")
    assert in_load_order(tmp_path, ["virtio_blk", "built_in", "virtio"]) == [ring, virtio, disk]


def test_a_module_may_need_nothing() -> None:
    assert depends(b"\0depends=\0") == []
    assert depends(b"no such field") == []


def test_a_signature_is_taken_off_and_what_has_none_stays_as_it_is() -> None:
    signature = b"pkcs7" * 50
    signed = b"\x7fELF" + signature + bytes(8) + len(signature).to_bytes(4, "big") + b"~Module signature appended~\n"
    assert unsigned(signed) == b"\x7fELF"
    assert unsigned(b"\x7fELF") == b"\x7fELF"


def test_equal_input_gives_equal_bytes() -> None:
    first = pack({"b": b"2", "a": b"1"}, ["d"], {"l": "a"})
    assert first == pack({"a": b"1", "b": b"2"}, ["d"], {"l": "a"})


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
def test_cpio_reads_what_was_packed(tmp_path: Path) -> None:
    archive = gzip.decompress(pack({"init": b"#!/bin/sh\n", "dir/odd": b"12345"}, ["dir"], {"link": "dir/odd"}))
    subprocess.run(["cpio", "--quiet", "-idm"], cwd=tmp_path, input=archive, check=True)
    assert (tmp_path / "link").read_bytes() == b"12345"
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "init").stat().st_mode & 0o777 == 0o755
