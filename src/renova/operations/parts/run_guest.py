"""Steps by which a server's guest comes to run, or to be gone, on one host; shared by the stories."""

import asyncio

import msgspec
import structlog
from msgspec.structs import replace

from renova.engine.journal import Elsewhere
from renova.model.errors import Broken, NotNow, Refused, Stale, details_of
from renova.model.guest import Guest, PowerState, RootDisk
from renova.model.host import Right
from renova.model.ids import HostId, ImageId
from renova.operations.parts import volumes
from renova.operations.parts.disks_follow import name_disks
from renova.operations.parts.guest import current_guest
from renova.operations.parts.storage_wait import with_storage
from renova.operations.work import Work
from renova.store import rights
from renova.store.database import Tx
from renova.store.placement import claims
from renova.wire.acts import (
    AnyAct,
    Define,
    DetachNic,
    DetachVolume,
    DropDisks,
    DropSnapshot,
    Pause,
    Prepare,
    Remove,
    Start,
    Stop,
    Suspend,
    TurnAway,
    Unpause,
)
from renova.wire.results import LetGo, Prepared, Result, Saved, State

log = structlog.get_logger()


class Built(msgspec.Struct, frozen=True):
    """How bringing a guest up ended: its power state, or why it could not be, with details for operators."""

    power: PowerState
    refused: str | None = None
    details: str = ""


async def prepare(
    work: Work,
    host: HostId,
    incarnation: int,
    admin_pass: str | None = None,
    *,
    must_exist: bool = False,
    root: RootDisk | None = None,
) -> Guest:
    """Have the guest's disks ready on the host, and the storage of its volumes answer; returns it, to be brought up.

    `root`: what its root disk is to be built on, if not on the image that the server was made of.

    Where disks that must exist are not there, but newer ones are, a rebuild has brought its new guest up on these in
    what a database has lost, for old ones go only after that. Then the row names them.
    """
    guest = await current_guest(work, incarnation, admin_pass)
    if root is not None:
        guest = replace(guest, disks=replace(guest.disks, root=root))
    ready = Prepare(guest=guest, must_exist=must_exist, or_newer=must_exist)
    result = await with_storage(work, lambda: work.command(host, incarnation, ready))
    assert isinstance(result, Prepared)
    if not result.instead:
        return guest
    await work.note(lambda tx: name_disks(tx, work.server_now(tx), result.instead))
    return await prepare(work, host, incarnation, admin_pass, must_exist=must_exist, root=root)


async def bring_up(
    work: Work, host: HostId, incarnation: int, *, run: bool = True, prepared: Guest | None = None, arrived: int = 0
) -> PowerState:
    """Have the guest running (or defined and off) on the host; its disks are ready.

    `arrived`: the incarnation that has come there with its memory, and goes on as this one. `prepared` is the guest as
    `prepare` has just derived it. `Refused` when the host does not get it done within setting `start_wait`.
    """
    has_volumes = await volumes.have_reachable(work, host)
    guest = prepared if prepared is not None and not has_volumes else await current_guest(work, incarnation)
    # What only the config drive holds, and is on the host already, does not travel twice.
    lean = replace(guest, personal=replace(guest.personal, admin_pass=None, user_data=None, files=()))
    act = Start(guest=lean, arrived=arrived) if run else Define(guest=lean)
    limit_s = work.cloud.settings.start_wait

    async def begin() -> Result:
        async with asyncio.timeout(limit_s):
            return await work.command(host, incarnation, act)

    try:
        result = await with_storage(work, begin)
    except TimeoutError as error:
        raise Refused(f"The guest was not {'running' if run else 'defined'} within {limit_s:g} seconds.") from error
    assert isinstance(result, State)
    await work.cloud.networks.settle(work.held.server, active=run)
    return result.guest.power if result.guest else PowerState.NOSTATE


