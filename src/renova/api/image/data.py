"""The bytes of images, in and out, never held as a whole."""

from collections.abc import AsyncIterator

from renova.api.digits import whole
from renova.api.dispatch import Failure
from renova.api.http import Call, Reply
from renova.api.image.images import built_in, target, visible
from renova.model.errors import Forbidden
from renova.partners.image.files import MAX_IMAGE, TooLarge

_KIND = "application/octet-stream"


async def upload(call: Call) -> Reply:
    if call.headers.get("content-type", "").partition(";")[0].strip() != _KIND:
        raise Failure(415, f"Unsupported Media Type: an image's data is {_KIND}.")
    found = await call.cloud.database.read(lambda tx: visible(call, tx, call.path["image"]))
    call.demand("upload_image", target(found))
    declared = whole(call.headers.get("content-length", ""))
    try:
        if declared is not None and declared > MAX_IMAGE:
            raise TooLarge(f"The image is larger than {MAX_IMAGE} bytes.")
        await built_in(call).write(found.id, call.stream())
    except TooLarge as error:
        raise Failure(413, str(error)) from error
    return Reply(204)


async def download(call: Call) -> Reply:
    found = await call.cloud.database.read(lambda tx: visible(call, tx, call.path["image"]))
    call.demand("download_image", target(found))
    if found.status == "saving":
        raise Forbidden(f"The data of image {found.id} is still coming in.")
    if found.status != "active" or found.size is None or found.md5 is None:
        return Reply(204)
    headers = {
        "Content-Type": _KIND,
        "Content-Length": str(found.size),
        "Content-MD5": found.md5,
    }
    pieces: AsyncIterator[bytes] = built_in(call).read(found.id)
    return Reply(200, pieces, headers)
