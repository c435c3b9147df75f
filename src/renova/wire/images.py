"""Images on their way, piece by piece in both directions, and those that no server needs any more."""

from renova.model.guest import CachedImage, Count
from renova.model.ids import ImageId
from renova.wire.message import Mark, Message


class Tidy(Message, frozen=True, kw_only=True, tag="tidy"):
    """Delete cached images that no server uses; those wanted within `grace_s` stay. Result: Tidied."""

    id: int
    in_use: tuple[CachedImage, ...]  # by servers of all hosts that share the instances directory
    grace_s: float


class WantImage(Message, frozen=True, kw_only=True, tag="want-image"):
    """The agent asks for a piece of an image from `offset` on."""

    id: int
    image: ImageId
    offset: Count


class ImagePiece(Message, frozen=True, kw_only=True, tag="image-piece"):
    """The next bytes; empty at the image's end, or with the reason why there are none.

    `why` as in Answer: `refused` when the image is not to be had; else the agent asks again, perhaps elsewhere.
    """

    id: int
    data: bytes = b""
    error: str | None = None
    why: str = ""


class ImageBytes(Message, frozen=True, kw_only=True, tag="image-bytes"):
    """The agent sends the next bytes of an image that Upload asked it for; empty, with the sum of all, at the end."""

    id: int
    image: ImageId
    offset: Count
    data: bytes = b""
    sha256: Mark = ""


class ImageTaken(Message, frozen=True, kw_only=True, tag="image-taken"):
    """The bytes are taken, and the next may come; or why they are not. `why` as in Answer."""

    id: int
    error: str | None = None
    why: str = ""
