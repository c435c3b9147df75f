"""Images as they are described: made, searched, changed, tagged, deleted."""

import uuid
from typing import Any

import msgspec

from renova.api.dispatch import Failure
from renova.api.http import Call, Reply
from renova.api.image.lists import page
from renova.api.image.patch import MEDIA_TYPES, Change, patched
from renova.api.image.shapes import attributes, columns, described, image_shape
from renova.model.errors import Conflict, Forbidden, Invalid, NotFound
from renova.model.ids import ImageId, ProjectId
from renova.model.image import Image
from renova.partners.image.builtin import BuiltinImages
from renova.store import images as store
from renova.store.database import Tx


def built_in(call: Call) -> BuiltinImages:
    found = call.cloud.images
    assert isinstance(found, BuiltinImages), "these routes are served only where images are built in"
    return found


def visible(call: Call, tx: Tx, image_id: str) -> Image:
    """Return the image if the caller may see it, else raise `NotFound`."""
    found = store.image(tx, image_id)
    if found is None or not call.allows("get_image", target(found)):
        raise NotFound(f"No image found with ID {image_id}")
    return found


def target(image: Image) -> dict[str, str | None]:
    return {"project_id": image.owner, "visibility": image.visibility}


async def every(call: Call) -> Reply:
    call.demand("get_images")
    project = None if call.allows("get_image", {"project_id": "", "visibility": "private"}) else call.caller.project
    found = await call.cloud.database.read(lambda tx: store.every(tx, project))
    return Reply(200, page(call, [image_shape(image) for image in found]))


async def one(call: Call) -> Reply:
    found = await call.cloud.database.read(lambda tx: visible(call, tx, call.path["image"]))
    return Reply(200, image_shape(found))


async def create(call: Call) -> Reply:
    call.demand("add_image")
    given = call.json(dict[str, Any])
    found, properties = described(given, call.caller.project)
    _demand_scope(call, found.visibility, found.owner)
    image_id = ImageId(_given_id(given["id"]) if "id" in given else call.cloud.chance.uuid())

    def add(tx: Tx) -> Image:
        if store.image(tx, image_id) is not None:
            raise Conflict(f"Image ID {image_id} already exists!")
        new = Image(
            id=image_id,
            status="queued",
            size=None,
            virtual_size=None,
            sha256=None,
            md5=None,
            created_at=tx.now,
            updated_at=tx.now,
            **columns(found, properties),
        )
        store.add(tx, new)
        return new

    made = await call.cloud.database.transact(add)
    return Reply(201, image_shape(made), {"Location": f"{call.base_url}/images/{image_id}"})


def _given_id(asked: Any) -> str:
    try:
        return str(uuid.UUID(asked))
    except (ValueError, TypeError, AttributeError) as error:
        raise Invalid("Provided object does not match schema 'image': id is not a UUID.") from error


def _demand_scope(call: Call, visibility: str, owner: str | None) -> None:
    """Check that the caller may give an image this visibility and owner."""
    whose: dict[str, str | None] = {"project_id": owner, "visibility": visibility}
    if owner != call.caller.project and not call.allows("admin_api"):
        raise Forbidden(f"You are not permitted to create images owned by '{owner}'.")
    if visibility == "public":
        call.demand("publicize_image", whose)
    if visibility == "community":
        call.demand("communitize_image", whose)


async def update(call: Call) -> Reply:
    kind = call.headers.get("content-type", "").partition(";")[0].strip()
    if kind not in MEDIA_TYPES:
        raise Failure(415, f"Unsupported Media Type: images are changed by {MEDIA_TYPES[0]}.")
    changes = call.json(list[Change])

    def change(tx: Tx) -> Image:
        old = visible(call, tx, call.path["image"])
        call.demand("modify_image", target(old))
        before = attributes(old)
        after = patched(before, changes)
        found, properties = described(after, ProjectId(old.owner) if old.owner else None)
        if (found.visibility, found.owner) != (old.visibility, old.owner):
            _demand_scope(call, found.visibility, found.owner)
        if old.status != "queued":
            for name in ("disk_format", "container_format"):
                if after[name] != before[name]:
                    raise Forbidden(f"Attribute '{name}' of an image with data cannot be changed.")
        new = columns(found, properties)
        store.change(tx, old.id, **new)
        return msgspec.structs.replace(old, updated_at=tx.now, **new)

    return Reply(200, image_shape(await call.cloud.database.transact(change)))


async def delete(call: Call) -> Reply:
    def demand_deletable(tx: Tx) -> None:
        found = visible(call, tx, call.path["image"])
        call.demand("delete_image", target(found))
        if found.protected:
            raise Forbidden(f"Image {found.id} is protected and cannot be deleted.")

    await built_in(call).remove(ImageId(call.path["image"]), demand_deletable)
    return Reply(204)


async def tag(call: Call) -> Reply:
    return await _retag(call, add=True)


async def untag(call: Call) -> Reply:
    return await _retag(call, add=False)


async def _retag(call: Call, *, add: bool) -> Reply:
    name = call.path["tag"]

    def change(tx: Tx) -> None:
        found = visible(call, tx, call.path["image"])
        call.demand("modify_image", target(found))
        if not add and name not in found.tags:
            raise NotFound(f"Tag {name} could not be found.")
        rest = [each for each in found.tags if each != name]
        tags = [*rest, name] if add else rest
        described({"tags": tags}, None)
        store.change(tx, found.id, tags=tuple(tags))

    await call.cloud.database.transact(change)
    return Reply(204)
