"""Bind a server's ports to its host again where they came to be bound elsewhere, and have them up if its guest is.

Asked for where a transaction notes by itself that a guest is off, or elsewhere, and by `duties.port_bindings`. An
operation, so that no controller's death forgets it, and none other is under way meanwhile: an evacuation that begins
binds them last, and a guest that is started again has its ports up.
"""

import msgspec

from renova.engine.operation import Failure, Run, Story, act, end, write
from renova.model.ids import ServerId
from renova.model.server import Server, VmState
from renova.operations.cloud import Cloud
from renova.operations.parts.guest import bind_all_ports
from renova.operations.parts.state import close_failed
from renova.operations.submission import Asked, Submission, for_owner, submit
from renova.operations.work import Work
from renova.store import actions, operations
from renova.store.database import Tx

UP = {VmState.ACTIVE: True, VmState.PAUSED: True, VmState.STOPPED: False, VmState.SUSPENDED: False}


class HealPorts(msgspec.Struct, frozen=True):
    """Nothing more is needed than the server's row."""


def accept_heal_ports(cloud: Cloud, tx: Tx, asked: Asked, server_id: ServerId) -> None:
    """Have the ports bound; `Conflict` when another operation is under way."""
    submit(tx, cloud.operations, asked, server_id, Submission(HEAL_PORTS, "heal_ports", HealPorts()))


def have_ports_follow(cloud: Cloud, tx: Tx, server: Server) -> None:
    """Have the ports follow what this transaction notes of the server; whatever is under way on it settles them itself.

    In its owner's name, as nobody else asked for it.
    """
    held = operations.active(tx, server.id)
    if held is None or held.quiet:
        asked = for_owner(server, cloud.chance)
        accept_heal_ports(cloud, tx, asked, server.id)


async def heal_ports(run: Run, want: HealPorts) -> None:
    await run(begin_healing, want)
    await run(bind_ports, want)
    await run(mark_healed, want)


@write()
def begin_healing(work: Work, tx: Tx, want: HealPorts) -> None:
    actions.open_event(tx, work.held.action, "compute_heal_ports", work.server_now(tx).host_name)


@act()
async def bind_ports(work: Work, want: HealPorts) -> None:
    server = await work.server()
    if server.host_name is not None:
        await bind_all_ports(work, server.host_name)
        if server.vm_state in UP:
            await work.cloud.networks.settle(server.id, active=UP[server.vm_state])


@end()
def mark_healed(work: Work, tx: Tx, want: HealPorts) -> None:
    actions.close_events(tx, work.held.action)


def settle_heal_ports(work: Work, tx: Tx, want: HealPorts, failure: Failure) -> None:
    """Nothing of the server has changed; the next round tries again."""
    close_failed(tx, work.held.action, failure)


HEAL_PORTS = Story("heal_ports", 1, HealPorts, heal_ports, settle_heal_ports, quiet=True)
