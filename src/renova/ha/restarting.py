"""Starts guests again that crashed or hang, or whose QEMU was killed, where their servers are to be recovered.

One controller at a time does it, by its post. A crash is written down with the report of it (`operations.report`), and
its server is stopped, as in Nova. A monitor may say of a guest that it has failed while it seems to run
(`ha.ailing_servers`): that counts as a crash, too. The first time it is started again at once, then after pauses that
double; one that goes on crashing is given up, and says so. Whatever anybody asks of it meanwhile is his decision.

A guest that hangs counts as one that crashed, but its server stays active until it is started again. Its host is asked
once more right before that: one that answers again is left alone, and the hang does not count.

One whose storage stays away is not touched, and tried again a while later, for as long as it takes.
"""

import asyncio
from dataclasses import dataclass
from functools import partial

import structlog
from msgspec.structs import replace

from renova.engine.executor import Executor
from renova.ha.attending import attend
from renova.ha.wishes import Policy, wishes_for
from renova.model.clock import between
from renova.model.errors import CloudError, Refused, whole
from renova.model.guest import FoundGuest, PowerState
from renova.model.ids import HostId, ServerId
from renova.model.server import Fault, Server, VmState
from renova.operations.cloud import Cloud
from renova.operations.reboot import accept_reboot
from renova.operations.submission import for_owner
from renova.settings import RecoverySettings
from renova.store import cluster, drains, posts, restarts, rights, servers
from renova.store.database import Tx
from renova.store.restarts import Crash

log = structlog.get_logger()

POST = "restarts"
ANSWER_S = 12.0  # seconds in which hosts have to say whether their guests still hang: they ask the guests
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
        known = await self.cloud.database.read(restarts.pending)
        for crash in known:
            if not crash.hung:
                await self._settle(crash, None)
        hung = [crash for crash in known if crash.hung]
        found = await self._look_at(hung) if hung else {}
        for crash in hung:
            await self._settle(crash, found.get(crash.server))

    async def _settle(self, crash: Crash, found: FoundGuest | None) -> None:
        try:
            await self.cloud.database.transact(partial(self._decide, seen=crash, found=found))
        except Refused as error:  # such as for something else that is being done to the server
            log.info("guest not restarted yet", server=crash.server, reason=whole(error))

    async def _look_at(self, hung: list[Crash]) -> dict[ServerId, FoundGuest]:
        """Return, of those whose turn has come, how their hosts find them now; without those that say so too late."""

        async def ask(server: ServerId, host: HostId) -> FoundGuest | None:
            try:
                return await self.cloud.agents.guest(host, server)
            except CloudError as error:  # whatever is amiss at that host
                log.info("hung guest not looked at", server=server, reason=whole(error))
                return None

        def their_turn(tx: Tx) -> dict[ServerId, HostId]:
            rows = [(crash, servers.get(tx, crash.server)) for crash in hung]
            return {row.id: row.host for crash, row in rows if row and row.host and self._its_turn(tx, row, crash)}

        turns = await self.cloud.database.read(their_turn)
        asked = [asyncio.create_task(ask(server, host)) for server, host in turns.items()]
        try:
            # Crashed ones wait for this. Who was too late is asked again at the next look; his host goes on asking him.
            done = (await asyncio.wait(asked, timeout=ANSWER_S))[0] if asked else set[asyncio.Task[FoundGuest | None]]()
        finally:
            for task in asked:
                task.cancel()
        return {guest.server: guest for task in done if (guest := task.result()) is not None}

    def _decide(self, tx: Tx, seen: Crash, found: FoundGuest | None) -> None:
        if not posts.holds(tx, POST, self.me.id) or cluster.get(tx).hold is not None:
            return
        server, crash = servers.get(tx, seen.server), restarts.get(tx, seen.server)
        if server is None:
            restarts.forget(tx, seen.server)
            return
        if crash is None or not crash.pending or (crash.crashed_at, crash.hung) != (seen.crashed_at, seen.hung):
            return  # somebody has decided it, or it has crashed again
        if crash.hung and server.vm_state is VmState.STOPPED and server.power_state is PowerState.CRASHED:
            crash = replace(crash, hung=False)  # noted by a controller of a release that knows of no hangs
        followed = (VmState.ACTIVE,) if crash.hung else FOLLOWED  # one that powered itself off hangs no more
        if server.last_number != crash.number or server.vm_state not in followed or unwished(self.cloud, tx, server):
            restarts.settle(tx, crash)
            return
        if server.task_state is not None:
            return  # such as for its stop, by who found it crashed
        given_up = pause(crash.crashes, self.cloud.settings.recovery) is None
        at_once = given_up and not crash.hung
        if not at_once and not self._its_turn(tx, server, crash):
            return
        if crash.hung:
            right = rights.right(tx, server.id)
            if found is None or right is None or found.incarnation != right.incarnation:
                return
            if not found.hung:
                restarts.take_back(tx, crash)
                tx.then(lambda: log.info("guest left alone, for it hangs no more", server=server.id))
                return
        if not restarts.settle(tx, crash):
            return
        how = "hung" if crash.hung else "crashed"
        if given_up:
            reason = f"its guest {how} {crash.crashes} times in a row, and is not started again by itself"
            servers.change(tx, server.id, fault=Fault(code=500, message=reason, created=tx.now))
            tx.then(lambda: log.error("guest given up", server=server.id, crashes=crash.crashes, how=how))
            return
        asked = for_owner(server, self.cloud.chance)
        accept_reboot(self.cloud, tx, asked, server.id, hard=True, why=f"its guest {how}")
        tx.then(lambda: log.warning("guest started again", server=server.id, crashes=crash.crashes, how=how))

    def _its_turn(self, tx: Tx, server: Server, crash: Crash) -> bool:
        """Say whether its pause is over, and nothing is in the way of looking after it now."""
        if server.last_number != crash.number or server.task_state is not None:
            return False
        if server.host is None or not self.cloud.hosts.up(server.host):
            return False
        if crash.hung and drains.get(tx, server.host) is not None:
            return False  # somebody is to work there: a guest may stand still for that, or is about to leave
        if crash.not_before is not None and tx.now < crash.not_before:
            return False
        wait_s = pause(crash.crashes, self.cloud.settings.recovery) or 0.0
        since_s = between(crash.crashed_at, tx.now)
        return since_s is None or not 0 <= since_s < wait_s


def unwished(cloud: Cloud, tx: Tx, server: Server) -> str | None:
    """Say why the server's guest is not to be started again by itself; None where it is."""
    settings = cloud.settings.recovery
    if not (settings.automatic and settings.restarts):
        return "the settings recovery.automatic and recovery.restarts have no guest restarted by itself"
    host = cloud.fleet.board(tx).view(server.host) if server.host else None
    wanted = wishes_for(server, host, Policy(settings.default))
    return None if wanted.policy is Policy.RECOVER else f"the server is to be left as it is: {wanted.said_by}"
