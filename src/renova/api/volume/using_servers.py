"""Keeps what a server's guest has open from being taken away behind the compute service's back (CVE-2023-2088)."""

from renova.model.errors import Conflict
from renova.store import servers
from renova.store.database import Tx
from renova.store.volume_attachments import StoredAttachment


def demand_not_in_use_by_server(tx: Tx, attachment: StoredAttachment) -> None:
    """Raise `Conflict` if the attachment is one of a server of this cloud that reaches the volume by it."""
    if attachment.export is not None and servers.get(tx, attachment.server) is not None:
        raise Conflict(f"Detach volume from instance {attachment.server} using the Compute API.")
