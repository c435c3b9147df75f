"""Stop a server: its guest is asked to power off, and forced when it does not heed in time."""

import msgspec

from renova.engine.operation import Failure, Run, Story, act, end, write
from renova.model.errors import Conflict
from renova.model.guest import PowerState
from renova.model.host import Right
from renova.model.ids import ServerId
from renova.model.server import TaskState, VmState
from renova.operations.cloud import Cloud
from renova.operations.parts import run_guest
from renova.operations.parts.notify import notify
from renova.operations.parts.permits import permitted, take_task
from renova.operations.parts.state import close_failed, fault, get_server
from renova.operations.submission import Asked, Submission, submit
from renova.operations.work import Work
from renova.store import actions, servers
from renova.store.database import Tx

FOREVER = float("inf")  # a host that is away is waited for, as in Nova; evacuating the server supersedes the wait


class StopServer(msgspec.Struct, frozen=True):
    """How long the guest is given, in seconds, and how to leave the server should it fail."""

    wait_s: float


def accept_stop(cloud: Cloud, tx: Tx, asked: Asked, server_id: ServerId) -> None:
    server = permitted(tx, server_id, "stop", asked)
    take_task(tx, server, "stop", TaskState.POWERING_OFF)
    submit(tx, cloud.operations, asked, server.id, Submission(STOP, "stop", StopServer(cloud.settings.shutdown_wait)))


def force_stop(cloud: Cloud, tx: Tx, asked: Asked, server_id: ServerId) -> None:
    """Have a server's guest off at once, whatever the server's state: it should not run. `Conflict` if it is busy."""
    server = get_server(tx, server_id)
    if not servers.swap_task(tx, server.id, (None,), TaskState.POWERING_OFF):
        raise Conflict(f"Cannot 'stop' instance {server.id} while it is in task_state {server.task_state}")
    submit(tx, cloud.operations, asked, server.id, Submission(STOP, "stop", StopServer(0)))


async def stop_server(run: Run, want: StopServer) -> None:
    right = await run(begin_stop, want)
    await run(stop_guest, want, right)
    await run(mark_stopped, want)


@write(patience=FOREVER)
def begin_stop(work: Work, tx: Tx, want: StopServer) -> Right:
    notify(work.cloud, tx, work.held.server, "instance.power_off.start")
    actions.open_event(tx, work.held.action, "compute_stop_instance", work.server_now(tx).host_name)
    return work.right_here(tx)


@act(patience=FOREVER)
async def stop_guest(work: Work, want: StopServer, right: Right) -> None:
    await run_guest.stop(work, right.host, right.incarnation, want.wait_s)


@end()
def mark_stopped(work: Work, tx: Tx, want: StopServer) -> None:
    servers.change(
        tx, work.held.server, vm_state=VmState.STOPPED, task_state=None, power_state=PowerState.SHUTDOWN, fault=None
    )
    notify(work.cloud, tx, work.held.server, "instance.power_off.end")
    actions.close_events(tx, work.held.action)


def settle_stop(work: Work, tx: Tx, want: StopServer, failure: Failure) -> None:
    """Leave the server as it was, with the reason."""
    servers.change(tx, work.held.server, task_state=None, fault=fault(tx, failure))
    close_failed(tx, work.held.action, failure)


STOP = Story("stop", 1, StopServer, stop_server, settle_stop)
