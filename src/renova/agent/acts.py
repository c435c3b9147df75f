"""What each act of `wire` means on this host's hypervisor and network.

Every act says what should be: it may run again after it ended anywhere in the middle. `guest` sees to it that acts
of one server never run at the same time, that each is permitted, and that it is in the journal before it begins.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog
from msgspec.structs import replace

from renova.agent.uploads import Uploads
from renova.drivers.hypervisor import Hypervisor, ImageSource
from renova.drivers.network import Network
from renova.model.errors import Broken, Refused
from renova.model.guest import Departure, FoundGuest, Guest, Nic, PowerState
from renova.model.ids import HostId, ServerId
from renova.wire.acts import (
    Act,
    AttachNic,
    AttachVolume,
    Define,
    Depart,
    DetachNic,
    DetachVolume,
    DropDisks,
    DropSnapshot,
    Expect,
    Pause,
    Prepare,
    Remove,
    Snapshot,
    SoftReboot,
    Start,
    Stay,
    Stop,
    Suspend,
    TurnAway,
    Unpause,
    Upload,
)
from renova.wire.commands import Order
from renova.wire.duties import Duty
from renova.wire.results import Copied, Departing, Expected, LetGo, Prepared, Rebooted, Result, Saved, State

log = structlog.get_logger()


class Acts:
    """Performs acts. `may_start` raises `NotNow` while this host must not start guests.

    At most `builds_at_once` guests are made or started at a time; the others wait for their turn. So a host that gets
    all servers of a dead one at once does not drown in them.
    """

    def __init__(
        self,
        hypervisor: Hypervisor,
        network: Network,
        images: ImageSource,
        uploads: Uploads,
        may_start: Callable[[], None],
        builds_at_once: int,
    ) -> None:
        self._hypervisor = hypervisor
        self._network = network
        self._images = images
        self._uploads = uploads
        self._may_start = may_start
        self._turn = asyncio.Semaphore(builds_at_once)

    async def found(self, server: ServerId) -> FoundGuest | None:
        return await self._hypervisor.guest(server)

    async def perform(self, order: Order, act: Act, known: Sequence[Nic]) -> Result:
        """Perform the act and return its result; `known` are the nics that the server may have here."""
        server = order.server
        match act:
            case Prepare():
                # Now, when a former guest may still be left alone; and not in its turn, for which others wait.
                await self._hypervisor.volumes_answer(act.guest.volumes)
                async with self._turn:
                    return await self._prepare(act)
            case Start():
                async with self._turn:
                    self._may_start()  # now, not when it began to wait
                    return State(await self._start(_started_by(order, act.guest), known, act))
            case Define():
                self._may_start()
                await self._network.plug(act.guest.nics)
                await self._hypervisor.define(act.guest)
                await self._unplug_former(act.guest, known)
                return State(await self.found(server))
            case SoftReboot():
                return Rebooted(await self._soft_reboot(order, act, known))
            case Stop():
                if act.restarts and await self._is_started_by(order):
                    log.info("guest not stopped: it has been restarted already", server=server, number=order.number)
                elif act.wait_s <= 0 or not await self._hypervisor.shut_down(server, act.wait_s):
                    await self._hypervisor.kill(server)
                return State(await self.found(server))
            case Pause():
                await self._hypervisor.pause(server)
                return State(await self.found(server))
            case Unpause():
                self._may_start()
                await self._hypervisor.unpause(server)
                return State(await self.found(server))
            case Suspend():
                return Saved(await self._hypervisor.suspend(server))
            case Snapshot():
                return Copied(await self._hypervisor.snapshot(server, act.disks, act.image))
            case Upload():
                pieces = self._hypervisor.read_snapshot(server, act.image)
                return Copied(await self._uploads.send(order.session, act.image, pieces))
            case DropSnapshot():
                await self._hypervisor.drop_snapshot(server, act.image)
                return State(await self.found(server))
            case Expect():
                self._may_start()
                await self._network.plug(act.guest.nics)
                return Expected(await self._hypervisor.expect(act.guest, HostId(act.source)))
            case TurnAway():
                await self._hypervisor.turn_away(server)
                await self._network.unplug(known)
                return State(None)
            case Depart():
                return Departing(await self._hypervisor.depart(server, act.to, hurry=act.hurry, wait_s=act.wait_s))
            case Stay():
                return Departing(Departure(left=await self._hypervisor.stay(server)))
            case DropDisks():
                await self._drop_disks(act, order)
                return State(None)
            case AttachVolume():
                self._may_start()  # as with a start: what is begun here writes the volume
                await self._hypervisor.attach_volume(server, act.disk)
                return State(await self.found(server))
            case DetachVolume():
                return LetGo(await self._hypervisor.detach_volume(server, act.volume, act.wait_s))
            case AttachNic():
                self._may_start()
                await self._network.plug((act.nic,))
                await self._hypervisor.attach_nic(server, act.nic)
                return State(await self.found(server))
            case DetachNic():
                return LetGo(await self._detach_nic(act, server, known))
            case Remove():
                await self._remove(server, known)
                if act.disks:
                    await self._drop_disks(DropDisks(keep=None), order)
                return State(None)
        raise Broken(f"no such act: {type(act).__name__}")

    async def clean(self, duty: Duty, known: Sequence[Nic], newer: bool) -> None:
        """Have nothing here of the server's incarnations below `duty.below`; `newer`: a later one is at home here."""
        found = await self.found(duty.server)
        if found is not None and found.incarnation >= duty.below:
            return  # what is here is the newer one's: nics, definition and disks
        if found is not None:
            log.info("old guest removed", server=duty.server, incarnation=found.incarnation, below=duty.below)
        await self._remove(duty.server, () if newer else known)
        if not duty.disks:
            return
        # Both look at the owner kept beside the disks: those of a newer incarnation are not touched.
        if not duty.aside:
            await self._hypervisor.drop_disks(duty.server, None, up_to=duty.below - 1)
        elif await self._hypervisor.set_aside(duty.server, duty.below - 1):
            log.info("old disks set aside", server=duty.server, below=duty.below)

    async def _prepare(self, act: Prepare) -> Prepared:
        server, disks = act.guest.server, act.guest.disks
        if act.must_exist and not await self._hypervisor.has_disks(server, disks):
            if act.or_newer and (newer := await self._hypervisor.newer_disks(server, disks)):
                return Prepared(made=False, instead=newer)
            raise Refused(f"disks of generation {disks.generation} of {server} are not on this host")
        return Prepared(await self._hypervisor.prepare(act.guest, self._images))

    async def _start(self, guest: Guest, known: Sequence[Nic], act: Start | None = None) -> FoundGuest:
        await self._network.plug(guest.nics)
        self._may_start()  # again: plugging may have taken long
        if act is not None and act.arrived:
            found = await self._hypervisor.take_in(guest, act.arrived)
        elif act is not None and act.resume:
            found = await self._hypervisor.resume(guest)
        else:
            found = await self._hypervisor.start(guest)
        await self._unplug_former(guest, known)
        return found

    async def _unplug_former(self, guest: Guest, known: Sequence[Nic]) -> None:
        ports = {nic.port for nic in guest.nics}
        if former := [nic for nic in known if nic.port not in ports]:
            await self._network.unplug(former)

    async def _is_started_by(self, order: Order) -> bool:
        """Say whether the guest runs because this operation started it, whichever try of it that was."""
        return await self._hypervisor.started_as(order.server) == _name_of(order)

    async def _soft_reboot(self, order: Order, act: SoftReboot, known: Sequence[Nic]) -> bool:
        if await self._is_started_by(order):
            log.info("guest not rebooted: it has been already", server=order.server, number=order.number)
            await self._unplug_former(act.guest, known)
            return True
        # Before it is shut down: a guest that cannot be started again is better left alone.
        self._may_start()
        await self._hypervisor.volumes_answer(act.guest.volumes)
        found = await self.found(act.guest.server)
        runs = found is not None and found.power not in (PowerState.NOSTATE, PowerState.SHUTDOWN, PowerState.CRASHED)
        if runs and not await self._hypervisor.shut_down(act.guest.server, act.wait_s):
            return False
        await self._start(_started_by(order, act.guest), known)
        return True

    async def _detach_nic(self, act: DetachNic, server: ServerId, known: Sequence[Nic]) -> bool:
        if not await self._hypervisor.detach_nic(server, act.port, act.mac, act.wait_s):
            return False
        await self._network.unplug([nic for nic in known if nic.port == act.port])
        return True

    async def _remove(self, server: ServerId, nics: Sequence[Nic]) -> None:
        await self._hypervisor.turn_away(server)
        await self._hypervisor.kill(server)
        await self._network.unplug(nics)
        await self._hypervisor.undefine(server)

    async def _drop_disks(self, act: DropDisks, order: Order) -> None:
        # On storage that hosts share, the server may have moved on to a newer incarnation: its disks stay.
        if not await self._hypervisor.drop_disks(order.server, act.keep, up_to=order.incarnation):
            log.info("disks left to a newer incarnation", server=order.server, incarnation=order.incarnation)


def _started_by(order: Order, guest: Guest) -> Guest:
    return replace(guest, started_as=_name_of(order))


def _name_of(order: Order) -> str:
    """Name the operation, whoever runs it; the era is part of it, as operations are numbered anew in each."""
    return f"{order.era}.{order.number}"
