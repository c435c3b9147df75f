"""Disks that boot, out of files: no root, no loop mounts.

A partition table, a FAT partition with the boot loader and the kernel, an ext4 partition as the root file system.
"""

import os
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

from renova.lab.guest_kernel import Kernel
from renova.model.errors import BadSetup, NotNow

_SECTOR = 512
_MIB = 1024 * 1024
_START_MB = 1
_BOOT_MB = 24
_ROOT_MB = 64
_MBR = Path("/usr/lib/syslinux/mbr/mbr.bin")
# What takes an emulated processor long at each boot, and is of no use to a guest that lives for minutes.
_NOT_BEGUN = "init_kprobe_trace,crypto_kdf108_init,cubictcp_register"
_QUICKLY = "nokaslr mitigations=off no_timer_check noreplace-smp cryptomgr.notests initcall_blacklist=" + _NOT_BEGUN
_SYSLINUX_CFG = f"""\
DEFAULT linux
TIMEOUT 0
PROMPT 0
LABEL linux
 LINUX /vmlinuz
 INITRD /initrd.gz
 APPEND console=ttyS0 quiet loglevel=4 panic=5 {_QUICKLY} root=/dev/vda2
"""
# Fixed identities and times, so that a disk built again differs little.
_UUID = "6e5f0d9a-3c44-4c3e-9d0a-72656e6f7661"
_TIME = "1700000000"
_ENVIRONMENT = {"LC_ALL": "C", "MTOOLS_SKIP_CHECK": "1", "SOURCE_DATE_EPOCH": _TIME, "E2FSPROGS_FAKE_TIME": _TIME}


def boot_partition(kernel: Kernel, image: Path) -> None:
    """Write a FAT file system that boots this kernel."""
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(_BOOT_MB * _MIB)
    hidden = str(_START_MB * _MIB // _SECTOR)
    _run(["mkfs.vfat", "--invariant", "-F", "16", "-n", "BOOT", "-h", hidden, "-R", "8", str(image)])
    with TemporaryDirectory() as temporary:
        configuration = Path(temporary, "syslinux.cfg")
        configuration.write_text(_SYSLINUX_CFG)
        files = [kernel.vmlinuz, kernel.initrd, configuration]
        _run(["mcopy", "-i", str(image), *map(str, files), "::/"])
    _run(["syslinux", "--install", str(image)])


def root_partition(tree: Path, image: Path) -> None:
    """Write an ext4 file system that holds the directory `tree`; it has a journal, as guests lose their power."""
    for path in [tree, *tree.rglob("*")]:
        os.utime(path, (int(_TIME), int(_TIME)), follow_symlinks=False)
    settled = f"root_owner=0:0,hash_seed={_UUID},lazy_itable_init=0,lazy_journal_init=0"
    options = ["-t", "ext4", "-O", "^metadata_csum", "-J", "size=1", "-b", "1024", "-U", _UUID, "-L", "guestroot"]
    _run(["mke2fs", "-q", *options, "-E", settled, "-d", str(tree), str(image), f"{_ROOT_MB}M"])


def disk(boot: Path, root: Path, image: Path) -> None:
    """Join the partitions to a compressed qcow2 disk; `image` is there whole or not at all."""
    new = image.with_name(image.name + ".new")
    with TemporaryDirectory(dir=image.parent) as temporary:
        raw = Path(temporary, "disk.raw")
        with raw.open("wb") as file:
            file.write(partitioned(_loader(), [(0x06, _BOOT_MB), (0x83, _ROOT_MB)]))
            _copy_sparse(boot, file.fileno(), _START_MB * _MIB)
            _copy_sparse(root, file.fileno(), (_START_MB + _BOOT_MB) * _MIB)
            file.truncate((_START_MB + _BOOT_MB + _ROOT_MB) * _MIB)
        _run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", str(raw), str(new)])
    new.replace(image)


def partitioned(loader: bytes, partitions: Sequence[tuple[int, int]]) -> bytes:
    """Make the first sector of a disk: the loader and (type, MiB) partitions one after another, the first to boot."""
    table = b""
    start = _START_MB * _MIB // _SECTOR
    for number, (kind, size_mb) in enumerate(partitions):
        sectors = size_mb * _MIB // _SECTOR
        active = 0x80 if number == 0 else 0
        # Cylinders, heads and sectors as large as they get: "see the sector numbers".
        table += struct.pack("<B3sB3sII", active, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", start, sectors)
        start += sectors
    return loader.ljust(446, b"\0") + table.ljust(64, b"\0") + b"\x55\xaa"


def _loader() -> bytes:
    if not _MBR.exists():
        raise BadSetup(f"there is no {_MBR}: run script/bootstrap as root, which installs syslinux-common")
    return _MBR.read_bytes()[:440]


def _copy_sparse(source: Path, target: int, offset: int) -> None:
    """Copy a file to an offset, without its empty stretches."""
    with source.open("rb") as file:
        while block := file.read(_MIB):
            if block.count(0) != len(block):
                os.pwrite(target, block, offset)
            offset += len(block)


def _run(argv: Sequence[str], environment: Mapping[str, str] = _ENVIRONMENT) -> None:
    # mkfs and mke2fs are not on the path of users.
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    program = which(argv[0], path=path)
    if program is None:
        raise BadSetup(f"{argv[0]} is not installed: run script/bootstrap as root")
    ended = subprocess.run(
        [program, *argv[1:]], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        raise NotNow(f"{' '.join(argv)}: {(ended.stderr or ended.stdout).strip()}")
