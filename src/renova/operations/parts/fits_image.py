"""Whether a server may have another image on the host that it is on: what a rebuild must know before it is accepted.

Only what an image can break is tested, and on this host only: a rebuild claims nothing, and a host that is full or
disabled keeps its servers (spec: rebuild; scheduling, section 2).
"""

from renova.model.image import Image
from renova.model.server import Server
from renova.operations.cloud import Cloud
from renova.operations.parts.needs import of_image, traits
from renova.scheduling.request import Request
from renova.scheduling.rules import OF_IMAGE
from renova.store.database import Tx


def fits_image(cloud: Cloud, tx: Tx, server: Server, image: Image) -> str | None:
    """Say why the server's host may not run this image, or None. Nothing is claimed or changed.

    For the transaction that accepts a rebuild. A server without a host may have any image.
    """
    host = cloud.fleet.board(tx).view(server.host) if server.host else None
    if host is None:
        return None
    request = Request(resources={}, settings=cloud.settings.scheduler, **of_image(image.id, image.properties))
    if clash := request.traits & traits(server.flavor.extra_specs, "forbidden"):
        return f"image {image.id} requires the trait {', '.join(sorted(clash))}, which the server's flavor forbids"
    reasons = (rule(request, host) for rule in OF_IMAGE)
    reason = next((reason for reason in reasons if reason is not None), None)
    return f"its host will not do for image {image.id}: {reason}" if reason else None
