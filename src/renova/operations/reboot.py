"""Reboot a server, softly or hard (spec: reboot).

Soft: the guest is asked to restart, and rebooted hard when it does not heed in time. Hard: the guest is ended and
built anew from the database, with its disks kept: the repair for everything but data. A hard reboot may be asked for
over a soft one that hangs; it supersedes it. A host that is away is waited for, as in Nova.

Until everything the new guest needs is there, the old one is not touched: a reboot that fails before leaves it running
and its server active.
"""

import msgspec
import structlog

from renova.engine.operation import Failure, Run, Story, act, end, write
from renova.model.clock import later
from renova.model.errors import Broken, Refused, Stale, details_of
from renova.model.guest import LIVES, PowerState
from renova.model.host import Right
from renova.model.ids import ServerId
from renova.model.server import AttachedNetwork, TaskState, VmState
from renova.operations.clear_away import have_cleared_away
from renova.operations.cloud import Cloud
from renova.operations.create_image import CREATE_IMAGE
from renova.operations.delete import DELETE
from renova.operations.evacuate import EVACUATE
from renova.operations.migrate import MIGRATE
from renova.operations.migrate_live import MIGRATE_LIVE
from renova.operations.parts import run_guest, volumes
from renova.operations.parts.guest import attached_networks, bind_all_ports, current_guest
from renova.operations.parts.notify import notify
from renova.operations.parts.permits import permitted, take_task
from renova.operations.parts.state import close_failed, fault
from renova.operations.parts.storage_wait import StorageStaysAway, with_storage
from renova.operations.rebuild import leaves_other_disks, take_back_rebuild
from renova.operations.stop import FOREVER
from renova.operations.submission import Asked, Submission, submit, supersede
from renova.operations.work import Work
from renova.store import actions, restarts, servers
from renova.store.database import Tx
from renova.wire.acts import SoftReboot
from renova.wire.results import Rebooted

log = structlog.get_logger()

# By a reboot: the task state says so, unless an administrator has reset it. Of a move only its own end knows where the
# server is to be.
NOT_CUT_OFF = (EVACUATE, DELETE, CREATE_IMAGE, MIGRATE, MIGRATE_LIVE)


class RebootServer(msgspec.Struct, frozen=True):
    """Which kind, and how many seconds a guest is given to restart by itself; why, where nobody asked for it."""

    hard: bool
    wait_s: float
    why: str | None = None


class Restarted(msgspec.Struct, frozen=True):
    """How it ended: the guest's power state as it really is; and why, where it could not be restarted.

    `untouched`: not even its former guest was ended, for the storage of its volumes stayed away.
    """

    power: PowerState
    refused: str | None = None
    untouched: bool = False
    details: str = ""  # of the reason, for operators


def accept_reboot(
    cloud: Cloud, tx: Tx, asked: Asked, server_id: ServerId, *, hard: bool, why: str | None = None
) -> None:
    """Have it rebooted; `why` stands in the history of the server, with what is done for it."""
    action = "reboot HARD" if hard else "reboot SOFT"
    server = permitted(tx, server_id, action, asked)
    take_task(tx, server, action, TaskState.REBOOTING_HARD if hard else TaskState.REBOOTING)
    other_disks = hard and leaves_other_disks(tx, server.id)
    if hard:
        take_back_rebuild(tx, server.id)  # one that an administrator has reset the state of
        supersede(tx, cloud.operations, server.id, "superseded by a hard reboot", sparing=NOT_CUT_OFF)
    want = RebootServer(hard, cloud.settings.soft_reboot_wait, why)
    submit(tx, cloud.operations, asked, server.id, Submission(REBOOT, "reboot", want))
    have_cleared_away(cloud, tx, server, other_disks=other_disks)


async def reboot_server(run: Run, want: RebootServer) -> None:
    right = await run(begin_reboot, want)
    networks = await run(mend_ports, want)
    await run(note_started, want, networks)
    heeded = False
    if not want.hard:
        heeded = await run(ask_guest, want, right)
    restarted = Restarted(PowerState.RUNNING)
    if not heeded:
        restarted = await run(restart_guest, want, right)
    await run(conclude, want, restarted)


@write(patience=FOREVER)
def begin_reboot(work: Work, tx: Tx, want: RebootServer) -> Right:
    notify(work.cloud, tx, work.held.server, "instance.reboot.start")
    server = work.server_now(tx)
    servers.change(tx, server.id, task_state=TaskState.REBOOT_PENDING_HARD if want.hard else TaskState.REBOOT_PENDING)
    actions.open_event(tx, work.held.action, "compute_reboot_instance", server.host_name, want.why)
    return work.right_to_begin(tx, server)


@act()
async def mend_ports(work: Work, want: RebootServer) -> tuple[AttachedNetwork, ...]:
    """Read the server's ports and volumes anew and have the ports bound here, whatever went wrong before."""
    await volumes.reconcile(work)
    server = await work.server()
    await bind_all_ports(work, server.host_name or "")
    return await attached_networks(work)


