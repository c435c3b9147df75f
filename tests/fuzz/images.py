"""Images to upload: good ones, and headers of the formats' kinds with fields spoilt."""

import random
import struct

_WIDE = (2, 5, 8, 9, 12, 13, 14, 15)  # fields of 64 bits
_QCOW2 = ">4sIQIIQIIQQIIQQQQII"


def spoilt_image(rng: random.Random) -> bytes:
    """Return the bytes of an image, or of something that pretends to be one."""
    choice = rng.randrange(8)
    if choice == 0:
        return b"\1" * rng.choice((0, 1, 511, 512, 70_000))
    if choice < 5:
        return _qcow2(rng)
    if choice == 5:
        return _vmdk(rng)
    if choice == 6:
        return (
            rng.choice((b"conectix", b"vhdxfile", b"\x7fVDI", b"<<< Oracle VM", b"LUKS\xba\xbe", b"QED\0", b"#!")) * 60
        )
    return bytes(rng.randrange(256) for _ in range(rng.choice((3, 600))))


def _qcow2(rng: random.Random) -> bytes:
    fields: list[int | bytes] = [b"QFI\xfb", 3, 0, 0, 16, 1 << 20, 0, 1, 1 << 16, 2 << 16, 1, 0, 0, 0, 0, 0, 4, 104]
    for _ in range(rng.choice((0, 1, 1, 2))):
        place = rng.randrange(1, len(fields))
        values: tuple[int, ...] = (0, 1, 2, 9, 63, 0xFFFFFFFF, 1 << 30)
        if place in _WIDE:
            values += (1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
        fields[place] = rng.choice(values)
    made = struct.pack(_QCOW2, *fields).ljust(3 << 16, b"\0")
    if rng.random() < 0.3:
        made = (
            made[:104]
            + struct.pack(">II", rng.choice((0x44415441, 0xE2792ACA, 0x6803F857)), 9)
            + b"/etc/hosts"
            + made[122:]
        )
    return made[: rng.choice((len(made), len(made), 50, 104, 110))]


def _vmdk(rng: random.Random) -> bytes:
    flat = b'# Disk DescriptorFile\ncreateType="monolithicFlat"\nRW 2048 FLAT "/etc/passwd" 0\n'
    sparse = b"KDMV" + struct.pack("<IIQQQQ", 1, 3, rng.choice((0, 2048, 1 << 62)), 128, rng.choice((1, 1 << 60)), 20)
    return rng.choice((flat, sparse.ljust(512, b"\0") + flat, sparse))
