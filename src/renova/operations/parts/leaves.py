"""What whoever supersedes an operation takes over from it, as nobody else would bring it to its end."""

import msgspec

from renova.model.ids import ImageId


class Leaves(msgspec.Struct, frozen=True):
    """What any operation's want may have of this, whatever else it has."""

    unfinished_images: tuple[ImageId, ...] = ()  # that were being made of the server, with the copies of its disk
    other_disks: bool = False  # whether there may be disks beside those that the server's row names
