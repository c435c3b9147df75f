"""What class a guard is of, and how it is known what the machine is."""

from pathlib import Path

import pytest

from renova.drivers.guard.machine import SLEEP_UNITS, can_sleep, virtual
from renova.drivers.guard.strength import Facts, strength_of
from renova.model.host import GuardClass


@pytest.mark.parametrize(
    ("facts", "guard", "reason"),
    [
        (Facts(watchdog="iTCO_wdt", seen_to_reset=True), GuardClass.A, "has reset this host before"),
        (Facts(watchdog="iTCO_wdt"), GuardClass.B, "never been seen to reset"),
        (Facts(watchdog="iTCO_wdt", seen_to_reset=True, sleeps="mem"), GuardClass.B, "put to sleep"),
        (Facts(watchdog="Software Watchdog", software=True, seen_to_reset=True), GuardClass.B, "in the kernel"),
        (Facts(), GuardClass.C, "no watchdog"),
        (Facts(watchdog="iTCO_wdt", seen_to_reset=True, weak_gate="by signals"), GuardClass.C, "by signals"),
        (Facts(virtual="it runs on xen", watchdog="iTCO_wdt", seen_to_reset=True), GuardClass.V, "it runs on xen"),
    ],
)
def test_a_guard_is_as_strong_as_what_was_seen_and_says_why_it_is_no_stronger(
    facts: Facts, guard: GuardClass, reason: str
) -> None:
    found = strength_of(facts)
    assert found.guard is guard
    assert any(reason in text for text in found.reasons)


def put(root: Path, file: str, text: str) -> None:
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(text)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("proc/cpuinfo", "processor : 0\nflags\t\t: fpu vme hypervisor lahf_lm\n"),
        ("sys/hypervisor/type", "xen\n"),
        ("sys/class/dmi/id/sys_vendor", "QEMU\n"),
        ("sys/class/dmi/id/product_name", "VMware Virtual Platform\n"),
        ("sys/class/dmi/id/product_name", "Virtual Machine\n"),
    ],
)
def test_a_virtual_machine_is_known_by_whatever_says_so(tmp_path: Path, file: str, text: str) -> None:
    put(tmp_path, file, text)
    assert virtual(tmp_path)


def test_a_machine_of_hardware_is_none(tmp_path: Path) -> None:
    put(tmp_path, "proc/cpuinfo", "processor : 0\nmodel name : no hypervisor\nflags\t\t: fpu vme lahf_lm\n")
    put(tmp_path, "sys/class/dmi/id/sys_vendor", "Dell Inc.\n")
    put(tmp_path, "sys/hypervisor/type", "xen\n")
    put(tmp_path, "proc/xen/capabilities", "control_d\n")  # the domain that runs the others, on the hardware itself
    assert virtual(tmp_path) == ""


def test_a_host_can_be_put_to_sleep_unless_the_kernel_cannot_or_all_its_units_are_masked(tmp_path: Path) -> None:
    assert can_sleep(tmp_path) == ""
    put(tmp_path, "sys/power/state", "freeze mem disk\n")
    assert "freeze mem disk" in can_sleep(tmp_path)
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    for unit in SLEEP_UNITS[1:]:
        (units / unit).symlink_to("/dev/null")
    assert SLEEP_UNITS[0] in can_sleep(tmp_path)
    (units / SLEEP_UNITS[0]).symlink_to("/dev/null")
    assert can_sleep(tmp_path) == ""
