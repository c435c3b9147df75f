"""What is asked of qemu-img and its like, and what is known about a qcow2 file before QEMU may open it.

An image is made by somebody who may be an enemy: a qcow2 header can name any file of the host as its backing or
data file, and whoever opens the image then reads that file. So the header is read here first, by us.
"""

import asyncio
import fcntl
import json
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from renova.model.errors import Refused

Inside = Callable[[Sequence[str]], list[str]]

# A crafted image can make even `info` eat memory or time without end.
LIMITS = ("prlimit", "--as=2147483648", "--cpu=30", "--")

# magic, version, backing file (offset, length), cluster bits, virtual size, encryption, then 36 bytes of tables,
# then the incompatible features (version 3 only).
HEADER = struct.Struct(">4sIQIIQI36xQ")
DATA_FILE_FEATURE = 1 << 2
MAGIC = b"QFI\xfb"
BACKING = struct.Struct(">4sIQI")  # magic, version, where the backing file's name stands, how long it is
LONGEST_BACKING = 1023  # bytes, by qcow2's specification
LARGEST_CLUSTER = 2 << 20  # bytes; the backing file's name stands in the first one
FLOCK = struct.Struct("hhqqi4x")  # type, whence, start, length, pid, as the kernel has them on 64 bits
WRITE_LOCK = 101  # the byte that QEMU locks, shared, of every file that it may write (QEMU's block/file-posix.c)


async def check_image(path: Path, image_format: str) -> None:
    """Refuse the file unless it is an image of this format and all of it is in this one file."""
    if image_format not in {"qcow2", "raw"}:
        raise Refused(f"images of format {image_format} cannot be run here; qcow2 and raw can")
    if image_format == "qcow2":
        _check_header(path)
    out = await run_program(*LIMITS, "qemu-img", "info", "--output=json", "-f", image_format, str(path))
    found = json.loads(out)
    if "backing-filename" in found or "data-file" in found.get("format-specific", {}).get("data", {}):
        raise Refused("the image refers to other files")


def virtual_bytes(path: Path, image_format: str) -> int:
    """Return how large a disk the image is; for images that were checked."""
    if image_format == "raw":
        return path.stat().st_size
    size: int = _header(path)[5]
    return size


async def create_overlay(path: Path, backing: str, backing_format: str, size_bytes: int, inside: Inside = list) -> None:
    """Make an empty qcow2 overlay; a relative `backing` counts from the overlay's directory."""
    command = ("qemu-img", "create", "-q", "-f", "qcow2", "-F", backing_format, "-b", backing)
    await run_program(*command, str(path), str(size_bytes), inside=inside)


async def flatten(disk: Path, copy: Path, inside: Inside = list) -> None:
    """Copy a disk that nobody has open, with all below it, into one qcow2 file. `Refused` when somebody has."""
    await run_program("qemu-img", "convert", "-q", "-f", "qcow2", "-O", "qcow2", str(disk), str(copy), inside=inside)


def is_written(path: Path) -> bool:
    """Say whether a QEMU has the file open to write it, on whichever host that shares it: it holds a lock on a byte."""
    with path.open("r+b") as file:
        ask = FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, WRITE_LOCK, 1, 0)
        kind: int = FLOCK.unpack(fcntl.fcntl(file, fcntl.F_OFD_GETLK, ask))[0]
    return kind != fcntl.F_UNLCK


def backing_name(path: Path) -> str | None:
    """Return the name of the file below this one, without its directory; None if it has none or is not qcow2."""
    with path.open("rb") as file:
        start = file.read(BACKING.size)
        if len(start) < BACKING.size:
            return None
        magic, _, offset, length = BACKING.unpack(start)
        if magic != MAGIC or not 0 < offset < LARGEST_CLUSTER or not 0 < length <= LONGEST_BACKING:
            return None
        file.seek(offset)
        return Path(os.fsdecode(file.read(length))).name


def _header(path: Path) -> tuple[bytes, int, int, int, int, int, int, int]:
    with path.open("rb") as file:
        start = file.read(HEADER.size)
    if len(start) < HEADER.size or not start.startswith(MAGIC):
        raise Refused("the image is not qcow2, as it claims")
    magic, version, backing, backing_length, cluster_bits, size, encryption, features = HEADER.unpack(start)
    return magic, version, backing, backing_length, cluster_bits, size, encryption, features


def _check_header(path: Path) -> None:
    _, version, backing, backing_length, _, _, encryption, features = _header(path)
    if version not in {2, 3}:
        raise Refused(f"the image is qcow2 of version {version}; 2 and 3 can be run")
    if backing or backing_length:
        raise Refused("the image has a backing file; flatten it with qemu-img convert")
    if version == 3 and features & DATA_FILE_FEATURE:
        raise Refused("the image has an external data file; flatten it with qemu-img convert")
    if encryption:
        raise Refused("the image is encrypted")


async def run_program(*command: str, inside: Inside = list) -> bytes:
    """Run the command to its end and return what it printed; `Refused`, with its last words, when it failed.

    `inside` makes of a command one that begins behind the host's gate: whatever writes disks has to.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *inside(command), stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )
    try:
        out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        said = errors.decode(errors="replace").strip().splitlines()
        details = said[-1] if said else f"status {process.returncode}"
        raise Refused(f"{command[0]} failed", details=details)
    return out
