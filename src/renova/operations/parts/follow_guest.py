"""Follow what a guest has done by itself while an operation was under way that has left it alone, or put it back."""

from functools import partial

import structlog

from renova.model.errors import Broken, NotNow, Refused, whole
from renova.model.guest import LIVES, PowerState
from renova.model.ids import HostId
from renova.operations.parts import run_guest
from renova.operations.report import follow_unheard
from renova.operations.work import Work
from renova.store import rights
from renova.store.database import Tx

log = structlog.get_logger()


async def follow_guest(work: Work, home: HostId) -> None:
    """Note how the server's guest is at its home, where nobody wanted it off; its reports did not count meanwhile."""
    try:
        power = await run_guest.power_at(work, home)
    except (NotNow, Refused, Broken) as error:  # when its host is heard again, it says so by itself
        log.info("guest not followed", host=home, reason=whole(error))
        return
    if await work.note(partial(_follow, work, home=home, power=power)):
        await work.cloud.networks.settle(work.held.server, active=False)


def _follow(work: Work, tx: Tx, home: HostId, power: PowerState) -> bool:
    """Say whether it has ended by itself, be it that this was noted before."""
    server, right = work.server_now(tx), rights.right(tx, work.held.server)
    if right is None or right.host != home:
        return False
    if server.power_state in LIVES:
        follow_unheard(work.cloud, tx, server, power)
    return power not in LIVES
