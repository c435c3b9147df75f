"""Keeps what a server's guest has open from being taken away behind the compute service's back (CVE-2023-2088), and
servers from being given what is another project's."""

from renova.model.errors import Conflict, NotFound
from renova.model.ids import ProjectId, ServerId
from renova.partners.volume.belonging import is_its_servers
from renova.store import servers
from renova.store.database import Tx
from renova.store.volume_attachments import StoredAttachment


def demand_not_in_use_by_server(tx: Tx, attachment: StoredAttachment) -> None:
    """Raise `Conflict` if the attachment is one of a server of this cloud that reaches the volume by it."""
    known = servers.get(tx, attachment.server) is not None
    if attachment.export is not None and known and is_its_servers(tx, attachment):
        raise Conflict(f"Detach volume from instance {attachment.server} using the Compute API.")


def demand_server_of_project(tx: Tx, server: ServerId, project: ProjectId) -> None:
    """Raise `NotFound` if the server is one of this cloud, but of another project than the volume.

    Administrators too: what Compute has not attached itself would be nothing to that server.
    """
    found = servers.get(tx, server)
    if found is not None and found.project != project:
        raise NotFound(f"Instance {server} could not be found.")
