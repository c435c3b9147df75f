"""Have a server's guest up again where its host has booted, and nobody knows whether the guest ended with that.

Asked for by `resume`. Only an operation that is under way knows whether it has yet to start the guest, or had done so
before the boot: so it is waited for, and then the host is asked. An operation, so that none other is under way
meanwhile.
"""

import msgspec
import structlog

from renova.engine.operation import Failure, Run, Story, act, end, write
from renova.model.guest import LIVES, PowerState
from renova.model.ids import ServerId
from renova.model.server import Server, VmState
from renova.operations.cloud import Cloud
from renova.operations.heal_ports import have_ports_follow
from renova.operations.parts import run_guest
from renova.operations.parts.state import close_failed
from renova.operations.reboot import NOT_CUT_OFF, accept_reboot
from renova.operations.submission import Asked, Submission, for_owner, submit, under_way
from renova.operations.work import Work
from renova.store import actions, operations, rights, servers
from renova.store.database import Tx

log = structlog.get_logger()


class HealGuest(msgspec.Struct, frozen=True):
    """Nothing more is needed than the server's row."""


def accept_heal_guest(cloud: Cloud, tx: Tx, asked: Asked, server_id: ServerId) -> None:
    """Have the guest looked at when the operation that is under way has ended, if that is not asked for already."""
    if any(held.story == HEAL_GUEST.name for held in operations.queued(tx, server_id)):
        return
    submit(tx, cloud.operations, asked, server_id, Submission(HEAL_GUEST, "heal_guest", HealGuest()), waits=True)


def bring_back(cloud: Cloud, tx: Tx, server: Server) -> None:
    """Have an active server, whose guest is known to be gone, rebooted in its owner's name; or stopped, where it is
    not to start by itself.

    One with a task is left to its operation, which goes on by itself, also where an administrator has reset the task;
    a suspended one has its memory on disk.
    """
    if server.task_state is not None or server.vm_state not in (VmState.ACTIVE, VmState.PAUSED):
        return
    if under_way(tx, server.id, NOT_CUT_OFF):
        return
    # What stood still has lost the memory it was paused for.
    if server.vm_state is VmState.PAUSED or not cloud.settings.resume_guests_on_boot:
        servers.change(tx, server.id, vm_state=VmState.STOPPED, power_state=PowerState.SHUTDOWN)
        have_ports_follow(cloud, tx, server)
        return
    asked = for_owner(server, cloud.chance)
    accept_reboot(cloud, tx, asked, server.id, hard=True)
    log.info("server resumes", server=server.id, host=server.host_name)


async def heal_guest(run: Run, want: HealGuest) -> None:
    await run(begin_healing, want)
    power = await run(ask_host, want)
    await run(mark_healed, want, power)


@write()
def begin_healing(work: Work, tx: Tx, want: HealGuest) -> None:
    actions.open_event(tx, work.held.action, "compute_heal_guest", work.server_now(tx).host_name)


@act()
async def ask_host(work: Work, want: HealGuest) -> PowerState:
    """Return the power state of the guest as it is on the server's host."""
    server = await work.server()
    return server.power_state if server.host is None else await run_guest.power_at(work, server.host)


@end()
def mark_healed(work: Work, tx: Tx, want: HealGuest, power: PowerState) -> None:
    """Have a guest that is off brought back by what waits behind this."""
    server, right = work.server_now(tx), rights.right(tx, work.held.server)
    if power not in LIVES and right is not None and right.host == server.host:
        servers.change(tx, server.id, power_state=power)  # whatever the operation had noted
        bring_back(work.cloud, tx, server)
    actions.close_events(tx, work.held.action)


def settle_heal_guest(work: Work, tx: Tx, want: HealGuest, failure: Failure) -> None:
    """Nothing of the server has changed: a host that stays away is followed when it is back."""
    close_failed(tx, work.held.action, failure)


HEAL_GUEST = Story("heal_guest", 1, HealGuest, heal_guest, settle_heal_guest, quiet=True)
