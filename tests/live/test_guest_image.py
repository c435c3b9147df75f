"""The guest image, booted by QEMU alone: what it makes of its config drive, and what it says on its console."""

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from renova.drivers.hypervisor.config_drive import config_drive
from renova.lab import guest_image
from renova.lab.processes import wait_until
from renova.model.guest import Guest
from tests.live.servers import guest, nic

pytestmark = pytest.mark.live

BOOT_LIMIT_S = 60
USER_DATA = """#!/bin/bash
echo KEYS: $(cat /root/.ssh/authorized_keys)
echo PASSWORD: $(sed -n 's/^root:\\([^:]*\\):.*/\\1/p' /etc/passwd)
echo ROUTE: $(ip route | grep default)
echo MTU: $(cat /sys/class/net/eth0/mtu)
"""
PASSWORD = "p\\\"'|&/$ü"
VIRTIO = ["-device", "virtio-blk-pci,drive=config"]
IDE = ["-device", "ide-cd,drive=config"]


# The whole line: it comes character by character.
READY = re.compile(r"GUEST-READY (\S+) (.*?)\r?\n")


class Machine:
    """A machine with the guest's disk; each boot is a new QEMU."""

    def __init__(self, directory: Path, image: Path, described: Guest) -> None:
        self.disk = directory / "disk.qcow2"
        self.config = directory / "config.iso"
        self.control = directory / "qmp"
        self.directory = directory
        self.nics = described.nics
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(image), str(self.disk)]
        subprocess.run(argv, check=True)
        self.config.write_bytes(config_drive(described))

    @contextmanager
    def booted(self, console: str, config_bus: list[str]) -> Iterator[Path]:
        """Boot until the guest is ready; give the console's log; press the power button at the end."""
        log = self.directory / console
        argv = ["qemu-system-x86_64", "-accel", "tcg,tb-size=32", "-M", "pc", "-cpu", "qemu64", "-m", "128"]
        argv += [
            "-nodefaults",
            "-display",
            "none",
            "-serial",
            f"file:{log}",
            "-qmp",
            f"unix:{self.control},server,wait=off",
        ]
        argv += [
            "-drive",
            f"file={self.disk},if=none,id=root,cache=none",
            "-device",
            "virtio-blk-pci,drive=root,bootindex=1",
        ]
        argv += ["-drive", f"file={self.config},if=none,id=config,format=raw,readonly=on", *config_bus]
        for number, described in enumerate(self.nics):
            argv += ["-netdev", f"socket,id=n{number},udp=127.0.0.1:9,localaddr=127.0.0.1:0"]
            argv += ["-device", f"virtio-net-pci,netdev=n{number},mac={described.mac},romfile="]
        with subprocess.Popen(argv) as qemu:
            try:
                wait_until(
                    lambda: bool(qemu.poll() is not None or (log.exists() and READY.search(log.read_text()))),
                    BOOT_LIMIT_S,
                    "the guest did not get ready",
                )
                yield log
                self._press_power_button()
                qemu.wait(20)
            finally:
                qemu.kill()

    def _press_power_button(self) -> None:
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self.control))
            with control.makefile("rw") as lines:
                lines.readline()
                for command in ("qmp_capabilities", "system_powerdown"):
                    lines.write(json.dumps({"execute": command}) + "\n")
                    lines.flush()
                    lines.readline()


def ready(log: Path) -> dict[str, str]:
    """Read the guest's last GUEST-READY line."""
    line = READY.findall(log.read_text())[-1]
    return {"hostname": line[0], **dict(field.split("=", 1) for field in line[1].split())}


def test_an_image_is_built_once(guest_image_path: Path, image_dir: Path) -> None:
    built = guest_image_path.stat()
    told: list[str] = []
    assert guest_image.build(image_dir, "renova-guest", told.append) == guest_image_path
    assert guest_image_path.stat() == built
    assert told == []


def test_a_guest_becomes_what_its_config_drive_says(guest_image_path: Path, image_dir: Path, tmp_path: Path) -> None:
    described = guest(7, nics=(nic(7), nic(8, subnet=1)), user_data=USER_DATA, admin_pass=PASSWORD)
    machine = Machine(tmp_path, guest_image_path, described)
    with machine.booted("first.log", VIRTIO) as log:
        first = ready(log)
    assert first["hostname"] == "vm-7"
    assert first["ip"] == "10.42.0.7,10.42.1.8"
    assert (first["boots"], first["image"]) == ("1", "renova-guest")
    said = log.read_text()
    assert "GUEST-DOWN vm-7 " in said
    assert "KEYS: ssh-ed25519 AAAA me@home" in said
    assert "ROUTE: default via 10.42.0.254 dev eth0" in said
    assert "MTU: 1450" in said
    _, _, salt, _ = (hashed := re.findall(r"PASSWORD: (\S+)", said, re.MULTILINE)[0]).split("$")
    argv = [str(image_dir / "kernel" / "busybox"), "mkpasswd", "-m", "sha512", PASSWORD, salt]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip() == hashed

    # The same disk again, with its config drive on a CD: counted, and the user's script is not run twice.
    with machine.booted("second.log", IDE) as log:
        second = ready(log)
    assert (second["hostname"], second["ip"], second["boots"]) == ("vm-7", first["ip"], "2")
    assert "KEYS" not in log.read_text()
