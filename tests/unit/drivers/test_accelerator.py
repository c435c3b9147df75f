"""Which accelerator is chosen, with programs that behave as QEMU does on good and on bad machines."""

import os
from pathlib import Path

import pytest

from renova.drivers.hypervisor.accelerator import Accelerator, probe_kvm

RUNS = "echo OK; exit 33"
FAILS = "echo 'failed to initialize kvm: Permission denied' >&2; exit 1"
HANGS = "exec sleep 60"


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "kvm"
    path.touch()
    return path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which QEMU is what a test puts into this directory."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for program in ("sh", "sleep"):
        (directory / program).symlink_to(f"/bin/{program}")
    monkeypatch.setenv("PATH", str(directory))
    return directory


def probe(device: Path, flags: str = "fpu vmx sse2") -> Accelerator:
    cpuinfo = device.with_name("cpuinfo")
    cpuinfo.write_text(f"flags\t\t: {flags}\n")
    return probe_kvm(device, cpuinfo=cpuinfo)


def qemu(machine: Path, *, kvm: str, tcg: str = RUNS) -> None:
    program = machine / "qemu-system-x86_64"
    program.write_text(f"#!/bin/sh\ncase $2 in kvm) {kvm} ;; tcg) {tcg} ;; esac\n")
    program.chmod(0o755)


def test_kvm_is_used_where_it_runs_a_boot_sector(machine: Path, device: Path) -> None:
    qemu(machine, kvm=RUNS)
    chosen = probe(device)
    assert chosen.kind == "kvm"
    assert chosen.reason.startswith("KVM: ran a boot sector in ")


@pytest.mark.parametrize(
    ("kvm", "reason"), [(HANGS, "not within"), (FAILS, "Permission denied"), ("exit 33", "ended with 33")]
)
def test_kvm_that_does_not_run_guests_is_not_used(machine: Path, device: Path, kvm: str, reason: str) -> None:
    qemu(machine, kvm=kvm)
    chosen = probe(device)
    assert chosen.kind == "tcg"
    assert reason in chosen.reason


def test_kvm_made_of_software_is_not_tried(machine: Path, device: Path) -> None:
    qemu(machine, kvm=RUNS)
    chosen = probe(device, flags="fpu sse2")
    assert chosen.kind == "tcg"
    assert "no virtualization extension" in chosen.reason


def test_a_machine_without_the_device_is_told_at_once(machine: Path, tmp_path: Path) -> None:
    qemu(machine, kvm=RUNS)
    chosen = probe_kvm(tmp_path / "nothing")
    assert (chosen.kind, chosen.reason) == ("tcg", f"TCG: there is no {tmp_path}/nothing")


def test_a_machine_without_qemu_is_told(machine: Path, device: Path) -> None:
    assert os.environ["PATH"] == str(machine)
    chosen = probe(device)
    assert chosen.kind == "tcg"
    assert "not installed" in chosen.reason


def test_without_a_sound_comparison_kvm_is_not_trusted(machine: Path, device: Path) -> None:
    qemu(machine, kvm=RUNS, tcg=FAILS)
    chosen = probe(device)
    assert chosen.kind == "tcg"
    assert "could not be tried" in chosen.reason
