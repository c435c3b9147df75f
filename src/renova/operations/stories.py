"""Every story a controller can tell: a new operation is added here."""

from typing import Any

from renova.engine.operation import Story
from renova.operations.create import CREATE
from renova.operations.create_image import CREATE_IMAGE
from renova.operations.delete import DELETE
from renova.operations.evacuate import EVACUATE
from renova.operations.heal_attachments import HEAL_ATTACHMENTS
from renova.operations.heal_ports import HEAL_PORTS
from renova.operations.pause import PAUSE, UNPAUSE
from renova.operations.reboot import REBOOT
from renova.operations.rebuild import REBUILD
from renova.operations.start import START
from renova.operations.stop import STOP
from renova.operations.suspend import RESUME, SUSPEND

ALL: tuple[Story[Any], ...] = (
    CREATE,
    CREATE_IMAGE,
    DELETE,
    EVACUATE,
    HEAL_ATTACHMENTS,
    HEAL_PORTS,
    PAUSE,
    REBOOT,
    REBUILD,
    RESUME,
    START,
    STOP,
    SUSPEND,
    UNPAUSE,
)
STORIES: dict[str, Story[Any]] = {story.name: story for story in ALL}
