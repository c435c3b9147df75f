"""Start a stopped server: its guest is defined anew from the database and run."""

import msgspec

from renova.engine.operation import Failure, Run, Story, act, end, write
from renova.model.guest import PowerState
from renova.model.host import Right
from renova.model.ids import ServerId
from renova.model.server import TaskState, VmState
from renova.operations.cloud import Cloud
from renova.operations.parts import run_guest, volumes
from renova.operations.parts.notify import notify
from renova.operations.parts.permits import permitted, take_task
from renova.operations.parts.state import close_failed, fault
from renova.operations.stop import FOREVER
from renova.operations.submission import Asked, Submission, submit
from renova.operations.work import Work
from renova.store import actions, servers
from renova.store.database import Tx


class StartServer(msgspec.Struct, frozen=True):
    """Nothing more is needed than the server's row."""


def accept_start(cloud: Cloud, tx: Tx, asked: Asked, server_id: ServerId) -> None:
    server = permitted(tx, server_id, "start", asked)
    take_task(tx, server, "start", TaskState.POWERING_ON)
    submit(tx, cloud.operations, asked, server.id, Submission(START, "start", StartServer()))


async def start_server(run: Run, want: StartServer) -> None:
    right = await run(begin_start, want)
    power = await run(start_guest, want, right)
    await run(mark_started, want, power)


@write(patience=FOREVER)
def begin_start(work: Work, tx: Tx, want: StartServer) -> Right:
    notify(work.cloud, tx, work.held.server, "instance.power_on.start")
    actions.open_event(tx, work.held.action, "compute_start_instance", work.server_now(tx).host_name)
    return work.right_to_begin(tx)


@act(patience=FOREVER)
async def start_guest(work: Work, want: StartServer, right: Right) -> PowerState:
    await volumes.reconcile(work)
    guest = await run_guest.prepare(work, right.host, right.incarnation, must_exist=True)
    return await run_guest.bring_up(work, right.host, right.incarnation, prepared=guest)


@end()
def mark_started(work: Work, tx: Tx, want: StartServer, power: PowerState) -> None:
    servers.change(tx, work.held.server, vm_state=VmState.ACTIVE, task_state=None, power_state=power, fault=None)
    notify(work.cloud, tx, work.held.server, "instance.power_on.end")
    actions.close_events(tx, work.held.action)


def settle_start(work: Work, tx: Tx, want: StartServer, failure: Failure) -> None:
    """Leave the server stopped, with the reason."""
    servers.change(tx, work.held.server, task_state=None, fault=fault(tx, failure))
    close_failed(tx, work.held.action, failure)


START = Story("start", 1, StartServer, start_server, settle_start)
