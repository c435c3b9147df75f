"""Whether a server of a flavor can boot from an image: the checks that create and rebuild have in common."""

from renova.api.compute.fields import canonical
from renova.api.compute.image_properties import demand_consistent, demand_unencrypted
from renova.api.http import Call
from renova.model.errors import Forbidden, Invalid
from renova.model.flavor import Flavor
from renova.model.ids import ImageId, ProjectId
from renova.model.image import Image

POLICY = {"os_compute_api:servers:create:zero_disk_flavor": "rule:admin_api"}

_GB = 1024**3
_FORMATS = ("qcow2", "raw")


async def find_image(call: Call, image: str, message: str) -> Image:
    """Return the image if the caller may see it; `Invalid` with the message if not."""
    found = await call.cloud.images.image(ImageId(canonical(image)), call.caller)
    if found is None:
        raise Invalid(message)
    return found


def demand_bootable(call: Call, image: Image, flavor: Flavor, project: ProjectId) -> None:
    """Raise `Invalid` unless servers of the flavor can boot from the image; `Forbidden` where policy is in the way."""
    demand_unencrypted(image)
    if image.status != "active":
        raise Invalid(f"Image {image.id} is not active.")
    if image.disk_format not in _FORMATS:
        raise Invalid(f"Image {image.id} is unacceptable: its disk format is {image.disk_format}, not qcow2 or raw.")
    if image.properties.get("img_config_drive", "optional") not in ("optional", "mandatory"):
        raise Invalid(f"Image {image.id} is unacceptable: img_config_drive must be optional or mandatory.")
    if flavor.memory_mb < image.min_ram:
        raise Invalid("Flavor's memory is too small for requested image.")
    _demand_room(call, image, flavor, project)
    demand_consistent(flavor, image.properties)


def _demand_room(call: Call, image: Image, flavor: Flavor, project: ProjectId) -> None:
    if flavor.root_gb == 0:
        target = {"project_id": project, "user_id": call.caller.user}
        if not call.allows("os_compute_api:servers:create:zero_disk_flavor", target):
            raise Forbidden("Only volume-backed servers are allowed for flavors with zero disk.")
        return
    size = max(image.size or 0, image.virtual_size or 0)
    if size > flavor.root_gb * _GB:
        raise Invalid(
            "Flavor's disk is too small for requested image. "
            f"Flavor disk is {flavor.root_gb * _GB} bytes, image is {size} bytes."
        )
    if image.min_disk > flavor.root_gb:
        raise Invalid(
            "Flavor's disk is smaller than the minimum size specified in image metadata. "
            f"Flavor disk is {flavor.root_gb * _GB} bytes, minimum size is {image.min_disk * _GB} bytes."
        )
