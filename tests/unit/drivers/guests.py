"""A guest to describe."""

from renova.model.guest import Address, Guest, LocalDisks, Nic, Personal, RootDisk
from renova.model.ids import ImageId, NetworkId, PortId, ProjectId, ServerId, UserId

GUEST = Guest(
    server=ServerId("6f3c1d1e-0d2e-4a59-9d7c-000000000001"),
    incarnation=7,
    domain="instance-0000002a",
    project=ProjectId("a-project"),
    user=UserId("a-user"),
    flavor_name="m1.tiny",
    vcpus=2,
    memory_mb=128,
    disks=LocalDisks(3, RootDisk(ImageId("an-image"), "qcow2", 1000, "0" * 64, 1)),
    nics=(
        Nic(
            PortId("0f9a1b2c-3d4e-4f5a-8b6c-7d8e9f0a1b2c"),
            "fa:16:3e:01:02:03",
            NetworkId("a-network"),
            4711,
            1450,
            (Address("10.0.0.5", 24, "10.0.0.1", ("10.0.0.2", "10.0.0.3")),),
        ),
    ),
    personal=Personal("a-host", "A <name> & more", {"mine": "ssh-ed25519 AAAA"}, {"role": "web"}),
)
