"""What the bytes of an image really are: read from its first bytes, and refused when they lie.

A qcow2 file can name other files of whoever opens it (a backing file, an external data file): one that does would
let its owner read the host's files, so it is never stored. The parser is our own, small, and runs no program.
"""

import struct

from renova.model.errors import Invalid

FORMATS = ("qcow2", "raw")
HEAD_BYTES = 4096  # all that is looked at

_QCOW2 = b"QFI\xfb"
_OTHERS = {
    _QCOW2: "qcow2",
    b"KDMV": "vmdk",
    b"# Disk DescriptorFile": "vmdk",
    b"vhdxfile": "vhdx",
    b"conectix": "vhd",
    b"QED\0": "qed",
    b"LUKS\xba\xbe": "luks",
}

# qcow2 version 3, incompatible features: https://www.qemu.org/docs/master/interop/qcow2.html
# What QEMU's largest table of tables (32 MiB, of 8 bytes each) can lead to, with the largest clusters (2 MiB).
_MOST_QCOW2 = 1 << 61
_DIRTY, _CORRUPT, _EXTERNAL_DATA, _COMPRESSION, _EXTENDED_L2 = (1 << bit for bit in range(5))


def virtual_size(disk_format: str, head: bytes, size: int) -> int:
    """Return how many bytes a guest will see of an image of this format, whose file begins so and has this size.

    `Invalid` when the file is not of that format, is cut off, or needs another file.
    """
    if size == 0:
        raise Invalid("The image is empty.")
    if disk_format == "qcow2":
        return _qcow2_size(head, size)
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            raise Invalid(f"The image is declared as {disk_format}, but its content is {name}.")
    return size


def _qcow2_size(head: bytes, size: int) -> int:
    if not head.startswith(_QCOW2):
        raise Invalid("The image is declared as qcow2, but its content is not.")
    if len(head) < 104:
        raise Invalid("The qcow2 image is cut off in its header.")
    (version, backing, _, cluster_bits, guest_bytes, encrypted, l1_entries, l1_offset, refcounts) = struct.unpack_from(
        ">IQIIQIIQQ", head, 4
    )
    if version not in (2, 3):
        raise Invalid(f"The qcow2 image has version {version}; only 2 and 3 are known.")
    if backing:
        raise Invalid("The qcow2 image has a backing file. Flatten it first, with qemu-img convert.")
    if encrypted:
        raise Invalid("The qcow2 image is encrypted; nobody here has its key.")
    features = struct.unpack_from(">Q", head, 72)[0] if version == 3 else 0
    if features & _EXTERNAL_DATA:
        raise Invalid("The qcow2 image keeps its data in another file. Flatten it first, with qemu-img convert.")
    if features & _CORRUPT:
        raise Invalid("The qcow2 image is marked as corrupt. Repair it first, with qemu-img check -r all.")
    if features & ~(_DIRTY | _COMPRESSION | _EXTENDED_L2):
        raise Invalid(f"The qcow2 image has unknown features ({features:#x}).")
    if not 9 <= cluster_bits <= 21 or not 0 < guest_bytes <= _MOST_QCOW2:
        raise Invalid("The qcow2 image has a header that no program writes.")
    if l1_offset + 8 * l1_entries > size or refcounts >= size:
        raise Invalid("The qcow2 image is cut off: its tables lie beyond its end.")
    return int(guest_bytes)
