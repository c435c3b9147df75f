"""Every story a controller can tell: a new operation is added here."""

from typing import Any

from renova.engine.operation import Story
from renova.operations.attach_interface import ATTACH_INTERFACE
from renova.operations.attach_volume import ATTACH_VOLUME
from renova.operations.clear_away import CLEAR_AWAY
from renova.operations.create import CREATE
from renova.operations.create_image import CREATE_IMAGE
from renova.operations.delete import DELETE
from renova.operations.detach_interface import DETACH_INTERFACE
from renova.operations.detach_volume import DETACH_VOLUME
from renova.operations.evacuate import EVACUATE
from renova.operations.heal_attachments import HEAL_ATTACHMENTS
from renova.operations.heal_guest import HEAL_GUEST
from renova.operations.heal_ports import HEAL_PORTS
from renova.operations.migrate import MIGRATE
from renova.operations.migrate_live import MIGRATE_LIVE
from renova.operations.pause import PAUSE, UNPAUSE
from renova.operations.reboot import REBOOT
from renova.operations.rebuild import REBUILD
from renova.operations.start import START
from renova.operations.stop import STOP
from renova.operations.suspend import RESUME, SUSPEND

ALL: tuple[Story[Any], ...] = (
    ATTACH_INTERFACE,
    ATTACH_VOLUME,
    CREATE,
    CREATE_IMAGE,
    DELETE,
    DETACH_INTERFACE,
    DETACH_VOLUME,
    EVACUATE,
    HEAL_ATTACHMENTS,
    HEAL_GUEST,
    HEAL_PORTS,
    MIGRATE,
    MIGRATE_LIVE,
    PAUSE,
    REBOOT,
    REBUILD,
    RESUME,
    START,
    STOP,
    SUSPEND,
    CLEAR_AWAY,
    UNPAUSE,
)
STORIES: dict[str, Story[Any]] = {story.name: story for story in ALL}