async def resume(work: Work, host: HostId, incarnation: int) -> PowerState:
    """Have the guest running again from its saved memory; without any, it boots."""
    guest = await current_guest(work, incarnation)
    result = await with_storage(work, lambda: work.command(host, incarnation, Start(guest=guest, resume=True)))
    assert isinstance(result, State)
    await work.cloud.networks.settle(work.held.server, active=True)
    return result.guest.power if result.guest else PowerState.NOSTATE


async def suspend(work: Work, host: HostId, incarnation: int) -> bool:
    """Have the guest off with its memory saved; says whether it had any."""
    result = await work.command(host, incarnation, Suspend())
    assert isinstance(result, Saved)
    await work.cloud.networks.settle(work.held.server, active=False)
    return result.done


async def pause(work: Work, host: HostId, incarnation: int) -> PowerState:
    return await _stand_or_go(work, host, incarnation, Pause())


async def unpause(work: Work, host: HostId, incarnation: int) -> PowerState:
    return await _stand_or_go(work, host, incarnation, Unpause())


async def _stand_or_go(work: Work, host: HostId, incarnation: int, act: Pause | Unpause) -> PowerState:
    result = await work.command(host, incarnation, act)
    assert isinstance(result, State)
    power = result.guest.power if result.guest else PowerState.NOSTATE
    if power not in (PowerState.PAUSED, PowerState.RUNNING):
        await work.cloud.networks.settle(work.held.server, active=False)
    return power


async def stop(
    work: Work, host: HostId, incarnation: int, wait_s: float, *, for_good: bool = True, restarts: bool = False
) -> None:
    """Have the guest off; `for_good` where it does not come back in the same step: its ports are down then.

    `restarts`: this step brings it up again; when it is told anew after it has done so, the guest is left running.
    """
    await work.command(host, incarnation, Stop(wait_s=wait_s, restarts=restarts))
    if for_good:
        await work.cloud.networks.settle(work.held.server, active=False)


async def power_at(work: Work, host: HostId) -> PowerState:
    """Return the power state of the server's guest as it really is on the host; `NotNow` when that is away."""
    found = await work.cloud.agents.guest(host, work.held.server)
    return found.power if found is not None else PowerState.NOSTATE


async def drop_other_disks(work: Work, host: HostId, incarnation: int, keep: int) -> None:
    """Delete disks of other generations; failing to is no reason to fail the operation, for they harm nobody."""
    try:
        await work.command(host, incarnation, DropDisks(keep=keep))
    except (Refused, Broken):
        log.warning("old disks not deleted", host=host, exc_info=True)


async def drop_copy(work: Work, host: HostId, incarnation: int, image: ImageId) -> None:
    """Delete the copy that a superseded operation was making the image of; if it stays, it goes with the server."""
    try:
        await _unless_away(work, host, incarnation, DropSnapshot(image=image))
    except (Refused, Broken):
        log.warning("copy of a disk not deleted", host=host, image=image, exc_info=True)


async def build(
    work: Work,
    host: HostId,
    incarnation: int,
    admin_pass: str | None = None,
    *,
    must_exist: bool = False,
    run: bool,
    root: RootDisk | None = None,
) -> Built:
    """Have disks ready and the guest up; a host that cannot gives the reason, so that another may be tried."""
    try:
        guest = await prepare(work, host, incarnation, admin_pass, must_exist=must_exist, root=root)
        # Described anew where only its disk was built otherwise.
        return Built(await bring_up(work, host, incarnation, run=run, prepared=guest if root is None else None))
    except (Refused, Broken) as error:
        log.warning("guest not built", host=host, exc_info=True)
        return Built(PowerState.NOSTATE, refused=str(error), details=details_of(error))
    except NotNow:
        # Only a proof ends the wait: who is merely away may yet obey.
        if await work.cloud.database.read(lambda tx: rights.ended_by(tx, work.held.server, host)) is None:
            raise
        return Built(PowerState.NOSTATE, refused="the host died")


