"""The image that a simulated disk becomes: a qcow2 header that stands inspection, and what guests had written."""

import struct

import msgspec

MAGIC = b"QFI\xfb"
MARK = b"renova simulated disk\n"
CLUSTER = 1 << 16


class Write(msgspec.Struct, frozen=True):
    """Something a guest wrote to its root disk."""

    incarnation: int
    text: str


def packed(writes: list[Write], virtual_bytes: int) -> bytes:
    """Return an image that holds these writes, of a disk of this size."""
    # qcow2 version 3: no backing file, 64 KiB clusters, no encryption, one table entry, tables right behind.
    fields = (MAGIC, 3, 0, 0, 16, virtual_bytes, 0, 1, CLUSTER, 2 * CLUSTER, 1, 0, 0, 0, 0, 0, 4, 104)
    header = struct.pack(">4sIQIIQIIQQIIQQQQII", *fields)
    return header.ljust(3 * CLUSTER, b"\0") + MARK + msgspec.json.encode(writes)


def unpacked(image: bytes) -> list[Write]:
    """Return the writes that an image holds; any other image holds none."""
    _, mark, content = image.partition(MARK) if image.startswith(MAGIC) else (b"", b"", b"")
    return msgspec.json.decode(content, type=list[Write]) if mark else []
