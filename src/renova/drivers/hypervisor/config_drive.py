"""The config drive: what a guest reads about itself, as OpenStack's metadata format has it. Pure.

`hypervisor.disks` writes it beside the root disk. Guests (cloud-init and others) find it by its label `config-2`.
"""

import base64
import binascii
import io
import ipaddress
import json
from typing import Any

import pycdlib

from renova.drivers.network import tap_name
from renova.model.errors import Refused
from renova.model.guest import Address, Guest, Nic

LABEL = "config-2"
VERSIONS = ("latest", "2018-08-27")  # cloud-init asks for a dated one that it knows, others for the latest


def config_drive(guest: Guest) -> bytes:
    """Return the guest's config drive, an ISO 9660 image with Joliet and Rock Ridge names."""
    found = {f"openstack/{version}/{name}": data for version in VERSIONS for name, data in files(guest).items()}
    for number, file in enumerate(guest.personal.files):
        found[f"openstack{_content(number)}"] = _decoded(file.contents, f"the file {file.path}")
    return iso(found)


def files(guest: Guest) -> dict[str, bytes]:
    """Return what each version's directory holds; `user_data` only if the user gave some."""
    found = {
        "meta_data.json": _json(meta_data(guest)),
        "network_data.json": _json(network_data(guest.nics)),
        "vendor_data.json": _json({}),
    }
    if guest.personal.user_data is not None:
        found["user_data"] = _decoded(guest.personal.user_data, "user data")
    return found


def _decoded(text: str, what: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise Refused(f"{what} is not base64") from error


def _content(number: int) -> str:
    return f"/content/{number:04}"


def meta_data(guest: Guest) -> dict[str, Any]:
    """Return `meta_data.json`; it holds the admin password when there is one, so it is a secret."""
    personal = guest.personal
    found: dict[str, Any] = {
        "uuid": guest.server,
        "hostname": personal.hostname,
        "name": personal.name,
        "project_id": guest.project,
        "availability_zone": personal.availability_zone,
        "launch_index": 0,
        "meta": personal.metadata,
        "devices": _tagged(guest),
    }
    if personal.public_keys:
        found["public_keys"] = personal.public_keys
        found["keys"] = [{"name": name, "type": "ssh", "data": key} for name, key in personal.public_keys.items()]
    if personal.files:
        found["files"] = [
            {"path": file.path, "content_path": _content(number)} for number, file in enumerate(personal.files)
        ]
    if personal.admin_pass is not None:
        found["admin_pass"] = personal.admin_pass
    return found


def _tagged(guest: Guest) -> list[dict[str, Any]]:
    """Describe the devices that the user gave a tag, by which the guest finds them; where on its buses is not known."""
    somewhere = {"bus": "none", "address": "none"}
    nics = [{"type": "nic", **somewhere, "mac": nic.mac, "tags": [nic.tag]} for nic in guest.nics if nic.tag]
    disks = [
        {"type": "disk", **somewhere, "serial": disk.volume, "path": f"/dev/{disk.device}", "tags": [disk.tag]}
        for disk in guest.volumes
        if disk.tag
    ]
    return [*nics, *disks]


def network_data(nics: tuple[Nic, ...]) -> dict[str, Any]:
    """Return `network_data.json`: links, the networks upon them, and name servers."""
    addresses = [(nic, address) for nic in nics for address in nic.addresses]
    return {
        "links": [_link(nic) for nic in nics],
        "networks": [_network(f"network{n}", nic, address) for n, (nic, address) in enumerate(addresses)],
        "services": [_dns(server) for server in dict.fromkeys(dns for _, address in addresses for dns in address.dns)],
    }


def _link(nic: Nic) -> dict[str, Any]:
    return {
        "id": tap_name(nic.port),
        "vif_id": nic.port,
        "type": "bridge",
        "mtu": nic.mtu,
        "ethernet_mac_address": nic.mac,
    }


def _network(name: str, nic: Nic, address: Address) -> dict[str, Any]:
    subnet = ipaddress.ip_interface(f"{address.ip}/{address.prefix}").network
    everywhere = "::/0" if subnet.version == 6 else "0.0.0.0/0"
    routes = [_route(everywhere, address.gateway)] if address.gateway else []
    routes += [_route(route.destination, route.next_hop) for route in address.routes]
    # The address and its mask come before the routes': small guests read the first that they find.
    return {
        "id": name,
        "type": f"ipv{subnet.version}",
        "link": tap_name(nic.port),
        "network_id": nic.network,
        "ip_address": address.ip,
        "netmask": str(subnet.netmask),
        "routes": routes,
        "services": [_dns(server) for server in address.dns],
    }


def _route(destination: str, next_hop: str) -> dict[str, str]:
    network = ipaddress.ip_network(destination)
    return {"network": str(network.network_address), "netmask": str(network.netmask), "gateway": next_hop}


def _dns(server: str) -> dict[str, str]:
    return {"type": "dns", "address": server}


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1).encode() + b"\n"


def iso(content: dict[str, bytes]) -> bytes:
    """Return an ISO 9660 image of the files, given by their paths."""
    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, vol_ident=LABEL, joliet=3, rock_ridge="1.09")
    made: set[str] = set()
    for path, data in content.items():
        *folders, name = path.split("/")
        for depth, folder in enumerate(folders, 1):
            at = "/" + "/".join(folders[:depth])
            if at not in made:
                image.add_directory(_plain(at), rr_name=folder, joliet_path=at)
                made.add(at)
        image.add_fp(io.BytesIO(data), len(data), f"{_plain('/' + path)};1", rr_name=name, joliet_path=f"/{path}")
    written = io.BytesIO()
    image.write_fp(written)
    image.close()
    return written.getvalue()


def _plain(path: str) -> str:
    """Spell a path with what plain ISO 9660 allows; nobody reads these names, Rock Ridge and Joliet have the real."""
    return path.upper().replace("-", "_")
