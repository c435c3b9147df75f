"""What users are told of what libvirt says."""

from renova.drivers.hypervisor.libvirt_connection import without_secrets
from renova.model.chance import SystemChance


def test_no_export_is_named_in_a_reason() -> None:
    name = SystemChance().secret()
    said = 'QEMU: -blockdev {"server":{"host":"10.0.0.9"},"export":"%s","node-name":"libvirt-3-storage"}: no route'
    assert without_secrets(said % name) == said % "..."
    assert (
        without_secrets(f"server reported: export '{name}' not present") == "server reported: export '...' not present"
    )
