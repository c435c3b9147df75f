"""Pause a server: its guest stands still with its memory kept, and go on with it: unpause.

A guest that is found off has lost its memory with its host or its QEMU. Nothing is left to pause then, and its
server is shown as what it is: stopped.
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


class PauseServer(msgspec.Struct, frozen=True):
    """Nothing more is needed than the server's row."""


class UnpauseServer(msgspec.Struct, frozen=True):
    """Nothing more is needed than the server's row."""


def accept_pause(cloud: Cloud, tx: Tx, asked: Asked, server_id: ServerId) -> None:
    server = permitted(tx, server_id, "pause", asked)
    take_task(tx, server, "pause", TaskState.PAUSING)
    submit(tx, cloud.operations, asked, server.id, Submission(PAUSE, "pause", PauseServer()))


async def pause_server(run: Run, want: PauseServer) -> None:
    right = await run(begin_pause, want)
    power = await run(pause_guest, want, right)
    await run(mark_paused, want, power)


@write(patience=FOREVER)
def begin_pause(work: Work, tx: Tx, want: PauseServer) -> Right:
    notify(work.cloud, tx, work.held.server, "instance.pause.start")
    actions.open_event(tx, work.held.action, "compute_pause_instance", work.server_now(tx).host_name)
    return work.right_here(tx)


@act(patience=FOREVER)
async def pause_guest(work: Work, want: PauseServer, right: Right) -> PowerState:
    return await run_guest.pause(work, right.host, right.incarnation)


@end()
def mark_paused(work: Work, tx: Tx, want: PauseServer, power: PowerState) -> None:
    if power is not PowerState.PAUSED:
        note_found_off(tx, work.held, power)
        return
    servers.change(tx, work.held.server, vm_state=VmState.PAUSED, task_state=None, power_state=power, fault=None)
    notify(work.cloud, tx, work.held.server, "instance.pause.end")
    actions.close_events(tx, work.held.action)


def settle_pause(work: Work, tx: Tx, want: PauseServer, failure: Failure) -> None:
    """Leave the server as it was, with the reason."""
    leave_as_it_was(tx, work.held, failure)


def accept_unpause(cloud: Cloud, tx: Tx, asked: Asked, server_id: ServerId) -> None:
    server = permitted(tx, server_id, "unpause", asked)
    take_task(tx, server, "unpause", TaskState.UNPAUSING)
    submit(tx, cloud.operations, asked, server.id, Submission(UNPAUSE, "unpause", UnpauseServer()))


async def unpause_server(run: Run, want: UnpauseServer) -> None:
    right = await run(begin_unpause, want)
    power = await run(unpause_guest, want, right)
    await run(mark_unpaused, want, power)


@write(patience=FOREVER)
def begin_unpause(work: Work, tx: Tx, want: UnpauseServer) -> Right:
    notify(work.cloud, tx, work.held.server, "instance.unpause.start")
    actions.open_event(tx, work.held.action, "compute_unpause_instance", work.server_now(tx).host_name)
    return work.right_here(tx)


@act(patience=FOREVER)
async def unpause_guest(work: Work, want: UnpauseServer, right: Right) -> PowerState:
    return await run_guest.unpause(work, right.host, right.incarnation)


@end()
def mark_unpaused(work: Work, tx: Tx, want: UnpauseServer, power: PowerState) -> None:
    if power is not PowerState.RUNNING:
        note_found_off(tx, work.held, power)
        return
    servers.change(tx, work.held.server, vm_state=VmState.ACTIVE, task_state=None, power_state=power, fault=None)
    notify(work.cloud, tx, work.held.server, "instance.unpause.end")
    actions.close_events(tx, work.held.action)


def settle_unpause(work: Work, tx: Tx, want: UnpauseServer, failure: Failure) -> None:
    """Leave the server as it was, with the reason."""
    leave_as_it_was(tx, work.held, failure)


PAUSE = Story("pause", 1, PauseServer, pause_server, settle_pause)
UNPAUSE = Story("unpause", 1, UnpauseServer, unpause_server, settle_unpause)
