"""An image service in memory, and identity services that know nobody, or two: what surrounds a simulated cloud.

They outlive every controller, as services of their own would.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from renova.model.errors import Conflict, NotFound
from renova.model.ids import ImageId, ProjectId, UserId
from renova.model.image import Image
from renova.model.watching import AGENT_PROPERTY, WATCHDOG_PROPERTY
from renova.partners.identity import Caller

ADMIN, DEMO = "admin", "demo"


def an_image(image: str, content: bytes, **changes: Any) -> Image:
    """Describe an image of this content that everybody may use."""
    usual = Image(
        id=ImageId(image),
        name=image[:8],
        status="active",
        owner=None,
        visibility="public",
        disk_format="raw",
        container_format="bare",
        size=len(content),
        virtual_size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        md5=None,
        min_disk=0,
        min_ram=0,
        protected=False,
        tags=(),
        properties={},
        created_at="",
        updated_at="",
    )
    return replace(usual, **changes)


def watched_images(images: Sequence[str], actions: Sequence[str], content: bytes) -> list[Image]:
    """Describe images whose guests have an agent, and a watchdog of these actions, one each."""
    return [
        an_image(image, content, properties={AGENT_PROPERTY: "yes", WATCHDOG_PROPERTY: action})
        for image, action in zip(images, actions, strict=True)
    ]


class MemoryImages:
    """Images that exist in memory only; everybody may see them."""

    def __init__(self) -> None:
        self.images: dict[ImageId, tuple[Image, bytes]] = {}

    def have(self, image: Image, content: bytes) -> None:
        """Have the image from the beginning, whole."""
        self.images[image.id] = (image, content)

    async def image(self, image: ImageId, caller: Caller | None) -> Image | None:
        found = self.images.get(image)
        return found[0] if found else None

    async def add(self, image: Image) -> None:
        self.images.setdefault(image.id, (replace(image, status="queued"), b""))

    async def write(self, image: ImageId, pieces: AsyncIterator[bytes]) -> None:
        if image not in self.images:
            raise NotFound(f"no image {image}")
        content = b"".join([piece async for piece in pieces])
        if image not in self.images:
            raise NotFound(f"no image {image}")
        described = self.images[image][0]
        if described.status != "queued":
            raise Conflict(f"image {image} is {described.status}")
        sha256 = hashlib.sha256(content).hexdigest()
        whole = replace(described, status="active", size=len(content), virtual_size=len(content), sha256=sha256)
        self.images[image] = (whole, content)

    async def having(self, properties: Mapping[str, str]) -> list[Image]:
        every = [image for image, _ in reversed(self.images.values())]
        return [image for image in every if properties.items() <= image.properties.items()]

    async def remove(self, image: ImageId) -> None:
        self.images.pop(image, None)

    async def read(self, image: ImageId, offset: int = 0) -> AsyncIterator[bytes]:
        if image not in self.images:
            raise NotFound(f"no image {image}")
        data = self.images[image][1]
        for start in range(offset, len(data), 1 << 20):
            yield data[start : start + (1 << 20)]

    async def recover(self) -> None:
        """Have nothing to queue again: bytes are in memory, and there only when they are whole."""

    async def sweep(self) -> int:
        return 0


class NoIdentity:
    """Nobody asks over HTTP."""

    async def caller(self, token: str) -> Caller | None:
        return None

    async def project_exists(self, project: ProjectId) -> bool:
        return True


class Users:
    """An identity service that knows an administrator and a user by their names."""

    def __init__(self) -> None:
        self.callers = {
            name: Caller(
                user=UserId(hashlib.sha256(f"user {name}".encode()).hexdigest()[:32]),
                user_name=name,
                project=ProjectId(hashlib.sha256(b"project demo").hexdigest()[:32]),
                project_name=DEMO,
                roles=frozenset(roles),
                expires="2099-01-01T00:00:00Z",
            )
            for name, roles in ((ADMIN, ("admin", "manager", "member", "reader")), (DEMO, ("member", "reader")))
        }

    async def caller(self, token: str) -> Caller | None:
        return self.callers.get(token)

    async def project_exists(self, project: ProjectId) -> bool:
        return any(caller.project == project for caller in self.callers.values())
