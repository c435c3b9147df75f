"""What users and operators can see in the end, without what differs from run to run: ids, times, hosts' names."""

from collections import Counter

from sqlalchemy import select

from renova.store import (
    actions,
    block_devices,
    migrations,
    ports,
    servers,
    volume_attachments,
    volume_snapshots,
    volumes,
)
from renova.store.database import Tx
from tests.operations.listening import told_event
from tests.points.asking import Asking
from tests.points.cloud import Birth


async def picture(told: Asking, births: int) -> list[str]:
    """Tell what there is, a line each; `births`: how many guests had come to run before."""
    cloud = told.cloud
    seen = await cloud.database.read(_rows)
    born = cloud.births[births:]
    seen += [f"guests that came to run: {len(born)}"]
    kept = sum(_is_kept(told, birth) for birth in cloud.births)
    seen += [f"what guests wrote is kept: {kept}"]
    storages = {id(host.storage): host.storage for host in cloud.hosts.values()}.values()
    for storage in storages:
        seen += [f"disk {generation} of a server" for _, generation in storage.disks]
        seen += [f"disks of a server set aside: {sorted(disks)}" for _, disks in storage.asides]
    seen += [f"image {image.name} {image.status}" for image, _ in cloud.images.images.values()]
    for stores in cloud.storage_hosts.values():
        seen += [
            f"volume file of {each.size_bytes}, {each.content} {each.writes}"
            for each in stores.volumes.volumes.values()
        ]
        seen += [f"snapshot {content}" for content in stores.volumes.snapshots.values()]
        seen += [f"exports: {sum(len(exports) for exports in stores.volumes.served.values())}"]
    return sorted(seen + _events(told))


def _is_kept(told: Asking, birth: Birth) -> bool:
    for host in told.cloud.hosts.values():
        disk = host.storage.disks.get((birth.server, birth.generation))
        if host.storage.identity == birth.storage and disk is not None:
            return any(write.text == birth.word for write in disk.writes)
    return False


def _events(told: Asking) -> list[str]:
    by_id = {event.id: event for event in told.cloud.listener.heard}
    of_server = Counter(told_event(event) for event in by_id.values())
    return [f"event {kind}: {count}" for kind, count in of_server.items()]


def _rows(tx: Tx) -> list[str]:
    seen = []
    for row in tx.execute(select(servers.servers.c.id)).all():
        server = servers.get(tx, row.id, deleted=True)
        assert server is not None
        state = f"{server.vm_state} {server.task_state} {server.power_state} image {server.image}"
        fault = server.fault.message if server.fault else None
        seen.append(f"server {server.name} {state} disk {server.root_generation} fault {fault}")
        for action in actions.of_server(tx, server.id):
            events = [(event.event, event.result) for event in actions.events_of(tx, action.id)]
            seen.append(f"action {action.action} {action.message} {events}")
        for port in ports.of_server(tx, server.id):
            seen.append(f"port {port.status} of {server.name}")
        for device in block_devices.volumes_of(tx, server.id):
            seen.append(f"device {device.device} of {server.name}: attached {device.attached}")
    seen += [f"port in all: {len(ports.find(tx))}"]
    for volume in volumes.every(tx, None):
        held = [each.status for each in volume_attachments.of_volume(tx, volume.id)]
        seen.append(f"volume {volume.name} {volume.status} {volume.size_gb} {held}")
    seen += [f"volume snapshot {each.status}" for each in volume_snapshots.every(tx, None)]
    seen += [f"migration {each.type} {each.status}" for each in migrations.find(tx)]
    return seen


def difference(was: list[str], now: list[str]) -> list[str]:
    """Tell what of one picture is not in the other; that something had to be healed is none."""
    more, less = Counter(now) - Counter(was), Counter(was) - Counter(now)
    for line in [line for line in more if line.startswith("action heal_")]:
        del more[line]
    return [*(f"- {line}" for line in less.elements()), *(f"+ {line}" for line in more.elements())]
