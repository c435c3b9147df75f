"""Attachments of volumes: exactly one for each volume of a server, in use there, and none that no server knows.

An attachment that the volume service has lost is only reported: its guest may still use the volume, and a hard reboot
drops it (spec: reboot, section 6).
"""

from collections.abc import Sequence
from functools import partial

from renova.model.block_device import BlockDevice
from renova.model.guest import LIVES
from renova.model.ids import AttachmentId, ServerId
from renova.model.volume import Attachment
from renova.operations.cloud import Cloud
from renova.operations.duties.mending import mend
from renova.operations.heal_attachments import accept_heal_attachments
from renova.operations.rounds import Tally
from renova.operations.submission import for_owner
from renova.store import block_devices, operations, servers
from renova.store.database import Tx
from renova.store.servers import Standing

BEGUN = ("reserved", "attaching")  # statuses of a volume that waits for its attachment to be completed


async def heal_volume_attachments(cloud: Cloud, tally: Tally) -> None:
    """Have what has come apart mended, unless somebody works on the server. `NotNow`: the volume service is away."""
    for server in await cloud.database.read(servers.standings):
        if server.task_state is None:
            await _look(cloud, tally, server)


async def _look(cloud: Cloud, tally: Tally, server: Standing) -> None:
    host = server.host_name
    devices = await cloud.database.read(lambda tx: block_devices.volumes_of(tx, server.id))
    attachments = await cloud.volumes.attachments(server.id)
    known = {each.id for each in attachments}
    tally.looked += len(devices)
    with tally.apart(host=host, server=server.id):
        wrong, begun = _wrong(devices, known), await _begun(cloud, server, devices, attachments)
        if begun is not None and server.power_state in LIVES:
            what = f"{begun}, and the guest runs without: reboot the server hard"
            tally.find(what, mended=False, host=host, server=server.id)
        elif wrong is None:
            wrong = begun
        if wrong is not None and await _mend(cloud, server.id, devices):
            tally.find(wrong, mended=True, host=host, server=server.id)
        for device in devices:
            if device.attached and device.next_attachment is None and device.attachment not in known:
                what = f"the volume service knows no attachment of volume {device.volume}"
                tally.find(what, mended=False, host=host, server=server.id)


def _wrong(devices: list[BlockDevice], known: set[AttachmentId]) -> str | None:
    strays = known - {each for device in devices for each in (device.attachment, device.next_attachment)}
    begun = sum(device.next_attachment is not None for device in devices)
    if not strays and not begun:
        return None
    return f"{len(strays)} attachments that no volume has, {begun} that were not replaced to the end"


async def _begun(
    cloud: Cloud, server: Standing, devices: list[BlockDevice], attachments: Sequence[Attachment]
) -> str | None:
    """Say how many attachments could be completed, and are not; none while the server's host is away."""
    if server.host is None or not cloud.hosts.up(server.host):
        return None  # a host that does not run the server is not to reach its volumes
    its = {device.attachment for device in devices if device.attached}
    begun = [each for each in attachments if each.id in its and not each.complete and not each.leaving]
    of_volumes = [await cloud.volumes.volume(each.volume, None) for each in begun]
    number = sum(volume is not None and volume.status in BEGUN for volume in of_volumes)
    return f"{number} attachments were begun and not completed" if number else None


async def _mend(cloud: Cloud, server_id: ServerId, seen: list[BlockDevice]) -> bool:
    return await mend(cloud, partial(_ask, cloud, server_id=server_id, seen=seen))


def _ask(cloud: Cloud, tx: Tx, server_id: ServerId, seen: list[BlockDevice]) -> bool:
    now = servers.get(tx, server_id)
    if now is None or now.task_state is not None or operations.active(tx, server_id) is not None:
        return False
    if block_devices.volumes_of(tx, server_id) != seen:
        return False  # something was attached or detached since the volume service was asked
    asked = for_owner(now, cloud.chance)
    accept_heal_attachments(cloud, tx, asked, server_id)
    return True
