"""Whether a server of a flavor can boot from an image: the checks that create and rebuild have in common."""

from collections.abc import Collection, Mapping

from msgspec import UnsetType

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


def demand_bootable(
    call: Call, image: Image, flavor: Flavor, project: ProjectId, *, volume_gb: int | None = None
) -> None:
    """Raise `Invalid` unless servers of the flavor can boot from the image; `Forbidden` where policy is in the way.

    From a root disk of their own, or from a volume of this size. In Nova's order (spec: rebuild, section 2, 19 to 25).
    """
    demand_unencrypted(image)
    if image.status != "active":
        raise Invalid(f"Image {image.id} is not active.")
    if volume_gb is None and image.disk_format not in _FORMATS:
        raise Invalid(f"Image {image.id} is unacceptable: its disk format is {image.disk_format}, not qcow2 or raw.")
    demand_config_drive_wish(image.properties)
    if flavor.memory_mb < image.min_ram:
        raise Invalid("Flavor's memory is too small for requested image.")
    if volume_gb is None:
        _demand_room(call, image, flavor, project)
    else:
        demand_volume_room(image, volume_gb)
    demand_consistent(flavor, image.properties)


def demand_no_certs(certs: Collection[str] | UnsetType | None) -> None:
    """Raise `Invalid` where an image is to be validated that goes into a volume: nobody sees what comes of it."""
    if certs:
        raise Invalid("Image certificate validation is not supported when booting from volume.")


def demand_config_drive_wish(properties: Mapping[str, str]) -> None:
    if properties.get("img_config_drive", "optional") not in ("optional", "mandatory"):
        raise Invalid("The image is unacceptable: its img_config_drive must be optional or mandatory.")


def demand_volume_room(image: Image, size_gb: int) -> None:
    """Raise `Invalid` unless a volume of this size can hold the image."""
    if image.min_disk > size_gb:
        raise Invalid(
            "Volume is smaller than the minimum size specified in image metadata. "
            f"Volume size is {size_gb * _GB} bytes, minimum size is {image.min_disk * _GB} bytes."
        )
    size = max(image.size or 0, image.virtual_size or 0)
    if size > size_gb * _GB:
        raise Invalid(f"Volume of {size_gb * _GB} bytes is too small for image {image.id}, which has {size} bytes.")


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
