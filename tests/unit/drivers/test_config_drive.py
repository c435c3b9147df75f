"""What a guest reads about itself."""

import base64
import io
import json
from typing import Any

import msgspec
import pycdlib
import pytest

from renova.drivers.hypervisor.config_drive import config_drive, files, meta_data, network_data
from renova.model.errors import Refused
from renova.model.guest import Address, Personal, PersonalFile, VolumeDisk
from renova.model.ids import AttachmentId, VolumeId
from renova.model.network import Route
from renova.model.volume import VolumeFile

from .guests import GUEST


def personal(**changes: Any) -> Any:
    return msgspec.structs.replace(GUEST, personal=msgspec.structs.replace(GUEST.personal, **changes))


def test_meta_data_has_what_cloud_init_asks_for() -> None:
    assert meta_data(GUEST) == {
        "uuid": GUEST.server,
        "hostname": "a-host",
        "name": "A <name> & more",
        "project_id": "a-project",
        "availability_zone": "nova",
        "launch_index": 0,
        "meta": {"role": "web"},
        "devices": [],
        "public_keys": {"mine": "ssh-ed25519 AAAA"},
        "keys": [{"name": "mine", "type": "ssh", "data": "ssh-ed25519 AAAA"}],
    }


def test_a_password_is_there_only_when_given() -> None:
    assert meta_data(personal(admin_pass="secret"))["admin_pass"] == "secret"
    assert "admin_pass" not in meta_data(GUEST)


def test_network_data_is_openstacks() -> None:
    dns = [{"type": "dns", "address": "10.0.0.2"}, {"type": "dns", "address": "10.0.0.3"}]
    assert network_data(GUEST.nics) == {
        "links": [
            {
                "id": "tap0f9a1b2c-3d",
                "vif_id": GUEST.nics[0].port,
                "type": "bridge",
                "mtu": 1450,
                "ethernet_mac_address": "fa:16:3e:01:02:03",
            }
        ],
        "networks": [
            {
                "id": "network0",
                "type": "ipv4",
                "link": "tap0f9a1b2c-3d",
                "network_id": "a-network",
                "ip_address": "10.0.0.5",
                "netmask": "255.255.255.0",
                "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1"}],
                "services": dns,
            }
        ],
        "services": dns,
    }


def test_without_a_gateway_there_is_no_default_route() -> None:
    nic = msgspec.structs.replace(GUEST.nics[0], addresses=(Address("10.0.0.5", 24, None),))
    (network,) = network_data((nic,))["networks"]
    assert network["routes"] == []


def test_a_subnets_routes_follow_the_default_route() -> None:
    routed = msgspec.structs.replace(GUEST.nics[0].addresses[0], routes=(Route("10.9.0.0/16", "10.0.0.9"),))
    (network,) = network_data((msgspec.structs.replace(GUEST.nics[0], addresses=(routed,)),))["networks"]
    assert network["routes"][1:] == [{"network": "10.9.0.0", "netmask": "255.255.0.0", "gateway": "10.0.0.9"}]


def test_a_second_address_is_a_second_network_on_the_same_link() -> None:
    addresses = (Address("10.0.0.5", 24, None), Address("fd00::5", 64, "fd00::1"))
    first, second = network_data((msgspec.structs.replace(GUEST.nics[0], addresses=addresses),))["networks"]
    assert first["link"] == second["link"]
    assert (second["id"], second["type"], second["netmask"]) == ("network1", "ipv6", "ffff:ffff:ffff:ffff::")
    assert second["routes"] == [{"network": "::", "netmask": "::", "gateway": "fd00::1"}]


def test_user_data_comes_as_the_user_wrote_it() -> None:
    data = b"#!/bin/sh\nexit 0\n\xff"
    assert files(personal(user_data=base64.b64encode(data).decode()))["user_data"] == data
    assert "user_data" not in files(GUEST)
    with pytest.raises(Refused):
        files(personal(user_data="not base64!"))


@pytest.mark.parametrize("version", ["latest", "2018-08-27"])
def test_the_drive_is_found_and_read(version: str) -> None:
    image = pycdlib.PyCdlib()
    image.open_fp(io.BytesIO(config_drive(personal(user_data=base64.b64encode(b"").decode()))))
    assert image.pvd.volume_identifier.decode().strip() == "config-2"
    for read in ("rr_path", "joliet_path"):
        for name, data in files(personal(user_data="")).items():
            written = io.BytesIO()
            image.get_file_from_iso_fp(written, **{read: f"/openstack/{version}/{name}"})
            assert written.getvalue() == data
    image.close()


def test_names_in_any_language_survive() -> None:
    found = files(msgspec.structs.replace(GUEST, personal=Personal("h", "имя 名前 \U0001f600")))
    assert json.loads(found["meta_data.json"])["name"] == "имя 名前 \U0001f600"


def test_devices_with_a_tag_are_described() -> None:
    disk = VolumeDisk(VolumeId("v"), AttachmentId("a"), "vdb", VolumeFile("/v", "raw"), tag="db")
    plain = msgspec.structs.replace(disk, volume=VolumeId("w"), tag=None)
    described = meta_data(msgspec.structs.replace(GUEST, volumes=(disk, plain)))["devices"]
    assert [(each["serial"], each["path"], each["tags"]) for each in described] == [("v", "/dev/vdb", ["db"])]


def test_files_of_the_user_lie_beside_the_metadata_that_names_them() -> None:
    guest = personal(files=(PersonalFile("/etc/motd", "aGVsbG8="), PersonalFile("/root/x", "eA==")))
    assert meta_data(guest)["files"] == [
        {"path": "/etc/motd", "content_path": "/content/0000"},
        {"path": "/root/x", "content_path": "/content/0001"},
    ]
    image = pycdlib.PyCdlib()
    image.open_fp(io.BytesIO(config_drive(guest)))
    for number, content in enumerate((b"hello", b"x")):
        found = io.BytesIO()
        image.get_file_from_iso_fp(found, joliet_path=f"/openstack/content/{number:04}")
        assert found.getvalue() == content
    image.close()
