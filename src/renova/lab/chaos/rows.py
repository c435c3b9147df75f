"""What must hold of the database itself of a cloud that is calm: nothing unfinished, nothing held twice."""

import asyncio
from collections.abc import Iterator

from renova.model.clock import SystemClock
from renova.store import actions, block_devices, hosts, operations, rights, volume_attachments, volumes
from renova.store.database import Tx
from renova.store.everything import open_database
from renova.store.placement import inventories


def unfinished(url: str) -> list[str]:
    """Name what is not at its end in the database at this address. NotNow when it does not answer."""

    async def read() -> list[str]:
        database = open_database(url, SystemClock())
        try:
            return await database.read(lambda tx: [*work_left(tx), *volumes_left(tx)])
        finally:
            database.close()

    return asyncio.run(read())


def work_left(tx: Tx) -> Iterator[str]:
    """Name operations, events, clean-ups and counts that are not at their end."""
    for held in operations.unfinished(tx):
        yield f"operation {held.id} ({held.story} of {held.server}) is not at its end"
    for event in actions.open_events(tx):
        yield f"event {event.event} of action {event.action} is open"
    for host in hosts.every(tx):
        for debt in rights.debts_of(tx, host.id):
            yield f"host {host.name} still owes the clean-up of {debt.server}: {debt.trouble}"
    for provider, resource, used, total in inventories.miscounted(tx):
        yield f"{used} {resource} of {provider} are counted as used, {total} are held"


def volumes_left(tx: Tx) -> Iterator[str]:
    """Name volumes that have not exactly the attachment that their server's row names, or are not as wanted."""
    its = {device.volume: device for device in block_devices.every(tx) if device.is_volume}
    for volume in volumes.every(tx, None):
        device = its.pop(volume.id, None)
        has = [each.id for each in volume_attachments.of_volume(tx, volume.id)]
        wanted = [] if device is None else [device.attachment]
        if has != wanted:
            yield f"volume {volume.id} has the attachments {has}, and its server's row names {wanted}"
        if device is not None and (device.next_attachment is not None or not device.attached):
            yield f"the attachment of volume {volume.id} to {device.server} was never finished"
        if volume.version > volume.confirmed:
            yield f"volume {volume.id} is not as its host is to have it: {volume.confirmed} of {volume.version}"
    for lost, device in its.items():
        yield f"server {device.server} has volume {lost}, which is not there"
