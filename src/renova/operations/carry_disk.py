"""Carrying a server's root disk to a host that does not share it: steps of `migrate`, while the guest is off.

The disk is copied where it is, and goes by way of the image service, like the image that a user asks for: described
first, sent by its host, fetched by the other. There the new disk is built on it, and the image is not needed any more.
"""

from functools import partial

import msgspec
import structlog
from msgspec.structs import replace

from renova.engine.operation import act
from renova.model.errors import CloudError, NotFound
from renova.model.guest import RootDisk
from renova.model.host import Right
from renova.model.ids import ImageId
from renova.operations.create_image import CARRIED, describe, patiently
from renova.operations.work import Work
from renova.wire.acts import DropSnapshot

log = structlog.get_logger()


class Carried(msgspec.Struct, frozen=True):
    """A root disk that is in the image service, and nowhere else but where it came from."""

    root: RootDisk


@act()
async def describe_carried(work: Work, copy: ImageId) -> None:
    """Have an image described for the disk, that nobody but its owner sees."""
    server = await work.server()
    name = f"disk of {server.name}, on its way"
    described = describe(server, None, image=copy, name=name, metadata={}, owner=server.project)
    await work.cloud.images.add(replace(described, properties={**described.properties, "image_type": CARRIED}))


@describe_carried.undo
async def remove_carried(work: Work, copy: ImageId) -> None:
    await work.cloud.images.remove(copy)


@act()
async def take_carried(work: Work, right: Right, copy: ImageId) -> Carried:
    """Say what the other host is to build the disk on; the copy beside the old disk is not needed any more."""
    image, server = await work.cloud.images.image(copy, None), await work.server()
    if image is None or image.status != "active":
        raise NotFound(f"image {copy}, the copy of the disk, was deleted on its way")
    await work.command(right.host, right.incarnation, DropSnapshot(image=copy))
    return Carried(
        RootDisk(
            image=copy,
            image_format=image.disk_format or "qcow2",
            image_bytes=image.size or 0,
            image_sha256=image.sha256 or "",
            size_gb=server.flavor.root_gb,
        )
    )


@act()
async def forget_carried(work: Work, copy: ImageId) -> None:
    """Have no such image any more: the disk that was built on it keeps what it needs.

    The server runs on that already: what the image service cannot do now, the duty `images` does later.
    """
    try:
        await patiently(work, partial(work.cloud.images.remove, copy))
    except CloudError:
        log.warning("carried disk not removed from the image service", image=copy, exc_info=True)
