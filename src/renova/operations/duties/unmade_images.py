"""Images that were described for a server and that nobody makes: their controller died before the request was accepted.

An image is described first, since clients look at it at once. Whoever is only slow has its operation fail, and truly
so: the image was deleted while it was being made. Disks that were carried and forgotten are removed, too.
"""

from datetime import datetime, timedelta

from renova.model.ids import ServerId
from renova.model.image import Image
from renova.operations.cloud import Cloud
from renova.operations.create_image import CARRIED
from renova.operations.rounds import Tally
from renova.store import operations, servers
from renova.store.database import Tx

ACCEPTED_WITHIN = timedelta(hours=1)  # far longer than any request lasts
KINDS = ("snapshot", "backup", CARRIED)


async def remove_unmade_images(cloud: Cloud, tally: Tally) -> None:
    """Remove images without bytes that were to be made of this cloud's servers, if no operation is there to."""
    of_servers = [image for kind in KINDS for image in await cloud.images.having({"image_type": kind})]
    queued = [image for image in of_servers if _may_be_nobodys(image)]

    def unmade(tx: Tx) -> list[Image]:
        busy = {held.server for held in operations.unfinished(tx)}
        return [image for image in queued if _is_unmade(tx, image, busy)]

    for image in await cloud.database.read(unmade) if queued else []:
        server = _server_of(image)
        with tally.apart(server=server):
            await cloud.images.remove(image.id)
            tally.find(f"image {image.id} was to be made, and nobody makes it", mended=True, server=server)


def _may_be_nobodys(image: Image) -> bool:
    """Say whether the image is of no use, unless an operation is at work on it."""
    carried = image.properties.get("image_type") == CARRIED
    return not image.protected and (carried or image.status == "queued")


def _is_unmade(tx: Tx, image: Image, busy: set[ServerId]) -> bool:
    server = _server_of(image)
    if server in busy or servers.get(tx, server, deleted=True) is None or not image.created_at:
        return False  # of another cloud's server its owner may yet send the bytes
    return datetime.fromisoformat(tx.now) - datetime.fromisoformat(image.created_at) > ACCEPTED_WITHIN


def _server_of(image: Image) -> ServerId:
    return ServerId(image.properties.get("instance_uuid", ""))
