"""Servers for live tests, described as a controller would."""

import base64

from renova.model.guest import Address, Guest, LocalDisks, Nic, Personal, RootDisk
from renova.model.ids import ImageId, NetworkId, PortId, ProjectId, ServerId, UserId


def guest(
    number: int, *, nics: tuple[Nic, ...] | None = None, user_data: str | None = None, admin_pass: str | None = None
) -> Guest:
    """Describe server `number` (1 to 99), called `vm-<number>`; by default with one nic, on the network of `nic`."""
    told = None if user_data is None else base64.b64encode(user_data.encode()).decode()
    return Guest(
        server=ServerId(f"{number:08d}-1111-4111-8111-111111111111"),
        incarnation=1,
        domain=f"instance-{number:08x}",
        project=ProjectId("project"),
        user=UserId("user"),
        flavor_name="tiny",
        vcpus=1,
        memory_mb=128,
        disks=LocalDisks(1, RootDisk(ImageId("image"), "qcow2", 0, "", 0)),
        nics=(nic(number),) if nics is None else nics,
        personal=Personal(
            hostname=f"vm-{number}",
            name=f"vm {number}",
            user_data=told,
            public_keys={'my "key"': "ssh-ed25519 AAAA me@home\n"},
            admin_pass=admin_pass,
        ),
    )


def nic(number: int, subnet: int = 0) -> Nic:
    """Describe a nic with the address 10.42.<subnet>.<number>, on a network of its own for each subnet."""
    address = Address(f"10.42.{subnet}.{number}", 24, f"10.42.{subnet}.254", ("9.9.9.9",))
    port = PortId(f"{subnet:04d}{number:04d}-2222-4222-8222-222222222222")
    return Nic(port, f"fa:16:3e:00:{subnet:02d}:{number:02d}", NetworkId("network"), 100 + subnet, 1450, (address,))
