"""Suspend a server: its memory is saved on its host and its guest is off, and go on with it: resume.

The memory belongs to the disk as it is then, and to this incarnation of the guest: a boot, a hard reboot, a rebuild
or another host drops it. A server whose memory is gone boots when it is resumed, as after a power cut.
"""

import msgspec

from renova.engine.operation import Failure, Run, Story, act, end, write
from renova.model.guest import PowerState
from renova.model.host import Right
from renova.model.ids import ServerId
from renova.model.server import TaskState, VmState
from renova.operations.cloud import Cloud
from renova.operations.parts import run_guest
from renova.operations.parts.notify import notify
from renova.operations.parts.permits import permitted, take_task
from renova.operations.parts.state import leave_as_it_was, note_found_off
from renova.operations.stop import FOREVER
from renova.operations.submission import Asked, Submission, submit
from renova.operations.work import Work
from renova.store import actions, servers
from renova.store.database import Tx


class SuspendServer(msgspec.Struct, frozen=True):
    """Nothing more is needed than the server's row."""


class ResumeServer(msgspec.Struct, frozen=True):
    """Nothing more is needed than the server's row."""


def accept_suspend(cloud: Cloud, tx: Tx, asked: Asked, server_id: ServerId) -> None:
    server = permitted(tx, server_id, "suspend", asked)
    take_task(tx, server, "suspend", TaskState.SUSPENDING)
    submit(tx, cloud.operations, asked, server.id, Submission(SUSPEND, "suspend", SuspendServer()))


async def suspend_server(run: Run, want: SuspendServer) -> None:
    right = await run(begin_suspend, want)
    saved = await run(suspend_guest, want, right)
    await run(mark_suspended, want, saved)


@write(patience=FOREVER)
def begin_suspend(work: Work, tx: Tx, want: SuspendServer) -> Right:
    notify(work.cloud, tx, work.held.server, "instance.suspend.start")
    actions.open_event(tx, work.held.action, "compute_suspend_instance", work.server_now(tx).host_name)
    return work.right_here(tx)


@act(patience=FOREVER)
async def suspend_guest(work: Work, want: SuspendServer, right: Right) -> bool:
    """Save the guest's memory; False when it was found off, and had none."""
    return await run_guest.suspend(work, right.host, right.incarnation)


@end()
def mark_suspended(work: Work, tx: Tx, want: SuspendServer, saved: bool) -> None:
    if not saved:
        note_found_off(tx, work.held, PowerState.SHUTDOWN)
        return
    servers.change(
        tx, work.held.server, vm_state=VmState.SUSPENDED, task_state=None, power_state=PowerState.SHUTDOWN, fault=None
    )
    notify(work.cloud, tx, work.held.server, "instance.suspend.end")
    actions.close_events(tx, work.held.action)


def settle_suspend(work: Work, tx: Tx, want: SuspendServer, failure: Failure) -> None:
    """Leave the server as it was, with the reason: a guest that cannot be saved runs on."""
    leave_as_it_was(tx, work.held, failure)


def accept_resume(cloud: Cloud, tx: Tx, asked: Asked, server_id: ServerId) -> None:
    server = permitted(tx, server_id, "resume", asked)
    take_task(tx, server, "resume", TaskState.RESUMING)
    submit(tx, cloud.operations, asked, server.id, Submission(RESUME, "resume", ResumeServer()))


async def resume_server(run: Run, want: ResumeServer) -> None:
    right = await run(begin_resume, want)
    power = await run(resume_guest, want, right)
    await run(mark_resumed, want, power)


@write(patience=FOREVER)
def begin_resume(work: Work, tx: Tx, want: ResumeServer) -> Right:
    notify(work.cloud, tx, work.held.server, "instance.resume.start")
    actions.open_event(tx, work.held.action, "compute_resume_instance", work.server_now(tx).host_name)
    return work.right_here(tx)


@act(patience=FOREVER)
async def resume_guest(work: Work, want: ResumeServer, right: Right) -> PowerState:
    return await run_guest.resume(work, right.host, right.incarnation)


@end()
def mark_resumed(work: Work, tx: Tx, want: ResumeServer, power: PowerState) -> None:
    servers.change(tx, work.held.server, vm_state=VmState.ACTIVE, task_state=None, power_state=power, fault=None)
    notify(work.cloud, tx, work.held.server, "instance.resume.end")
    actions.close_events(tx, work.held.action)


def settle_resume(work: Work, tx: Tx, want: ResumeServer, failure: Failure) -> None:
    """Leave the server suspended, with the reason; a hard reboot starts it without its memory."""
    leave_as_it_was(tx, work.held, failure)


SUSPEND = Story("suspend", 1, SuspendServer, suspend_server, settle_suspend)
RESUME = Story("resume", 1, ResumeServer, resume_server, settle_resume)
