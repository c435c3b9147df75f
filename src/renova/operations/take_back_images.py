"""Have nothing left of images that nobody makes any more, of a server that lives on where they were being made.

Asked for where a restored database has them under way and the server has gone on without that (`leave_as_found`), and
where an evacuation took their place and failed. An operation, so that no controller's death forgets it; whoever
supersedes it takes the images over (`create_image.unfinished_images`). One that is whole stays.
"""

from functools import partial

import msgspec
import structlog

from renova.engine.operation import Failure, Run, Story, act, end, write
from renova.model.errors import Broken, Conflict, NotNow, Refused
from renova.model.host import Right
from renova.model.ids import ImageId, ServerId
from renova.model.server import Server
from renova.operations.cloud import Cloud
from renova.operations.create_image import remove_unless_whole
from renova.operations.parts.state import close_failed
from renova.operations.stop import FOREVER
from renova.operations.submission import Asked, Submission, submit
from renova.operations.work import Work
from renova.store import actions, operations, rights
from renova.store.database import Tx
from renova.wire import DropSnapshot

log = structlog.get_logger()


class TakeBackImages(msgspec.Struct, frozen=True):
    """The images that nobody makes any more."""

    unfinished_images: tuple[ImageId, ...]


def accept_take_back_images(
    cloud: Cloud, tx: Tx, asked: Asked, server: ServerId, unfinished: tuple[ImageId, ...]
) -> None:
    """Have the images, and the copies of the disk for them, gone when the operation that is under way has ended."""
    submission = Submission(TAKE_BACK_IMAGES, "take_back_images", TakeBackImages(unfinished))
    submit(tx, cloud.operations, asked, server, submission, waits=True)


def have_images_taken_back(cloud: Cloud, tx: Tx, server: Server, unfinished: tuple[ImageId, ...]) -> None:
    """Have what is left of the images gone, if that is not asked for already.

    In the owner's name, as nobody else asked for it.
    """
    if left := tuple(image for image in unfinished if image not in _waiting(tx, server.id)):
        asked = Asked(server.user, server.project, f"req-{cloud.chance.uuid()}", admin=True)
        accept_take_back_images(cloud, tx, asked, server.id, left)


def _waiting(tx: Tx, server: ServerId) -> set[ImageId]:
    """Return the images that are to be taken back by what waits."""
    wants = [held.want for held in operations.queued(tx, server) if held.story == TAKE_BACK_IMAGES.name]
    return {image for want in wants for image in msgspec.json.decode(want, type=TakeBackImages).unfinished_images}


async def take_back_images(run: Run, want: TakeBackImages) -> None:
    await run(begin_taking_back, want)
    await run(drop_copies, want)
    await run(remove_images, want)
    await run(mark_taken_back, want)


@write()
def begin_taking_back(work: Work, tx: Tx, want: TakeBackImages) -> None:
    actions.open_event(tx, work.held.action, "compute_take_back_images", work.server_now(tx).host_name)


@act(patience=FOREVER)
async def drop_copies(work: Work, want: TakeBackImages) -> None:
    """Have no copy where the server lives, nor in storage that its host shares; its former host owes all it has of it.

    A host that is not up is waited for. Where it cannot delete one, that goes with the server.
    """
    for image in want.unfinished_images:
        right = await work.note(partial(_right_here, work))
        try:
            await work.command(right.host, right.incarnation, DropSnapshot(image=image))
        except (Refused, Broken):
            log.warning("copy of a disk not deleted", host=right.host, image=image, exc_info=True)


def _right_here(work: Work, tx: Tx) -> Right:
    """Return the right of the server's host; `NotNow` as long as it cannot be granted.

    Nor is it before the server has been resumed, which waits behind this: that it is to be is known by there being
    no right.
    """
    server = work.server_now(tx)
    if rights.left_to_resume(tx, server):
        raise NotNow("the server is to be resumed first")
    try:
        return work.right_here(tx, server)
    except Conflict as error:
        raise NotNow(str(error)) from error


@act()
async def remove_images(work: Work, want: TakeBackImages) -> None:
    for image in want.unfinished_images:
        await remove_unless_whole(work, image)


@end()
def mark_taken_back(work: Work, tx: Tx, want: TakeBackImages) -> None:
    actions.close_events(tx, work.held.action)


def settle_take_back_images(work: Work, tx: Tx, want: TakeBackImages, failure: Failure) -> None:
    """Nothing of the server has changed; an image that is left is seen, unfinished, and can be deleted."""
    close_failed(tx, work.held.action, failure)


TAKE_BACK_IMAGES = Story("take_back_images", 1, TakeBackImages, take_back_images, settle_take_back_images, quiet=True)
