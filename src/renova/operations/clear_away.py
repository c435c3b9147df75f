"""Have nothing left of what was superseded, where the server lives on: images nobody makes any more, other disks.

Asked for where an evacuation took the place of an image or a rebuild and failed, where a hard reboot took that of a
rebuild, and where a restored database has an image under way and the server has gone on without that
(`leave_as_found`). An operation, so that no controller's death forgets it; whoever supersedes what has it to do takes
it over (`create_image.unfinished_images`, `rebuild.leaves_other_disks`). An image that is whole stays.
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
from renova.operations.parts import run_guest
from renova.operations.parts.leaves import Leaves
from renova.operations.parts.state import close_failed
from renova.operations.stop import FOREVER
from renova.operations.submission import Asked, Submission, for_owner, submit
from renova.operations.work import Work
from renova.store import actions, operations, rights
from renova.store.database import Tx
from renova.wire.acts import DropSnapshot

log = structlog.get_logger()


def accept_clear_away(cloud: Cloud, tx: Tx, asked: Asked, server: ServerId, left: Leaves) -> None:
    """Have it all gone, and the copies of the disk for the images, when the operation that is under way has ended."""
    submit(tx, cloud.operations, asked, server, Submission(CLEAR_AWAY, "clear_away", left), waits=True)


def have_cleared_away(
    cloud: Cloud, tx: Tx, server: Server, unfinished: tuple[ImageId, ...] = (), *, other_disks: bool = False
) -> None:
    """Have what is left gone, if that is not asked for already.

    In the owner's name, as nobody else asked for it.
    """
    waiting = _waiting(tx, server.id)
    asked_for = {image for want in waiting for image in want.unfinished_images}
    left = Leaves(
        tuple(image for image in unfinished if image not in asked_for),
        other_disks and not any(want.other_disks for want in waiting),
    )
    if left != Leaves():
        asked = for_owner(server, cloud.chance)
        accept_clear_away(cloud, tx, asked, server.id, left)


def _waiting(tx: Tx, server: ServerId) -> list[Leaves]:
    """Return what is to be cleared away by what waits."""
    held = [held for held in operations.queued(tx, server) if held.story == CLEAR_AWAY.name]
    return [msgspec.json.decode(each.want, type=Leaves) for each in held]


async def clear_away(run: Run, want: Leaves) -> None:
    await run(begin_clearing, want)
    if want.unfinished_images:
        await run(drop_copies, want)
        await run(remove_images, want)
    if want.other_disks:
        await run(drop_disks, want)
    await run(mark_cleared, want)


@write()
def begin_clearing(work: Work, tx: Tx, want: Leaves) -> None:
    actions.open_event(tx, work.held.action, "compute_clear_away", work.server_now(tx).host_name)


@act(patience=FOREVER)
async def drop_copies(work: Work, want: Leaves) -> None:
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
    if server.host is None:
        raise Conflict("the server is on no host any more")
    if rights.left_to_resume(tx, server):
        raise NotNow("the server is to be resumed first")
    try:
        return work.right_here(tx, server)
    except Conflict as error:
        raise NotNow(str(error)) from error


@act()
async def remove_images(work: Work, want: Leaves) -> None:
    for image in want.unfinished_images:
        await remove_unless_whole(work, image)


@act(patience=FOREVER)
async def drop_disks(work: Work, want: Leaves) -> None:
    """Have no disks where the server lives but those its row names; its host refuses unless those are there."""
    right = await work.note(partial(_right_here, work))
    await run_guest.drop_other_disks(work, right.host, right.incarnation, (await work.server()).root_generation)


@end()
def mark_cleared(work: Work, tx: Tx, want: Leaves) -> None:
    actions.close_events(tx, work.held.action)


def settle_clear_away(work: Work, tx: Tx, want: Leaves, failure: Failure) -> None:
    """Nothing of the server has changed; an image that is left is seen, unfinished, and can be deleted."""
    close_failed(tx, work.held.action, failure)


CLEAR_AWAY = Story("clear_away", 1, Leaves, clear_away, settle_clear_away, quiet=True)
