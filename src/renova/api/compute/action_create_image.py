"""createImage and createBackup: an image of the server's root disk as it is now."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from renova.api.compute.action import Action, Value, read_value
from renova.api.compute.fields import Body, Metadata, Name, count
from renova.api.compute.links import bookmarks
from renova.api.compute.quota import demand_metadata_within
from renova.api.compute.visible import asked, find_server
from renova.api.http import Call, Reply
from renova.model.errors import CloudError, Invalid
from renova.model.ids import ImageId
from renova.model.image import ATTRIBUTES
from renova.model.server import Server
from renova.operations.create_image import Backup, accept_create_image, describe
from renova.operations.parts.permits import permitted
from renova.store.database import Tx

POLICY = {
    "os_compute_api:servers:create_image": "rule:project_member_or_admin",
    "os_compute_api:os-create-backup": "rule:project_member_or_admin",
}

_ID_IN_BODY_SINCE = (2, 45)  # before, clients take the image's id from the Location


class WantedImage(Body):
    """How the image is called, and what its owner notes about it."""

    name: Name
    metadata: Metadata | UnsetType = UNSET


class WantedBackup(WantedImage, kw_only=True):
    """Of which kind it is, and how many of the kind are kept."""

    backup_type: Annotated[str, Meta(min_length=1, max_length=255)]
    rotation: int | Annotated[str, Meta(pattern=r"^[0-9]{1,10}\Z")]


async def create_image(call: Call, value: Value) -> Reply:
    wanted = read_value(call, "createImage", value, WantedImage)
    server = await find_server(call, "os_compute_api:servers:create_image")
    return await _create(call, server, wanted, None)


async def create_backup(call: Call, value: Value) -> Reply:
    wanted = read_value(call, "createBackup", value, WantedBackup)
    backup = Backup(wanted.backup_type, count(wanted.rotation, "rotation", least=0))
    server = await find_server(call, "os_compute_api:os-create-backup")
    return await _create(call, server, wanted, backup)


async def _create(call: Call, server: Server, wanted: WantedImage, backup: Backup | None) -> Reply:
    word = "createImage" if backup is None else "createBackup"
    metadata: dict[str, str] = {} if wanted.metadata is UNSET else wanted.metadata
    for key in metadata:
        if key in ATTRIBUTES:
            raise Invalid(f"Invalid input for {word}: metadata.{key} is an attribute of images; use another name.")

    def check(tx: Tx) -> None:
        permitted(tx, server.id, word, asked(call))
        demand_metadata_within(tx, call.caller.project, len(metadata))

    await call.cloud.database.read(check)
    if server.image is None:
        raise Invalid(f"{word} is not supported for volume-backed instances.")
    images = call.cloud.images
    base = await images.image(ImageId(server.image), None)
    image = ImageId(call.cloud.chance.uuid())
    # Before it is accepted, since clients look at the image as soon as they have its id.
    await images.add(
        describe(
            server, base, image=image, name=wanted.name, metadata=metadata, owner=call.caller.project, backup=backup
        )
    )

    def accept(tx: Tx) -> None:
        demand_metadata_within(tx, call.caller.project, len(metadata))
        accept_create_image(call.cloud, tx, asked(call), server.id, image, backup)

    try:
        await call.cloud.database.transact(accept)
    except CloudError:
        await images.remove(image)
        raise
    return _accepted(call, image, kept=backup is None or backup.rotation > 0)


def _accepted(call: Call, image: ImageId, *, kept: bool) -> Reply:
    """Say where the image is; of a backup that is rotated away at once, nothing."""
    if not kept:
        return Reply(202)
    if call.version >= _ID_IN_BODY_SINCE:
        answer: dict[str, Any] = {"image_id": image}
        return Reply(202, answer)
    return Reply(202, None, {"location": f"{bookmarks(call)}/images/{image}"})


ACTIONS = {"createImage": Action(create_image), "createBackup": Action(create_backup)}
