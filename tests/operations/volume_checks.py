"""What must always hold of volumes: one attachment each, and one writer."""

from sqlalchemy import select

from renova.model.ids import VolumeId
from renova.model.volume import NbdExport
from renova.simulation.cloud import SimulatedCloud
from renova.store import block_devices, volume_attachments, volumes
from renova.store.database import Tx


def check_volumes(cloud: SimulatedCloud, tx: Tx) -> None:
    """Assert what must hold whenever the cloud is calm: one attachment a volume, and one writer."""
    known = [block_devices._device(row) for row in tx.execute(select(block_devices.block_devices))]
    devices = [device for device in known if device.is_volume]
    its = {device.volume: device for device in devices}
    for volume in volumes.every(tx, None):
        attachments = volume_attachments.of_volume(tx, volume.id)
        device = its.get(volume.id)
        if device is None:
            assert attachments == [], f"{volume.id} is attached to a server that does not have it"
            assert volume.status in ("available", "error"), volume.status
            continue
        assert [each.id for each in attachments] == [device.attachment], f"{volume.id}: {attachments}"
        assert device.next_attachment is None
        assert device.attached
    served = {
        name for host in cloud.storage_hosts.values() for exports in host.volumes.served.values() for name in exports
    }
    writers: dict[VolumeId, list[str]] = {}
    for host in cloud.hosts.values():
        for server in host.hypervisor.executing():
            has = host.hypervisor.volumes(server)
            wanted = {device.volume for device in devices if device.server == server}
            assert {disk.volume for disk in has} == wanted, f"{server} on {host.name} has {has}"
            for disk in has:
                assert isinstance(disk.connection, NbdExport)
                if disk.connection.name in served:
                    writers.setdefault(disk.volume, []).append(f"{server} on {host.name}")
                else:
                    raise AssertionError(f"{server} on {host.name} cannot reach volume {disk.volume}")
    assert all(len(those) == 1 for those in writers.values()), writers
