"""What a new cloud is furnished with, made through its public API as an operator and a user would: images, flavors,
a network that all may use, a key pair. Whatever is there already, by name, is left as it is.
"""

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from openstack import exceptions as sdk

from renova.lab.home import Home

NETWORK, SUBNET, CIDR = "private", "private-subnet", "10.0.0.0/24"
FLAVORS = {"m1.tiny": (1, 128, 1), "m1.small": (1, 256, 2)}  # vCPUs, MiB, GiB
KEY = "demo-key"
IMAGES = ("renova-guest", "renova-guest-2")
_BINARY = {"Content-Type": "application/octet-stream", "Accept": ""}


def furnish(home: Home, admin: Any, demo: Any, *, simulated: bool) -> None:
    """Have everything there; `admin` and `demo` are connections (openstacksdk)."""
    for name in IMAGES:
        _image(admin, name, _simulated_image(home, name) if simulated else home.guest_image / f"{name}.qcow2")
    for name, (vcpus, memory_mb, disk_gb) in FLAVORS.items():
        if admin.compute.find_flavor(name) is None:
            admin.compute.create_flavor(name=name, vcpus=vcpus, ram=memory_mb, disk=disk_gb)
    network = admin.network.find_network(NETWORK) or admin.network.create_network(name=NETWORK, shared=True)
    if admin.network.find_subnet(SUBNET) is None:
        admin.network.create_subnet(name=SUBNET, network_id=network.id, ip_version=4, cidr=CIDR)
    public_key = _key(home.demo_key)
    for connection in (admin, demo):
        if connection.compute.find_keypair(KEY) is None:
            connection.compute.create_keypair(name=KEY, public_key=public_key)


def tunnel_and_gateway(admin: Any) -> tuple[int, str] | None:
    """Return the private network's VNI and its gateway's address with prefix; None when somebody deleted it."""
    network, subnet = admin.network.find_network(NETWORK), admin.network.find_subnet(SUBNET)
    if network is None or subnet is None or subnet.gateway_ip is None:
        return None
    return int(network.provider_segmentation_id), f"{subnet.gateway_ip}/{subnet.cidr.split('/')[1]}"


def _image(admin: Any, name: str, file: Path) -> None:
    known = admin.image.find_image(name)
    if known is not None and known.status == "active":
        return
    if known is not None:
        admin.image.delete_image(known)  # its upload was broken off
    kind = "raw" if file.suffix == ".raw" else "qcow2"
    # In two calls: the client's one call for both leaves the file open.
    image = admin.image.create_image(name, container_format="bare", disk_format=kind, visibility="public")
    with file.open("rb") as content:
        answer = admin.image.put(f"/images/{image.id}/file", data=content, headers=_BINARY)
    sdk.raise_from_response(answer)


def _simulated_image(home: Home, name: str) -> Path:
    """Have an image that no machine could boot: simulated guests look at its name only."""
    file = home.guest_image / f"{name}.raw"
    file.write_bytes(f"simulated image {name}\n".encode().ljust(512, b"\0"))
    return file


def _key(file: Path) -> str:
    """Have an SSH key pair as files, and return the public key."""
    public = file.with_suffix(".pub")
    if not public.exists():
        key = Ed25519PrivateKey.generate()
        file.unlink(missing_ok=True)
        file.touch(mode=0o600)
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
            )
        )
        line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        public.write_text(f"{line.decode()} renova-demo\n")
    return public.read_text().strip()
