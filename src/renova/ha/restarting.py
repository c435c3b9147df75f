"""Starts guests again that crashed, or whose QEMU was killed, where their servers are to be recovered.

One controller at a time does it, by its post. A crash is written down with the report of it (`operations.report`), and
its server is stopped, as in Nova. A monitor may say of a guest that it has failed while it seems to run
(`ha.ailing_servers`): that counts as a crash, too. The first time it is started again at once, then after pauses that
double; one that goes on crashing is given up, and says so. Whatever anybody asks of it meanwhile is his decision.
"""

from dataclasses import dataclass
from functools import partial

import structlog

from renova.engine.executor import Executor
from renova.ha.attending import attend
from renova.ha.wishes import Policy, wishes_for
from renova.model.clock import between
from renova.model.errors import Refused
from renova.model.server import Fault, Server, VmState
from renova.operations.cloud import Cloud
from renova.operations.reboot import accept_reboot
from renova.operations.submission import for_owner
from renova.settings import RecoverySettings
from renova.store import cluster, posts, restarts, servers
from renova.store.database import Tx
from renova.store.restarts import Crash

log = structlog.get_logger()

POST = "restarts"
FOLLOWED = (VmState.STOPPED, VmState.ACTIVE)  # active is one of whose guest somebody else says that it has failed


def pause(crashes: int, settings: RecoverySettings) -> float | None:
    """Return for how many seconds a guest stays off after so many crashes in a row; None: it is given up."""
    if crashes > settings.restarts:
        return None
    return 0.0 if crashes <= 1 else settings.restart_pause * 2.0 ** (crashes - 2)


@dataclass(slots=True)
class Restarter:
    """One controller's part in it."""

    cloud: Cloud
    me: Executor

    async def serve(self) -> None:
        """Start guests again until cancelled."""
        settings = self.cloud.settings.recovery
        if settings.automatic and settings.restarts:
            await attend(self.cloud, self.me, POST, self.look)

    async def look(self) -> None:
        """Decide of each crash whether its guest is started again now, later or never."""
        for crash in await self.cloud.database.read(restarts.pending):
            try:
                await self.cloud.database.transact(partial(self._decide, crash=crash))
            except Refused as error:  # such as for something else that is being done to the server
                log.info("guest not restarted yet", server=crash.server, reason=str(error))

    def _decide(self, tx: Tx, crash: Crash) -> None:
        if not posts.holds(tx, POST, self.me.id) or cluster.get(tx).hold is not None:
            return
        server = servers.get(tx, crash.server)
        if server is None:
            restarts.forget(tx, crash.server)
            return
        if server.last_number != crash.number or server.vm_state not in FOLLOWED or unwished(self.cloud, tx, server):
            restarts.settle(tx, crash)
            return
        if server.task_state is not None:
            return  # such as for its stop, by who found it crashed
        wait_s = pause(crash.crashes, self.cloud.settings.recovery)
        if wait_s is None:
            if restarts.settle(tx, crash):
                reason = f"its guest crashed {crash.crashes} times in a row, and is not started again by itself"
                servers.change(tx, server.id, fault=Fault(code=500, message=reason, created=tx.now))
                tx.then(lambda: log.error("guest given up", server=server.id, crashes=crash.crashes))
            return
        since_s = between(crash.crashed_at, tx.now)
        its_turn = since_s is None or not 0 <= since_s < wait_s
        if not its_turn or server.host is None or not self.cloud.hosts.up(server.host):
            return
        if restarts.settle(tx, crash):
            asked = for_owner(server, self.cloud.chance)
            accept_reboot(self.cloud, tx, asked, server.id, hard=True)
            tx.then(lambda: log.warning("guest started again", server=server.id, crashes=crash.crashes))


def unwished(cloud: Cloud, tx: Tx, server: Server) -> str | None:
    """Say why the server's guest is not to be started again by itself; None where it is."""
    settings = cloud.settings.recovery
    if not (settings.automatic and settings.restarts):
        return "the settings recovery.automatic and recovery.restarts have no guest restarted by itself"
    host = cloud.fleet.board(tx).view(server.host) if server.host else None
    wanted = wishes_for(server, host, Policy(settings.default))
    return None if wanted.policy is Policy.RECOVER else f"the server is to be left as it is: {wanted.said_by}"
