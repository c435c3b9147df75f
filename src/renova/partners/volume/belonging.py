"""Which attachments are a server's own: those of its project's volumes, and those that Compute has made for it.

Whoever makes an attachment by hand names the server. One of another project's volume is nothing to the server: neither
does an operation of the server touch it, nor does the server keep it from its owner.
"""

from renova.model.ids import ServerId
from renova.store import block_devices, servers
from renova.store import volume_attachments as attachments
from renova.store.database import Tx
from renova.store.volume_attachments import StoredAttachment


def of_server(tx: Tx, server: ServerId) -> list[StoredAttachment]:
    """List the attachments of the server that are its own."""
    return [row for row in attachments.of_server(tx, server) if is_its_servers(tx, row)]


def is_its_servers(tx: Tx, row: StoredAttachment) -> bool:
    """Say whether the attachment is the own of the server that it names; of one that nobody knows it is."""
    server = servers.get(tx, row.server, deleted=True)
    if server is None or server.project == row.project:
        return True
    # An administrator may give a server the volume of another project, by Compute.
    device = block_devices.by_volume(tx, row.volume)
    return device is not None and device.server == row.server and row.id in (device.attachment, device.next_attachment)