@write()
def note_started(work: Work, tx: Tx, want: RebootServer, networks: tuple[AttachedNetwork, ...]) -> None:
    # A soft reboot keeps its own task states to the end, even when it comes to a hard one.
    started = TaskState.REBOOT_STARTED_HARD if want.hard else TaskState.REBOOT_STARTED
    servers.change(tx, work.held.server, task_state=started, networks=networks)


@act(patience=FOREVER)
async def ask_guest(work: Work, want: RebootServer, right: Right) -> bool:
    """Ask the guest to restart; False when it did not heed in time, or could not be started again that way."""
    await volumes.reconcile(work)
    guest = await current_guest(work, right.incarnation)
    ask = SoftReboot(guest=guest, wait_s=want.wait_s)
    try:
        result = await with_storage(work, lambda: work.command(right.host, right.incarnation, ask))
    except (Refused, Broken):
        log.info("soft reboot failed, rebooting hard", exc_info=True)
        return False
    assert isinstance(result, Rebooted)
    return result.done


@act(patience=FOREVER)
async def restart_guest(work: Work, want: RebootServer, right: Right) -> Restarted:
    """End the guest, and build it anew from the database on the disks it has; cached images are fetched if lost."""
    try:
        try:
            guest = await run_guest.prepare(work, right.host, right.incarnation, must_exist=True)
        except StorageStaysAway as error:
            power = await run_guest.power_at(work, right.host)
            return Restarted(power, refused=str(error), untouched=True, details=details_of(error))
        await run_guest.stop(work, right.host, right.incarnation, 0, for_good=False, restarts=True)
        return Restarted(await run_guest.bring_up(work, right.host, right.incarnation, prepared=guest))
    except (Refused, Broken) as error:
        log.warning("guest not restarted", host=right.host, exc_info=True)
        power = await run_guest.power_at(work, right.host)
        if not isinstance(error, Stale):  # else whoever gave the newer order settles them, and may have done so by now
            await work.cloud.networks.settle(work.held.server, active=power is PowerState.RUNNING)
        return Restarted(power, refused=str(error), details=details_of(error))


@end()
def conclude(work: Work, tx: Tx, want: RebootServer, restarted: Restarted) -> None:
    """End active, even where the reboot failed but the guest still runs; else in ERROR (spec: reboot, section 7).

    The disks are whole, and a hard reboot may be tried again.
    """
    failure = None
    if restarted.refused is not None:
        failure = Failure(restarted.refused, "Refused", "", restart_guest.name, restarted.details)
    if restarted.untouched and failure is not None:
        _leave_untouched(work, tx, want, restarted.power, failure)
        return
    runs = failure is None or restarted.power is PowerState.RUNNING
    servers.change(
        tx,
        work.held.server,
        vm_state=VmState.ACTIVE if runs else VmState.ERROR,
        task_state=None,
        power_state=restarted.power,
        fault=fault(tx, failure) if failure else None,
    )
    if failure is not None:
        notify(work.cloud, tx, work.held.server, "instance.reboot.error", failure)
    if runs:
        notify(work.cloud, tx, work.held.server, "instance.reboot.end")
        actions.close_events(tx, work.held.action)
    elif failure is not None:
        close_failed(tx, work.held.action, failure)


def _leave_untouched(work: Work, tx: Tx, want: RebootServer, power: PowerState, failure: Failure) -> None:
    """Leave the server as it was, which is true unless its guest was to be there and is not: as after a power cut."""
    server = work.server_now(tx)
    gone = server.vm_state in (VmState.ACTIVE, VmState.PAUSED) and power not in LIVES
    vm_state = VmState.ERROR if gone else server.vm_state
    servers.change(tx, server.id, vm_state=vm_state, task_state=None, power_state=power, fault=fault(tx, failure))
    notify(work.cloud, tx, server.id, "instance.reboot.error", failure)
    close_failed(tx, work.held.action, failure)
    crash = restarts.get(tx, server.id) if want.why is not None else None
    if crash is not None and not crash.pending:
        # Nobody asked for it, so nobody would ask again. What was asked since has a higher number, and counts instead.
        restarts.take_up_again(tx, crash, work.held.number, later(tx.now, work.cloud.settings.recovery.again))


def settle_reboot(work: Work, tx: Tx, want: RebootServer, failure: Failure) -> None:
    """Leave the server as it was, with the reason; in ERROR, should nobody know what became of its guest."""
    lost = {}
    if failure.step in (ask_guest.name, restart_guest.name):
        lost = {"vm_state": VmState.ERROR, "power_state": PowerState.NOSTATE}
    servers.change(tx, work.held.server, task_state=None, fault=fault(tx, failure), **lost)
    notify(work.cloud, tx, work.held.server, "instance.reboot.error", failure)
    close_failed(tx, work.held.action, failure)


REBOOT = Story("reboot", 1, RebootServer, reboot_server, settle_reboot)