async def clear(work: Work, host: HostId, incarnation: int, *, disks: bool) -> None:
    """Have nothing of the server on the host. One that is away, or that cannot, owes it, and keeps the right till then.

    What the host could not end may run: nobody else is given the server before it says that it does not.
    """
    try:
        if await remove(work, host, incarnation, disks=disks):
            await work.note(lambda tx: freed(work, tx, host))
            return
    except (Refused, Broken):
        log.warning("server not removed yet", host=host, exc_info=True)

    def owe(tx: Tx) -> None:
        rights.owe(tx, host, work.held.server, incarnation + 1)

    await work.note(owe)


async def remove(work: Work, host: HostId, incarnation: int, *, disks: bool) -> bool:
    """Have the host have nothing of the server; False when it is away.

    A host that is heard gets a moment for its connection to come back; one that is silent is not waited for.
    """
    return await _unless_away(work, host, incarnation, Remove(disks=disks)) is not None


async def lets_go(work: Work, right: Right, take: DetachVolume | DetachNic, attempts: int) -> bool:
    """Ask the guest so often to let go; False if it never does."""
    for _attempt in range(attempts):
        answer = await work.command(right.host, right.incarnation, take)
        assert isinstance(answer, LetGo)
        if answer.done:
            return True
    return False


async def holds_on(work: Work, host: HostId, incarnation: int, take: DetachVolume | DetachNic) -> bool:
    """Ask the guest once more to let go of the device, and say whether it still has it.

    A refusal says nothing of the guest, which may be without the device already: then its host is asked what it has.
    If its host is away, a volume can be cut off all the same; a nic counts as the guest's until that is known to have
    ended, for nothing else keeps its addresses from being used twice.
    """
    try:
        answer = await _unless_away(work, host, incarnation, take)
    except (Refused, Broken):
        log.warning("device not taken back", host=host, exc_info=True)
        return await _has(work, host, take)
    if answer is None and isinstance(take, DetachNic):
        return await work.cloud.database.read(lambda tx: rights.ended_by(tx, work.held.server, host)) is None
    return isinstance(answer, LetGo) and not answer.done


async def _has(work: Work, host: HostId, take: DetachVolume | DetachNic) -> bool:
    """Say whether the guest has the device; so it counts where not even that is known."""
    try:
        found = await work.cloud.agents.devices(host, work.held.server)
    except (Refused, Broken):
        log.warning("devices not read", host=host, exc_info=True)
        return True
    return take.volume in found.serials if isinstance(take, DetachVolume) else take.mac in found.macs


async def turn_away(work: Work, host: HostId, incarnation: int) -> None:
    """Have nothing of the guest on the host that it was to arrive at. One that is away, or that cannot, owes it."""
    try:
        if await _unless_away(work, host, incarnation, TurnAway()) is not None:
            return
    except Stale:
        return  # it was given the server since, and what came of that is another's to take back
    except (Refused, Broken):
        log.warning("guest not turned away yet", host=host, exc_info=True)
    await work.note(lambda tx: rights.owe(tx, host, work.held.server, incarnation + 1))


async def _unless_away(work: Work, host: HostId, incarnation: int, act: AnyAct) -> Result | None:
    for _ in range(PATIENT_TRIES):
        try:
            return await work.command(host, incarnation, act)
        except Elsewhere:
            raise  # it is not away: the controller that has it goes on with this
        except NotNow:
            pass
        if work.cloud.hosts.settled and not work.cloud.hosts.up(host):
            break  # else this controller has only just begun, and has not heard the hosts yet
        await work.cloud.clock.sleep(0.5)
    return None


PATIENT_TRIES = 20


def freed(work: Work, tx: Tx, host: HostId) -> None:
    """Note that the host has nothing of the server: it holds no right and nothing of the host."""
    right = rights.right(tx, work.held.server)
    if right is not None and right.host == host:
        rights.release(tx, work.held.server)
    claims.release(tx, work.held.server, host)
    work.cloud.fleet.stale()
