"""Have a server's volumes one attachment each again, in use: where a crash has left two, one that nobody knows, or one
that is connected nowhere since its evacuation or reboot failed.

Asked for by `duties.attachments`. An operation, so that none other is under way meanwhile. What a running guest uses is
never cut off: of two attachments the one that was begun last goes, if the other is still there.
"""

import msgspec
import structlog

from renova.engine.operation import Failure, Run, Story, act, end, write
from renova.model.block_device import BlockDevice
from renova.model.errors import Broken, Refused, StorageAway
from renova.model.guest import LIVES
from renova.model.ids import AttachmentId, ServerId
from renova.operations.cloud import Cloud
from renova.operations.parts import volumes
from renova.operations.parts.state import close_failed
from renova.operations.submission import Asked, Submission, submit
from renova.operations.work import Work
from renova.store import actions, block_devices, hosts
from renova.store.database import Tx

log = structlog.get_logger()


class HealAttachments(msgspec.Struct, frozen=True):
    """Nothing more is needed than the server's rows."""


def accept_heal_attachments(cloud: Cloud, tx: Tx, asked: Asked, server_id: ServerId) -> None:
    """Have the attachments mended; `Conflict` when another operation is under way."""
    submit(tx, cloud.operations, asked, server_id, Submission(HEAL_ATTACHMENTS, "heal_attachments", HealAttachments()))


async def heal_attachments(run: Run, want: HealAttachments) -> None:
    await run(begin_healing, want)
    await run(finish_replacing, want)
    await run(drop_strays, want)
    await run(complete_begun, want)
    await run(mark_healed, want)


@write()
def begin_healing(work: Work, tx: Tx, want: HealAttachments) -> None:
    actions.open_event(tx, work.held.action, "compute_heal_attachments", work.server_now(tx).host_name)


@act()
async def finish_replacing(work: Work, want: HealAttachments) -> None:
    """Have no volume's attachment on the way to being replaced."""
    known = await _known(work)
    for device in await volumes.volumes(work):
        if device.next_attachment is None:
            continue
        if device.attachment in known or device.next_attachment not in known:
            await work.cloud.volumes.detach(device.next_attachment)
            await _note(work, device, next_attachment=None)
        else:
            # The old one was cut off already, so no guest has the volume.
            await _note(
                work, device, attachment=device.next_attachment, next_attachment=None, connection=None, host=None
            )


@act()
async def drop_strays(work: Work, want: HealAttachments) -> None:
    """Have no attachment of the server that none of its volumes has."""
    wanted = {device.attachment for device in await volumes.volumes(work)}
    for stray in sorted(await _known(work) - wanted):
        await work.cloud.volumes.detach(stray)


@act()
async def complete_begun(work: Work, want: HealAttachments) -> None:
    """Have each volume reachable from the server's host, and in use there: the guest has it with its next start.

    What cannot be connected now is left for the next round: nobody who waits behind this is to wait for it.
    """
    server = await work.server()
    host = await work.cloud.database.read(lambda tx: hosts.get(tx, server.host) if server.host is not None else None)
    if host is None or server.power_state in LIVES:
        return  # a guest that runs without is not plugged in behind its user's back
    known = await work.cloud.volumes.attachments(work.held.server)
    begun = {each.id for each in known if not each.complete and not each.leaving}
    for device in await volumes.volumes(work):
        if not device.attached or device.attachment not in begun:
            continue
        try:
            await volumes.reach(work, device, host)
        except (Refused, Broken, StorageAway):
            log.warning("attachment not completed", volume=device.volume, exc_info=True)


@end()
def mark_healed(work: Work, tx: Tx, want: HealAttachments) -> None:
    actions.close_events(tx, work.held.action)


def settle_heal_attachments(work: Work, tx: Tx, want: HealAttachments, failure: Failure) -> None:
    """What is not mended yet the next round tries again."""
    close_failed(tx, work.held.action, failure)


async def _known(work: Work) -> set[AttachmentId]:
    return {each.id for each in await work.cloud.volumes.attachments(work.held.server)}


async def _note(work: Work, device: BlockDevice, **values: object) -> None:
    await work.note(lambda tx: block_devices.change(tx, device, **values))


HEAL_ATTACHMENTS = Story("heal_attachments", 1, HealAttachments, heal_attachments, settle_heal_attachments, quiet=True)
