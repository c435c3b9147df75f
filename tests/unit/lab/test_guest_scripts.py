"""The guest's own scripts, run by this machine's awk: how they read OpenStack's JSON."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from renova.drivers.hypervisor.config_drive import network_data
from renova.lab import guest_image
from renova.model.guest import Address, Nic
from renova.model.ids import NetworkId, PortId

SCRIPTS = Path(guest_image.__file__).parent / "guest_root" / "lib" / "guest"
AWKS = [argv for argv in (["awk"], ["busybox", "awk"]) if shutil.which(argv[0])]
LAYOUTS: list[dict[str, Any]] = [{}, {"indent": 4}, {"separators": (",", ":")}, {"sort_keys": True, "indent": "\t"}]

pytestmark = pytest.mark.parametrize("awk", AWKS, ids=" ".join)


def run(awk: list[str], script: str, text: str) -> list[str]:
    done = subprocess.run(
        [*awk, "-f", str(SCRIPTS / script)], input=text.encode(), capture_output=True, check=True, env={"LC_ALL": "C"}
    )
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_document_reads_the_same_in_any_layout(awk: list[str], layout: dict[str, Any]) -> None:
    document = {"a": {"b": [1, {"c": "x"}, [True, None]], "d": {}}, "e": [], "f": "last", "g": -1.5e3}
    lines = run(awk, "json.awk", json.dumps(document, **layout))
    assert sorted(lines) == ["a.b.0\t1", "a.b.1.c\tx", "a.b.2.0\ttrue", "a.b.2.1\tnull", "f\tlast", "g\t-1500.0"]


@pytest.mark.parametrize(
    "text", ['{"}', "a\\b", 'say "no"', "[:,]", "ünï¢ø€", "", " spaces ", "it's $HOME `x`", "\\", "\\n"]
)
def test_any_text_comes_through(awk: list[str], text: str) -> None:
    lines = run(awk, "json.awk", json.dumps({"key": text, "next": "1"}))
    assert [line.replace("\\\\", "\\") for line in lines] == [f"key\t{text}", "next\t1"]


def test_a_line_end_stays_escaped(awk: list[str]) -> None:
    assert run(awk, "json.awk", json.dumps({"key": "a\nb\tc"})) == ["key\ta\\nb\\tc"]


def nic(number: int, *addresses: Address) -> Nic:
    port = PortId(f"{number:08d}-0000-4000-8000-000000000000")
    return Nic(port, f"FA:16:3E:00:00:0{number}", NetworkId("n"), 100, 1450, addresses)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_network_is_set_up_nic_by_nic(awk: list[str], layout: dict[str, Any]) -> None:
    first = nic(1, Address("10.0.0.5", 24, "10.0.0.1", ("10.0.0.2", "9.9.9.9")))
    second = nic(2, Address("192.168.7.9", 20, None, ("9.9.9.9",)), Address("192.168.9.9", 32, None))
    flat = run(awk, "json.awk", json.dumps(network_data((first, second)), **layout))
    assert run(awk, "network.awk", "\n".join(flat) + "\n") == [
        "link fa:16:3e:00:00:01 1450",
        "link fa:16:3e:00:00:02 1450",
        "address fa:16:3e:00:00:01 10.0.0.5 24",
        "route fa:16:3e:00:00:01 0.0.0.0 0 10.0.0.1",
        "dns 10.0.0.2",
        "dns 9.9.9.9",
        "address fa:16:3e:00:00:02 192.168.7.9 20",
        "address fa:16:3e:00:00:02 192.168.9.9 32",
    ]


def test_dhcp_is_asked_where_the_network_says_so(awk: list[str]) -> None:
    data = {
        "links": [{"id": "tap1", "ethernet_mac_address": "52:54:00:00:00:01", "mtu": None}],
        "networks": [{"type": "ipv4_dhcp", "link": "tap1"}, {"type": "ipv4", "link": "gone", "ip_address": "10.0.0.1"}],
        "services": [],
    }
    flat = run(awk, "json.awk", json.dumps(data))
    lines = run(awk, "network.awk", "\n".join(flat) + "\n")
    assert lines == ["link 52:54:00:00:00:01 0", "dhcp 52:54:00:00:00:01"]


def test_no_command_gets_through(awk: list[str]) -> None:
    link = {"id": "tap1", "ethernet_mac_address": "52:54:00:00:00:01; reboot", "mtu": "$(reboot)"}
    network = {"type": "ipv4", "link": "tap1", "ip_address": "1.1.1.1`reboot`", "netmask": "255.255.255.0"}
    flat = run(awk, "json.awk", json.dumps({"links": [link], "networks": [network]}))
    assert "reboot" not in "".join(run(awk, "network.awk", "\n".join(flat) + "\n"))
