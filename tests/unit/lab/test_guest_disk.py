import struct

from renova.lab.guest_disk import partitioned


def test_the_first_partition_boots_and_the_next_follows_it() -> None:
    sector = partitioned(b"loader", [(0x06, 24), (0x83, 64)])
    assert len(sector) == 512
    assert sector[:6] == b"loader"
    assert sector[510:] == b"\x55\xaa"
    entries = [struct.unpack("<B3sB3sII", sector[446 + 16 * n : 462 + 16 * n]) for n in range(4)]
    assert [(entry[0], entry[2], entry[4], entry[5]) for entry in entries] == [
        (0x80, 0x06, 2048, 24 * 2048),
        (0x00, 0x83, 2048 + 24 * 2048, 64 * 2048),
        (0, 0, 0, 0),
        (0, 0, 0, 0),
    ]
